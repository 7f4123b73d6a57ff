//! A whole network in one thread and in virtual time: real nodes and clients over `io/memory`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use mixline::client::{Client, Connection, Record};
use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::random::Rng;
use mixline::io::memory::{Conditions, MemoryPort, Network};
use mixline::io::wake;
use mixline::node::{self, Node, Start, Wakers, assemble};
use mixline::pki::{Consensus, MailboxKeys};
use mixline::worker::roles::Roles;

use crate::testnet::{self, Shape, WALL};

/// Where the two clients of [`Simulation::connect`] are.
pub(crate) const SENDER: SocketAddr = client(1);
pub(crate) const RECIPIENT: SocketAddr = client(2);

const fn client(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 78, 0, host)), 5000)
}

/// One datagram on the wire: when it left, when it arrives if it does, from where, to where.
pub(crate) type Event = (Nanos, Option<Nanos>, SocketAddr, SocketAddr);

/// A network that runs by itself until the virtual time that is asked for.
pub(crate) struct Simulation {
    pub(crate) network: Network,
    pub(crate) nodes: Vec<Node<MemoryPort>>,
    pub(crate) clients: Vec<Client<MemoryPort>>,
    /// What each client received and nobody took yet.
    pub(crate) received: Vec<Vec<Vec<u8>>>,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    pub(crate) now: Nanos,
    rng: Rng,
}

impl Simulation {
    pub(crate) fn new(shape: &Shape, conditions: Conditions, workers: usize, seed: u8) -> Self {
        let mut rng = Rng::from_seed([seed; 32]);
        let identities = testnet::identities(shape, WALL, &mut rng);
        let network = Network::new(rng.fork(), conditions);
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = events.clone();
        network.tap(move |crossing| {
            let event = (crossing.sent, crossing.arrives, crossing.from, crossing.to);
            log.lock().expect("the simulation is set up").push(event);
        });
        let roles = Roles::of(workers);
        let pools = u32::try_from(roles.owners().len()).expect("the simulation is set up");
        let options = node::Options {
            workers,
            slots: 24_576,
            packets_max: 2048 / pools,
            strategy: shape.strategy,
            replay_packets_max: 100_000,
            clients_max: 16,
            ..node::Options::default()
        };
        let start = Start { now: Nanos::ZERO, wall: WALL };
        let nodes = identities
            .iter()
            .enumerate()
            .map(|(index, identity)| {
                let address = testnet::address(shape, index);
                let bytes = identity.consensus.geometry().datagram_bytes();
                let ports = network
                    .shared_ports(address, bytes, roles.workers())
                    .expect("the simulation is set up");
                let ports = roles.ports(ports).expect("the simulation is set up");
                let waker = || wake::pair().expect("the simulation is set up").1;
                let wakers =
                    Wakers { control: waker(), workers: (0..workers).map(|_| waker()).collect() };
                assemble(identity, &options, ports, &wakers, start, &mut rng)
                    .expect("the simulation is set up")
            })
            .collect();
        let consensus = identities[0].consensus.clone();
        Simulation {
            network,
            nodes,
            clients: vec![],
            received: vec![],
            consensus,
            events,
            now: Nanos::ZERO,
            rng,
        }
    }

    /// Adds a client of the gateway `gateway`.
    pub(crate) fn add_client(&mut self, gateway: usize, address: SocketAddr) -> usize {
        let bytes = self.consensus.geometry().datagram_bytes();
        let port = self.network.port(address, bytes).expect("the simulation is set up");
        let node = &self.consensus.gateways()[gateway];
        let wall = self.wall();
        let connection =
            Connection::new(&self.consensus, node, port, self.now, wall, &mut self.rng)
                .expect("the simulation is set up");
        let keys = MailboxKeys::generate(&mut self.rng);
        let consensus = self.consensus.clone();
        let client = Client::new(connection, consensus, node.id(), keys, self.rng.fork());
        self.clients.push(client);
        self.received.push(vec![]);
        self.clients.len() - 1
    }

    /// Runs until all links of the default shape are up, and a sender and a recipient, at a
    /// gateway each, are let in.
    pub(crate) fn connect(&mut self) {
        assert!(self.run_until(Nanos::from_secs(60), Self::all_up), "the links come up");
        self.add_client(0, SENDER);
        self.add_client(1, RECIPIENT);
        let ready = |it: &Self| it.clients.iter().all(|client| client.is_ready());
        assert!(self.run_until(Nanos::from_secs(60), ready), "the clients are let in");
    }

    /// Two mixes before and two behind, or two gateways: everybody has four neighbours.
    pub(crate) fn all_up(&self) -> bool {
        self.nodes.iter().all(|node| node.control.links_up() == 4)
    }

    pub(crate) fn wall(&self) -> UnixMicros {
        UnixMicros(WALL.0 + self.now.0 / 1000)
    }

    /// Runs until `until`, from one event to the next.
    pub(crate) fn run(&mut self, until: Nanos) {
        while self.now < until {
            self.network.advance(self.now);
            while self.turn() > 0 {}
            self.now = self.next_event().max(self.now + Nanos(1)).min(until);
        }
    }

    /// Runs until `done` says so, at most for `patience`; whether it did.
    pub(crate) fn run_until(&mut self, patience: Nanos, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + patience;
        while self.now < end && !done(self) {
            self.run(self.now + Nanos::from_millis(10));
        }
        done(self)
    }

    fn turn(&mut self) -> usize {
        let (now, wall) = (self.now, self.wall());
        let mut work = 0;
        for node in &mut self.nodes {
            work += node.control.turn(now, wall);
            work += node.workers.iter_mut().map(|worker| worker.turn(now)).sum::<usize>();
        }
        for (client, received) in self.clients.iter_mut().zip(&mut self.received) {
            work += client.turn(now, wall);
            while let Some(record) = client.record() {
                client.kept(record.number());
                if let Record::Message { received: message, .. } = record {
                    received.push(message.bytes);
                }
            }
        }
        work
    }

    fn next_event(&self) -> Nanos {
        let nodes = self.nodes.iter().flat_map(|node| {
            let workers = node.workers.iter().map(|worker| worker.next_due());
            workers.chain([node.control.next_deadline(self.now)])
        });
        let clients = self.clients.iter().map(Client::next_due);
        let network = self.network.next_delivery().unwrap_or(Nanos::NEVER);
        nodes.chain(clients).min().unwrap_or(Nanos::NEVER).min(network)
    }
}
