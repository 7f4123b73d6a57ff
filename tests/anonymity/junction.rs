//! A real mix between neighbours that the test plays, in virtual time: who sends knows every packet
//! by its number, who receives reads the number, and a sniffer sees what is on the wires.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use mixline::audit::{Arrival, Departure, Mark, Observation, Passage};
use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::io::memory::{Conditions, Crossing, MemoryPort, Network};
use mixline::io::wake;
use mixline::link::Frame;
use mixline::link::datagram::HEADER_BYTES;
use mixline::node::{self, Identity, Node, Start, Wakers, assemble};
use mixline::pool::{self, Pool, Strategy};
use mixline::replay::Plan;
use mixline::sphinx::{Geometry, Hop, Packet, Unwrapper};
use mixline::worker::roles::Roles;

use crate::endpoint::{Arrived, Endpoint};
use crate::testnet::{self, WALL};
use crate::traffic::{MEAN, NEIGHBOURS, PACKETS, Sent, TRAFFIC};

/// How often links and the control thread look at their timers.
const HOUSEKEEPING: Nanos = Nanos::from_millis(10);
/// Packets that a pool of the mix holds: ten times as many as are inside.
const PACKETS_MAX: u32 = 8192;
/// Packets that sinks unwrap together.
const GROUP: usize = 32;

type Header = [u8; HEADER_BYTES];

/// A mix, its neighbours, and what was seen.
pub(crate) struct Junction {
    pub(crate) network: Network,
    pub(crate) node: Node<MemoryPort>,
    sources: Vec<Endpoint<MemoryPort>>,
    sinks: Vec<Endpoint<MemoryPort>>,
    reader: Reader,
    sniffed: Arc<Mutex<Vec<(Departure, Header)>>>,
    pub(crate) now: Nanos,
    housekeeping: Nanos,
    rng: Rng,
}

/// What a mix with so many threads makes of all of [`TRAFFIC`]. Ingress is the thread that took a
/// packet in; where there is only one, the neighbour that it came from.
pub(crate) fn run(threads: usize) -> Observation {
    let mut junction = Junction::new(threads);
    junction.connect();
    let ingress = match threads {
        1 => (0..NEIGHBOURS).collect(),
        _ => junction.threads_of_sources(),
    };
    let begin = junction.now + Nanos::from_millis(100);
    for packet in &TRAFFIC.packets {
        junction.run(begin + packet.at);
        junction.hand_in(packet.source, Frame::Sphinx, &packet.frame);
        junction.turn();
    }
    // Until all but one in 10^12 have left.
    junction.empty();
    junction.observation(begin, 1, &ingress)
}

impl Junction {
    pub(crate) fn new(threads: usize) -> Self {
        let mut rng = Rng::from_seed([u8::try_from(threads).unwrap(); 32]);
        let network = Network::new(rng.fork(), Conditions::default());
        let place = TRAFFIC.mix_place();
        let sniffed = Arc::new(Mutex::new(vec![]));
        sniff(&network, testnet::address(&TRAFFIC.shape, place), sniffed.clone());
        let node = node(&network, threads, &mut rng);
        let mut neighbour = |(identity, place): (&Identity, usize)| {
            let address = testnet::address(&TRAFFIC.shape, place);
            let port = network.port(address, Geometry::DEFAULT.datagram_bytes()).unwrap();
            let mix = TRAFFIC.mix().listed().unwrap();
            let at = Start { now: Nanos::ZERO, wall: WALL };
            Endpoint::node_on(port, identity, mix, at, &mut rng)
        };
        let sources = (0..NEIGHBOURS).map(|number| neighbour(TRAFFIC.source(number))).collect();
        let sinks = (0..NEIGHBOURS).map(|number| neighbour(TRAFFIC.sink(number))).collect();
        let reader = Reader::new();
        let (now, housekeeping) = (Nanos::ZERO, Nanos::ZERO);
        Junction { network, node, sources, sinks, reader, sniffed, now, housekeeping, rng }
    }

    /// Runs until all links are up.
    pub(crate) fn connect(&mut self) {
        let is_up = |end: &Endpoint<_>| end.is_up();
        for _ in 0..1000 {
            self.run(self.now + HOUSEKEEPING);
            if self.sources.iter().chain(&self.sinks).all(is_up) {
                return;
            }
        }
        panic!("the links do not come up within ten seconds");
    }

    /// Runs until `until`, from one event to the next.
    fn run(&mut self, until: Nanos) {
        while self.now < until {
            let due = self.node.workers.iter().map(|worker| worker.next_due()).min();
            let next = due.unwrap_or(Nanos::NEVER).max(self.now + Nanos(1));
            self.now = next.min(self.housekeeping).min(until);
            self.turn();
            if self.now == self.housekeeping {
                self.housekeep();
                self.housekeeping = self.now + HOUSEKEEPING;
            }
        }
    }

    /// Lets all workers do what they find, in a random order: they are threads.
    fn turn(&mut self) {
        self.network.advance(self.now);
        let mut order: Vec<usize> = (0..self.node.workers.len()).collect();
        self.rng.shuffle(&mut order);
        while order.iter().map(|&worker| self.node.workers[worker].turn(self.now)).sum::<usize>()
            > 0
        {}
    }

    /// Runs until whatever is inside has left.
    pub(crate) fn empty(&mut self) {
        self.run(self.now + Nanos(MEAN.0 * pool::DELAY_CAP_MEANS));
        self.housekeep();
    }

    /// The turns of everybody else, and what follows from them.
    fn housekeep(&mut self) {
        self.turn_others();
        self.turn();
    }

    pub(crate) fn turn_others(&mut self) {
        let wall = UnixMicros(WALL.0 + self.now.0 / 1000);
        let at = Start { now: self.now, wall };
        self.node.control.turn(at.now, at.wall);
        for source in &mut self.sources {
            while source.turn(at, |_, _| {}) > 0 {}
        }
        for (number, sink) in self.sinks.iter_mut().enumerate() {
            let reader = &mut self.reader;
            let mut take = |arrived, datagram: &[u8], body: &[u8]| {
                if arrived == Arrived::Session(Frame::Sphinx) {
                    reader.take(number, *datagram.first_chunk().unwrap(), body);
                }
            };
            while sink.turn_and_open(at, &mut take) > 0 {}
        }
        self.reader.read();
    }

    pub(crate) fn hand_in(&mut self, source: usize, frame: Frame, body: &[u8]) {
        let at = Start { now: self.now, wall: WALL };
        self.sources[source].send(frame, body, at);
        self.sources[source].flush();
    }

    /// Which thread takes in what each source sends.
    fn threads_of_sources(&mut self) -> Vec<usize> {
        let dummies = |junction: &Self| -> Vec<u64> {
            let workers = junction.node.workers.iter();
            workers.map(|worker| worker.counts().dummies_in.value()).collect()
        };
        let thread_of = |source: usize| {
            let before = dummies(self);
            self.hand_in(source, Frame::Dummy, &[]);
            self.turn();
            let after = dummies(self);
            (0..before.len()).find(|&thread| before[thread] < after[thread]).unwrap()
        };
        (0..NEIGHBOURS).map(thread_of).collect()
    }

    /// What was seen of the traffic, which began at `begin` and passed at a multiple of its speed.
    pub(crate) fn observation(&self, begin: Nanos, speed: u64, ingress: &[usize]) -> Observation {
        let arrival = |packet: &Sent| Arrival {
            at: begin + Nanos(packet.at.0 / speed),
            ingress: u16::try_from(ingress[packet.source]).unwrap(),
        };
        let sniffed = self.sniffed.lock().unwrap();
        let passage = |(departure, (_, header)): (usize, &(Departure, Header))| {
            let arrival = *self.reader.numbers.get(header)?;
            Some(Passage { arrival, departure, delay: TRAFFIC.packets[arrival].delay })
        };
        Observation {
            delay_mean: MEAN,
            tick: tick(),
            arrivals: TRAFFIC.packets.iter().map(arrival).collect(),
            departures: sniffed.iter().map(|(departure, _)| departure.clone()).collect(),
            passages: sniffed.iter().enumerate().filter_map(passage).collect(),
            cuts: vec![],
        }
    }
}

/// The node under test, as `mixline run` makes it.
fn node(network: &Network, threads: usize, rng: &mut Rng) -> Node<MemoryPort> {
    let roles = Roles::of(threads);
    let address = testnet::address(&TRAFFIC.shape, TRAFFIC.mix_place());
    let datagram_bytes = Geometry::DEFAULT.datagram_bytes();
    let ports = network.shared_ports(address, datagram_bytes, roles.workers()).unwrap();
    let options = node::Options {
        workers: threads,
        slots: 65_536,
        packets_max: PACKETS_MAX,
        replay: Plan::Packets(PACKETS as u64),
        ..node::Options::default()
    };
    let waker = || wake::pair().unwrap().1;
    let wakers = Wakers { control: waker(), workers: (0..threads).map(|_| waker()).collect() };
    let start = Start { now: Nanos::ZERO, wall: WALL };
    let ports = roles.ports(ports).unwrap();
    assemble(TRAFFIC.mix(), &options, ports, &wakers, start, rng).unwrap()
}

/// The time between two releases of a pool like that of the node.
fn tick() -> Nanos {
    let options =
        pool::Options { packets_max: PACKETS_MAX, delay_mean: MEAN, strategy: Strategy::Poisson };
    Pool::<()>::new(options, Rng::from_seed([0; 32])).tick()
}

/// Writes down whatever leaves `node`.
fn sniff(network: &Network, node: SocketAddr, sniffed: Arc<Mutex<Vec<(Departure, Header)>>>) {
    network.tap(move |crossing: Crossing<'_>| {
        if crossing.from == node {
            let header: Header = *crossing.datagram.first_chunk().unwrap();
            let mark =
                Mark { source_port: crossing.from.port(), header: header.into_iter().collect() };
            sniffed.lock().unwrap().push((Departure { at: crossing.sent, mark }, header));
        }
    });
}

/// Unwraps what came out and reads the numbers.
struct Reader {
    unwrapper: Unwrapper,
    /// The sink of each packet, its datagram's header, the packet.
    waiting: Vec<(usize, Header, Vec<u8>)>,
    /// The packets' numbers by the headers of their datagrams.
    numbers: HashMap<Header, usize>,
}

impl Reader {
    fn new() -> Self {
        let unwrapper = Unwrapper::new(Tier::chosen(), Geometry::DEFAULT, GROUP);
        Reader { unwrapper, waiting: vec![], numbers: HashMap::new() }
    }

    fn take(&mut self, sink: usize, header: Header, body: &[u8]) {
        let packet = body[..Geometry::DEFAULT.packet_bytes()].to_vec();
        self.waiting.push((sink, header, packet));
        if self.waiting.len() == GROUP {
            self.read();
        }
    }

    fn read(&mut self) {
        let Reader { unwrapper, waiting, numbers } = self;
        let headers: Vec<Header> = waiting.iter().map(|packet| packet.1).collect();
        let secret = |sink: usize| &TRAFFIC.sink(sink).0.epochs[0].mix;
        let mut packets: Vec<Packet<'_>> = waiting
            .iter_mut()
            .map(|(sink, _, bytes)| Packet { bytes, secret: secret(*sink) })
            .collect();
        let outcomes = unwrapper.check(&mut packets).finish();
        for (header, outcome) in headers.into_iter().zip(outcomes) {
            let Ok(Hop::Final { identifier, .. }) = outcome else { panic!("{outcome:?}") };
            let number = usize::try_from(u128::from_be_bytes(*identifier)).unwrap();
            assert!(numbers.insert(header, number).is_none());
        }
        waiting.clear();
    }
}
