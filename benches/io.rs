//! scratch
#[path = "io/generator.rs"]
mod generator;
#[path = "io/network.rs"]
mod network;
#[path = "io/usage.rs"]
mod usage;
use generator::Generator;
use mixline::host;
use mixline::io::udp::{Options, UdpPort};
use mixline::io::{BATCH, Port};
use network::*;
use usage::processor_time;
const LENGTH: usize = 1400;
trait Forward {
    fn turn(&mut self) -> usize;
    fn describe(&self) -> String;
}
struct Echo<P> {
    port: P,
    from: Vec<std::net::SocketAddr>,
    bytes: Vec<u8>,
}
impl<P: Port + std::fmt::Debug> Forward for Echo<P> {
    fn turn(&mut self) -> usize {
        self.from.clear();
        let n = LENGTH;
        let (from, bytes) = (&mut self.from, &mut self.bytes);
        let got = self.port.receive(32, |s, d| {
            let i = from.len();
            bytes[i * n..][..n].copy_from_slice(d);
            from.push(s);
        });
        for (i, s) in self.from.iter().enumerate() {
            let b = &self.bytes[i * n..][..n];
            let _ = self.port.send::<()>(|f| {
                f.copy_from_slice(b);
                Ok(*s)
            });
        }
        self.port.flush();
        got
    }
    fn describe(&self) -> String {
        format!("{:?}", self.port)
    }
}
struct Row {
    name: String,
    net: Network,
    g: Generator,
    f: Box<dyn Forward>,
    fire: Vec<f64>,
    drain: Vec<f64>,
    total: Vec<f64>,
    lost: u64,
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let get = |k: &str, d: u64| -> u64 {
        a.iter()
            .find_map(|x| x.strip_prefix(&format!("{k}=")).map(|v| v.parse().unwrap()))
            .unwrap_or(d)
    };
    let burst = get("burst", 512);
    let rounds = get("rounds", 30);
    host::pin(get("core", 1) as usize);
    let mut rows = vec![];
    for (name, flows) in
        [("mmsg", 64), ("mmsg", 1), ("gro", 64), ("gro", 1), ("grogso", 64), ("grogso", 1)]
    {
        let net = Network::new(true).unwrap();
        net.enter_inside().unwrap();
        let mut o = Options::new("198.18.0.2:4000".parse().unwrap(), LENGTH);
        o.coalesce = name != "mmsg";
        o.segment = name == "grogso";
        let port = UdpPort::open(&o).unwrap();
        net.enter_outside().unwrap();
        let g = Generator::new(interface("outside").unwrap(), &headers(10000, 4000), LENGTH, flows)
            .unwrap();
        rows.push(Row {
            name: format!("{name}/{flows}"),
            net,
            g,
            f: Box::new(Echo { port, from: vec![], bytes: vec![0; BATCH * LENGTH] }),
            fire: vec![],
            drain: vec![],
            total: vec![],
            lost: 0,
        });
    }
    for round in 0..rounds {
        for r in &mut rows {
            r.net.enter_outside().unwrap();
            let t0 = processor_time();
            r.g.fire(burst as u32).unwrap();
            let t1 = processor_time();
            let mut got = 0;
            let mut idle = 0;
            while got < burst && idle < 3 {
                let n = r.f.turn();
                got += n as u64;
                if n == 0 {
                    idle += 1
                }
            }
            let t2 = processor_time();
            if round > 0 {
                r.lost += burst - got;
                r.fire.push((t1 - t0).0 as f64 / burst as f64);
                r.drain.push((t2 - t1).0 as f64 / burst as f64);
                r.total.push((t2 - t0).0 as f64 / burst as f64);
            }
        }
    }
    for r in &mut rows {
        for v in [&mut r.fire, &mut r.drain, &mut r.total] {
            v.sort_by(f64::total_cmp);
        }
        let q =
            |v: &Vec<f64>| format!("{:6.0} {:6.0} {:6.0}", v[0], v[v.len() / 10], v[v.len() / 2]);
        println!(
            "{:12} fire {} drain {} total {} lost {} {}",
            r.name,
            q(&r.fire),
            q(&r.drain),
            q(&r.total),
            r.lost,
            r.f.describe()
        );
    }
}
