//! A real node's process between two neighbours that the test plays: its files, its life, packets
//! that pass it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::config::NodeFile;
use mixline::crypto::random::Rng;
use mixline::host;
use mixline::network::{self, Summary};
use mixline::node::load_consensus;
use mixline::pki::{Consensus, Rate, Rates};
use mixline::route;
use mixline::sphinx::{self, Destination, Identifier, Itinerary, RouteHop, Version};

use crate::neighbour::Neighbour;

/// How long something may take that must come.
const PATIENCE: Nanos = Nanos::from_secs(30);
/// What the packets wait in the mix: so long that a kill finds many inside.
pub(crate) const DELAY: Nanos = Nanos::from_millis(20);

/// The path of the packets: the neighbour before, the node under test, the neighbour behind it,
/// and two more that they never reach.
pub(crate) type Route = [&'static str; 5];

/// Through a mix of the first layer.
const THROUGH_MIX: Route = ["gateway-1", "mix-1-1", "mix-2-1", "mix-3-1", "gateway-2"];
/// Through a gateway, from the last layer into the first.
pub(crate) const THROUGH_GATEWAY: Route = ["mix-3-1", "gateway-1", "mix-1-1", "mix-2-1", "mix-3-1"];

/// The network of a node under test: everything in one folder in memory, removed at the end.
pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) summary: Summary,
    pub(crate) consensus: Arc<Consensus>,
    /// What packets wait in the mix.
    pub(crate) delay: Nanos,
    path: Route,
    rng: Rng,
}

impl World {
    /// Around a mix.
    pub(crate) fn new(name: &str, subnet: u8) -> Self {
        Self::on(THROUGH_MIX, name, subnet)
    }

    pub(crate) fn on(path: Route, name: &str, subnet: u8) -> Self {
        let folder = Path::new("/dev/shm").join(format!("mixline-{name}-{}", std::process::id()));
        fs::create_dir(&folder).expect("shared memory to work in");
        // Nothing but the test's own packets: a loop would be one more at the neighbour behind.
        let rates = Rates {
            payload: Rate::per_second(1),
            mix_loop: Rate::default(),
            gateway_loop: Rate::default(),
            ..Rates::default()
        };
        let options = network::Options {
            // Another process that runs the same test has others.
            addresses: [127, 10 + subnet, std::process::id().to_be_bytes()[3], 0].into(),
            rates,
            ..network::Options::new(folder.join("network"))
        };
        let mut rng = Rng::from_seed([subnet; 32]);
        let summary = network::init(&options, &mut rng, clock::wall()).expect("a network");
        let consensus = load_consensus(&summary.anchor, &summary.consensus).expect("it is valid");
        World { folder, summary, consensus: Arc::new(consensus), delay: DELAY, path, rng }
    }

    pub(crate) fn config(&self, node: &str) -> PathBuf {
        let found = self.summary.nodes.iter().find(|made| made.name == node);
        found.expect("such a node").config.clone()
    }

    /// Replaces `from`, which is there, by `to` in the configuration of the node under test.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        let config = self.config(self.path[1]);
        let text = fs::read_to_string(&config).expect("a configuration");
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&config, text.replace(from, to)).expect("it can be written");
    }

    /// Where the node under test says how it stands.
    pub(crate) fn metrics_address(&self) -> SocketAddr {
        let file = NodeFile::load(&self.config(self.path[1])).expect("it was made");
        file.metrics.expect("it listens").listen
    }

    /// Status and text of what the node under test answers to a request for `path`.
    pub(crate) fn ask(&self, path: &str) -> (u16, String) {
        ask(self.metrics_address(), path)
    }

    /// What the node under test says now of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.ask("/metrics");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    }

    /// Hands `packets` in, and waits until all of them have come to the node under test and left.
    #[track_caller]
    pub(crate) fn pass(&self, both: &mut [Neighbour; 2], packets: &[Vec<u8>]) {
        // No more at a time than fit into a socket's buffer, however slow the node is just now.
        for some in packets.chunks(128) {
            let before = self.received();
            some.iter().for_each(|packet| both[0].send(packet));
            let came = wait(both, |_| self.received() >= before + some.len() as f64);
            assert!(came, "{} packets come", some.len());
        }
        // Who is healthy has ended the turn in which the last packet came.
        let is_empty =
            || self.ask("/healthz").0 == 200 && self.metric("mixline_pool_packets") == 0.0;
        assert!(wait(both, |_| is_empty()), "what came leaves");
        let mut known = usize::MAX;
        while both[1].received.len() != known {
            known = both[1].received.len();
            both[1].turn();
        }
    }

    fn received(&self) -> f64 {
        self.metric("mixline_packets_received_total")
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.config(self.path[1]).with_file_name("keys")
    }

    /// The file with the mix key and the replay table of the node under test.
    pub(crate) fn table(&self) -> PathBuf {
        let id = self.consensus.node_named(self.path[1]).expect("it is listed").id().to_string();
        self.folder.join(format!("mixline-{}", &id[..16])).join("epoch-1")
    }

    /// Starts the node under test.
    pub(crate) fn start(&self) -> Mix {
        let child = Command::new(env!("CARGO_BIN_EXE_mixline"))
            .args(["run", "--die-with-parent"])
            .arg(self.config(self.path[1]))
            .env("RUNTIME_DIRECTORY", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Mix(child.expect("the program starts"))
    }

    /// The nodes before and behind the mix, linked to it: packets pass.
    pub(crate) fn neighbours(&mut self) -> [Neighbour; 2] {
        let [before, node, behind, ..] = self.path;
        let mix = self.consensus.node_named(node).expect("it is listed");
        let mut both = [before, behind].map(|name| {
            let file = NodeFile::load(&self.config(name)).expect("it was made");
            Neighbour::start(&file, mix)
        });
        let up = wait(&mut both, |both| both.iter().all(Neighbour::is_up));
        assert!(up, "the links come up");
        // A session that the mix answered serves it only once it was confirmed.
        for _ in 0..100 {
            both[0].send(&self.packet());
            work_for(&mut both, Nanos::from_millis(50));
            if both[1].received.drain(..).count() > 0 {
                break;
            }
        }
        both
    }

    /// A new packet over the node under test and the neighbour behind it.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let route: Vec<RouteHop> = self.path[1..]
            .iter()
            .map(|name| {
                let node = self.consensus.node_named(name).expect("it is listed");
                let public_key = *node.mix_public(1).expect("it has a key");
                RouteHop { address: node.id().0, public_key, delay_ns: self.delay.0 }
            })
            .collect();
        let itinerary = Itinerary {
            route: &route,
            destination: Destination::default(),
            identifier: Identifier::default(),
            version: Version::SingleSeed,
        };
        let geometry = self.consensus.geometry();
        let mut frame = vec![0; geometry.frame_bytes()];
        let packet = &mut frame[..geometry.packet_bytes()];
        sphinx::build(b"once", &itinerary, &mut self.rng, packet).expect("a good route");
        frame[geometry.packet_bytes()] = route::epoch_byte(1);
        frame
    }

    pub(crate) fn packets(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.packet()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The process under test, killed at its end.
pub(crate) struct Mix(pub(crate) Child);

impl Mix {
    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it ends");
    }

    /// SIGTERM; what it counted under `drops`, in its last line.
    pub(crate) fn totals(mut self) -> serde_json::Value {
        host::terminate(self.0.id());
        let mut line = String::new();
        let output = self.0.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it prints its totals");
        assert!(self.0.wait().expect("it ends").success());
        serde_json::from_str(&line).expect("totals in JSON")
    }

    /// Exit status and log of a process that does not want to run.
    pub(crate) fn refusal(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let output = self.0.stderr.as_mut().expect("it is piped");
        output.read_to_string(&mut log).expect("a log");
        (self.0.wait().expect("it ends").code(), log)
    }
}

impl Drop for Mix {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets both neighbours work until `done`, or until it has taken too long.
pub(crate) fn wait(both: &mut [Neighbour; 2], done: impl Fn(&[Neighbour; 2]) -> bool) -> bool {
    let start = clock::now();
    while !done(both) && clock::now() - start < PATIENCE {
        both.iter_mut().for_each(Neighbour::turn);
        std::thread::sleep(Duration::from_millis(1));
    }
    done(both)
}

pub(crate) fn work_for(both: &mut [Neighbour; 2], span: Nanos) {
    let end = clock::now() + span;
    while clock::now() < end {
        both.iter_mut().for_each(Neighbour::turn);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Hands in `packets` as fast as a socket's buffer lets all of them through.
pub(crate) fn send(both: &mut [Neighbour; 2], packets: &[Vec<u8>]) {
    for some in packets.chunks(32) {
        some.iter().for_each(|packet| both[0].send(packet));
        work_for(both, Nanos::from_millis(2));
    }
}

/// Status and text of the answer to a request for `path`.
pub(crate) fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE.as_duration())).expect("a timeout");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let text = answer.split_once("\r\n\r\n").map(|(_, text)| text.to_owned());
    (status.expect("a status"), text.expect("a body"))
}
