//! What a mix has seen outlives the process and not the power: a real process, killed under load.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;

use mixline::clock::Nanos;
use mixline::crypto::sha256;

use crate::mix::{THROUGH_GATEWAY, World, send, wait, work_for};
use crate::neighbour::Neighbour;

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
    kill_twenty_times(World::new("survival", 1));
}

#[test]
fn a_gateway_that_is_killed_twenty_times_under_load_forwards_no_packet_twice() {
    kill_twenty_times(World::on(THROUGH_GATEWAY, "gateway-survival", 12));
}

fn kill_twenty_times(mut world: World) {
    const FRESH: usize = 250;
    let mut forwarded = Forwarded::default();
    let mut sent: Vec<Vec<u8>> = vec![];
    for round in 0..20 {
        let mix = world.start();
        let mut both = world.neighbours();
        let fresh = world.packets(FRESH);
        world.pass(&mut both, &fresh[..FRESH / 2]);
        let came = forwarded.take(&mut both);
        assert!(came > FRESH / 4, "round {round}: {came} new packets of {} came", FRESH / 2);
        // Everything of the rounds before once more, then more that is new: the kill comes while
        // these are on their way, in the mix, and just sent.
        world.pass(&mut both, &sent);
        let (early, late) = fresh[FRESH / 2..].split_at(FRESH / 4);
        send(&mut both, early);
        work_for(&mut both, world.delay);
        send(&mut both, late);
        mix.kill();
        work_for(&mut both, Nanos::from_millis(20));
        forwarded.take(&mut both);
        sent.extend(fresh);
    }

    let mix = world.start();
    let mut both = world.neighbours();
    world.pass(&mut both, &sent);
    let totals = mix.totals();
    let replays = totals["drops"]["sphinx replay"].as_u64().unwrap_or(0);
    let all = sent.len() as u64;
    wait(&mut both, |both| replays + both[1].received.len() as u64 >= all);
    let late = forwarded.take(&mut both);
    // The rest is what the kernel had for the process that was killed: new to the next one, and
    // forwarded by it.
    assert_eq!(replays + late as u64, all, "{replays} replays and {late} late of {all}");
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
fn keys_of_epochs_that_are_over_are_erased_everywhere() {
    let (mut world, _) = used("over", 9);
    let old = world.table().with_file_name("epoch-0");
    fs::copy(world.table(), &old).expect("there is memory");
    let kem = world.keys().join("epoch-0.key");
    fs::copy(world.keys().join("epoch-1.key"), &kem).expect("there is room");
    let _mix = world.start();
    let _both = world.neighbours();
    assert!(!old.exists() && !kem.exists());
    assert!(world.table().exists() && world.keys().join("epoch-1.key").exists());
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
    world.configure("#packets_max = 8000000", "packets_max = 300");
    let mix = world.start();
    let mut both = world.neighbours();
    let packets = world.packets(800);
    world.pass(&mut both, &packets);
    let closed = wait(&mut both, |_| world.ask("/readyz").0 == 503);
    assert!(closed, "a full table is seen");
    // 512 lanes, of which the last are hard to find.
    let forwarded = both[1].received.len();
    assert!((300..=512).contains(&forwarded), "{forwarded}");
    let more = world.packets(50);
    world.pass(&mut both, &more);
    assert_eq!(both[1].received.len(), forwarded, "the key is closed");
    assert_eq!(world.ask("/readyz"), (503, "the key of epoch 1 is closed\n".to_owned()));
    let totals = mix.totals();
    let drops = |reason: &str| totals["drops"][reason].as_u64().unwrap_or(0);
    assert!(drops("sphinx replay_table_full") > 0, "{totals}");
    assert!(drops("worker key_closed") >= 45, "{totals}");

    drop(both);
    let mix = world.start();
    let mut both = world.neighbours();
    let more = world.packets(50);
    world.pass(&mut both, &more);
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
