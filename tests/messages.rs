//! Messages between users of a network of real processes, each on a host of its own: every packet
//! between any two of them passes a relay that loses, doubles and reorders.

#[path = "messages/exchange.rs"]
mod exchange;
#[path = "support/lab.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod lab;
#[path = "support/namespace.rs"]
mod namespace;
#[path = "support/relay.rs"]
mod relay;
#[path = "support/scratch.rs"]
mod scratch;
#[path = "support/tun.rs"]
mod tun;
#[path = "messages/world.rs"]
mod world;

use std::time::Duration;

use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::crypto::sha256;
use mixline::message::MESSAGE_BYTES_MAX;
use mixline::pki::Rate;

use exchange::Exchange;
use relay::{Carried, Conditions};
use world::World;

/// An acknowledged packet passes the relay ten times, there and back: of 0.9^10, about a third of
/// the tries, the sender hears.
const CONDITIONS: Conditions = Conditions {
    loss: 0.1,
    duplication: 0.05,
    delay: (Nanos::from_millis(1), Nanos::from_millis(30)),
};
/// Messages each way, their length at most, and all of them together.
const MESSAGES: usize = 300;
const BYTES_MAX: usize = 64 * 1024;
const BYTES_IN_ALL: std::ops::Range<usize> = 3_000_000..3_100_000;
/// How long a killed node stays away: longer than its neighbours wait for it.
const ABSENCE: Duration = Duration::from_secs(5);
/// How long after the last news something may still come: longer than any packet is on its way.
const STRAGGLERS: Duration = Duration::from_secs(10);

/// From which follow the messages and what the relay does: `MIXLINE_SEED`, or always the same.
fn seed() -> [u8; 32] {
    let name = std::env::var("MIXLINE_SEED").unwrap_or_else(|_| "messages".into());
    eprintln!("seed {name}");
    sha256::digest(&[name.as_bytes()])
}

/// Messages of 1 byte to [`BYTES_MAX`], most of them short.
fn messages(rng: &mut Rng) -> Vec<Vec<u8>> {
    loop {
        #[expect(clippy::cast_possible_truncation, reason = "it is from 1 to BYTES_MAX")]
        #[expect(clippy::cast_sign_loss, reason = "it is from 1 to BYTES_MAX")]
        let bytes = |unit: f64| 1 + ((BYTES_MAX - 1) as f64 * unit.powi(5)).round() as usize;
        let mut lengths: Vec<usize> = (2..MESSAGES).map(|_| bytes(rng.unit())).collect();
        lengths.extend([1, BYTES_MAX]);
        if BYTES_IN_ALL.contains(&lengths.iter().sum()) {
            rng.shuffle(&mut lengths);
            return lengths.into_iter().map(|length| message(length, rng)).collect();
        }
    }
}

fn message(length: usize, rng: &mut Rng) -> Vec<u8> {
    let mut message = vec![0; length];
    rng.fill(&mut message);
    message
}

/// Kills the node `name` for a while, in the middle of the exchange.
fn interrupt(world: &mut World, exchange: &mut Exchange, name: &str) {
    world.kill(name);
    let before = world.sent_to(name);
    exchange.go_on_for(ABSENCE);
    let in_vain = world.sent_to(name) - before;
    assert!(in_vain > 0, "nobody had anything for {name}");
    world.restart(name);
    eprintln!("{}; {name} was killed, {in_vain} packets in vain", exchange.standing());
    assert!(!exchange.is_over(), "{name} came back too late to matter");
}

/// Prints what the relay and the users counted, and that the relay did what it should.
fn report(world: &World, exchange: &Exchange) {
    eprintln!("{}", exchange.standing());
    let all = world.with_ledger(|ledger| {
        assert_eq!(ledger.foreign, 0, "packets that are from nobody or to nobody");
        ledger.pairs.values().fold(Carried::default(), |sum, one| sum.and(one))
    });
    let share = |count: u64| count as f64 / all.sent as f64;
    let (lost, doubled, overtaken) = (share(all.lost), share(all.doubled), share(all.overtaken));
    eprintln!(
        "relay: {} packets, {lost:.3} lost, {doubled:.3} doubled, {overtaken:.3} overtaken",
        all.sent
    );
    for status in world.statuses() {
        let by_relay = world.sent_to(&status.gateway);
        assert!(by_relay >= status.packets + status.decoys, "some went another way");
        eprintln!(
            "{}: {} packets, {} sent again, {} acknowledged; decoys {}, {} acknowledged; epoch {}",
            status.gateway,
            status.packets,
            status.retransmissions,
            status.acknowledgements,
            status.decoys,
            status.decoys_acknowledged,
            status.epoch,
        );
    }
    assert!((0.09..0.11).contains(&lost) && (0.03..0.07).contains(&doubled) && overtaken > 0.05);
}

#[test]
fn messages_arrive_once_and_whole_over_bad_links_while_a_mix_and_a_gateway_are_killed() {
    namespace::within(
        "messages_arrive_once_and_whole_over_bad_links_while_a_mix_and_a_gateway_are_killed",
        exchange_while_nodes_are_killed,
    );
}

fn exchange_while_nodes_are_killed() {
    let mut rng = Rng::from_seed(seed());
    let both = [messages(&mut rng), messages(&mut rng)];
    let mix = format!("mix-{}-{}", 1 + rng.below(3), 1 + rng.below(2));
    let gateway = format!("gateway-{}", 1 + rng.below(2));
    let mut world = World::new(Rate::per_second(200), CONDITIONS, rng.bytes());
    let mut exchange = Exchange::start(&world.users, both, Duration::from_secs(400));
    exchange.go_on_until(|exchange| exchange.progress() > 0.2);
    interrupt(&mut world, &mut exchange, &mix);
    exchange.go_on_until(|exchange| exchange.progress() > 0.4);
    interrupt(&mut world, &mut exchange, &gateway);
    exchange.go_on_until(Exchange::is_over);
    report(&world, &exchange);
    exchange.go_on_while_busy(STRAGGLERS);
    exchange.assert_once_and_whole();
}

#[test]
#[ignore = "it takes minutes: make soak"]
fn the_longest_message_arrives_over_bad_links_and_its_progress_only_grows() {
    namespace::within(
        "the_longest_message_arrives_over_bad_links_and_its_progress_only_grows",
        send_the_longest_message,
    );
}

fn send_the_longest_message() {
    let mut rng = Rng::from_seed(seed());
    let longest = message(MESSAGE_BYTES_MAX, &mut rng);
    let world = World::new(Rate::per_second(400), CONDITIONS, rng.bytes());
    let patience = Duration::from_secs(1200);
    let mut exchange = Exchange::start(&world.users, [vec![longest], vec![]], patience);
    for tenth in 1..10 {
        exchange.go_on_until(|exchange| exchange.progress() > f64::from(tenth) / 10.0);
        eprintln!("{}", exchange.standing());
    }
    exchange.go_on_until(Exchange::is_over);
    report(&world, &exchange);
    let reports = exchange.ways[0].reports;
    assert!(reports > 1000, "progress was reported {reports} times");
    exchange.go_on_while_busy(STRAGGLERS);
    exchange.assert_once_and_whole();
}
