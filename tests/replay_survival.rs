//! What a mix has seen outlives the process and not the power: a real process, killed under load.

#[path = "support/neighbour.rs"]
mod neighbour;

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::config::NodeFile;
use mixline::crypto::random::Rng;
use mixline::crypto::sha256;
use mixline::host;
use mixline::network::{self, Summary};
use mixline::node::load_consensus;
use mixline::pki::{Consensus, Rate, Rates};
use mixline::route;
use mixline::sphinx::{self, Destination, Identifier, Itinerary, RouteHop, Version};

use neighbour::Neighbour;

/// How long something may take that must come.
const PATIENCE: Nanos = Nanos::from_secs(30);
/// What the packets wait in the mix: so long that a kill finds many inside.
const DELAY: Nanos = Nanos::from_millis(20);

/// The network of a mix under test: everything in one folder in memory, removed at the end.
struct World {
    folder: PathBuf,
    summary: Summary,
    consensus: Arc<Consensus>,
    rng: Rng,
}

impl World {
    fn new(name: &str, subnet: u8) -> Self {
        let folder = Path::new("/dev/shm").join(format!("mixline-{name}-{}", std::process::id()));
        fs::create_dir(&folder).expect("shared memory to work in");
        let options = network::Options {
            addresses: [127, 75, subnet, 0].into(),
            // Nothing but the test's own packets.
            rates: Rates { payload: Rate::per_second(1), ..Rates::default() },
            ..network::Options::new(folder.join("network"))
        };
        let mut rng = Rng::from_seed([subnet; 32]);
        let summary = network::init(&options, &mut rng, clock::wall()).expect("a network");
        let consensus = load_consensus(&summary.anchor, &summary.consensus).expect("it is valid");
        World { folder, summary, consensus: Arc::new(consensus), rng }
    }

    fn config(&self, node: &str) -> PathBuf {
        let found = self.summary.nodes.iter().find(|made| made.name == node);
        found.expect("such a node").config.clone()
    }

    fn keys(&self) -> PathBuf {
        self.config("mix-1-1").with_file_name("keys")
    }

    /// The file with the mix key and the replay table of the mix under test.
    fn table(&self) -> PathBuf {
        let id = self.consensus.node_named("mix-1-1").expect("it is listed").id().to_string();
        self.folder.join(format!("mixline-{}", &id[..16])).join("epoch-1")
    }

    /// Starts the mix under test.
    fn start(&self) -> Mix {
        let child = Command::new(env!("CARGO_BIN_EXE_mixline"))
            .args(["run", "--die-with-parent"])
            .arg(self.config("mix-1-1"))
            .env("RUNTIME_DIRECTORY", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Mix(child.expect("the program starts"))
    }

    /// The nodes before and behind the mix, linked to it: packets pass.
    fn neighbours(&mut self) -> [Neighbour; 2] {
        let mix = self.consensus.node_named("mix-1-1").expect("it is listed");
        let mut both = ["gateway-1", "mix-2-1"].map(|name| {
            let file = NodeFile::load(&self.config(name)).expect("it was made");
            Neighbour::start(&file, mix)
        });
        let up = wait(&mut both, |both| both.iter().all(Neighbour::is_up));
        assert!(up, "the links come up");
        // A session that the mix answered serves it only once it was confirmed.
        for _ in 0..100 {
            both[0].send(&self.packet());
            work_for(&mut both, Nanos::from_millis(50));
            if both[1].received.drain(..).count() > 0 {
                break;
            }
        }
        both
    }

    /// A new packet over the mix under test and the neighbour behind it.
    fn packet(&mut self) -> Vec<u8> {
        let route: Vec<RouteHop> = ["mix-1-1", "mix-2-1", "mix-3-1", "gateway-2"]
            .iter()
            .map(|name| {
                let node = self.consensus.node_named(name).expect("it is listed");
                let public_key = *node.mix_public(1).expect("it has a key");
                RouteHop { address: node.id().0, public_key, delay_ns: DELAY.0 }
            })
            .collect();
        let itinerary = Itinerary {
            route: &route,
            destination: Destination::default(),
            identifier: Identifier::default(),
            version: Version::SingleSeed,
        };
        let geometry = self.consensus.geometry();
        let mut frame = vec![0; geometry.frame_bytes()];
        let packet = &mut frame[..geometry.packet_bytes()];
        sphinx::build(b"once", &itinerary, &mut self.rng, packet).expect("a good route");
        frame[geometry.packet_bytes()] = route::epoch_byte(1);
        frame
    }

    fn packets(&mut self, count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.packet()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The process under test, killed at its end.
struct Mix(Child);

impl Mix {
    /// SIGKILL.
    fn kill(mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it ends");
    }

    /// SIGTERM; what it counted under `drops`, in its last line.
    fn totals(mut self) -> serde_json::Value {
        host::terminate(self.0.id());
        let mut line = String::new();
        let output = self.0.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it prints its totals");
        assert!(self.0.wait().expect("it ends").success());
        serde_json::from_str(&line).expect("totals in JSON")
    }

    /// Exit status and log of a process that does not want to run.
    fn refusal(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let output = self.0.stderr.as_mut().expect("it is piped");
        output.read_to_string(&mut log).expect("a log");
        (self.0.wait().expect("it ends").code(), log)
    }
}

impl Drop for Mix {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets both neighbours work until `done`, or until it has taken too long.
fn wait(both: &mut [Neighbour; 2], done: impl Fn(&[Neighbour; 2]) -> bool) -> bool {
    let start = clock::now();
    while !done(both) && clock::now() - start < PATIENCE {
        both.iter_mut().for_each(Neighbour::turn);
        std::thread::sleep(Duration::from_millis(1));
    }
    done(both)
}

fn work_for(both: &mut [Neighbour; 2], span: Nanos) {
    let end = clock::now() + span;
    while clock::now() < end {
        both.iter_mut().for_each(Neighbour::turn);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Hands in `packets` as fast as a socket's buffer lets all of them through.
fn send(both: &mut [Neighbour; 2], packets: &[Vec<u8>]) {
    for some in packets.chunks(32) {
        some.iter().for_each(|packet| both[0].send(packet));
        work_for(both, Nanos::from_millis(2));
    }
}

/// The packets that the mix has sent on, of which none may come twice.
#[derive(Default)]
struct Forwarded(HashSet<Vec<u8>>);

impl Forwarded {
    /// How many came since the last look.
    fn take(&mut self, both: &mut [Neighbour; 2]) -> usize {
        let came = both[1].received.len();
        for packet in both[1].received.drain(..) {
            assert!(self.0.insert(packet), "a packet was forwarded twice");
        }
        came
    }
}

#[test]
fn a_mix_that_is_killed_twenty_times_under_load_forwards_no_packet_twice() {
    const FRESH: usize = 250;
    let mut world = World::new("survival", 1);
    let mut forwarded = Forwarded::default();
    let mut sent: Vec<Vec<u8>> = vec![];
    for round in 0..20 {
        let mix = world.start();
        let mut both = world.neighbours();
        let fresh = world.packets(FRESH);
        send(&mut both, &fresh[..FRESH / 2]);
        work_for(&mut both, Nanos(3 * DELAY.0));
        let came = forwarded.take(&mut both);
        assert!(came > FRESH / 4, "round {round}: {came} new packets of {} came", FRESH / 2);
        // Everything of the rounds before once more, then more that is new: the kill comes while
        // these are on their way, in the mix, and just sent.
        send(&mut both, &sent);
        send(&mut both, &fresh[FRESH / 2..]);
        mix.kill();
        work_for(&mut both, Nanos::from_millis(20));
        forwarded.take(&mut both);
        sent.extend(fresh);
    }

    let mix = world.start();
    let mut both = world.neighbours();
    send(&mut both, &sent);
    work_for(&mut both, Nanos::from_millis(200));
    let late = forwarded.take(&mut both);
    let totals = mix.totals();
    let replays = totals["drops"]["sphinx replay"].as_u64().unwrap_or(0);
    let all = sent.len() as u64;
    assert!(replays + late as u64 > all * 9 / 10, "{replays} replays and {late} late of {all}");
    assert!(replays > all * 8 / 10, "{replays} replays of {all}: {totals}");
    assert!(forwarded.0.len() > sent.len() / 2, "{} of {}", forwarded.0.len(), sent.len());
}

/// A mix that has seen a packet, stopped; the packet.
fn used(name: &str, subnet: u8) -> (World, Vec<u8>) {
    let mut world = World::new(name, subnet);
    let packet = world.packet();
    let mix = world.start();
    let mut both = world.neighbours();
    both[0].send(&packet);
    assert!(wait(&mut both, |both| both[1].received.len() == 1), "it is forwarded");
    mix.kill();
    (world, packet)
}

#[test]
fn the_test_would_see_a_replay_if_the_table_were_lost_alone() {
    let (mut world, packet) = used("lost", 8);
    let table = OpenOptions::new().write(true).open(world.table()).expect("the table");
    let bytes = table.metadata().expect("its size").len();
    let (header, lanes) = (4096, usize::try_from(bytes - 4096).expect("it is small"));
    table.write_all_at(&vec![0; lanes], header).expect("it can be written");
    let _mix = world.start();
    let mut both = world.neighbours();
    both[0].send(&packet);
    assert!(wait(&mut both, |both| both[1].received.len() == 1), "it comes again");
}

/// That the key is gone with its table, whatever of the two was lost, and nobody can use it.
fn assert_key_is_gone(world: &World, said: &str) {
    let (status, log) = world.start().refusal();
    assert_eq!(status, Some(66), "{log}");
    assert!(log.contains(said) && log.contains("keygen --epoch 1"), "{log}");
    assert!(!world.table().exists() && !world.keys().join("mix-1.key").exists());
}

#[test]
fn a_mix_key_is_not_on_the_disk_once_it_is_in_use() {
    let (world, _) = used("disk", 2);
    assert!(world.table().exists());
    assert!(!world.keys().join("mix-1.key").exists());
}

#[test]
fn a_key_of_before_a_power_loss_is_gone() {
    let (world, _) = used("power", 3);
    fs::remove_file(world.table()).expect("memory is lost");
    assert_key_is_gone(&world, "there is no mix key");
}

#[test]
fn a_key_of_another_boot_is_discarded() {
    // The header: its boot id stands before its checksum.
    const BOOT_ID: std::ops::Range<usize> = 112..148;
    let (world, _) = used("boot", 4);
    let file = OpenOptions::new().read(true).write(true).open(world.table()).expect("the table");
    let mut header = [0; 180];
    file.read_exact_at(&mut header, 0).expect("a header");
    let boot_id = fs::read("/proc/sys/kernel/random/boot_id").expect("a boot id");
    assert_eq!(header[BOOT_ID], boot_id[..36]);
    header[BOOT_ID].fill(b'0');
    let checksum = sha256::digest(&[&header[..148]]);
    header[148..].copy_from_slice(&checksum);
    file.write_all_at(&header, 0).expect("it can be written");
    assert_key_is_gone(&world, "before the machine was started again");
    assert!(!world.keys().join("epoch-1.key").exists());
}

#[test]
fn a_damaged_table_is_discarded_with_its_key() {
    let (world, _) = used("damage", 5);
    let file = OpenOptions::new().write(true).open(world.table()).expect("the table");
    file.set_len(10_000).expect("it can be cut");
    assert_key_is_gone(&world, "damaged");
}

#[test]
fn a_key_whose_table_is_full_takes_nothing_more_also_after_a_restart() {
    let mut world = World::new("full", 6);
    let config = world.config("mix-1-1");
    let text = fs::read_to_string(&config).expect("a configuration");
    let small = text.replace("#packets_max = 8000000", "packets_max = 300");
    assert_ne!(small, text);
    fs::write(&config, small).expect("it can be written");
    let mix = world.start();
    let mut both = world.neighbours();
    let packets = world.packets(800);
    send(&mut both, &packets);
    work_for(&mut both, Nanos::from_millis(1500));
    // 512 lanes, of which the last are hard to find.
    let forwarded = both[1].received.len();
    assert!((300..=512).contains(&forwarded), "{forwarded}");
    let more = world.packets(50);
    send(&mut both, &more);
    work_for(&mut both, Nanos::from_millis(200));
    assert_eq!(both[1].received.len(), forwarded, "the key is closed");
    let totals = mix.totals();
    let drops = |reason: &str| totals["drops"][reason].as_u64().unwrap_or(0);
    assert!(drops("sphinx replay_table_full") > 0, "{totals}");
    assert!(drops("worker key_closed") >= 45, "{totals}");

    drop(both);
    let mix = world.start();
    let mut both = world.neighbours();
    let more = world.packets(50);
    send(&mut both, &more);
    work_for(&mut both, Nanos::from_millis(200));
    assert_eq!(both[1].received.len(), 0);
    assert!(mix.totals()["drops"]["worker key_closed"].as_u64() >= Some(45));
}

#[test]
fn of_two_processes_of_one_node_the_second_is_refused() {
    let mut world = World::new("second", 7);
    let _mix = world.start();
    let _both = world.neighbours();
    let (status, log) = world.start().refusal();
    assert_eq!(status, Some(69), "{log}");
    assert!(log.contains("is this node running already"), "{log}");
}
