//! A whole network in one process and in virtual time, over `io/memory`.

#[path = "support/simulation.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod simulation;
#[path = "support/testnet.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod testnet;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use mixline::client::{Connection, ConnectionError};
use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::io::memory::Conditions;
use mixline::link::Frame;
use mixline::pki::{Rate, Rates};
use mixline::pool::{Fraction, Strategy};
use mixline::route::{self, Recipient};
use mixline::sphinx::{Geometry, Refusal};
use mixline::worker::drops::Reason;

use simulation::{Event, Simulation};
use testnet::{Shape, WALL};

/// Datagrams as an observer recorded them: from, to, content.
type Recording = Arc<Mutex<Vec<(SocketAddr, SocketAddr, Vec<u8>)>>>;

/// A network of 8 nodes with a sender and a recipient, all links up, the mailbox open.
fn connected(conditions: Conditions, workers: usize, seed: u8) -> Simulation {
    connected_at(Rates::default(), conditions, workers, seed)
}

fn connected_at(rates: Rates, conditions: Conditions, workers: usize, seed: u8) -> Simulation {
    let shape = Shape { messages_per_second: 20, rates, ..Shape::default() };
    let mut simulation = Simulation::new(&shape, conditions, workers, seed);
    simulation.connect();
    simulation
}

/// Sends `count` messages; returns what arrived within a minute after the last left.
fn exchange(simulation: &mut Simulation, count: usize) -> Vec<Vec<u8>> {
    let address = simulation.clients[1].address();
    for number in 0..count {
        let message = format!("message {number}");
        let submitted = simulation.clients[0].submit(message.into_bytes(), &address, Nanos::NEVER);
        submitted.expect("the outbox has room");
    }
    let sent = |simulation: &Simulation| simulation.clients[0].waiting() == 0;
    assert!(simulation.run_until(Nanos::from_secs(600), sent), "all messages are acknowledged");
    simulation.run(simulation.now + Nanos::from_secs(30));
    std::mem::take(&mut simulation.received[1])
}

/// The packets that entered all nodes, and what became of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Account {
    packets_in: u64,
    packets_own: u64,
    packets_out: u64,
    loops_back: u64,
    delivered: u64,
    dropped: u64,
    resident: u64,
}

fn account(simulation: &Simulation) -> Account {
    let mut account = Account::default();
    for worker in simulation.nodes.iter().flat_map(|node| &node.workers) {
        let counts = worker.counts();
        account.packets_in += counts.packets_in.value();
        account.packets_own += counts.packets_own.value();
        account.packets_out += counts.packets_out.value();
        account.loops_back += counts.loops_back.value();
        account.delivered += counts.delivered.value();
        account.resident += worker.resident() as u64;
        account.dropped += Reason::all()
            .filter(|reason| reason.is_of_packet())
            .map(|reason| counts.drops.of(reason))
            .sum::<u64>();
    }
    account
}

#[test]
fn every_message_arrives_once_and_whole_when_nothing_is_lost() {
    let mut simulation = connected(Conditions::default(), 1, 1);
    let mut received = exchange(&mut simulation, 100);
    received.sort();
    let mut expected: Vec<_> = (0..100).map(|n| format!("message {n}").into_bytes()).collect();
    expected.sort();
    assert_eq!(received, expected);
}

#[test]
fn every_packet_is_delivered_or_in_one_drop_counter() {
    let conditions = Conditions {
        loss: 0.05,
        duplicate: 0.05,
        delay_min: Nanos::from_millis(1),
        delay_max: Nanos::from_millis(30),
        ..Conditions::default()
    };
    for workers in [1, 2, 4] {
        let mut simulation = connected(conditions, workers, 2);
        let received = exchange(&mut simulation, 300);
        let account = account(&simulation);
        let left = account.packets_out + account.delivered + account.dropped + account.resident;
        let came = account.packets_in + account.packets_own;
        assert_eq!(came, left + account.loops_back, "{workers} workers: {account:?}");
        assert!(account.packets_in > 1000 && !received.is_empty());

        // On the wire: what was sent arrived, was lost, or is on its way.
        let totals = simulation.network.totals();
        let ended = totals.delivered + totals.lost + totals.overflowed + totals.unreachable;
        assert_eq!(totals.sent + totals.duplicated, ended + totals.in_flight);

        // Packets that left a node or a client and entered no node were lost on the wire.
        let clients = simulation.clients.iter();
        let from_clients: u64 = clients.map(|client| client.connection().packets_out()).sum();
        let launched = from_clients + account.packets_out;
        assert!(launched >= account.packets_in, "nothing enters that never left");
        assert!(launched - account.packets_in <= totals.lost + totals.in_flight);

        // Whatever came to a gateway was stored, or a copy, or a decoy, or a reply.
        let gateways = simulation.nodes.iter().map(|node| node.control.gateway_counts());
        let (mut stored, mut others) = (0, 0);
        for counts in gateways {
            stored += counts.stored.value();
            others += counts.duplicates.value() + counts.discarded.value();
            others += counts.replies.value() + counts.replies_lost.value();
        }
        assert_eq!(stored + others, account.delivered);
        // What is lost is sent again, in another envelope, so it may be stored twice.
        assert_eq!(received.len(), 300);
        assert!(stored >= 300);
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let conditions = Conditions {
        loss: 0.02,
        duplicate: 0.02,
        delay_min: Nanos::from_millis(1),
        delay_max: Nanos::from_millis(20),
        ..Conditions::default()
    };
    let run = |seed: u8| -> (Vec<Event>, Vec<Vec<u8>>, Account) {
        let mut simulation = connected(conditions, 1, seed);
        let received = exchange(&mut simulation, 50);
        let events = simulation.events.lock().unwrap().clone();
        (events, received, account(&simulation))
    };
    let (first, again, other) = (run(3), run(3), run(4));
    assert!(first.0.len() > 1000);
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
}

#[test]
fn a_replayed_datagram_goes_nowhere() {
    let no_loops =
        Rates { mix_loop: Rate::default(), gateway_loop: Rate::default(), ..Rates::default() };
    let mut simulation = connected_at(no_loops, Conditions::default(), 1, 5);
    let copies = Recording::default();
    let log = copies.clone();
    simulation.network.tap(move |crossing| {
        log.lock().unwrap().push((crossing.from, crossing.to, crossing.datagram.to_vec()));
    });
    let received = exchange(&mut simulation, 20);
    assert_eq!(received.len(), 20);
    // Silence, in which nothing is sent on but what is injected.
    let now = simulation.now;
    simulation.clients.iter_mut().for_each(|client| client.close(now));
    simulation.run(simulation.now + Nanos::from_secs(10));
    let before = account(&simulation);
    let datagrams = copies.lock().unwrap().clone();
    for (from, to, datagram) in &datagrams {
        simulation.network.inject(*from, *to, datagram);
    }
    simulation.run(simulation.now + Nanos::from_secs(10));
    assert_eq!(account(&simulation).packets_out, before.packets_out);
    assert!(simulation.received[1].is_empty());
}

#[test]
fn a_packet_sealed_twice_into_a_link_is_dropped_as_a_replay() {
    let mut simulation = connected(Conditions::default(), 1, 6);
    let consensus = simulation.consensus.clone();
    let gateway = &consensus.gateways()[0];
    let bytes = consensus.geometry().datagram_bytes();
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 78, 0, 3)), 5000);
    let port = simulation.network.port(address, bytes).expect("the address is free");
    let mut rng = Rng::from_seed([7; 32]);
    let (now, wall) = (simulation.now, simulation.wall());
    let mut connection = Connection::new(&consensus, gateway, port, now, wall, &mut rng)
        .expect("the gateway is listed");
    let mut turn = |simulation: &mut Simulation, frames: &[&[u8]]| {
        for frame in frames {
            connection.send(Frame::Sphinx, frame, simulation.now);
        }
        connection.turn(simulation.now, simulation.wall());
        connection.flush();
        simulation.run(simulation.now + Nanos::from_millis(5));
        connection.is_up()
    };
    let up = (0..1000).any(|_| turn(&mut simulation, &[]));
    assert!(up, "the gateway answers");

    let recipient = simulation.clients[1].address();
    let recipient = Recipient { gateway: recipient.gateway, mailbox: recipient.signing };
    let mut frame = vec![0; consensus.geometry().frame_bytes()];
    let built =
        route::build_frame(&consensus, &gateway.id(), &recipient, b"x", &mut rng, &mut frame);
    built.expect("there is a path");
    let replays = |simulation: &Simulation| {
        let workers = simulation.nodes.iter().flat_map(|node| &node.workers);
        workers.map(|worker| worker.counts().drops.of(Refusal::Replay)).sum::<u64>()
    };
    assert_eq!(replays(&simulation), 0);
    turn(&mut simulation, &[&frame, &frame, &frame]);
    for _ in 0..10 {
        turn(&mut simulation, &[]);
    }
    assert_eq!(replays(&simulation), 2);
}

#[test]
fn after_the_network_was_cut_letters_arrive_again() {
    let mut simulation = connected(Conditions::default(), 1, 8);
    assert_eq!(exchange(&mut simulation, 5).len(), 5);
    simulation.network.set_conditions(Conditions { loss: 1.0, ..Conditions::default() });
    simulation.run(simulation.now + Nanos::from_secs(6));
    simulation.network.set_conditions(Conditions::default());
    simulation.run(simulation.now + Nanos::from_secs(20));
    assert!(simulation.nodes.iter().all(|node| node.control.links_up() == 4));
    assert!(simulation.clients.iter().all(|client| client.is_ready()));
    assert_eq!(exchange(&mut simulation, 5).len(), 5);
}

#[test]
fn messages_go_through_mixes_of_other_strategies_and_links_live_on_without_traffic() {
    let fraction = Fraction::new(0.1).unwrap();
    let interval = Nanos::from_millis(10);
    let timed = Strategy::TimedDynamic { interval, fraction, packets_min: 5 };
    for (strategy, seed) in [(timed, 10), (Strategy::Threshold { packets: 40 }, 11)] {
        let silence = Rate { milli: 0 };
        let rates = Rates { mix_loop: silence, gateway_loop: silence, ..Rates::default() };
        let shape = Shape { messages_per_second: 20, rates, strategy, ..Shape::default() };
        let mut simulation = Simulation::new(&shape, Conditions::default(), 2, seed);
        assert!(simulation.run_until(Nanos::from_secs(5), Simulation::all_up), "{strategy}");
        for _ in 0..60 {
            simulation.run(simulation.now + Nanos::from_millis(500));
            assert!(simulation.all_up(), "{strategy}: a link is down at {:?}", simulation.now);
        }
        let Account { packets_in, packets_own, .. } = account(&simulation);
        assert_eq!(packets_in + packets_own, 0, "only dummies have crossed the links");
        simulation.connect();
        assert_eq!(exchange(&mut simulation, 20).len(), 20, "{strategy}");
    }
}

#[test]
fn a_message_to_a_mailbox_of_ones_own_that_is_just_being_opened_arrives() {
    let shape = Shape {
        layers: 1,
        mixes_per_layer: 1,
        gateways: 1,
        delay_mean: Nanos::from_millis(200),
        messages_per_second: 20,
        ..Shape::default()
    };
    let mut simulation = Simulation::new(&shape, Conditions::default(), 1, 9);
    simulation.run(Nanos::from_secs(5));
    for host in 1..=16 {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 78, 0, host)), 5000);
        let client = simulation.add_client(0, address);
        let own = simulation.clients[client].address();
        let submitted = simulation.clients[client].submit(vec![host], &own, Nanos::NEVER);
        submitted.expect("the outbox has room");
    }
    simulation.run(simulation.now + Nanos::from_secs(10));
    let expected: Vec<_> = (1..=16).map(|host| vec![vec![host]]).collect();
    assert_eq!(simulation.received, expected);
}

#[test]
fn a_client_keeps_its_consensus_when_the_packets_or_delays_of_another_differ() {
    let mut simulation = connected(Conditions::default(), 1, 10);
    let followed = simulation.consensus.clone();
    let payload = followed.geometry().payload_bytes() + 1;
    let shapes = [
        Shape { geometry: Geometry::new(payload).expect("it is no limit"), ..Shape::default() },
        Shape { delay_mean: followed.parameters().delay_mean + Nanos(1), ..Shape::default() },
    ];
    for shape in shapes {
        let mut rng = Rng::from_seed([11; 32]);
        let other = testnet::identities(&shape, WALL, &mut rng)[0].consensus.clone();
        let client = &mut simulation.clients[0];
        assert_eq!(client.follow(other), Err(ConnectionError::NetworkChanged));
        assert_eq!(client.refusal(), Some(ConnectionError::NetworkChanged));
        assert!(Arc::ptr_eq(client.consensus(), &followed));
        assert_eq!(exchange(&mut simulation, 2).len(), 2);
    }
    let client = &mut simulation.clients[0];
    assert_eq!((client.follow(followed), client.refusal()), (Ok(()), None));
}
