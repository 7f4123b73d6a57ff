//! A node that is flooded: while strangers send five times what its worker can process, at least
//! 95 % of what peers send comes through, at half of what the worker can process.
//!
//! The real program with one worker, by AF_XDP in the driver, on a wire of its own. What the worker
//! can process is measured first, without strangers, in the CPU time that it takes: so it is the
//! worker's own speed, however much else the machine does. The node computes packet by packet, on
//! the `scalar` tier, about twenty thousand a second: then two cores are enough for the node and
//! for the test, which sends, floods and receives. With batches in vectors a worker is five times
//! as fast, and half a million frames a second and their neighbours fill both cores by themselves.
//! What a stranger's datagram costs the node is the same on every tier.
//!
//! All of it runs in real time where that is allowed. A flood that was smaller than it should be,
//! or in which the worker was not let run and packets were lost, is repeated, a few times.
//!
//! Needs root.

#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/flood.rs"]
mod flood;
#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/hosts.rs"]
mod hosts;
#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/mix.rs"]
mod mix;
#[path = "support/neighbour.rs"]
mod neighbour;
#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/wire.rs"]
mod wire;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use flood::Flood;
use hosts::{Host, INTERFACE, ip, is_possible};
use mix::{Mix, PATIENCE, Site, THROUGH_MIX, World, work_for};
use mixline::clock::{self, Nanos};
use mixline::config::PortMode;
use mixline::crypto::random::Rng;
use mixline::crypto::tier::{self, Name};
use mixline::node::Totals;
use neighbour::Neighbour;

/// What the node computes with.
const TIER: Name = Name::Scalar;
/// What packets wait in the mix.
const DELAY: Nanos = Nanos::from_millis(1);
/// Nodes of the network, whose addresses end in their numbers; the one under test is the first.
const NODES: u8 = 8;
/// The neighbour before it, and the one behind it.
const BEFORE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 7);
const BEHIND: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PORT: u16 = 7700;

/// Packets by which the worker's speed is measured, and those on their way at a time.
const MEASURED: usize = 5_000;
const WINDOW: u64 = 256;
/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(3);
/// Times what the worker can process.
const PEERS: f64 = 0.5;
const STRANGERS: f64 = 5.0;
/// What must come through.
const FORWARDED_MIN: f64 = 0.95;
/// The part of a flood that the worker may wait for a CPU, if packets are lost.
const HELD_UP_MAX: f64 = 0.02;
/// A flood in which the machine did not let the worker, or the test, work is none.
const ROUNDS_MAX: u32 = 6;
/// What strangers may send by default, all together and each, a second and at once.
const ALL: (f64, f64) = (4000.0, 400.0);
const EACH: (f64, f64) = (50.0, 100.0);

/// One flood at a time: the machine has few cores.
static TURN: Mutex<()> = Mutex::new(());

/// The node under test, between its neighbours.
struct Scene<'a> {
    world: World,
    mix: Mix,
    both: [Neighbour; 2],
    /// Where the neighbours are, and the strangers.
    outside: &'a Host,
    /// What the kernel says of its worker's thread, once it is known.
    worker: PathBuf,
}

/// CPU time that a thread has had, and time that it waited for a CPU.
#[derive(Clone, Copy)]
struct Share {
    ran: f64,
    waited: f64,
}

impl Share {
    fn of(thread: &Path) -> Option<Self> {
        let text = fs::read_to_string(thread.join("schedstat")).ok()?;
        let mut seconds = text.split_whitespace().map(|word| Some(word.parse::<f64>().ok()? / 1e9));
        Some(Share { ran: seconds.next()??, waited: seconds.next()?? })
    }
}

fn threads_of(mix: &Mix) -> Vec<(PathBuf, Share)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", mix.0.id())).expect("it is alive");
    let thread = |path: PathBuf| Some((path.clone(), Share::of(&path)?));
    tasks.filter_map(|task| thread(task.ok()?.path())).collect()
}

/// What became of one flood.
#[derive(Debug)]
struct Round {
    /// The worker's speed, in packets a second.
    speed: f64,
    sent: usize,
    forwarded: usize,
    strangers: u64,
    seconds: f64,
    /// Parts of the time: that the worker ran, and that it was not let.
    busy: f64,
    held_up: f64,
}

impl Scene<'_> {
    fn start(mut world: World, outside: &Host) -> Scene<'_> {
        let mut command = world.command();
        command.env(tier::VARIABLE, TIER.as_str());
        let mix = Mix(command.spawn().expect("the program starts"));
        let both = world.neighbours();
        let worker = PathBuf::new();
        Scene { world, mix, both, outside, worker }
    }

    fn share(&self) -> Share {
        Share::of(&self.worker).expect("it is alive")
    }

    /// Packets a second that the worker can process, from the CPU time that they take it.
    fn speed(&mut self) -> f64 {
        let packets = self.world.packets(MEASURED);
        let (before, start) = (threads_of(&self.mix), clock::now());
        let (mut came, mut last) = (0, start);
        for (sent, packet) in (1..).zip(&packets) {
            self.both[0].send(packet);
            while sent - came >= WINDOW {
                let some = self.take();
                came += some as u64;
                let now = clock::now();
                last = if some > 0 { now } else { last };
                assert!(now - last < PATIENCE, "{came} of {sent} packets came");
            }
        }
        let seconds = (clock::now() - start).as_secs_f64();
        // Nobody else in the node works for packets.
        let ran = |(path, share): (PathBuf, Share)| {
            let known = before.iter().find(|known| known.0 == path);
            (share.ran - known.map_or(0.0, |known| known.1.ran), path)
        };
        let busiest = threads_of(&self.mix).into_iter().map(ran).max_by(|a, b| a.0.total_cmp(&b.0));
        let (ran, worker) = busiest.expect("it has threads");
        self.worker = worker;
        let (each, busy) = (1e6 * ran / came as f64, 100.0 * ran / seconds);
        eprintln!("a packet takes the worker {each:.1} us; it ran {busy:.0} % of the time");
        work_for(&mut self.both, Nanos::from_millis(100));
        self.both[1].received.clear();
        came as f64 / ran
    }

    /// Lets both neighbours work; how many packets have come out.
    fn take(&mut self) -> usize {
        self.both.iter_mut().for_each(Neighbour::turn);
        self.both[1].received.drain(..).count()
    }

    /// Peers send while `frames` flood the node.
    fn round(&mut self, speed: f64, frames: &[Vec<u8>]) -> Round {
        #[expect(clippy::cast_possible_truncation, reason = "some ten thousands")]
        #[expect(clippy::cast_sign_loss, reason = "some ten thousands")]
        let packets = self.world.packets((speed * PEERS * FLOOD.as_secs_f64()) as usize);
        let (flood, outside) = (Flood::default(), self.outside);
        let (before, start) = (self.share(), clock::now());
        let (sent, forwarded) = thread::scope(|scope| {
            scope.spawn(|| {
                outside.namespace.enter(|| {
                    flood::hurry();
                    flood.run(outside, frames, speed * STRANGERS);
                });
            });
            let counts = self.send_evenly(&packets, speed * PEERS);
            flood.stop();
            counts
        });
        let seconds = (clock::now() - start).as_secs_f64();
        let after = self.share();
        // What is still on its way.
        let end = clock::now() + Nanos::from_millis(500);
        let mut late = 0;
        while clock::now() < end {
            late += self.take();
        }
        Round {
            speed,
            sent,
            forwarded: forwarded + late,
            strangers: flood.sent(),
            seconds,
            busy: (after.ran - before.ran) / seconds,
            held_up: (after.waited - before.waited) / seconds,
        }
    }

    /// Hands in `packets`, so many a second; how many those were in [`FLOOD`], and how many have
    /// come out.
    fn send_evenly(&mut self, packets: &[Vec<u8>], per_second: f64) -> (usize, usize) {
        let (start, mut last) = (clock::now(), clock::now());
        let (mut sent, mut forwarded, mut due) = (0, 0, 0.0);
        while clock::now() - start < FLOOD.into() {
            let now = clock::now();
            // Who was not let run does not make up for it all at once.
            due += ((now - last).as_secs_f64() * per_second).min(64.0);
            last = now;
            while due >= 1.0 && sent < packets.len() {
                self.both[0].send(&packets[sent]);
                sent += 1;
                due -= 1.0;
            }
            forwarded += self.take();
            thread::sleep(Duration::from_micros(300));
        }
        (sent, forwarded)
    }
}

impl Round {
    fn share_forwarded(&self) -> f64 {
        self.forwarded as f64 / self.sent as f64
    }

    /// Why this says nothing, if so: the flood was smaller, or the packets did not come through
    /// where the worker was not let run. It is enough when they came nevertheless.
    fn disturbance(&self) -> Option<String> {
        let rate = |count: f64| count / self.seconds / self.speed;
        let (peers, strangers) = (rate(self.sent as f64), rate(self.strangers as f64));
        if peers < 0.9 * PEERS || strangers < 0.9 * STRANGERS {
            return Some(format!(
                "peers sent {peers:.2}, strangers {strangers:.2} times its speed"
            ));
        }
        let held_up = self.share_forwarded() < FORWARDED_MIN && self.held_up > HELD_UP_MAX;
        held_up.then(|| format!("the worker was not let run {:.0} % of it", 100.0 * self.held_up))
    }
}

/// Floods a node with `frames`, and says how many of its datagrams were let in, and how many were
/// sent, and for how long.
fn flood(
    name: &str,
    frames: impl FnOnce(&mut Rng, usize) -> Vec<Vec<u8>> + Send,
) -> (u64, u64, f64) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let [node, outside] = wire::pair(1);
    let site = Site {
        addresses: Ipv4Addr::new(198, 18, 0, 0),
        port_mode: PortMode::Xdp,
        host: Some(node.namespace.0),
    };
    outside.namespace.enter(|| {
        flood::hurry();
        for number in 3..=NODES {
            ip(&format!("address add 198.18.0.{number}/24 dev {INTERFACE}"));
        }
        let mut world = World::at(site, THROUGH_MIX, name, 60);
        world.delay = DELAY;
        let bytes = world.consensus.geometry().datagram_bytes();
        let frames = frames(&mut Rng::from_seed([61; 32]), bytes);
        let mut scene = Scene::start(world, &outside);
        let speed = scene.speed();
        let (mut strangers, mut seconds) = (0, 0.0);
        for number in 1.. {
            let round = scene.round(speed, &frames);
            strangers += round.strangers;
            seconds += round.seconds;
            eprintln!(
                "{name}: peers {:.0}/s, strangers {:.0}/s: {} of {} packets forwarded ({:.2} %); \
                 the worker ran {:.0} %, waited {:.0} %",
                round.sent as f64 / round.seconds,
                round.strangers as f64 / round.seconds,
                round.forwarded,
                round.sent,
                100.0 * round.share_forwarded(),
                100.0 * round.busy,
                100.0 * round.held_up,
            );
            let Some(why) = round.disturbance() else {
                assert!(round.share_forwarded() >= FORWARDED_MIN, "{round:?}");
                break;
            };
            eprintln!("{name}: again: {why}");
            assert!(number < ROUNDS_MAX, "the machine has no time for this test: {why}");
        }
        let Scene { mix, .. } = scene;
        let totals: Totals = serde_json::from_value(mix.totals()).expect("totals");
        eprintln!("{name}: {:?}, {} dropped by the kernel", totals.drops, totals.kernel_dropped);
        assert_eq!(totals.port, "xdp native copy");
        let garbage = totals.drops.iter().filter(|(why, _)| why.starts_with("link "));
        (garbage.map(|(_, count)| count).sum(), strangers, seconds)
    })
}

/// What a budget allows in this time, and a little, as the clocks are not the same.
fn allowed((per_second, at_once): (f64, f64), seconds: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "some ten thousands")]
    #[expect(clippy::cast_sign_loss, reason = "some ten thousands")]
    let most = (at_once + 1.1 * per_second * (seconds + 1.0)) as u64;
    most
}

fn node() -> SocketAddr {
    (Ipv4Addr::new(198, 18, 0, 1), PORT).into()
}

#[test]
fn peers_pass_while_one_stranger_floods() {
    if !is_possible("peers_pass_while_one_stranger_floods") {
        return;
    }
    let (let_in, _, seconds) = flood("shield-one", |rng, bytes| {
        let source = SocketAddrV4::new([198, 19, 0, 9].into(), 4000);
        (0..256).map(|_| flood::frame(source, node(), bytes, rng)).collect()
    });
    assert!(let_in <= allowed(EACH, seconds), "{let_in} of its datagrams came in");
}

#[test]
fn peers_pass_while_ten_thousand_strangers_flood() {
    if !is_possible("peers_pass_while_ten_thousand_strangers_flood") {
        return;
    }
    let (let_in, _, seconds) = flood("shield-many", |rng, bytes| {
        let mut frame = || {
            let [a, b, c, d, high, low] = rng.bytes();
            // Addresses that a stranger can have, whatever the others are.
            let source = Ipv4Addr::new(1 + a % 120, b, c, d);
            flood::frame(
                SocketAddrV4::new(source, u16::from_be_bytes([high, low])),
                node(),
                bytes,
                rng,
            )
        };
        (0..10_000).map(|_| frame()).collect()
    });
    assert!(let_in <= allowed(ALL, seconds), "{let_in} of their datagrams came in");
}

#[test]
fn peers_pass_while_strangers_flood_in_their_name() {
    if !is_possible("peers_pass_while_strangers_flood_in_their_name") {
        return;
    }
    let (let_in, sent, _) = flood("shield-spoofed", |rng, bytes| {
        let sources = [BEFORE, BEHIND].map(|peer| SocketAddrV4::new(peer, PORT));
        let frames = sources.iter().cycle().take(512);
        frames.map(|source| flood::frame(*source, node(), bytes, rng)).collect()
    });
    // No list proves who sent: the worker itself turns them away.
    assert!(let_in > sent / 2, "{let_in} of {sent} datagrams came in");
}
