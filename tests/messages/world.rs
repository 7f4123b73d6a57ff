//! A whole network of processes, each on a host of its own, with a relay between all of them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mixline::client::api::Connection;
use mixline::client::protocol::Status;
use mixline::clock;
use mixline::crypto::random::Rng;
use mixline::network::{self, DirectoryPlan, NodeSummary, Summary};
use mixline::node::CONNECTED;
use mixline::pki::{MailboxAddress, Rate, Rates};

use crate::lab::{Process, instant};
use crate::namespace::Host;
use crate::relay::{Conditions, Ledger, Relay};
use crate::scratch::Scratch;

/// The subnet of all hosts: nodes from its beginning, then the authority, then the users.
const SUBNET: [u8; 3] = [10, 77, 0];
const AUTHORITY: u8 = 100;
const FIRST_USER: u8 = 200;
const PORT: u16 = 7700;
/// The mean delay at every hop.
const DELAY_MEAN: Duration = Duration::from_millis(50);
const EPOCH: Duration = Duration::from_secs(60);
/// How long the network may take to come up, or a part of it to come back.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);

/// A user: the daemon's process, and what applications need of it.
pub(crate) struct User {
    _process: Process,
    pub(crate) socket: PathBuf,
    pub(crate) address: MailboxAddress,
}

/// The network. Fields are dropped in order: processes, what is between them, hosts, files.
pub(crate) struct World {
    pub(crate) users: Vec<User>,
    nodes: Vec<(NodeSummary, Process)>,
    _authority: Process,
    relay: Relay,
    hosts: Vec<Host>,
    made: Summary,
    scratch: Scratch,
}

fn address(host: u8) -> Ipv4Addr {
    let [a, b, c] = SUBNET;
    Ipv4Addr::new(a, b, c, host)
}

impl World {
    /// An authority, six mixes in three layers, two gateways, and one user at each of them; users
    /// send `rate` packets a second, real or decoy. All are connected.
    pub(crate) fn new(rate: Rate, conditions: Conditions, seed: [u8; 32]) -> Self {
        let scratch = Scratch::new("messages");
        let made = make(&scratch.files.join("network"), rate);

        let nodes = made.nodes.iter().map(ipv4);
        let users = [FIRST_USER, FIRST_USER + 1];
        let others = [AUTHORITY].into_iter().chain(users).map(address);
        let (hosts, interfaces): (Vec<_>, Vec<_>) = nodes
            .chain(others)
            .map(|address| {
                let (host, file) = Host::new(address);
                (host, (address, file))
            })
            .unzip();
        let relay = Relay::start(interfaces, conditions, seed);

        let mut command = scratch.mixline();
        command.args(["authority", "run", "--die-with-parent"]);
        command.arg(made.authority.as_ref().expect("a directory was asked for"));
        let command = host(&hosts, address(AUTHORITY)).place(&command);
        let authority = Process::spawn(&scratch.files, "authority", command);

        let mut world = World {
            users: vec![],
            nodes: vec![],
            _authority: authority,
            relay,
            hosts,
            made,
            scratch,
        };
        for node in world.made.nodes.clone() {
            let process = world.start(&node);
            world.nodes.push((node, process));
        }
        for (_, process) in &world.nodes {
            process.wait_as_long_as(PATIENCE, CONNECTED);
        }
        for (number, host) in (1..).zip(users) {
            let user = world.start_user(number, address(host));
            world.users.push(user);
        }
        world.users.iter_mut().for_each(User::wait);
        world
    }

    /// What the relay has carried.
    pub(crate) fn with_ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&self.relay.ledger())
    }

    /// Packets that were sent to the node `name` until now.
    pub(crate) fn sent_to(&self, name: &str) -> u64 {
        let found = self.nodes.iter().find(|(node, _)| node.name == name);
        let (node, _) = found.expect("such a node");
        self.relay.sent_to(ipv4(node))
    }

    /// Kills the node `name`.
    pub(crate) fn kill(&mut self, name: &str) {
        self.node(name).1.kill();
    }

    /// Starts the node `name`, which was killed, again, and waits until it has all its links.
    pub(crate) fn restart(&mut self, name: &str) {
        let node = self.node(name).0.clone();
        let process = self.start(&node);
        process.wait_as_long_as(PATIENCE, CONNECTED);
        self.node(name).1 = process;
    }

    /// How both users are.
    pub(crate) fn statuses(&self) -> Vec<Status> {
        self.users.iter().map(User::status).collect()
    }

    fn node(&mut self, name: &str) -> &mut (NodeSummary, Process) {
        self.nodes.iter_mut().find(|(node, _)| node.name == name).expect("such a node")
    }

    fn start(&self, node: &NodeSummary) -> Process {
        let mut command = self.scratch.mixline();
        command.args(["run", "--die-with-parent"]).arg(&node.config);
        let command = host(&self.hosts, ipv4(node)).place(&command);
        Process::spawn(&self.scratch.files, &node.name, command)
    }

    fn start_user(&self, number: usize, address: Ipv4Addr) -> User {
        let name = format!("client-{number}");
        let path = |kind: &str| self.scratch.files.join(format!("{name}.{kind}"));
        let (mailbox, socket) = (path("key"), path("sock"));
        let mut command = self.scratch.mixline();
        command.args(["client", "run", "--die-with-parent"]);
        command.arg("--gateway").arg(format!("gateway-{number}"));
        command.arg("--mailbox").arg(&mailbox).arg("--spool").arg(path("spool"));
        command.arg("--socket").arg(&socket).arg(&self.made.client);
        let command = host(&self.hosts, address).place(&command);
        let process = Process::spawn(&self.scratch.files, &name, command);
        let end = instant() + PATIENCE;
        let mut connection = loop {
            match Connection::open(&socket) {
                Ok(connection) => break connection,
                Err(error) => assert!(instant() < end, "{name}: {error}"),
            }
            std::thread::sleep(LOOK);
        };
        let address = connection.address().expect("the daemon is there");
        User { _process: process, socket, address }
    }
}

impl User {
    /// A connection of one more application.
    pub(crate) fn open(&self) -> Connection {
        Connection::open(&self.socket).expect("the daemon listens")
    }

    fn status(&self) -> Status {
        self.open().status().expect("the daemon is there")
    }

    /// Waits until the gateway has let it in.
    fn wait(&mut self) {
        let end = instant() + PATIENCE;
        while !self.status().connected {
            assert!(instant() < end, "a user is not let in");
            std::thread::sleep(LOOK);
        }
    }
}

fn host(hosts: &[Host], address: Ipv4Addr) -> &Host {
    hosts.iter().find(|host| host.address == address).expect("such a host")
}

fn ipv4(node: &NodeSummary) -> Ipv4Addr {
    match node.address.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{} has the address {address}", node.name),
    }
}

/// Makes the network's files.
fn make(folder: &Path, rate: Rate) -> Summary {
    let authority = (address(AUTHORITY), 7780).into();
    let options = network::Options {
        delay_mean: DELAY_MEAN,
        rates: Rates { payload: rate, ..Rates::default() },
        directory: Some(DirectoryPlan { address: authority, epoch: EPOCH }),
        addresses: address(0),
        port: PORT,
        ..network::Options::new(folder.to_owned())
    };
    network::init(&options, &mut Rng::from_os(), clock::wall()).expect("the network can be made")
}
