//! `cargo bench --bench io`: what it costs to receive a datagram and send it on, port by port.
//!
//! Every port has a network of its own: two network namespaces, a pair of interfaces, a generator
//! outside, a forwarder inside, both of them this one thread on one core. A round is a burst that
//! the generator delivers, then turns of the forwarder until it has sent all of it back.
//!
//! Counted is the processor time of the whole round, less that of a generator whose datagrams end
//! at the entrance of the interface. So the soft interrupts of receiving count, in which the
//! kernel does much of the work (and all of what XDP does); the system calls; the forwarder, which
//! copies every datagram twice, as a worker does when it opens and seals it; and the soft
//! interrupts of sending up to the other end, which drops what comes at the first look.
//!
//! Rounds of all ports take turns, in random order. A round in which the kernel left work to its
//! own thread (`ksoftirqd`) does not count. The figure is what a twentieth of the rounds beat: on
//! a machine whose time is stolen the very minimum is a fluke, as stolen time is subtracted late.

#[path = "io/contender.rs"]
mod contender;
#[path = "io/generator.rs"]
mod generator;
#[path = "io/kernel_bypass.rs"]
mod kernel_bypass;
#[path = "io/network.rs"]
mod network;
#[path = "io/report.rs"]
mod report;
#[path = "io/usage.rs"]
mod usage;

use clap::{Parser, value_parser};
use contender::Contender;
use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::host::{self, Machine};
use mixline::io::shield::Attachment;
use mixline::io::udp::{self, UdpPort};
use mixline::io::uring::UringPort;
use mixline::io::{OpenError, Port};
use mixline::sphinx::Geometry;
use report::Report;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use usage::Deferred;

/// Source ports of the generator, interleaved at random: what comes from many neighbours.
const MANY: u16 = 64;
/// One neighbour that sends runs.
const ONE: u16 = 1;

/// Forwards datagrams through each port and says what it costs.
#[derive(Parser)]
#[command(bin_name = "cargo bench --bench io --")]
struct Options {
    /// Only ports whose name contains one of these, and recvmmsg.
    names: Vec<String>,
    /// Bursts that each port forwards.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(20..))]
    rounds: u32,
    /// Datagrams of a burst.
    #[arg(long, default_value_t = 1024, value_parser = value_parser!(u32).range(1..=2048))]
    burst: u32,
    /// What cargo gives to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        let named = |part: &String| name.contains(part.as_str());
        self.names.is_empty() || name.starts_with(report::PEER) || self.names.iter().any(named)
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        // `cargo test` starts benchmarks too, and tests measure nothing.
        return ExitCode::SUCCESS;
    }
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "io: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All that is compared. The first is the generator alone.
fn contenders(options: &Options) -> io::Result<Vec<Contender>> {
    let mut all = Contenders { options, list: vec![Contender::generator()?] };
    for flows in [MANY, ONE] {
        all.add("recvmmsg", flows, |address| UdpPort::open(&plain(address)));
        all.add("gro", flows, |address| UdpPort::open(&coalescing(address, false)));
        all.add("gro_gso", flows, |address| UdpPort::open(&coalescing(address, true)));
        all.add("io_uring", flows, |address| UringPort::open(&plain(address)));
        all.add("io_uring_gro", flows, |address| UringPort::open(&coalescing(address, false)));
        all.add_kept("xdp_native", flows, |at| kernel_bypass::open(at, Attachment::Native));
        all.add_kept("xdp_generic", flows, |at| kernel_bypass::open(at, Attachment::Generic));
    }
    Ok(all.list)
}

fn plain(address: SocketAddr) -> udp::Options {
    let options = udp::Options::new(address, Geometry::DEFAULT.datagram_bytes());
    udp::Options { coalesce: false, segment: false, ..options }
}

fn coalescing(address: SocketAddr, segment: bool) -> udp::Options {
    udp::Options { coalesce: true, segment, ..plain(address) }
}

struct Contenders<'a> {
    options: &'a Options,
    list: Vec<Contender>,
}

impl Contenders<'_> {
    /// Adds a port over a socket.
    fn add<P: Port + 'static>(
        &mut self,
        port: &str,
        flows: u16,
        open: impl FnOnce(SocketAddr) -> Result<P, OpenError>,
    ) {
        self.add_kept(port, flows, |address| Ok::<_, OpenError>((open(address)?, ())));
    }

    /// Adds a port, if it is wanted and this machine has it, with what must last as long. `open`
    /// is called inside its network.
    fn add_kept<P: Port + 'static, K: 'static, E: Display>(
        &mut self,
        port: &str,
        flows: u16,
        open: impl FnOnce(SocketAddr) -> Result<(P, K), E>,
    ) {
        let name = if flows == ONE { format!("{port}{}", report::ONE_FLOW) } else { port.into() };
        if !self.options.wants(&name) {
            return;
        }
        match Contender::new(&name, flows, open) {
            Ok(contender) => self.list.push(contender),
            Err(error) => {
                let _ = writeln!(io::stderr(), "{name} is not measured: {error}");
            }
        }
    }
}

fn measure(options: &Options) -> Result<(), Box<dyn Error>> {
    if cfg!(debug_assertions) {
        return Err("this is a debug build, whose times mean nothing: run `cargo bench`".into());
    }
    let machine = Machine::look(Tier::chosen().name().as_str());
    let core = host::cores().into_iter().next_back().unwrap_or_default();
    if !host::pin(core) {
        return Err(format!("the kernel refuses to keep this thread on core {core}").into());
    }
    let deferred = Deferred::on(core);
    let mut contenders = contenders(options)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{machine}, on core {core}.\n")?;
    // In another order each time: who runs before finds its own in the caches.
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut rng = Rng::from_seed([1; 32]);
    for _ in 0..options.rounds {
        rng.shuffle(&mut order);
        for &number in &order {
            let contender = &mut contenders[number];
            let done = contender.round(options.burst, &deferred);
            done.map_err(|error| format!("{}: {error}", contender.name))?;
        }
    }
    let report = Report { contenders: &contenders, options };
    write!(out, "{report}")?;
    Ok(())
}
