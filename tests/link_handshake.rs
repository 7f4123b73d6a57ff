//! Handshakes between nodes and of clients: what is refused, what a retry does, what is erased.

#[cfg(test)]
#[path = "link/by_hand.rs"]
mod by_hand;
#[cfg(test)]
#[path = "link/pair.rs"]
mod pair;
#[cfg(test)]
#[path = "link/world.rs"]
mod world;

use by_hand::{KeyPair, first_flight, honest, low};
use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::aead::TAG_BYTES;
use mixline::crypto::kem;
use mixline::crypto::random::Rng;
use mixline::link::control::{Item, Items, Writer};
use mixline::link::datagram::Head;
use mixline::link::handshake::{self, INIT_BYTES};
use mixline::link::keys::Obfuscation;
use mixline::link::{Delivery, Event, Frame, LinkIndex, Local, Options, Refusal};
use pair::{Forger, NOW, Pair, WALL, one};
use std::net::SocketAddr;
use std::sync::Arc;
use world::{DATAGRAM_BYTES, Identity, Node, SPHINX_BYTES};

fn later(seconds: u64) -> (Nanos, UnixMicros) {
    (NOW + Nanos::from_secs(seconds), UnixMicros(WALL.0 + seconds * 1_000_000))
}

fn stranger() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 40_000))
}

/// What the responder's control side says to a first flight; it must stay silent if it refuses.
fn verdict(pair: &mut Pair, source: SocketAddr, datagram: &[u8]) -> Result<(), Refusal> {
    let verdict = pair.b.links.receive(source, datagram, NOW, WALL);
    let sent = pair.b.pump(NOW);
    assert_eq!(sent.len(), usize::from(verdict.is_ok()), "{verdict:?}");
    verdict
}

#[test]
fn two_nodes_agree_on_a_session_and_carry_packets_both_ways() {
    let mut pair = Pair::connected();
    let (at_a, at_b) = (pair.link_at_a(), pair.link_at_b());
    assert!(pair.a.links.is_up(at_a) && pair.b.links.is_up(at_b));
    let hash = pair.a.links.handshake_hash(at_a);
    assert!(hash.is_some() && hash == pair.b.links.handshake_hash(at_b));
    let body: Vec<u8> = (0..SPHINX_BYTES).map(|at| u8::try_from(at & 255).unwrap()).collect();
    let [a, b] = pair.addresses();
    let (to, datagram) = pair.a.seal(at_a, Frame::Sphinx, &body, NOW).unwrap();
    assert_eq!(to, b);
    let (opened, out) = pair.b.receive(a, &datagram, NOW, WALL).unwrap().unwrap();
    assert_eq!((opened.link, opened.frame, out), (at_b, Frame::Sphinx, body.clone()));
    assert!(!opened.unconfirmed);
    assert_eq!(pair.b.receive(a, &datagram, NOW, WALL).unwrap_err(), Refusal::Replay);
    let (_, datagram) = pair.b.seal(at_b, Frame::Sphinx, &body, NOW).unwrap();
    let (_, out) = pair.a.receive(b, &datagram, NOW, WALL).unwrap().unwrap();
    assert_eq!(out, body);
}

#[test]
fn a_responder_does_not_send_before_the_initiator_has_proved_its_keys() {
    let mut pair = Pair::new();
    let init = pair.init();
    let [at_a, at_b] = pair.addresses();
    pair.b.receive(at_a, &init, NOW, WALL).unwrap();
    let response = one(pair.b.pump(NOW)).1;
    let link = pair.link_at_b();
    let refused = pair.b.seal(link, Frame::Dummy, &[], NOW).unwrap_err();
    assert_eq!(refused, Refusal::NoSession);
    assert!(!pair.b.links.is_up(link));
    pair.a.receive(at_b, &response, NOW, WALL).unwrap();
    let dummy = one(pair.a.pump(NOW)).1;
    pair.b.receive(at_a, &dummy, NOW, WALL).unwrap();
    pair.b.pump(NOW);
    assert!(pair.b.seal(link, Frame::Dummy, &[], NOW).is_ok());
    assert_eq!(pair.b.events, [Event::Up { link }]);
}

#[test]
fn a_session_that_is_not_confirmed_in_15_seconds_is_erased() {
    let mut pair = Pair::new();
    let init = pair.init();
    let [at_a, at_b] = pair.addresses();
    pair.b.receive(at_a, &init, NOW, WALL).unwrap();
    let response = one(pair.b.pump(NOW)).1;
    pair.a.receive(at_b, &response, NOW, WALL).unwrap();
    let dummy = one(pair.a.pump(NOW)).1;
    let (now, wall) = later(15);
    pair.b.links.tick(now, wall);
    pair.b.pump(now);
    assert_eq!(pair.b.receive(at_a, &dummy, now, wall).unwrap_err(), Refusal::NotThisKey);
}

#[test]
fn every_single_bit_of_a_session_datagram_is_protected() {
    let mut pair = Pair::connected();
    let (link, [at_a, _]) = (pair.link_at_a(), pair.addresses());
    let (_, datagram) = pair.a.seal(link, Frame::Sphinx, &[5; SPHINX_BYTES], NOW).unwrap();
    for bit in 0..DATAGRAM_BYTES * 8 {
        let mut flipped = datagram.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let refused = pair.b.receive(at_a, &flipped, NOW, WALL).unwrap_err();
        let header = bit < 16 * 8;
        assert_eq!(refused, if header { Refusal::NotThisKey } else { Refusal::BadTag });
    }
    assert!(pair.b.receive(at_a, &datagram, NOW, WALL).is_ok());
}

#[test]
fn a_flipped_bit_spoils_a_first_flight_and_a_response_but_not_the_handshake() {
    let mut pair = Pair::new();
    let init = pair.init();
    let [at_a, at_b] = pair.addresses();
    for bit in (0..DATAGRAM_BYTES * 8).step_by(7) {
        let mut flipped = init.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verdict(&mut pair, at_a, &flipped).is_err());
    }
    pair.b.receive(at_a, &init, NOW, WALL).unwrap();
    let response = one(pair.b.pump(NOW)).1;
    for bit in (0..DATAGRAM_BYTES * 8).step_by(7) {
        let mut flipped = response.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(pair.a.links.receive(at_b, &flipped, NOW, WALL).is_err());
    }
    assert!(pair.a.receive(at_b, &response, NOW, WALL).unwrap().is_none());
    assert!(pair.a.links.is_up(pair.link_at_a()));
}

#[test]
fn another_network_geometry_or_key_cannot_shake_hands() {
    let mut pair = Pair::new();
    let mut check = |change: fn(&mut Forger), expected| {
        let mut forger = Forger::new(&pair.identities[1]);
        change(&mut forger);
        let init = forger.init();
        assert_eq!(verdict(&mut pair, stranger(), &init), expected);
    };
    check(|forger| forger.network.genesis = [8; 32], Err(Refusal::NotThisKey));
    check(|forger| forger.network.geometry_hash = [8; 32], Err(Refusal::BadNoise));
    check(|forger| forger.target.link_public = [8; 32], Err(Refusal::NotThisKey));
    let other_kem: fn(&mut Forger) =
        |forger| forger.target.kem_public = Arc::from(&kem::Secret::generate().public()[..]);
    check(other_kem, Err(Refusal::UnknownKemId));
    check(|_| (), Ok(()));
}

#[test]
fn a_responder_keeps_the_kem_keys_of_the_epochs_it_is_told_of() {
    let mut pair = Pair::new();
    let next = Arc::new(kem::Secret::generate());
    let mut forger = Forger::new(&pair.identities[1]);
    forger.target.kem_public = Arc::from(&next.public()[..]);
    let init = forger.init();
    assert_eq!(verdict(&mut pair, stranger(), &init), Err(Refusal::UnknownKemId));
    let now = Arc::clone(&pair.identities[1].kem);
    pair.b.links.set_kem_keys(vec![now, next]);
    assert_eq!(verdict(&mut pair, stranger(), &init), Ok(()));
    forger.target = pair.identities[1].peer();
    let init = forger.init();
    assert_eq!(verdict(&mut pair, "198.51.100.8:1".parse().unwrap(), &init), Ok(()));
}

#[test]
fn only_a_listed_node_at_its_address_may_begin_and_only_if_its_identity_is_the_smaller() {
    let mut pair = Pair::new();
    let [at_a, at_b] = pair.addresses();
    let third = Identity::new(3);
    let unlisted = Forger::new(&pair.identities[1]).named(&third).init();
    assert_eq!(verdict(&mut pair, third.address, &unlisted), Err(Refusal::NotInDirectory));
    let elsewhere = Forger::new(&pair.identities[1]).named(&pair.identities[0]).init();
    assert_eq!(verdict(&mut pair, stranger(), &elsewhere), Err(Refusal::NotInDirectory));
    let as_client = Forger::new(&pair.identities[1]).init();
    assert_eq!(verdict(&mut pair, at_a, &as_client), Err(Refusal::WrongRole));
    let reversed = Forger::new(&pair.identities[0]).named(&pair.identities[1]).init();
    pair.a.pump(NOW);
    assert_eq!(pair.a.links.receive(at_b, &reversed, NOW, WALL), Err(Refusal::WrongRole));
    assert!(pair.a.pump(NOW).is_empty());
    assert_eq!(verdict(&mut pair, at_a, &elsewhere), Ok(()));
}

#[test]
fn what_a_forger_puts_into_a_first_flight_fails_the_handshake() {
    let mut pair = Pair::new();
    let mut forger = Forger::new(&pair.identities[1]);
    let mut check = |datagram: Vec<u8>, expected| {
        assert_eq!(verdict(&mut pair, stranger(), &datagram), expected);
    };
    check(forger.changed(|body| body[500] ^= 1), Err(Refusal::BadNoise));
    check(forger.changed(|body| body[24..1112].fill(0xff)), Err(Refusal::BadNoise));
    check(forger.changed(|body| body[1120] ^= 1), Err(Refusal::BadNoise));
    check(forger.changed(|body| body[1200..].fill(0)), Err(Refusal::BadNoise));
    for length in [0, 1247, 1249, 1376, 1377, u16::MAX] {
        let head = Head { sequence: 1, kind: 16, length };
        check(forger.sealed(head, &[1; 1376]), Err(Refusal::NotThisKey));
    }
    for kind in [0, 1, 2, 17, 18, 19, 255] {
        let head = Head { sequence: 1, kind, length: 1248 };
        check(forger.sealed(head, &[1; 1376]), Err(Refusal::NotThisKey));
    }
    check(vec![0; DATAGRAM_BYTES - 1], Err(Refusal::BadLength));
    // What lies behind the fields means nothing.
    check(forger.changed(|body| body[INIT_BYTES..].fill(1)), Ok(()));
}

#[test]
fn a_key_of_low_order_in_a_first_flight_is_refused() {
    let mut pair = Pair::new();
    let target = Identity { kem: Arc::clone(&pair.identities[1].kem), ..Identity::new(2) };
    let mut check = |ephemeral: KeyPair, own: KeyPair| {
        verdict(&mut pair, stranger(), &first_flight(&target, &ephemeral, &own, WALL))
    };
    for first in [0, 1] {
        assert_eq!(check(low(first), honest([7; 32])), Err(Refusal::BadNoise));
        assert_eq!(check(honest([8; 32]), low(first)), Err(Refusal::BadNoise));
        assert_eq!(check(low(first), low(first)), Err(Refusal::BadNoise));
    }
    assert_eq!(check(honest([9; 32]), honest([7; 32])), Ok(()));
}

#[test]
fn an_initiators_clock_may_be_two_minutes_off() {
    for (offset_s, expected) in [
        (-121, Err(Refusal::ClockSkew)),
        (-119, Ok(())),
        (119, Ok(())),
        (121, Err(Refusal::ClockSkew)),
    ] {
        let mut pair = Pair::new();
        let mut forger = Forger::new(&pair.identities[1]);
        forger.hello.time = UnixMicros(WALL.0.saturating_add_signed(offset_s * 1_000_000));
        let init = forger.init();
        assert_eq!(verdict(&mut pair, stranger(), &init), expected, "{offset_s}");
    }
}

#[test]
fn a_replayed_or_outdated_first_flight_is_refused() {
    let mut pair = Pair::new();
    let [at_a, _] = pair.addresses();
    let mut forger = Forger::new(&pair.identities[1]).named(&pair.identities[0]);
    forger.hello.time = UnixMicros(WALL.0 - 1);
    let older = forger.init();
    let init = pair.init();
    assert_eq!(verdict(&mut pair, at_a, &init), Ok(()));
    assert_eq!(verdict(&mut pair, at_a, &init), Err(Refusal::Replay));
    assert_eq!(verdict(&mut pair, at_a, &older), Err(Refusal::Replay));
    assert_eq!(verdict(&mut pair, stranger(), &init), Err(Refusal::NotInDirectory));
    let client = Forger::new(&pair.identities[1]).init();
    assert_eq!(verdict(&mut pair, stranger(), &client), Ok(()));
    assert_eq!(verdict(&mut pair, stranger(), &client), Err(Refusal::Replay));
    let other = "203.0.113.9:1".parse().unwrap();
    assert_eq!(verdict(&mut pair, other, &client), Err(Refusal::Replay));
}

#[test]
fn a_replayed_first_flight_does_not_disturb_the_session() {
    let mut pair = Pair::new();
    let init = pair.init();
    pair.answer(&init);
    let [at_a, _] = pair.addresses();
    for _ in 0..10 {
        assert!(pair.b.receive(at_a, &init, NOW, WALL).is_err());
    }
    let (link, _) = (pair.link_at_a(), pair.b.pump(NOW));
    let (_, datagram) = pair.a.seal(link, Frame::Sphinx, &[1; SPHINX_BYTES], NOW).unwrap();
    assert!(pair.b.receive(at_a, &datagram, NOW, WALL).is_ok());
}

#[test]
fn a_loaded_responder_asks_for_a_token_and_takes_it_from_its_address_only() {
    let mut pair = Pair::new();
    let [at_a, at_b] = pair.addresses();
    pair.b.links.press(true);
    let init = pair.init();
    let refused = pair.b.receive(at_a, &init, NOW, WALL).unwrap_err();
    assert_eq!(refused, Refusal::BadToken);
    let (to, retry) = one(pair.b.pump(NOW));
    assert_eq!((to, retry.len()), (at_a, init.len()), "it is not an amplifier");
    pair.a.receive(at_b, &retry, NOW, WALL).unwrap();
    pair.a.links.tick(NOW, WALL);
    let second = one(pair.a.pump(NOW)).1;
    let elsewhere = "192.0.2.1:9001".parse().unwrap();
    let refused = pair.b.links.receive(elsewhere, &second, NOW, WALL).unwrap_err();
    assert_eq!(refused, Refusal::BadToken);
    pair.b.pump(NOW);
    pair.answer(&second);
    assert!(pair.a.links.is_up(pair.link_at_a()));
}

#[test]
fn a_retry_serves_the_first_flight_it_answers_and_serves_it_once() {
    let mut pair = Pair::new();
    let [at_a, at_b] = pair.addresses();
    pair.b.links.press(true);
    let init = pair.init();
    assert!(pair.b.receive(at_a, &init, NOW, WALL).is_err());
    let retry = one(pair.b.pump(NOW)).1;
    let obfuscation = Obfuscation::of(&pair.identities[1].peer().link_public, &[7; 32]);
    let key = obfuscation.retry.sealer();
    let forged = handshake::retry(&key, &[0; TAG_BYTES], &[1; 16], 5, DATAGRAM_BYTES);
    let refused = pair.a.receive(at_b, &forged, NOW, WALL).unwrap_err();
    assert_eq!(refused, Refusal::BadRetry);
    pair.a.links.tick(NOW, WALL);
    assert!(pair.a.pump(NOW).is_empty(), "it waits for the true one");
    pair.a.receive(at_b, &retry, NOW, WALL).unwrap();
    pair.a.links.tick(NOW, WALL);
    let second = one(pair.a.pump(NOW)).1;
    assert_eq!(pair.a.receive(at_b, &retry, NOW, WALL).unwrap_err(), Refusal::BadRetry);
    // A responder that does not like its own token is not asked again at once.
    let tag = second.last_chunk().unwrap();
    let again = handshake::retry(&key, tag, &[1; 16], 6, DATAGRAM_BYTES);
    assert_eq!(pair.a.receive(at_b, &again, NOW, WALL).unwrap_err(), Refusal::BadRetry);
    pair.a.links.tick(NOW, WALL);
    assert!(pair.a.pump(NOW).is_empty());
}

#[test]
fn an_unlisted_node_is_silent_to_who_is_early_or_has_no_token() {
    let mut pair = Pair::with(Options { unlisted: true, ..Options::default() });
    let mut forger = Forger::new(&pair.identities[1]);
    forger.hello.time = UnixMicros(WALL.0 - 1_000_000);
    let early = forger.init();
    assert_eq!(verdict(&mut pair, stranger(), &early), Err(Refusal::ClockSkew));
    pair.b.links.press(true);
    forger.hello.time = WALL;
    let fresh = forger.init();
    assert_eq!(verdict(&mut pair, stranger(), &fresh), Err(Refusal::BadToken));
}

#[test]
fn the_gate_lets_a_burst_of_first_flights_pass_and_no_junk() {
    let mut pair = Pair::new();
    let mut forger = Forger::new(&pair.identities[1]);
    let junk = Rng::from_seed([3; 32]).bytes::<DATAGRAM_BYTES>();
    let refused = pair.b.receive(stranger(), &junk, NOW, WALL).unwrap_err();
    assert_eq!(refused, Refusal::NotThisKey);
    assert_eq!(pair.b.receive(stranger(), &junk[1..], NOW, WALL).unwrap_err(), Refusal::BadLength);
    let verdicts: Vec<_> =
        (0..8).map(|_| pair.b.receive(stranger(), &forger.init(), NOW, WALL).map(|_| ())).collect();
    assert_eq!(verdicts[..5], [Ok(()); 5]);
    assert_eq!(verdicts[5..], [Err(Refusal::RateLimited); 3]);
}

/// A client of the pair's second node, connected.
struct Customer {
    pair: Pair,
    client: Node,
    at_client: LinkIndex,
    at_gateway: LinkIndex,
}

fn customer(seed: u64) -> Customer {
    let mut pair = Pair::new();
    let mut client = Node::start(Local::Client, Options::default(), seed);
    let dialled = client.links.dial(&pair.identities[1].peer(), NOW);
    let at_client = dialled.expect("there is room");
    assert_eq!(shake(&mut client, stranger(), &mut pair), None);
    let Some(Event::ClientArrived { link: at_gateway }) = pair.b.events.pop() else {
        panic!("the client has arrived")
    };
    Customer { pair, client, at_client, at_gateway }
}

/// A client's handshake with the pair's second node; what its answer refused, if it did.
fn shake(client: &mut Node, address: SocketAddr, pair: &mut Pair) -> Option<Event> {
    let gateway = pair.identities[1].address;
    client.links.tick(NOW, WALL);
    let init = one(client.pump(NOW)).1;
    pair.b.receive(address, &init, NOW, WALL).expect("it is accepted");
    let response = one(pair.b.pump(NOW)).1;
    client.receive(gateway, &response, NOW, WALL).expect("it is accepted");
    let Some((_, dummy)) = client.pump(NOW).pop() else { return client.events.pop() };
    pair.b.receive(address, &dummy, NOW, WALL).expect("it is accepted");
    pair.b.pump(NOW);
    None
}

#[test]
fn a_client_and_its_gateway_exchange_control_frames_and_deliveries() {
    let Customer { mut pair, mut client, at_client, at_gateway } = customer(6);
    let gateway = pair.identities[1].address;
    let mut body = [0; 100];
    let mut writer = Writer::new(&mut body);
    writer.push(&Item::Echo([3; 8])).unwrap();
    let length = writer.length();
    let (_, datagram) = client.seal(at_client, Frame::Control, &body[..length], NOW).unwrap();
    let (opened, out) = pair.b.receive(stranger(), &datagram, NOW, WALL).unwrap().unwrap();
    assert_eq!((opened.link, opened.frame), (at_gateway, Frame::Control));
    assert_eq!(Items::of(&out).collect::<Vec<_>>(), [Ok(Item::Echo([3; 8]))]);
    let delivery = Delivery { number: 1, flags: 0, behind: 0, surb: [2; 16], payload: &[8; 1024] };
    let mut body = [0; 1100];
    let length = delivery.encode(&mut body).unwrap();
    let (_, datagram) = pair.b.seal(at_gateway, Frame::Deliver, &body[..length], NOW).unwrap();
    let (_, out) = client.receive(gateway, &datagram, NOW, WALL).unwrap().unwrap();
    assert_eq!(Delivery::decode(&out), Ok(delivery));
    let (_, datagram) = client.seal(at_client, Frame::Deliver, &body[..length], NOW).unwrap();
    let refused = pair.b.receive(stranger(), &datagram, NOW, WALL).unwrap_err();
    assert_eq!(refused, Refusal::BadKind, "a client delivers nothing");
}

#[test]
fn another_client_at_the_same_address_takes_over_nothing() {
    let Customer { mut pair, mut client, at_client, at_gateway } = customer(8);
    let (_, before) = client.seal(at_client, Frame::Control, &[1], NOW).unwrap();
    let mut other = Node::start(Local::Client, Options::default(), 10);
    other.links.dial(&pair.identities[1].peer(), NOW).unwrap();
    assert_eq!(shake(&mut other, stranger(), &mut pair), None);
    let link = at_gateway;
    assert_eq!(pair.b.events, [Event::Down { link }, Event::ClientArrived { link }]);
    let refused = pair.b.receive(stranger(), &before, NOW, WALL).unwrap_err();
    assert_eq!(refused, Refusal::NotThisKey, "the client before is gone");
}

#[test]
fn a_gateway_without_room_says_so() {
    let mut pair = Pair::new();
    for number in 1..=4 {
        let address = SocketAddr::from(([198, 51, 100, number], 1000));
        let mut client = Node::start(Local::Client, Options::default(), u64::from(number));
        let link = client.links.dial(&pair.identities[1].peer(), NOW).unwrap();
        let refused = shake(&mut client, address, &mut pair);
        let full = Event::Refused { link, status: 2, retry_after_s: 30 };
        assert_eq!(refused, (number == 4).then_some(full));
    }
}

#[test]
fn a_gateway_that_does_not_answer_is_given_up() {
    let gateway = Identity::new(2);
    let mut client = Node::start(Local::Client, Options::default(), 1);
    let link = client.links.dial(&gateway.peer(), NOW).unwrap();
    let mut flights = 0;
    while client.events.is_empty() {
        let now = client.links.next_deadline();
        client.links.tick(now, WALL);
        flights += client.pump(now).len();
    }
    assert_eq!((flights, client.events.pop()), (6, Some(Event::Unreachable { link })));
    assert!(client.links.is_empty());
}

#[test]
fn a_node_that_stops_says_so_three_times_and_both_sides_erase_the_keys() {
    let mut pair = Pair::connected();
    let [_, at_b] = pair.addresses();
    let (link_a, link_b) = (pair.link_at_a(), pair.link_at_b());
    let (_, late) = pair.b.seal(link_b, Frame::Dummy, &[], NOW).unwrap();
    pair.b.links.close_all(NOW);
    let mut closes = vec![];
    let mut now = NOW;
    while !pair.b.links.is_empty() {
        now = pair.b.links.next_deadline();
        pair.b.links.tick(now, WALL);
        closes.extend(pair.b.pump(now));
    }
    assert_eq!(closes.len(), 3);
    assert_eq!(pair.b.seal(link_b, Frame::Dummy, &[], now).unwrap_err(), Refusal::NoSession);
    for (_, close) in closes {
        let (opened, _) = pair.a.receive(at_b, &close, now, WALL).unwrap().unwrap();
        assert_eq!(opened.frame, Frame::Close);
    }
    pair.a.pump(now);
    assert!(!pair.a.links.is_up(link_a));
    now = now + Nanos::from_secs(1);
    pair.a.links.tick(now, WALL);
    let sent = pair.a.pump(now);
    assert_eq!(pair.a.receive(at_b, &late, now, WALL).unwrap_err(), Refusal::NotThisKey);
    assert_eq!(sent.len(), 1, "it begins anew");
}

#[test]
fn a_node_that_leaves_the_directory_loses_its_link() {
    let mut pair = Pair::connected();
    let [at_a, _] = pair.addresses();
    let (link_a, link_b) = (pair.link_at_a(), pair.link_at_b());
    let (_, datagram) = pair.a.seal(link_a, Frame::Dummy, &[], NOW).unwrap();
    pair.b.events.clear();
    pair.b.links.set_peers(&[], NOW);
    pair.b.pump(NOW);
    assert_eq!(pair.b.events, [Event::Down { link: link_b }]);
    assert_eq!(pair.b.links.index_of(&pair.identities[0].id), None);
    let refused = pair.b.receive(at_a, &datagram, NOW, WALL).unwrap_err();
    assert_eq!(refused, Refusal::NotThisKey);
}

#[test]
fn too_many_nodes_or_two_at_one_address_find_no_place() {
    let mut node = Node::of(&Identity::new(1), 1);
    let mut peers: Vec<_> = (2..=6).map(|number| Identity::new(number).peer()).collect();
    peers[1].address = peers[0].address;
    peers.push(Identity::new(1).peer());
    assert_eq!(node.links.set_peers(&peers, NOW), 1);
    peers.push(Identity::new(7).peer());
    assert_eq!(node.links.set_peers(&peers, NOW), 2);
}
