//! What was acknowledged survives, and what was seen: nodes under load, killed again and again.

#[path = "support/lab.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod lab;
#[path = "support/mix.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod mix;
#[path = "support/neighbour.rs"]
mod neighbour;
#[path = "durability/replay.rs"]
mod replay;
#[path = "support/scratch.rs"]
mod scratch;
#[path = "support/user.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod user;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::config::NodeFile;
use mixline::crypto::random::Rng;
use mixline::network::{self, NodeSummary};
use mixline::node::CONNECTED;
use mixline::pki::{MailboxKeys, Rate, Rates, Role};
use mixline::route::content::Receipt;

use lab::Lab;
use user::User;

/// How often the gateway is killed.
const KILLS: u64 = 20;
/// How many packets must have been acknowledged by then.
const ACKNOWLEDGED_MIN: usize = 5000;
/// After how many acknowledgements it is killed at the earliest.
const ACKNOWLEDGED_EACH: usize = 260;
/// How often the user sends.
const RATE: Rate = Rate::per_second(1000);
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> network::Options {
    network::Options {
        mixes: 1,
        layers: 1,
        gateways: 1,
        delay_mean: Duration::from_millis(2),
        rates: Rates { payload: RATE, ..Rates::default() },
        addresses: lab::addresses(0),
        ..network::Options::new(PathBuf::new())
    }
}

/// Whether the gateway begins the handshakes: then a restarted one has its link at once.
fn gateway_begins(nodes: &[NodeSummary]) -> bool {
    let id = |role| nodes.iter().find(|node| node.role == role).map(|node| node.id);
    id(Role::Gateway) < id(Role::Mix)
}

fn body(number: u64) -> Vec<u8> {
    [&number.to_le_bytes()[..], &[0x5a; 400]].concat()
}

/// Sends bodies from `first` on, at the rate that the gateway allows, until `wanted` of them are
/// acknowledged; how many were sent. Most of the others are then on their way.
fn load(user: &mut User, mailbox: [u8; 32], first: u64, wanted: usize) -> u64 {
    let (start, mut sent) = (clock::now(), 0);
    while user.receipts.len() < wanted && clock::now() - start < PATIENCE.into() {
        let due = (clock::now() - start).0 / RATE.gap_mean().0;
        while sent < due {
            user.submit(first + sent, &body(first + sent), mailbox);
            sent += 1;
        }
        user.turn();
    }
    sent
}

/// Sends every packet once more, at the rate that the gateway allows.
fn send_again(user: &mut User, packets: &[Vec<u8>]) {
    assert!(user.open_mailbox(PATIENCE), "the user is let in");
    let start = clock::now();
    for (number, packet) in packets.iter().enumerate() {
        while clock::now() - start < Nanos(RATE.gap_mean().0 * number as u64) {
            user.turn();
        }
        user.send_again(packet);
    }
    let end = clock::now();
    user.turn_while(PATIENCE, |_| clock::now() - end < Nanos::from_millis(200));
}

/// How many packets the node has taken for replays since it was started.
fn replays(node: &NodeSummary) -> usize {
    let file = NodeFile::load(&node.config).expect("it was made");
    let (_, text) = mix::ask(file.metrics.expect("it listens").listen, "/metrics");
    let name = "mixline_replays_total{stage=\"sphinx\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok());
    value.unwrap_or_else(|| panic!("{name} in {text}"))
}

#[test]
fn what_a_gateway_acknowledged_is_there_after_it_was_killed_twenty_times() {
    let lab = Lab::new("durability", &options(), gateway_begins);
    let gateway = lab.first(Role::Gateway);
    let _mix = lab.start(lab.first(Role::Mix));
    let mut rng = Rng::from_os();
    let new_user = |keys| User::new(&lab.consensus, gateway.id, keys);
    let store = lab.scratch.files.join("letters.key");
    MailboxKeys::generate(&mut rng).create(&store).expect("the folder is ours");
    let letters = || MailboxKeys::load(&store).expect("the key is there");
    let mailbox = letters().signing.public();

    let (mut sent, mut acknowledged, mut packets) = (0, HashSet::new(), vec![]);
    for kill in 0..KILLS {
        let mut process = lab.start(gateway);
        process.wait_for(CONNECTED);
        if kill == 0 {
            assert!(new_user(letters()).open_mailbox(PATIENCE), "the mailbox is made");
        }
        let mut user = new_user(MailboxKeys::generate(&mut rng));
        assert!(user.open_mailbox(PATIENCE), "the user is let in after {kill} kills");
        if let Some(&again) = acknowledged.iter().next() {
            // Once more what is there: the gateway remembers it. A datagram may get lost.
            for _ in 0..PATIENCE.as_secs() {
                user.submit(again, &body(again), mailbox);
                user.turn_while(Duration::from_secs(1), |user| user.receipts.is_empty());
                if !user.receipts.is_empty() {
                    break;
                }
            }
            assert_eq!(user.receipts, [(again, Receipt::Duplicate)]);
            user.receipts.clear();
        }
        let wanted = ACKNOWLEDGED_EACH + rng.below(100) as usize;
        sent += load(&mut user, mailbox, sent, wanted);
        process.kill();
        user.turn();
        let fresh = user.receipts.iter().filter(|(number, _)| !acknowledged.contains(number));
        assert!({ fresh }.all(|(_, receipt)| *receipt == Receipt::Stored));
        acknowledged.extend(user.receipts.iter().map(|(number, _)| *number));
        packets.append(&mut user.sent);
    }
    assert!(acknowledged.len() >= ACKNOWLEDGED_MIN, "{} of {sent}", acknowledged.len());

    let process = lab.start(gateway);
    process.wait_for(CONNECTED);
    send_again(&mut new_user(MailboxKeys::generate(&mut rng)), &packets);
    let replays = replays(gateway);
    assert!(
        replays > acknowledged.len() * 9 / 10,
        "{replays} of {} packets sent again",
        packets.len()
    );
    let mut owner = new_user(letters());
    assert!(owner.open_mailbox(PATIENCE), "the owner is let in");
    let mut quiet_since = (clock::now(), 0);
    while clock::now() - quiet_since.0 < Nanos::from_secs(3) {
        owner.turn();
        if owner.bodies.len() > quiet_since.1 {
            quiet_since = (clock::now(), owner.bodies.len());
        }
    }
    let stored: HashSet<&[u8]> = owner.bodies.iter().map(Vec::as_slice).collect();
    let lost = acknowledged.iter().filter(|number| !stored.contains(&body(**number)[..])).count();
    eprintln!(
        "{sent} sent, {} acknowledged, {} stored; all sent again, {replays} refused as replays",
        acknowledged.len(),
        stored.len()
    );
    assert_eq!(lost, 0, "of {} acknowledged, {} stored", acknowledged.len(), stored.len());
    assert_eq!(stored.len(), owner.bodies.len(), "no body is stored twice");
}
