//! Messages between users over a network that loses, repeats and reorders: every packet is real,
//! every hop unwraps it, every acknowledgement comes back by its reply block.

#[path = "support/mixnet.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod mixnet;
#[path = "support/testnet.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod testnet;

use std::collections::BTreeMap;

use mixline::audit::statistics::{P_MIN, chi_square_p, uniform_p};
use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::message::inbox::HELD_BYTES_MAX;
use mixline::message::outbox::{MESSAGES_MAX, QUEUE_BYTES_MAX};
use mixline::message::{
    Event, Failure, MESSAGE_BYTES_MAX, MessageId, SubmitError, envelope, part_bytes,
};
use mixline::pki::{MailboxAddress, NodeId};
use mixline::route::RouteError;
use mixline::route::content::{Content, DISCARD, REPLY_OVERHEAD_BYTES, Receipt};
use mixline::sphinx::geometry::PAYLOAD_OVERHEAD_BYTES;
use mixline::sphinx::{Geometry, Identifier, NodeAddress, payload};

use mixnet::{Conditions, Mixnet, Trace};
use testnet::Shape;

const PATIENCE: Nanos = Nanos::from_secs(3600);
const BAD_WEATHER: Conditions = Conditions { loss: 0.1, duplication: 0.05 };

/// A network with one user at each of two gateways.
fn two_users(shape: &Shape, conditions: Conditions, seed: u8) -> Mixnet {
    let mut net = Mixnet::new(shape, conditions, seed);
    assert_eq!((net.add_user(0), net.add_user(1)), (0, 1));
    net
}

/// A network of one layer: its packets cost half the work.
fn short_paths() -> Shape {
    Shape { layers: 1, messages_per_second: 2000, ..Shape::default() }
}

/// Messages of lengths that are log-uniform from 1 B to 64 KiB, both lengths among them.
#[expect(clippy::cast_possible_truncation, reason = "a float-to-integer cast saturates")]
fn messages(count: usize, seed: u8) -> Vec<Vec<u8>> {
    let mut rng = Rng::from_seed([seed; 32]);
    let mut lengths: Vec<usize> = vec![1, 65_536];
    lengths.resize_with(count, || 65_536f64.powf(rng.unit()) as usize);
    let message = |length| {
        let mut message = vec![0; length];
        rng.fill(&mut message);
        message
    };
    lengths.into_iter().map(message).collect()
}

fn is_idle(net: &Mixnet) -> bool {
    net.users.iter().all(|user| user.outbox.waiting() == 0)
}

/// Everything that `user` received, by id; each must have come once.
fn received(net: &Mixnet, user: usize) -> BTreeMap<MessageId, &[u8]> {
    let received = &net.users[user].received;
    let by_id: BTreeMap<_, _> = received.iter().map(|one| (one.id, &one.bytes[..])).collect();
    assert_eq!(by_id.len(), received.len(), "a message came twice");
    by_id
}

fn ends(net: &Mixnet, user: usize) -> BTreeMap<MessageId, Result<(), Failure>> {
    let end = |event: &Event| match *event {
        Event::Delivered { id } => Some((id, Ok(()))),
        Event::Failed { id, why } => Some((id, Err(why))),
        Event::Progress { .. } => None,
    };
    net.users[user].events.iter().filter_map(end).collect()
}

#[test]
fn every_message_arrives_once_and_whole_over_a_bad_network() {
    let mut net = two_users(&Shape::default(), BAD_WEATHER, 1);
    let both = [messages(50, 1), messages(50, 2)];
    let ids: Vec<Vec<MessageId>> = (0..2)
        .map(|from| both[from].iter().map(|m| net.submit(from, 1 - from, m, PATIENCE)).collect())
        .collect();
    assert!(net.run_until(Nanos::from_secs(300), is_idle), "not done in time");
    // Letters whose acknowledgement was faster.
    net.run_until(net.now + Nanos::from_secs(1), |_| false);

    for from in 0..2 {
        let sent: BTreeMap<_, _> =
            ids[from].iter().copied().zip(both[from].iter().map(Vec::as_slice)).collect();
        assert_eq!(received(&net, 1 - from), sent);
        let delivered: BTreeMap<_, _> = ids[from].iter().map(|id| (*id, Ok(()))).collect();
        assert_eq!(ends(&net, from), delivered);
        let counts = net.users[from].outbox.counts();
        // Ten datagrams there and back, of which each arrives with probability 0.9.
        let share = counts.acknowledgements as f64 / counts.packets as f64;
        assert!((0.28..0.42).contains(&share), "{share} of the tries acknowledged");
        assert!(counts.retransmissions * 2 > counts.packets);
        assert_eq!(net.users[from].inbox.held_bytes(), 0);
        assert_eq!(net.users[from].inbox.first_held(), None);
    }
}

#[test]
fn ten_mebibytes_arrive_with_progress_all_the_way() {
    let conditions = Conditions { loss: 0.03, duplication: 0.02 };
    let mut net = two_users(&short_paths(), conditions, 2);
    let mut message = vec![0; MESSAGE_BYTES_MAX];
    Rng::from_seed([2; 32]).fill(&mut message);
    let id = net.submit(0, 1, &message, PATIENCE);
    let small = net.submit(0, 1, b"small", PATIENCE);
    // The small one does not wait for the large one.
    let has_small = |net: &Mixnet| net.users[1].received.iter().any(|one| one.id == small);
    assert!(net.run_until(Nanos::from_secs(20), has_small));
    assert!(net.run_until(Nanos::from_secs(600), is_idle), "not done in time");
    net.run_until(net.now + Nanos::from_secs(1), |_| false);

    assert!(received(&net, 1)[&id] == message, "it is not the message that was sent");
    let progress: Vec<u32> = net.users[0]
        .events
        .iter()
        .filter_map(|event| match *event {
            Event::Progress { id: of, acknowledged, total: 19_674 } if of == id => {
                Some(acknowledged)
            }
            _ => None,
        })
        .collect();
    assert!(progress.len() > 1000 && progress.is_sorted());
    assert!(net.users[0].events.contains(&Event::Delivered { id }));
}

#[test]
fn a_mailbox_that_does_not_exist_is_known_after_one_answer() {
    let mut net = two_users(&short_paths(), Conditions::default(), 3);
    let address = net.users[1].address;
    let nobody = MailboxAddress { signing: [9; 32], ..address };
    let sender = &mut net.users[0].outbox;
    let lost = sender.submit(vec![1; 5000], &nobody, PATIENCE).unwrap();
    let good = net.submit(0, 1, &[2; 5000], PATIENCE);
    assert!(net.run_until(Nanos::from_secs(10), is_idle));
    let expected = BTreeMap::from([(lost, Err(Failure::UnknownMailbox)), (good, Ok(()))]);
    assert_eq!(ends(&net, 0), expected);
}

#[test]
fn a_gateway_that_is_gone_fails_its_messages_at_their_deadline_and_delays_no_others() {
    let shape = Shape { gateways: 3, messages_per_second: 500, ..short_paths() };
    let mut net = two_users(&shape, Conditions::default(), 4);
    let away = net.add_user(2);
    net.kill(&net.consensus.gateways()[2].id());
    let patience = Nanos::from_secs(20);
    let lost = net.submit(0, away, &vec![1; 1 << 20], patience);
    net.run_until(Nanos::from_secs(10), |_| false);
    let good = net.submit(0, 1, &vec![2; 100_000], patience);
    assert!(net.run_until(Nanos::from_secs(15), |net| !net.users[1].received.is_empty()));
    assert!(net.run_until(patience - Nanos(1), |net| !net.users[0].events.is_empty()));
    net.run_until(patience - Nanos::from_millis(1), |_| false);
    assert_eq!(ends(&net, 0), BTreeMap::from([(good, Ok(()))]));
    net.run_until(patience + Nanos::from_millis(20), |_| false);
    assert_eq!(ends(&net, 0)[&lost], Err(Failure::Unanswered));
    assert!(is_idle(&net));
}

#[test]
fn a_full_mailbox_is_tried_again_until_it_is_read() {
    let mut net = two_users(&short_paths(), Conditions::default(), 5);
    net.leave_unread(1, 10);
    let hasty = net.submit(0, 1, &[1; 30_000], Nanos::from_secs(30));
    let patient = net.submit(0, 1, &[2; 30_000], PATIENCE);
    net.run_until(Nanos::from_secs(31), |_| false);
    assert_eq!(ends(&net, 0), BTreeMap::from([(hasty, Err(Failure::MailboxFull))]));
    let before = net.users[0].outbox.counts().packets;
    net.run_until(Nanos::from_secs(300), |_| false);
    let rate = (net.users[0].outbox.counts().packets - before) as f64 / 269.0;
    assert!(rate < 10.0, "{rate} packets a second into a full mailbox");
    net.read(1);
    assert!(net.run_until(Nanos::from_secs(450), is_idle), "not done in time");
    net.run_until(net.now + Nanos::from_secs(1), |_| false);
    assert_eq!(ends(&net, 0)[&patient], Ok(()));
    assert_eq!(received(&net, 1), BTreeMap::from([(patient, &[2; 30_000][..])]));
}

#[test]
fn a_gateway_that_the_consensus_does_not_list_is_named_at_the_deadline() {
    let mut net = two_users(&short_paths(), Conditions::default(), 6);
    let gateway = NodeId([7; 32]);
    let nowhere = MailboxAddress { gateway, ..net.users[1].address };
    let lost = net.users[0].outbox.submit(vec![1], &nowhere, Nanos::from_secs(9)).unwrap();
    let good = net.submit(0, 1, b"good", PATIENCE);
    assert!(net.run_until(Nanos::from_secs(20), is_idle));
    let why = Failure::NoRoute(RouteError::UnknownGateway(gateway));
    net.run_until(net.now + Nanos::from_secs(1), |_| false);
    assert_eq!(ends(&net, 0), BTreeMap::from([(lost, Err(why)), (good, Ok(()))]));
}

#[test]
fn every_decoy_is_acknowledged_and_none_is_delivered() {
    let mut net = two_users(&short_paths(), Conditions::default(), 7);
    for user in &mut net.users {
        user.sends_decoys = true;
    }
    net.run_until(Nanos::from_millis(400), |_| false);
    let counts = net.users[0].outbox.counts();
    assert!(counts.decoys > 600 && counts.packets == 0);
    for user in &mut net.users {
        user.sends_decoys = false;
    }
    net.run_until(Nanos::from_secs(10), |_| false);
    let counts = net.users[0].outbox.counts();
    assert_eq!((counts.decoys_acknowledged, counts.garbled), (counts.decoys, 0));
    assert!(net.users.iter().all(|user| user.events.is_empty() && user.received.is_empty()));
    assert_eq!(net.users[0].inbox.counts().unopened, 0);
}

/// What a packet holds for the gateway at its end.
fn content_of(there: &Trace) -> Content<'_> {
    let message = payload::open(&there.payload).expect("an unchanged payload");
    Content::decode(message).expect("a content")
}

/// Both ways of a packet: there, and back by its reply block with `receipt`.
fn round_trip(net: &mut Mixnet, frame: &[u8], receipt: Receipt) -> (Trace, Trace) {
    let gateway = net.users[0].address.gateway.0;
    let there = net.trace(&gateway, frame);
    let mut packet = vec![0; net.consensus.geometry().packet_bytes()];
    let surb = content_of(&there).reply.expect("a reply block").surb;
    let first = surb.reply(&receipt.encode(), &mut packet).expect("a receipt fits");
    let back = net.trace(&first, &packet);
    (there, back)
}

#[test]
fn a_packet_goes_by_five_hops_and_its_acknowledgement_comes_back_by_five() {
    let mut net = two_users(&Shape::default(), Conditions::default(), 8);
    let (sender, recipient) = (net.users[0].address, net.users[1].address);
    let id = net.submit(0, 1, b"over all five hops", PATIENCE);
    let mut frame = vec![0; net.consensus.geometry().frame_bytes()];
    let consensus = net.consensus.clone();
    let outbox = &mut net.users[0].outbox;
    assert!(outbox.next_packet(&consensus, Nanos::ZERO, &mut frame));
    assert!(!outbox.next_packet(&consensus, Nanos::ZERO, &mut [0; 0]), "nothing else waits");

    let (there, mut back) = round_trip(&mut net, &frame, Receipt::Stored);
    assert_eq!((there.hops.len(), back.hops.len()), (5, 5));
    assert_eq!(there.destination, recipient.signing);
    assert_eq!(there.identifier, Identifier::default());
    assert_eq!((there.hops[0], there.hops[4]), (sender.gateway.0, recipient.gateway.0));
    assert_eq!(back.destination, sender.signing);
    assert_eq!((back.hops[0], back.hops[4]), (recipient.gateway.0, sender.gateway.0));

    let received = net.users[1].inbox.take(1, content_of(&there).body, Nanos::ZERO).unwrap();
    assert_eq!((received.id, &received.bytes[..]), (id, &b"over all five hops"[..]));
    let outbox = &mut net.users[0].outbox;
    assert!(outbox.reply(&back.identifier, &mut back.payload.clone(), Nanos::ZERO));
    assert_eq!((outbox.poll(), outbox.poll()), (Some(Event::Delivered { id }), None));
    assert!(!outbox.reply(&back.identifier, &mut back.payload, Nanos::ZERO), "answered once");
}

#[test]
fn the_acknowledgement_of_an_earlier_try_counts_and_a_changed_one_does_not() {
    let mut net = two_users(&short_paths(), Conditions::default(), 9);
    let id = net.submit(0, 1, b"twice", PATIENCE);
    let consensus = net.consensus.clone();
    let mut frames = vec![];
    for now in [Nanos::ZERO, Nanos::from_secs(8)] {
        let mut frame = vec![0; consensus.geometry().frame_bytes()];
        assert!(net.users[0].outbox.next_packet(&consensus, now, &mut frame));
        frames.push(round_trip(&mut net, &frame, Receipt::Stored).1);
    }
    let [first, second] = &mut frames[..] else { panic!("two tries") };
    let outbox = &mut net.users[0].outbox;
    second.payload[500] ^= 1;
    assert!(outbox.reply(&second.identifier, &mut second.payload, Nanos::from_secs(9)));
    assert_eq!((outbox.counts().garbled, outbox.poll()), (1, None));
    assert!(outbox.reply(&first.identifier, &mut first.payload, Nanos::from_secs(9)));
    assert_eq!(outbox.poll(), Some(Event::Delivered { id }));
}

/// How often each node stood at each place of the ways there and back.
type Places = BTreeMap<(usize, NodeAddress), [u64; 2]>;

#[test]
fn decoys_and_messages_have_the_same_sizes_and_go_by_the_same_hops() {
    let shape = Shape { mixes_per_layer: 3, ..Shape::default() };
    let mut net = two_users(&shape, Conditions::default(), 10);
    let consensus = net.consensus.clone();
    let address = net.users[1].address;
    net.users[0].outbox.submit(vec![7; 600_000], &address, PATIENCE).unwrap();
    let geometry = consensus.geometry();
    let body_bytes = geometry.payload_bytes() - PAYLOAD_OVERHEAD_BYTES - REPLY_OVERHEAD_BYTES;
    let mut places = Places::new();
    let mut decoys_end = BTreeMap::<NodeAddress, u64>::new();
    for round in 0..2000 {
        let is_decoy = round % 2 == 1;
        let mut frame = vec![0; geometry.frame_bytes()];
        let outbox = &mut net.users[0].outbox;
        match is_decoy {
            true => outbox.decoy(&consensus, Nanos::ZERO, &mut frame).unwrap(),
            false => assert!(outbox.next_packet(&consensus, Nanos::ZERO, &mut frame)),
        }
        let (there, back) = round_trip(&mut net, &frame, Receipt::Stored);
        assert_eq!((there.hops.len(), back.hops.len()), (5, 5));
        assert_eq!(there.destination == DISCARD, is_decoy);
        assert_eq!(content_of(&there).body.len(), body_bytes);
        let mixes = there.hops[1..4].iter().chain(&back.hops[1..4]);
        for (place, hop) in mixes.enumerate() {
            places.entry((place, *hop)).or_default()[usize::from(is_decoy)] += 1;
        }
        if is_decoy {
            *decoys_end.entry(there.hops[4]).or_default() += 1;
        }
    }
    // Three mixes at each of six places.
    assert_eq!(places.len(), 18);
    let statistic: f64 = places
        .values()
        .map(|[real, decoys]| (*real as f64 - *decoys as f64).powi(2) / (real + decoys) as f64)
        .sum();
    assert!(chi_square_p(statistic, 12) > P_MIN, "paths differ: {statistic}");
    let ends: Vec<u64> = decoys_end.into_values().collect();
    assert!(ends.len() == 2 && uniform_p(&ends) > P_MIN, "decoys prefer a gateway: {ends:?}");
}

#[test]
fn what_cannot_be_sent_is_refused_at_once() {
    let mut net = two_users(&short_paths(), Conditions::default(), 11);
    let address = net.users[1].address;
    let outbox = &mut net.users[0].outbox;
    let submit = |outbox: &mut mixline::message::Outbox, bytes: usize, to| {
        outbox.submit(vec![0; bytes], &to, PATIENCE).err()
    };
    assert_eq!(submit(outbox, 0, address), Some(SubmitError::Empty));
    let (bytes, bytes_max) = (MESSAGE_BYTES_MAX + 1, MESSAGE_BYTES_MAX);
    let too_long = SubmitError::TooLong { bytes, bytes_max };
    assert_eq!(submit(outbox, bytes, address), Some(too_long));
    let low_order = MailboxAddress { sealing: [0; 32], ..address };
    assert_eq!(submit(outbox, 1, low_order), Some(SubmitError::BadAddress));
    let discard = MailboxAddress { signing: DISCARD, ..address };
    assert_eq!(submit(outbox, 1, discard), Some(SubmitError::BadAddress));
    for _ in 0..QUEUE_BYTES_MAX / MESSAGE_BYTES_MAX {
        assert_eq!(submit(outbox, MESSAGE_BYTES_MAX, address), None);
    }
    assert_eq!(submit(outbox, MESSAGE_BYTES_MAX, address), Some(SubmitError::QueueFull));
}

#[test]
fn a_queue_of_small_messages_is_bounded_until_their_ends_are_heard() {
    let mut net = two_users(&short_paths(), Conditions::default(), 12);
    let address = net.users[1].address;
    let outbox = &mut net.users[0].outbox;
    let deadline = Nanos::from_secs(1);
    for _ in 0..MESSAGES_MAX {
        outbox.submit(vec![0], &address, deadline).unwrap();
    }
    assert_eq!(outbox.submit(vec![0], &address, deadline), Err(SubmitError::QueueFull));
    outbox.tick(deadline);
    assert_eq!(outbox.waiting(), 0);
    assert_eq!(outbox.submit(vec![0], &address, deadline), Err(SubmitError::QueueFull));
    assert!(matches!(outbox.poll(), Some(Event::Failed { why: Failure::Unanswered, .. })));
    assert!(outbox.submit(vec![0], &address, PATIENCE).is_ok());
}

#[test]
fn a_packet_carries_533_bytes_of_a_message() {
    assert_eq!(part_bytes(Geometry::DEFAULT), 533);
    assert_eq!(
        1024,
        PAYLOAD_OVERHEAD_BYTES + REPLY_OVERHEAD_BYTES + envelope::OVERHEAD_BYTES + 533
    );
    assert_eq!(part_bytes(Geometry::new(400).unwrap()), 0);
    const { assert!(HELD_BYTES_MAX > 5 * MESSAGE_BYTES_MAX) };
}
