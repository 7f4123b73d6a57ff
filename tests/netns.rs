//! The real program on a wire of its own, by every kind of port: what becomes of each packet, and
//! what is left of a node that was killed.
//!
//! The node under test is alone in a network namespace. The test plays both its neighbours at the
//! other end of its wire, and every other node's address is there too, with nobody behind it.

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/mix.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod mix;
#[path = "support/neighbour.rs"]
mod neighbour;
#[path = "support/wire.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod wire;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::config::PortMode;
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
const WINDOW: u64 = 128;
/// What good packets wait in the mix.
const DELAY: Nanos = Nanos::from_millis(1);
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
    case("uring", PortMode::Uring, 2, 2),
    case("udp", PortMode::Udp, 2, 2),
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

/// What has come out behind the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Output {
    packets: u64,
    /// The same for the same packets in whatever order.
    digest: u128,
}

impl Output {
    fn take(&mut self, neighbour: &mut Neighbour) -> bool {
        let before = self.packets;
        for packet in neighbour.received.drain(..) {
            let (front, back) = (packet.first_chunk(), packet.last_chunk());
            let [front, back] = [front, back].map(|part| u128::from_be_bytes(*part.expect("16")));
            self.packets += 1;
            self.digest = self.digest.wrapping_add(front.wrapping_mul(back | 1));
        }
        self.packets > before
    }
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

/// Hands all of `input` in, by one queue after the other, and waits until it has passed.
fn pass(both: &mut [Neighbour; 2], input: &Input, queues: u32) -> Output {
    let (mut handed, mut output) = (0, Output::default());
    for (step, packets) in input.packets.chunks(input.packets.len().div_ceil(STEPS)).enumerate() {
        // A packet that is overtaken by others of its session is still good, but a replay must
        // not overtake what it repeats.
        until(both, &mut output, handed);
        if queues > 1 {
            steer(queues, u32::try_from(step).expect("a few") % queues);
        }
        let first = step * input.packets.len().div_ceil(STEPS);
        for (number, packet) in (first..).zip(packets) {
            until(both, &mut output, (handed + 1).saturating_sub(WINDOW));
            both[0].send(packet);
            handed += u64::from(oddity(number).is_none());
        }
    }
    until(both, &mut output, input.good);
    output
}

/// Waits until `count` packets have come out.
fn until(both: &mut [Neighbour; 2], output: &mut Output, count: u64) {
    let mut last = clock::now();
    while output.packets < count {
        both.iter_mut().for_each(Neighbour::turn);
        if output.take(&mut both[1]) {
            last = clock::now();
        } else {
            let waited = clock::now() - last;
            assert!(waited < PATIENCE, "{} of {count} packets came", output.packets);
            std::thread::yield_now();
        }
    }
}

/// Runs one node over all of `input`, and says what came out of it.
fn run(case: &Case, mut world: World, input: &Input) -> Output {
    let Case { port, mode, queues, workers } = case;
    world.configure("\ncount = 1\n", &format!("\ncount = {workers}\n"));
    let mix = world.start();
    let mut both = world.neighbours();
    let counts = |name: &str| world.metric(&format!("mixline_packets_{name}_total"));
    let before = ["received", "sent"].map(counts);
    let start = clock::now();
    let output = pass(&mut both, input, *queues);
    let seconds = (clock::now() - start).as_secs_f64();
    let received = before[0] + input.packets.len() as f64;
    assert!(wait(&mut both, |_| counts("received") >= received), "all come");
    let used = queues_used(&world, *mode);
    let totals: Totals = serde_json::from_value(mix.totals()).expect("totals");
    let of_packets = |name: &&String| name.starts_with("sphinx ") || name.starts_with("worker ");
    let dropped = totals.drops.iter().filter(|(name, _)| of_packets(name));
    let dropped: BTreeMap<_, _> = dropped.map(|(name, count)| (name.clone(), *count)).collect();
    eprintln!(
        "{port}, {queues} queues, {workers} workers: {} in, {} out, {} dropped in {seconds:.1} s; \
         kernel dropped {}, frames missing {}; received by {used:?}",
        input.packets.len(),
        output.packets,
        dropped.values().sum::<u64>(),
        totals.kernel_dropped,
        totals.frames_missing,
    );
    assert_eq!(totals.port, *port);
    assert_eq!(totals.packets_in as f64, received);
    assert_eq!(totals.packets_out as f64, before[1] + input.good as f64);
    assert_eq!((output.packets, dropped), (input.good, input.dropped.clone()));
    assert_eq!((totals.kernel_dropped, totals.datagrams_of_other_size), (0, 0));
    assert_eq!(totals.frames_missing, 0);
    assert!(totals.datagrams_received >= totals.packets_in);
    output
}

/// What the XDP program has handed over by each queue of the node.
fn queues_used(world: &World, mode: PortMode) -> Vec<u64> {
    let mut command = Command::new("ethtool");
    command.args(["-S", INTERFACE]);
    let _ = mode;
    let text = world.output(command);
    let of_queues = text.lines().filter(|line| line.contains("xdp_redirect:"));
    of_queues.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

/// Every packet is forwarded or in a named counter, whatever the kind of port.
fn all_ports_forward_alike(packets: usize) {
    let input = with_wire(PortMode::Udp, 1, |mut world| Input::build(&mut world, packets));
    let outputs = CASES.iter().map(|case| {
        with_wire(case.mode, case.queues, |world| run(case, world, &input))
    });
    let outputs: Vec<_> = outputs.collect();
    assert!(outputs.iter().all(|output| *output == outputs[0]), "{outputs:?}");
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
                // Packets pass.
                drop(world.neighbours());
                assert!(has_program(&world), "{}", mode.as_str());
                mix.kill();
                let start = clock::now();
                while has_program(&world) {
                    assert!(clock::now() - start < PATIENCE, "{}", mode.as_str());
                    std::thread::sleep(Duration::from_millis(1));
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
