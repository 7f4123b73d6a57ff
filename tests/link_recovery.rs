//! Handshakes whose datagrams are late or lost at the worst places.

#[cfg(test)]
#[path = "link/pair.rs"]
#[allow(dead_code, reason = "shared with the tests of forged first flights")]
mod pair;
#[cfg(test)]
#[path = "link/world.rs"]
#[allow(dead_code, reason = "shared with the tests of clients")]
mod world;

use mixline::clock::{Nanos, UnixMicros};
use mixline::link::Frame;
use mixline::link::keys::Obfuscation;
use pair::{NOW, Pair, WALL, one};
use world::{Node, SPHINX_BYTES};

fn after(millis: u64) -> (Nanos, UnixMicros) {
    (NOW + Nanos::from_millis(millis), UnixMicros(WALL.0 + millis * 1000))
}

/// Whether `datagram` is a first flight to the second node.
fn is_init(pair: &Pair, datagram: &[u8]) -> bool {
    let obfuscation = Obfuscation::of(&pair.identities[1].peer().link_public, &[7; 32]);
    obfuscation.init.opener().head(datagram).is_some()
}

/// Lets time pass at the first node, whose dummies are all lost, until it sends a first flight.
fn next_init(pair: &mut Pair, now: &mut Nanos) -> Vec<u8> {
    loop {
        *now = (*now).max(pair.a.links.next_deadline());
        let wall = UnixMicros(WALL.0 + (*now - NOW).0 / 1000);
        pair.a.links.tick(*now, wall);
        let sent = pair.a.pump(*now);
        if let Some((_, init)) = sent.into_iter().find(|sent| is_init(pair, &sent.1)) {
            return init;
        }
    }
}

/// What the second node answers to `init`.
fn response(pair: &mut Pair, init: &[u8], now: Nanos) -> Vec<u8> {
    let wall = UnixMicros(WALL.0 + (now - NOW).0 / 1000);
    let from = pair.identities[0].address;
    pair.b.receive(from, init, now, wall).expect("it is accepted");
    one(pair.b.pump(now)).1
}

fn hash(node: &Node, other: &[u8; 32]) -> Option<[u8; 32]> {
    node.links.index_of(other).and_then(|link| node.links.handshake_hash(link))
}

#[test]
fn a_late_answer_does_not_cost_the_session_that_the_responder_has() {
    let mut pair = Pair::new();
    let [at_a, at_b] = pair.identities.each_ref().map(|identity| identity.address);
    let mut now = NOW;
    let (first, second) = (next_init(&mut pair, &mut now), next_init(&mut pair, &mut now));
    let answers = [first, second].map(|init| response(&mut pair, &init, now));
    for answer in answers {
        pair.a.receive(at_b, &answer, now, WALL).unwrap();
        for (_, dummy) in pair.a.pump(now) {
            let _ = pair.b.receive(at_a, &dummy, now, WALL);
        }
    }
    pair.b.pump(now);
    let [a, b] = pair.identities.each_ref().map(|identity| identity.id);
    let agreed = hash(&pair.a, &b);
    assert!(agreed.is_some() && agreed == hash(&pair.b, &a));
}

#[test]
fn sessions_that_the_responder_never_confirmed_do_not_displace_the_one_it_uses() {
    let mut pair = Pair::connected();
    let [_, at_b] = pair.identities.each_ref().map(|identity| identity.address);
    let link = pair.b.links.index_of(&pair.identities[0].id).unwrap();
    let (_, packet) = pair.b.seal(link, Frame::Sphinx, &[1; SPHINX_BYTES], NOW).unwrap();
    assert!(pair.a.receive(at_b, &packet, NOW, WALL).is_ok());
    // Three seconds of silence each, and everything but the handshake is lost towards the
    // responder, which goes on sending in the first session.
    let mut now = NOW;
    for _ in 0..3 {
        let init = next_init(&mut pair, &mut now);
        let answer = response(&mut pair, &init, now);
        pair.a.receive(at_b, &answer, now, WALL).unwrap();
        pair.a.pump(now);
        let (_, packet) = pair.b.seal(link, Frame::Sphinx, &[2; SPHINX_BYTES], now).unwrap();
        let (_, body) = pair.a.receive(at_b, &packet, now, WALL).unwrap().unwrap();
        assert_eq!(body, [2; SPHINX_BYTES]);
    }
}

#[test]
fn a_clock_that_is_set_back_does_not_make_first_flights_look_old() {
    let mut pair = Pair::new();
    let from = pair.identities[0].address;
    let first = pair.init();
    assert!(pair.b.receive(from, &first, NOW, WALL).is_ok());
    pair.b.pump(NOW);
    let (now, _) = after(1300);
    pair.a.links.tick(now, UnixMicros(WALL.0 - 90_000_000));
    let second = one(pair.a.pump(now)).1;
    assert!(pair.b.receive(from, &second, now, after(1300).1).is_ok());
}
