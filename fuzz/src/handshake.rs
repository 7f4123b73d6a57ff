//! First flights, which come from anybody, and handshakes that somebody on the way changes.

use super::pair::{DATAGRAM_BYTES, GENESIS, LINK_SECRET, Pair};
use mixline::clock::Nanos;
use mixline::crypto::x25519::Secret;
use mixline::link::datagram::Head;
use mixline::link::handshake::{Flight, INIT_BYTES};
use mixline::link::keys::Obfuscation;
use std::net::SocketAddr;

/// Longer than any retry of a handshake waits.
const PATIENCE: Nanos = Nanos::from_secs(60);

/// First the input as a stranger's datagram, as it is and under the key that everybody knows.
/// Then a handshake of which one datagram is changed: the input's first byte says which, the
/// rest how. The link must come up all the same. Accepted when the first attempt succeeds.
pub fn run(input: &[u8]) -> bool {
    let mut pair = Pair::dialling();
    for (port, datagram) in (3000..).zip([padded(input), first_flight(input)]) {
        let stranger: SocketAddr = ([127, 0, 0, 2], port).into();
        assert!(pair.node.receive(stranger, &datagram, pair.now).is_err());
        assert!(pair.node.up.is_none(), "a stranger without a handshake has a link");
    }

    let (which, changes) = input.split_first().unwrap_or((&u8::MAX, &[]));
    let mut number = 0;
    let begun = pair.now;
    let is_up = pair.run(PATIENCE, |datagram| {
        if number == usize::from(*which) {
            datagram.iter_mut().zip(changes).for_each(|(byte, change)| *byte ^= change);
        }
        number += 1;
    });
    assert!(is_up, "one changed datagram prevents a link");
    pair.now == begun
}

fn padded(input: &[u8]) -> Vec<u8> {
    let mut datagram = input.to_vec();
    datagram.resize(DATAGRAM_BYTES, 0);
    datagram
}

/// The input as the body of a first flight, sealed as anybody can who knows the node's key.
fn first_flight(input: &[u8]) -> Vec<u8> {
    let mut body = input.to_vec();
    body.resize(INIT_BYTES, 0);
    let key = Obfuscation::of(&Secret::from_bytes(LINK_SECRET).public(), &GENESIS).init.sealer();
    let mut datagram = vec![0; DATAGRAM_BYTES];
    let length = INIT_BYTES.try_into().expect("a length fits its field");
    let head = Head { sequence: 1, kind: Flight::Init as u8, length };
    key.seal(head, &body, &mut datagram);
    datagram
}

/// Nothing changed, and each of the first datagrams changed at its head and at its end.
pub fn seeds() -> Vec<Vec<u8>> {
    let head = (0..4).map(|which| vec![which, 1]);
    let end = (0..4).map(|which| {
        let mut seed = vec![0; DATAGRAM_BYTES + 1];
        (seed[0], seed[DATAGRAM_BYTES]) = (which, 1);
        seed
    });
    [vec![]].into_iter().chain(head).chain(end).collect()
}
