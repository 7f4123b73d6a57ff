//! A network that goes from one epoch to the next under load, in one process and virtual time.

#[path = "support/simulation.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod simulation;
#[path = "support/testnet.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod testnet;

use std::net::SocketAddr;
use std::sync::Arc;

use mixline::clock::Nanos;
use mixline::crypto::kem;
use mixline::crypto::random::Rng;
use mixline::io::memory::Conditions;
use mixline::link::Peer;
use mixline::node::control::Update;
use mixline::pki::{EpochKeys, Node};
use mixline::replay::{self, EpochKey};
use mixline::worker::drops::{Reason, Refusal};

use simulation::Simulation;
use testnet::{EPOCH, Shape};

/// All links up, sender and recipient at their gateways.
fn connected(seed: u8) -> Simulation {
    let shape = Shape { messages_per_second: 20, ..Shape::default() };
    let mut simulation = Simulation::new(&shape, Conditions::default(), 1, seed);
    simulation.connect();
    simulation
}

fn send(simulation: &mut Simulation, count: usize) {
    let address = simulation.clients[1].address();
    for _ in 0..count {
        let submitted = simulation.clients[0].submit(b"a letter".to_vec(), &address, Nanos::NEVER);
        submitted.expect("the outbox has room");
    }
}

fn received(simulation: &mut Simulation) -> usize {
    simulation.run(simulation.now + Nanos::from_secs(20));
    std::mem::take(&mut simulation.received[1]).len()
}

fn of_unknown_epoch(simulation: &Simulation) -> u64 {
    let drops = |node: &mixline::node::Node<_>| -> u64 {
        let worker = &node.workers[0];
        worker.counts().drops.of(Reason::Worker(Refusal::UnknownEpoch))
    };
    simulation.nodes.iter().map(drops).sum()
}

/// Lets every node follow: the epochs in force, of which those in `fresh` get keys; neighbours
/// are all but those that `gone` names. Every node has a new KEM key.
fn follow(simulation: &mut Simulation, epochs: &[u64], fresh: &[u64], gone: &[usize]) {
    let (consensus, now) = (simulation.consensus.clone(), simulation.now);
    let all: Vec<Node> = consensus.nodes().cloned().collect();
    let shape = Shape::default();
    let mut rng = Rng::from_seed([9; 32]);
    let kem: Vec<_> = all.iter().map(|_| Arc::new(kem::Secret::generate())).collect();
    let kem_of = |address: SocketAddr| {
        let place = (0..kem.len()).find(|place| testnet::address(&shape, *place) == address);
        kem[place.expect("a node")].clone()
    };
    let gone: Vec<_> = gone.iter().map(|place| testnet::address(&shape, *place)).collect();
    for (place, node) in simulation.nodes.iter_mut().enumerate() {
        let own = testnet::address(&shape, place);
        let layer = all.iter().find(|one| one.addresses()[0] == own).expect("a node").layer();
        let order = |layer: Option<u8>| layer.unwrap_or(0);
        let near = |one: &&Node| (order(one.layer()) + 4 - order(layer)) % 4 % 2 == 1;
        let peers = all.iter().filter(near).filter(|one| !gone.contains(&one.addresses()[0]));
        let peers = peers.map(|one| Peer {
            id: one.id().0,
            address: one.addresses()[0],
            link_public: *one.link_public(),
            kem_public: Arc::from(&kem_of(one.addresses()[0]).public()[..]),
        });
        let options = replay::Options { packets_max: 10_000 };
        let fresh = fresh.iter().map(|epoch| {
            let secret = EpochKeys::generate(*epoch, &mut rng).mix;
            (*epoch, Arc::new(EpochKey::new(secret, options, &mut rng).expect("memory")))
        });
        let update = Update {
            consensus: consensus.clone(),
            peers: peers.collect(),
            epochs: epochs.to_vec(),
            fresh: fresh.collect(),
            kem: vec![kem_of(own)],
            degraded: false,
        };
        node.control.follow(update, now);
    }
}

#[test]
fn packets_in_flight_arrive_over_a_change_of_epoch_and_not_after_their_grace() {
    let mut simulation = connected(1);
    send(&mut simulation, 60);
    simulation.run(simulation.now + Nanos::from_millis(300));
    follow(&mut simulation, &[EPOCH, EPOCH + 1], &[EPOCH + 1], &[]);
    simulation.run(simulation.now + Nanos::from_millis(100));
    follow(&mut simulation, &[EPOCH, EPOCH + 1, EPOCH + 2], &[EPOCH + 2], &[]);
    assert!(simulation.all_up(), "no link is touched");
    assert_eq!(received(&mut simulation), 60);
    assert_eq!(of_unknown_epoch(&simulation), 0);

    follow(&mut simulation, &[EPOCH + 1, EPOCH + 2], &[], &[]);
    send(&mut simulation, 5);
    assert_eq!(received(&mut simulation), 0);
    assert!(of_unknown_epoch(&simulation) >= 5, "messages and decoys are dropped alike");
}

#[test]
fn a_node_that_leaves_loses_its_links_and_gets_them_back_when_it_returns() {
    let mut simulation = connected(2);
    let gone = 0; // a mix of the first layer
    follow(&mut simulation, &[EPOCH], &[], &[gone]);
    simulation.run(simulation.now + Nanos::from_secs(1));
    let up: Vec<_> = simulation.nodes.iter().map(|node| node.control.links_up()).collect();
    let peers: Vec<_> = simulation.nodes.iter().map(|node| node.control.peers()).collect();
    assert_eq!(peers, [4, 4, 3, 3, 4, 4, 3, 3]);
    assert_eq!(up[2..], peers[2..], "only the second layer and the gateways lose a link");
    follow(&mut simulation, &[EPOCH], &[], &[]);
    assert!(
        simulation.run_until(Nanos::from_secs(60), Simulation::all_up),
        "the links come up again"
    );
    send(&mut simulation, 20);
    assert_eq!(received(&mut simulation), 20);
}
