//! Ports of a network in memory, and runs over one that loses.

use std::net::SocketAddr;

use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::io::memory::{Conditions, MemoryPort, Network};
use mixline::io::{BATCH, Port as _};

use crate::suite::{Site, send};

pub(crate) struct Memory(pub(crate) Network);

impl Site for Memory {
    type Port = MemoryPort;

    fn port(&self, host: u8, datagram_bytes: usize) -> MemoryPort {
        self.0.port(SocketAddr::from(([10, 0, 0, host], 4000)), datagram_bytes).unwrap()
    }

    fn settle(&self, _: &MemoryPort) {
        self.0.advance(Nanos::ZERO);
    }
}

/// What a sender sees of a lossy run: the numbers that arrived, in order.
pub(crate) fn lossy_run(seed: u8, conditions: Conditions) -> (Vec<usize>, Network) {
    let network = Network::new(Rng::from_seed([seed; 32]), conditions);
    let site = Memory(network.clone());
    let (mut a, mut b) = (site.port(1, 8), site.port(2, 8));
    let mut arrived = Vec::new();
    for number in 0..10_000usize {
        network.advance(Nanos::from_micros(number as u64));
        send(&mut a, b.local(), &number.to_le_bytes()).unwrap();
        a.flush();
        b.receive(BATCH, |_, content| {
            arrived.push(usize::from_le_bytes(content.try_into().unwrap()))
        });
    }
    while let Some(next) = network.next_delivery() {
        network.advance(next);
        b.receive(BATCH, |_, content| {
            arrived.push(usize::from_le_bytes(content.try_into().unwrap()))
        });
    }
    while b.receive(BATCH, |_, content| {
        arrived.push(usize::from_le_bytes(content.try_into().unwrap()))
    }) > 0
    {}
    (arrived, network)
}
