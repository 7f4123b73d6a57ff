//! Whether a client says anything can be seen neither on the wire nor by its own gateway.
//!
//! Four clients, each at a gateway of its own, in virtual time: one is idle, one sends as much as
//! it can, one receives that, and one is always just connecting, every other time with something
//! to send. What is observed of them is compared with what is observed of the idle one. A client
//! that connects waits for its first acknowledgements; how long says nothing of what it sends, so
//! those are compared among clients that connect.

#[path = "support/simulation.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod simulation;
#[path = "support/tap.rs"]
mod tap;
#[path = "support/testnet.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod testnet;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mixline::audit::statistics::{P_MIN, poisson_rates_p, two_sample_p};
use mixline::client::{Client, Connection};
use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::io::memory::Conditions;
use mixline::pki::{MailboxKeys, Rate, Rates};

use simulation::Simulation;
use tap::{Log, Step, Tap};
use testnet::Shape;

/// How long is observed.
const SPAN: Nanos = Nanos::from_secs(240);
/// How long a client that connects is observed, and how often another one does.
const CONNECTING: Nanos = Nanos::from_secs(8);
/// How long a handshake may take before a client is given up.
const PATIENCE: Nanos = Nanos::from_secs(20);

const IDLE: usize = 0;
const SENDING: usize = 1;
const RECEIVING: usize = 2;
const CONNECTING_GATEWAY: usize = 3;

/// What is observed of one kind of client.
#[derive(Clone, Debug, Default)]
struct Observed {
    name: &'static str,
    /// In seconds.
    span: f64,
    /// Gaps between datagrams, in seconds: from the client, and to it.
    up: Vec<f64>,
    down: Vec<f64>,
    /// What its gateway counts: packets that it takes from the client, and acknowledgements that
    /// it hands to it.
    packets: u64,
    acknowledgements: u64,
}

/// The p-values of "these two clients look the same".
#[derive(Debug)]
#[allow(dead_code, reason = "the names are for who reads a failure")]
struct Comparison {
    names: [&'static str; 2],
    up_rate: f64,
    up_gaps: f64,
    down_rate: f64,
    down_gaps: f64,
    packets: f64,
    acknowledgements: f64,
}

impl Comparison {
    fn of(one: &Observed, idle: &Observed) -> Self {
        let names = [one.name, idle.name];
        let rate = |count: fn(&Observed) -> u64| {
            poisson_rates_p((count(one), one.span), (count(idle), idle.span))
        };
        let gaps = |gaps: fn(&Observed) -> &Vec<f64>| {
            two_sample_p(&mut gaps(one).clone(), &mut gaps(idle).clone())
        };
        Comparison {
            names,
            up_rate: rate(|one| one.up.len() as u64),
            up_gaps: gaps(|one| &one.up),
            down_rate: rate(|one| one.down.len() as u64),
            down_gaps: gaps(|one| &one.down),
            packets: rate(|one| one.packets),
            acknowledgements: rate(|one| one.acknowledgements),
        }
    }

    fn wire(&self) -> [f64; 4] {
        [self.up_rate, self.up_gaps, self.down_rate, self.down_gaps]
    }

    fn all(&self) -> [f64; 6] {
        let [a, b, c, d] = self.wire();
        [a, b, c, d, self.packets, self.acknowledgements]
    }
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 78, 0, host)), 5000)
}

fn gateway_address(simulation: &Simulation, gateway: usize) -> SocketAddr {
    simulation.consensus.gateways()[gateway].addresses()[0]
}

/// Acknowledgements that a gateway has handed to its clients.
fn replies(simulation: &Simulation, gateway: usize) -> u64 {
    // The simulation has its nodes in the order of their addresses, the consensus in another.
    let IpAddr::V4(ip) = gateway_address(simulation, gateway).ip() else { panic!("version 4") };
    let node = usize::from(ip.octets()[3]) - 1;
    simulation.nodes[node].control.gateway_counts().replies.value()
}

/// Adds the gaps between the datagrams that crossed between `client` and `gateway` in the window.
fn observe(
    simulation: &Simulation,
    observed: &mut Observed,
    (client, gateway): (SocketAddr, SocketAddr),
    (from, until): (Nanos, Nanos),
) {
    let events = simulation.events.lock().expect("no thread has panicked");
    let gaps = |source, target| {
        let mut last = from;
        let crossed = events.iter().filter(move |event| {
            (event.2, event.3) == (source, target) && (from..until).contains(&event.0)
        });
        crossed
            .map(|event| {
                let gap = event.0 - last;
                last = event.0;
                gap.as_secs_f64()
            })
            .collect::<Vec<_>>()
    };
    observed.up.extend(gaps(client, gateway));
    observed.down.extend(gaps(gateway, client));
    observed.span += (until - from).as_secs_f64();
}

/// Lets a new client connect, with something to send or not, observes it, lets it go.
fn connect_once(simulation: &mut Simulation, observed: &mut Observed, host: u8, busy: bool) {
    let client = simulation.add_client(CONNECTING_GATEWAY, address(host));
    if busy {
        submit(simulation, client);
    }
    let is_up = move |simulation: &Simulation| simulation.clients[client].connection().is_up();
    assert!(simulation.run_until(PATIENCE, is_up), "the gateway answers");
    let from = simulation.now;
    let before = replies(simulation, CONNECTING_GATEWAY);
    let sent = simulation.clients[client].connection().packets_out();
    simulation.run(from + CONNECTING);
    let ends = (address(host), gateway_address(simulation, CONNECTING_GATEWAY));
    observe(simulation, observed, ends, (from, simulation.now));
    observed.packets += simulation.clients[client].connection().packets_out() - sent;
    observed.acknowledgements += replies(simulation, CONNECTING_GATEWAY) - before;
    let now = simulation.now;
    simulation.clients[client].close(now);
    simulation.run(now + Nanos::from_millis(500));
}

fn submit(simulation: &mut Simulation, client: usize) {
    let to = simulation.clients[RECEIVING].address();
    let submitted = simulation.clients[client].submit(vec![7; 100_000], &to, Nanos::NEVER);
    submitted.expect("the outbox has room");
}

/// The sender's outbox is never empty.
fn keep_busy(simulation: &mut Simulation) {
    while simulation.clients[SENDING].waiting() < 4 {
        submit(simulation, SENDING);
    }
}

/// What is observed of idle, sending and receiving clients, and of two kinds that connect: idle
/// ones and busy ones.
fn observations(rates: Rates, seed: u8) -> [Observed; 5] {
    let shape = Shape {
        layers: 1,
        gateways: 4,
        delay_mean: Nanos::from_millis(50),
        messages_per_second: 20,
        rates,
        ..Shape::default()
    };
    let mut simulation = Simulation::new(&shape, Conditions::default(), 1, seed);
    simulation.run(Nanos::from_secs(5));
    let steady = [IDLE, SENDING, RECEIVING];
    for (client, host) in steady.into_iter().zip(1..) {
        assert_eq!(simulation.add_client(client, address(host)), client);
    }
    let ready = |simulation: &Simulation| simulation.clients.iter().all(|client| client.is_ready());
    assert!(simulation.run_until(PATIENCE, ready), "the clients are let in");
    keep_busy(&mut simulation);
    // The first messages are on their way, and acknowledgements come.
    simulation.run(simulation.now + Nanos::from_secs(3));

    let from = simulation.now;
    let sent = steady.map(|client| simulation.clients[client].connection().packets_out());
    let heard = steady.map(|client| replies(&simulation, client));
    let named = |name| Observed { name, ..Observed::default() };
    let mut connecting = [named("connecting, idle"), named("connecting, busy")];
    let mut host = 10;
    while simulation.now < from + SPAN {
        keep_busy(&mut simulation);
        let busy = host % 2 == 1;
        connect_once(&mut simulation, &mut connecting[usize::from(busy)], host, busy);
        host += 1;
    }
    let [idle, sending, receiving] =
        [(IDLE, 1, "idle"), (SENDING, 2, "sending"), (RECEIVING, 3, "receiving")].map(
            |(client, host, name)| {
                let mut observed = named(name);
                let ends = (address(host), gateway_address(&simulation, client));
                observe(&simulation, &mut observed, ends, (from, simulation.now));
                let packets = simulation.clients[client].connection().packets_out();
                observed.packets = packets - sent[client];
                observed.acknowledgements = replies(&simulation, client) - heard[client];
                observed
            },
        );
    // They did what their names say.
    let packets = |client: usize| simulation.clients[client].counts().outbox.packets;
    assert!(packets(SENDING) > 1000 && packets(IDLE) == 0 && packets(RECEIVING) == 0);
    assert!(simulation.received[RECEIVING].len() > 10 && simulation.received[IDLE].is_empty());
    let [connecting, connecting_busy] = connecting;
    [idle, sending, receiving, connecting, connecting_busy]
}

#[test]
fn idle_sending_receiving_and_connecting_clients_look_the_same() {
    let [idle, sending, receiving, connecting, connecting_busy] = observations(Rates::default(), 3);
    assert!(idle.up.len() > 4000 && idle.down.len() > 8000 && idle.acknowledgements > 4000);
    for (one, other) in [(&sending, &idle), (&receiving, &idle), (&connecting_busy, &connecting)] {
        let comparison = Comparison::of(one, other);
        assert!(comparison.all().iter().all(|p| *p > P_MIN), "{comparison:?}");
    }
    for one in [&connecting, &connecting_busy] {
        let comparison = Comparison::of(one, &idle);
        assert!(comparison.wire().iter().all(|p| *p > P_MIN), "{comparison:?}");
    }
}

#[test]
fn without_decoys_a_client_that_sends_is_found() {
    let off = Rate::default();
    let rates = Rates { client_loop: off, client_drop: off, ..Rates::default() };
    let [idle, sending, ..] = observations(rates, 2);
    let comparison = Comparison::of(&sending, &idle);
    for p in [comparison.up_rate, comparison.packets, comparison.acknowledgements] {
        assert!(p < P_MIN, "{comparison:?}");
    }
}

#[test]
fn what_is_due_has_left_before_the_next_is_made_and_before_anything_is_taken_in() {
    let shape = Shape { layers: 1, gateways: 1, ..Shape::default() };
    let mut simulation = Simulation::new(&shape, Conditions::default(), 1, 5);
    simulation.run(Nanos::from_secs(5));
    let consensus = simulation.consensus.clone();
    let gateway = &consensus.gateways()[0];
    let bytes = consensus.geometry().datagram_bytes();
    let port = simulation.network.port(address(1), bytes).expect("the address is free");
    let log = Log::default();
    let port = Tap { port, log: log.clone() };
    let mut rng = Rng::from_seed([5; 32]);
    let (now, wall) = (simulation.now, simulation.wall());
    let connection = Connection::new(&consensus, gateway, port, now, wall, &mut rng)
        .expect("the gateway is listed");
    let keys = MailboxKeys::generate(&mut rng);
    let mut client = Client::new(connection, consensus.clone(), gateway.id(), keys, rng);
    let end = simulation.now + PATIENCE;
    while !client.is_ready() {
        assert!(simulation.now < end, "the client is let in");
        client.turn(simulation.now, simulation.wall());
        simulation.run(simulation.now + Nanos::from_millis(1));
    }

    let mut several = 0;
    for _ in 0..100 {
        // Not so late that instants are given up, and with letters and answers waiting.
        let late = client.next_due() + Nanos::from_millis(90);
        simulation.run(late.max(simulation.now));
        log.borrow_mut().clear();
        client.turn(simulation.now, simulation.wall());
        let steps = log.take();
        let before: Vec<_> = steps.split(|step| *step == Step::Receive).next().unwrap().to_vec();
        let left = before.chunks(2).filter(|pair| *pair == [Step::Send, Step::Flush]).count();
        assert_eq!(left * 2, before.len(), "{steps:?}");
        let sent = steps.iter().filter(|step| **step == Step::Send).count();
        assert_eq!(sent, left, "{steps:?}");
        several += usize::from(left > 1);
    }
    assert!(several > 20, "{several} turns with more than one instant");
}
