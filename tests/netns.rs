//! The real program on a wire of its own, by every kind of port: what becomes of each packet, and
//! what is left of a node that was killed.
//!
//! The node under test is alone in a network namespace. The test plays both its neighbours at the
//! other end of its wire, and every other node's address is there too, with nobody behind it.

#[path = "support/hosts.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod hosts;
#[path = "support/mix.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod mix;
#[path = "support/neighbour.rs"]
mod neighbour;
#[path = "support/wire.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod wire;

use std::collections::{BTreeMap, HashSet};
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::config::PortMode;
use mixline::crypto::random::Rng;
use mixline::host;
use mixline::node::Totals;
use mixline::route::epoch_byte;

use hosts::{INTERFACE, ip, is_possible};
use mix::{PATIENCE, Site, THROUGH_MIX, World, wait};
use neighbour::Neighbour;

/// Packets that pass each kind of port.
const PACKETS: usize = 100_000;
/// The same in `make soak`.
const PACKETS_OF_SOAK: usize = 1_000_000;
/// Packets that are on their way at the same time: half of what a queue of a veth holds, and far
/// less than any socket, so that none is lost for want of room.
const WINDOW: usize = 128;
/// What good packets wait in the mix.
const DELAY: Nanos = Nanos::from_millis(1);
/// Of so many good packets the filter of replays takes at most one for a replay: ten times more
/// often than it does with a million in a table for eight.
const GOOD_A_MISTAKE_MIN: u64 = 16_000;
/// Every so many packets, one is odd.
const ODD_EVERY: usize = 50;
/// How often the test goes from one queue to the next.
const STEPS: usize = 8;
/// Nodes of the network, whose addresses end in their numbers; the one under test is the first.
const NODES: u8 = 8;
/// The keys of all networks here: packets that are built for one node are good for all.
const SEED: u8 = 50;

/// How a node under test is to run, and what it then says that it did.
struct Case {
    port: &'static str,
    mode: PortMode,
    queues: u32,
    workers: usize,
}

const fn case(port: &'static str, mode: PortMode, queues: u32, workers: usize) -> Case {
    Case { port, mode, queues, workers }
}

const CASES: &[Case] = &[
    case("xdp native copy", PortMode::Xdp, 1, 1),
    case("xdp native copy", PortMode::Xdp, 2, 2),
    case("xdp native copy", PortMode::Xdp, 4, 2),
    case("xdp generic", PortMode::XdpGeneric, 1, 1),
    case("xdp generic", PortMode::XdpGeneric, 2, 2),
    case("xdp generic", PortMode::XdpGeneric, 4, 2),
    // Three workers and an owner: it sends from sockets and rings that they receive by.
    case("xdp native copy", PortMode::Xdp, 1, 4),
    case("xdp generic", PortMode::XdpGeneric, 2, 4),
    case("uring", PortMode::Uring, 2, 2),
    case("uring", PortMode::Uring, 2, 4),
    case("udp", PortMode::Udp, 2, 2),
    case("udp", PortMode::Udp, 2, 4),
];

/// Packets that are not to be forwarded.
#[derive(Clone, Copy)]
enum Odd {
    Replay,
    Forged,
    BadTail,
    UnknownEpoch,
    UnknownNextHop,
    TooLong,
}

impl Odd {
    const ALL: [Odd; 6] = [
        Odd::Replay,
        Odd::Forged,
        Odd::BadTail,
        Odd::UnknownEpoch,
        Odd::UnknownNextHop,
        Odd::TooLong,
    ];

    /// The counter that it raises.
    fn counter(self) -> &'static str {
        match self {
            Odd::Replay => "sphinx replay",
            Odd::Forged => "sphinx authentication",
            Odd::BadTail => "worker bad_tail",
            Odd::UnknownEpoch => "worker unknown_epoch",
            Odd::UnknownNextHop => "worker unknown_next_hop",
            Odd::TooLong => "worker delay_too_long",
        }
    }
}

/// What the neighbour before the node hands in, and what is to become of it.
struct Input {
    packets: Vec<Vec<u8>>,
    /// Packets that are forwarded.
    good: u64,
    /// Those that are not, by counter.
    dropped: BTreeMap<String, u64>,
}

/// Which packet is odd, and how.
fn oddity(number: usize) -> Option<Odd> {
    let is_odd = number % ODD_EVERY == ODD_EVERY - 1;
    is_odd.then(|| Odd::ALL[number / ODD_EVERY % Odd::ALL.len()])
}

impl Input {
    fn build(world: &mut World, count: usize) -> Self {
        // Other packets than those by which a world finds out that its links are up.
        world.rng = Rng::from_seed([SEED + 1; 32]);
        let mut good_route = world.route();
        good_route.truncate(2);
        let route = |number| {
            let mut route = good_route.clone();
            match oddity(number) {
                Some(Odd::UnknownNextHop) => route[1].address = [0xee; 32],
                Some(Odd::TooLong) => route[0].delay_ns = Nanos::from_secs(60).0,
                _ => {}
            }
            route
        };
        let mut packets = world.along(&(0..count).map(route).collect::<Vec<_>>());
        let tail = world.consensus.geometry().packet_bytes();
        let mut dropped = BTreeMap::new();
        for number in 0..count {
            let Some(odd) = oddity(number) else { continue };
            *dropped.entry(odd.counter().to_owned()).or_default() += 1;
            match odd {
                Odd::Replay => packets[number] = packets[number - 1].clone(),
                Odd::Forged => packets[number][100] ^= 1,
                Odd::BadTail => packets[number][tail + 1] = 1,
                Odd::UnknownEpoch => packets[number][tail] = epoch_byte(9),
                Odd::UnknownNextHop | Odd::TooLong => {}
            }
        }
        let good = count as u64 - dropped.values().sum::<u64>();
        Input { packets, good, dropped }
    }
}

/// Packets that have come out behind the node, by their first and last bytes.
type Output = HashSet<u128>;

fn take(output: &mut Output, neighbour: &mut Neighbour) -> bool {
    let came = !neighbour.received.is_empty();
    for packet in neighbour.received.drain(..) {
        let (front, back) = (packet.first_chunk(), packet.last_chunk());
        let [front, back] = [front, back].map(|part| u128::from_be_bytes(*part.expect("16")));
        assert!(output.insert(front ^ back.rotate_left(64)), "a packet came twice");
    }
    came
}

/// A wire between the node under test and the test, which stands for all other nodes.
fn with_wire<R: Send>(mode: PortMode, queues: u32, test: impl FnOnce(World) -> R + Send) -> R {
    let [node, others] = wire::pair(queues);
    let addresses = Ipv4Addr::new(198, 18, 0, 0);
    let site = Site { addresses, port_mode: mode, host: Some(node.namespace.0) };
    others.namespace.enter(move || {
        for number in 3..=NODES {
            ip(&format!("address add 198.18.0.{number}/24 dev {INTERFACE}"));
        }
        let name = format!("netns-{}-{queues}", mode.as_str());
        let mut world = World::at(site, THROUGH_MIX, &name, SEED);
        world.delay = DELAY;
        test(world)
    })
}

/// Lets the kernel send by one queue, which is the one that the node then receives by. It is said
/// in files that are only to be seen by who mounts them.
fn steer(queues: u32, chosen: u32) {
    let mut words = vec![0u32; host::cores().iter().max().expect("a core") / 32 + 1];
    host::cores().iter().for_each(|core| words[core / 32] |= 1 << (core % 32));
    let words: Vec<_> = words.iter().rev().map(|word| format!("{word:x}")).collect();
    let mut script = "set -e; mount -t sysfs none /sys;".to_owned();
    for queue in 0..queues {
        let cores = if queue == chosen { words.join(",") } else { "0".into() };
        let file = format!("/sys/class/net/{INTERFACE}/queues/tx-{queue}/xps_cpus");
        script += &format!(" echo {cores} > {file};");
    }
    let output = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output();
    let output = output.expect("unshare starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A node under test at work.
struct Passage<'a> {
    world: &'a World,
    both: &'a mut [Neighbour; 2],
    /// What the node had received and sent before.
    before: [u64; 2],
    output: Output,
}

impl<'a> Passage<'a> {
    fn new(world: &'a World, both: &'a mut [Neighbour; 2]) -> Self {
        let before = ["received", "sent"].map(|what| count(world, what));
        Passage { world, both, before, output: Output::default() }
    }

    /// Hands all of `input` in, by one queue after the other.
    fn pass(&mut self, input: &Input, queues: u32) {
        let (mut handed, mut good) = (0, 0usize);
        let share = input.packets.len().div_ceil(STEPS);
        for (step, packets) in (0..).zip(input.packets.chunks(share)) {
            if queues > 1 {
                steer(queues, step % queues);
            }
            for packet in packets {
                self.until((good + 1).saturating_sub(WINDOW));
                self.both[0].send(packet);
                good += usize::from(oddity(handed).is_none());
                handed += 1;
            }
            // A replay by another queue would overtake what it repeats.
            self.settle(handed as u64);
        }
    }

    /// Waits until `count` packets have come out.
    fn until(&mut self, count: usize) {
        let mut last = clock::now();
        while self.output.len() < count {
            self.both.iter_mut().for_each(Neighbour::turn);
            if take(&mut self.output, &mut self.both[1]) {
                last = clock::now();
                continue;
            }
            let (waited, came) = (clock::now() - last, self.output.len());
            assert!(waited < PATIENCE, "{came} of {count}: {}", self.world.ask("/metrics").1);
            thread::yield_now();
        }
    }

    /// Waits until the node has taken in all of `handed` packets, and what it has sent has come.
    fn settle(&mut self, handed: u64) {
        let [received, sent] = self.before;
        let all_came = |_: &_| count(self.world, "received") >= received + handed;
        assert!(wait(self.both, all_came), "{}", self.world.ask("/metrics").1);
        self.world.empty(self.both);
        let sent = count(self.world, "sent") - sent;
        self.until(usize::try_from(sent).expect("they were counted before"));
    }
}

/// Packets that the node under test says it has `received` or `sent`.
#[expect(clippy::cast_possible_truncation, reason = "a positive whole number")]
fn count(world: &World, what: &str) -> u64 {
    world.metric(&format!("mixline_packets_{what}_total")) as u64
}

/// Runs one node over all of `input`, and says what came out of it.
fn run(case: &Case, mut world: World, input: &Input) -> Output {
    let Case { port, queues, workers, .. } = case;
    world.configure("\ncount = 1\n", &format!("\ncount = {workers}\n"));
    let mix = world.start();
    let mut both = world.neighbours();
    let start = clock::now();
    let mut passage = Passage::new(&world, &mut both);
    passage.pass(input, *queues);
    let Passage { before: [received, sent], output, .. } = passage;
    let seconds = (clock::now() - start).as_secs_f64();
    let packets = input.packets.len() as u64;
    check_way(&world, case, packets);
    let totals: Totals = serde_json::from_value(mix.totals()).expect("totals");
    eprintln!(
        "{port}, queues {queues}, workers {workers}: {packets} in, {} out, {} dropped in \
         {seconds:.1} s; kernel dropped {}, frames missing {}",
        output.len(),
        of_packets(&totals.drops).values().sum::<u64>(),
        totals.kernel_dropped,
        totals.frames_missing,
    );
    assert_eq!(totals.port, *port);
    assert_eq!(totals.packets_in, received + packets);
    assert_eq!(totals.packets_out, sent + output.len() as u64);
    assert_eq!((totals.kernel_dropped, totals.datagrams_of_other_size), (0, 0));
    assert_eq!(totals.frames_missing, 0);
    assert!(totals.datagrams_received >= totals.packets_in);
    check_drops(input, of_packets(&totals.drops), output.len() as u64);
    output
}

/// Those of the counters that say something of packets, and not of handshakes and dummies.
fn of_packets(drops: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let is_of_packets = |name: &str| name.starts_with("sphinx ") || name.starts_with("worker ");
    let drops = drops.iter().filter(|(name, _)| is_of_packets(name));
    drops.map(|(name, count)| (name.clone(), *count)).collect()
}

/// Every packet is forwarded or in the counter where it belongs. The filter of replays takes a new
/// packet for an old one now and then, by design and by chance: such a one is in its counter.
fn check_drops(input: &Input, dropped: BTreeMap<String, u64>, forwarded: u64) {
    let replay = Odd::Replay.counter();
    let mistaken = dropped[replay] - input.dropped[replay];
    assert!(mistaken <= input.good / GOOD_A_MISTAKE_MIN, "{dropped:?}");
    let packets = input.packets.len() as u64;
    assert_eq!(forwarded + dropped.values().sum::<u64>(), packets, "{dropped:?}");
    for (name, count) in input.dropped.iter().filter(|(name, _)| *name != replay) {
        let missing = count.checked_sub(dropped[name]);
        assert!(missing.is_some_and(|missing| missing <= mistaken), "{dropped:?}");
    }
    assert_eq!(dropped.len(), input.dropped.len(), "{dropped:?}");
}

/// Whether packets came by the way that the node says they did.
fn check_way(world: &World, case: &Case, packets: u64) {
    let by_socket = datagrams_by_socket(world);
    match case.mode {
        // A few that nobody knows the way of yet, at the start.
        PortMode::Xdp | PortMode::XdpGeneric => assert!(by_socket < packets / 100, "{by_socket}"),
        _ => return assert!(by_socket >= packets, "{by_socket}"),
    }
    if case.mode == PortMode::Xdp {
        let used = datagrams_by_queue(world);
        let least = packets / (2 * u64::from(case.queues));
        assert!(used.len() == case.queues as usize && used.iter().all(|n| *n > least), "{used:?}");
    }
}

/// What the kernel's UDP sockets have received where the node under test is.
fn datagrams_by_socket(world: &World) -> u64 {
    let mut command = Command::new("cat");
    command.arg("/proc/net/snmp");
    let text = world.output(command);
    let counts = text.lines().filter(|line| line.starts_with("Udp: ")).nth(1);
    counts.and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("InDatagrams")
}

/// What the program in the driver has handed over, by queue.
fn datagrams_by_queue(world: &World) -> Vec<u64> {
    let mut command = Command::new("ethtool");
    command.args(["-S", INTERFACE]);
    let text = world.output(command);
    let of_queues = text.lines().filter(|line| line.contains("xdp_redirect:"));
    of_queues.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

/// Every packet is forwarded or in a named counter, whatever the kind of port.
fn all_ports_forward_alike(packets: usize) {
    let input = with_wire(PortMode::Udp, 1, |mut world| Input::build(&mut world, packets));
    let outputs = CASES
        .iter()
        .map(|case| with_wire(case.mode, case.queues, |world| run(case, world, &input)));
    // What one has taken for a replay the others have forwarded; nobody has what others have not.
    let all: Output = outputs.flatten().collect();
    assert_eq!(all.len() as u64, input.good);
}

#[test]
fn every_packet_is_forwarded_or_counted_alike_by_all_kinds_of_port() {
    if is_possible("every_packet_is_forwarded_or_counted_alike_by_all_kinds_of_port") {
        all_ports_forward_alike(PACKETS);
    }
}

#[test]
#[ignore = "a million packets by each of eight ports take minutes: run by `make soak`"]
fn a_million_packets_are_forwarded_or_counted_alike_by_all_kinds_of_port() {
    if is_possible("a_million_packets_are_forwarded_or_counted_alike_by_all_kinds_of_port") {
        all_ports_forward_alike(PACKETS_OF_SOAK);
    }
}

#[test]
fn a_killed_node_leaves_no_program_and_can_start_again() {
    if !is_possible("a_killed_node_leaves_no_program_and_can_start_again") {
        return;
    }
    for mode in [PortMode::Xdp, PortMode::XdpGeneric] {
        with_wire(mode, 2, |mut world| {
            for _ in 0..2 {
                let mix = world.start();
                // Packets pass, and some are inside when it ends.
                let mut both = world.neighbours();
                assert!(has_program(&world), "{}", mode.as_str());
                world.packets(64).iter().for_each(|packet| both[0].send(packet));
                mix.kill();
                let start = clock::now();
                while has_program(&world) {
                    assert!(clock::now() - start < PATIENCE, "{}", mode.as_str());
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
    }
}

/// Whether a program is attached to the interface of the node under test.
fn has_program(world: &World) -> bool {
    let mut command = Command::new("ip");
    command.args(["-details", "link", "show", "dev", INTERFACE]);
    world.output(command).contains("prog/xdp")
}
