//! A real node's process between two neighbours that the test plays: its files, its life, packets
//! that pass it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::config::{NodeFile, PortMode};
use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::host;
use mixline::host::namespace::Namespace;
use mixline::network::{self, Summary};
use mixline::node::load_consensus;
use mixline::pki::{Consensus, Rate, Rates};
use mixline::route;
use mixline::sphinx::{self, Destination, Identifier, Itinerary, Order, RouteHop, Version};

use crate::neighbour::Neighbour;

/// How long something may take that must come.
pub(crate) const PATIENCE: Nanos = Nanos::from_secs(30);
/// What the packets wait in the mix: so long that a kill finds many inside.
pub(crate) const DELAY: Nanos = Nanos::from_millis(20);

/// The path of the packets: the neighbour before, the node under test, the neighbour behind it,
/// and two more that they never reach.
pub(crate) type Route = [&'static str; 5];

/// Packets that are built together: more make it no faster.
const BUILT_TOGETHER: usize = 64;

/// Through a mix of the first layer.
pub(crate) const THROUGH_MIX: Route = ["gateway-1", "mix-1-1", "mix-2-1", "mix-3-1", "gateway-2"];
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
    host: Option<Namespace>,
    pub(crate) rng: Rng,
}

/// Where a network is.
pub(crate) struct Site {
    /// The address before that of its first node.
    pub(crate) addresses: Ipv4Addr,
    /// How packets come to its nodes.
    pub(crate) port_mode: PortMode,
    /// Where the node under test is, if not beside the test.
    pub(crate) host: Option<Namespace>,
}

impl World {
    /// Around a mix.
    pub(crate) fn new(name: &str, subnet: u8) -> Self {
        Self::on(THROUGH_MIX, name, subnet)
    }

    pub(crate) fn on(path: Route, name: &str, subnet: u8) -> Self {
        // Another process that runs the same test has others.
        let addresses = [127, 10 + subnet, std::process::id().to_be_bytes()[3], 0].into();
        let site = Site { addresses, port_mode: PortMode::Auto, host: None };
        Self::at(site, path, name, subnet)
    }

    /// What has the same `seed` has the same keys.
    pub(crate) fn at(site: Site, path: Route, name: &str, seed: u8) -> Self {
        let Site { addresses, port_mode, host } = site;
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
            addresses,
            port_mode,
            rates,
            ..network::Options::new(folder.join("network"))
        };
        let mut rng = Rng::from_seed([seed; 32]);
        let summary = network::init(&options, &mut rng, clock::wall()).expect("a network");
        let consensus = load_consensus(&summary.anchor, &summary.consensus).expect("it is valid");
        World { folder, summary, consensus: Arc::new(consensus), delay: DELAY, path, host, rng }
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
        let address = self.metrics_address();
        let Some(host) = &self.host else { return ask(address, path) };
        let inside = || {
            host.enter().expect("it is ours");
            ask(address, path)
        };
        thread::scope(|scope| scope.spawn(inside).join()).expect("an answer")
    }

    /// What `command` prints where the node under test is.
    pub(crate) fn output(&self, mut command: Command) -> String {
        if let Some(host) = &self.host {
            host.place(&mut command);
        }
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
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
        self.empty(both);
        take_all(&mut both[1]);
    }

    /// Waits until what has come to the node under test has left.
    #[track_caller]
    pub(crate) fn empty(&self, both: &mut [Neighbour; 2]) {
        // Who is healthy has ended the turn in which the last packet came.
        let is_empty =
            || self.ask("/healthz").0 == 200 && self.metric("mixline_pool_packets") == 0.0;
        assert!(wait(both, |_| is_empty()), "what came leaves");
    }

    /// Waits until what has come to the node under test has left it, whatever that was.
    #[track_caller]
    fn settle(&self, both: &mut [Neighbour; 2]) {
        // Who is healthy has taken a turn since it was asked: one to take in, one to let go.
        for span in [self.delay + Nanos::from_millis(10), Nanos::ZERO] {
            assert!(wait(both, |_| self.ask("/healthz").0 == 200), "the node is alive");
            work_for(both, span);
        }
        take_all(&mut both[1]);
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
        Mix(self.command().spawn().expect("the program starts"))
    }

    /// How it is started.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixline"));
        command
            .args(["run", "--die-with-parent"])
            .arg(self.config(self.path[1]))
            .env("RUNTIME_DIRECTORY", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(host) = &self.host {
            host.place(&mut command);
        }
        command
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
            if !both[1].received.is_empty() {
                break;
            }
        }
        // Those that were only slow are not to be taken for others.
        self.settle(&mut both);
        both[1].received.clear();
        both
    }

    /// A new packet over the node under test and the neighbour behind it.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        self.packets(1).remove(0)
    }

    pub(crate) fn packets(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.along(&vec![self.route(); count])
    }

    /// The way of such packets.
    pub(crate) fn route(&self) -> Vec<RouteHop> {
        let hop = |name: &&str| {
            let node = self.consensus.node_named(name).expect("it is listed");
            let public_key = *node.mix_public(1).expect("it has a key");
            RouteHop { address: node.id().0, public_key, delay_ns: self.delay.0 }
        };
        self.path[1..].iter().map(hop).collect()
    }

    /// New packets, one along each route.
    pub(crate) fn along(&mut self, routes: &[Vec<RouteHop>]) -> Vec<Vec<u8>> {
        let geometry = self.consensus.geometry();
        let mut frames = vec![vec![0; geometry.frame_bytes()]; routes.len()];
        let together = frames.chunks_mut(BUILT_TOGETHER).zip(routes.chunks(BUILT_TOGETHER));
        for (frames, routes) in together {
            let mut orders = Vec::with_capacity(frames.len());
            for (frame, route) in frames.iter_mut().zip(routes) {
                let (packet, tail) = frame.split_at_mut(geometry.packet_bytes());
                tail[0] = route::epoch_byte(1);
                orders.push(Order { message: b"once", itinerary: itinerary(route), packet });
            }
            let built = sphinx::build_each(Tier::chosen(), &mut orders, &mut self.rng);
            assert!(built.iter().all(Result::is_ok), "a good route");
        }
        frames
    }
}

fn itinerary(route: &[RouteHop]) -> Itinerary<'_> {
    Itinerary {
        route,
        destination: Destination::default(),
        identifier: Identifier::default(),
        version: Version::SingleSeed,
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
    // Asked again, what was so may be so no longer: a dummy is in the mix now and then.
    while !done(both) {
        if clock::now() - start >= PATIENCE {
            return false;
        }
        both.iter_mut().for_each(Neighbour::turn);
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Takes in all that has come.
fn take_all(neighbour: &mut Neighbour) {
    let mut known = usize::MAX;
    while neighbour.received.len() != known {
        known = neighbour.received.len();
        neighbour.turn();
    }
}

pub(crate) fn work_for(both: &mut [Neighbour; 2], span: Nanos) {
    let end = clock::now() + span;
    while clock::now() < end {
        both.iter_mut().for_each(Neighbour::turn);
        thread::sleep(Duration::from_millis(1));
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
