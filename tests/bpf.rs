//! The XDP program on frames, run by the kernel itself (`BPF_PROG_TEST_RUN`): what it lets in,
//! what it drops and for which reason, and what it leaves alone.
//!
//! Needs root. Nothing is attached to an interface of the machine: where one is needed, it is in
//! a network that ends with the test's thread.

#![cfg(test)] // also what is included may unwrap

#[path = "support/bpf.rs"]
mod bpf;
#[path = "bpf/frames.rs"]
mod frames;

use std::env;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use bpf::Verdict;
use frames::{Frame, NODE_V4, NODE_V6, PAYLOAD_BYTES, PORT};
use mixline::crypto::random::Rng;
use mixline::host::privileges::{self, Privilege};
use mixline::io::shield::{Attachment, Budget, Reason, Settings, Shield, ShieldError};
use mixline::wire::{self, Foreign};

const NOTHING: Budget = Budget { per_second: 0, burst: 0 };
/// More than any test sends.
const PLENTY: Budget = Budget { per_second: 1_000_000_000, burst: u32::MAX };
/// So many, and no more while a test runs.
const fn at_once(burst: u32) -> Budget {
    Budget { per_second: 1, burst }
}

/// A node at every address of the machine that lets everybody in.
fn open() -> Settings {
    Settings {
        address: SocketAddr::new("::".parse().unwrap(), PORT),
        datagram_bytes: PAYLOAD_BYTES,
        peers_max: 4,
        clients_max: 4,
        strangers: PLENTY,
        per_source: PLENTY,
    }
}

/// A node that lets no stranger in.
fn closed() -> Settings {
    Settings { strangers: NOTHING, ..open() }
}

/// The program with a socket on queue 0, where the tests' frames arrive. None, and a line that
/// says so, where the kernel or a privilege for it is missing.
fn load(settings: &Settings) -> Option<Shield> {
    match Shield::load(settings) {
        Ok(shield) => {
            shield.serve(0, bpf::socket()).unwrap();
            Some(shield)
        }
        Err(error @ (ShieldError::Permission { .. } | ShieldError::Kernel(_))) => {
            assert!(env::var_os("MIXLINE_REQUIRE_XDP").is_none(), "{error}");
            let current = thread::current();
            eprintln!("SKIP {}: {error}", current.name().unwrap_or("a test of the shield"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// What the program says of a frame, and the one counter that it raises for it.
fn judge(shield: &Shield, frame: &[u8]) -> (Verdict, Reason) {
    let before = shield.counters().unwrap();
    let (verdict, _) = bpf::run(shield.program(), frame, 1);
    let after = shield.counters().unwrap();
    let raised: Vec<_> = Reason::ALL
        .into_iter()
        .filter(|reason| *reason != Reason::Unserved && after.of(*reason) != before.of(*reason))
        .collect();
    assert_eq!(raised.len(), 1, "{raised:?}");
    assert_eq!(after.of(raised[0]), before.of(raised[0]) + 1);
    (verdict, raised[0])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Stranger number `n`, each another IPv4 address.
fn stranger(n: u32) -> Vec<u8> {
    let [_, _, high, low] = n.to_be_bytes();
    Frame::from(SocketAddr::new([198, 19, high, low].into(), 4000)).bytes()
}

const PASS: (Verdict, Reason) = (Verdict::Pass, Reason::Foreign);
const fn dropped(reason: Reason) -> (Verdict, Reason) {
    (Verdict::Drop, reason)
}
const fn let_in(reason: Reason) -> (Verdict, Reason) {
    (Verdict::Redirect, reason)
}

#[test]
fn datagrams_of_both_ip_versions_are_let_in() {
    let Some(shield) = load(&open()) else { return };
    for frame in [Frame::v4(), Frame::v6()] {
        assert_eq!(judge(&shield, &frame.bytes()), let_in(Reason::Stranger));
    }
}

#[test]
fn one_vlan_tag_is_looked_behind() {
    let Some(shield) = load(&open()) else { return };
    for frame in [Frame::v4(), Frame::v6()] {
        assert_eq!(judge(&shield, &frame.tagged().bytes()), let_in(Reason::Stranger));
        assert_eq!(judge(&shield, &frame.tagged().to_port(PORT + 1).bytes()), PASS);
    }
}

#[test]
fn what_is_behind_two_vlan_tags_is_left_alone() {
    let Some(shield) = load(&open()) else { return };
    let mut frame = Frame::v4().tagged().bytes();
    frame.splice(12..12, [0x81, 0x00, 0x00, 0x07]);
    assert_eq!(judge(&shield, &frame), PASS);
}

#[test]
fn datagrams_to_other_ports_are_left_alone() {
    let Some(shield) = load(&open()) else { return };
    for frame in [Frame::v4(), Frame::v6()] {
        assert_eq!(judge(&shield, &frame.to_port(PORT ^ 1).bytes()), PASS);
        assert_eq!(judge(&shield, &frame.to_port(53).bytes()), PASS);
    }
}

#[test]
fn arp_icmp_tcp_and_neighbour_discovery_are_left_alone() {
    let Some(shield) = load(&closed()) else { return };
    for (name, frame) in frames::foreign() {
        assert_eq!(judge(&shield, &frame), PASS, "{name}");
    }
}

#[test]
fn a_node_at_one_address_leaves_the_others_alone() {
    for (node, other) in [(NODE_V4, Frame::v6()), (NODE_V6, Frame::v4())] {
        let settings = Settings { address: SocketAddr::new(ip(node), PORT), ..open() };
        let Some(shield) = load(&settings) else { return };
        let same_version = if node == NODE_V4 { Frame::v4() } else { Frame::v6() };
        let neighbour = if node == NODE_V4 { "198.18.0.99" } else { "2001:2::99" };
        assert_eq!(judge(&shield, &same_version.bytes()), let_in(Reason::Stranger));
        assert_eq!(judge(&shield, &same_version.to(ip(neighbour)).bytes()), PASS);
        assert_eq!(judge(&shield, &other.bytes()), PASS);
        let inside_ipv6 = Frame::v6().to(ip("::ffff:198.18.0.1"));
        assert_eq!(judge(&shield, &inside_ipv6.bytes()), PASS);
    }
}

#[test]
fn a_node_at_every_ipv4_address_leaves_ipv6_alone() {
    let settings = Settings { address: SocketAddr::new(ip("0.0.0.0"), PORT), ..open() };
    let Some(shield) = load(&settings) else { return };
    assert_eq!(judge(&shield, &Frame::v4().bytes()), let_in(Reason::Stranger));
    assert_eq!(judge(&shield, &Frame::v6().bytes()), PASS);
}

#[test]
fn short_and_long_datagrams_are_dropped_and_counted_apart() {
    let Some(shield) = load(&open()) else { return };
    for frame in [Frame::v4(), Frame::v6()] {
        for bytes in [0, 1, PAYLOAD_BYTES - 1] {
            let frame = frame.with_payload(bytes).bytes();
            assert_eq!(judge(&shield, &frame), dropped(Reason::Short));
        }
        for bytes in [PAYLOAD_BYTES + 1, 2 * PAYLOAD_BYTES] {
            let frame = frame.with_payload(bytes).bytes();
            assert_eq!(judge(&shield, &frame), dropped(Reason::Long));
        }
    }
}

#[test]
fn padding_of_ethernet_is_not_part_of_the_datagram() {
    let Some(shield) = load(&open()) else { return };
    for frame in [Frame::v4(), Frame::v6()] {
        let mut padded = frame.bytes();
        padded.extend([0; 7]);
        assert_eq!(judge(&shield, &padded), let_in(Reason::Stranger));
        let mut short = frame.with_payload(PAYLOAD_BYTES - 7).bytes();
        short.extend([0; 7]);
        assert_eq!(judge(&shield, &short), dropped(Reason::Short));
    }
}

#[test]
fn lengths_that_contradict_each_other_are_dropped() {
    let Some(shield) = load(&open()) else { return };
    for frame in [Frame::v4(), Frame::v6()] {
        let mut cut = frame.bytes();
        cut.pop();
        assert_eq!(judge(&shield, &cut), dropped(Reason::Lengths));
        let mut more_in_ip = frame.with_payload(PAYLOAD_BYTES + 8).bytes();
        let udp_length = frame.headers_bytes() - 4;
        more_in_ip[udp_length..][..2].copy_from_slice(&frames::udp_length(PAYLOAD_BYTES));
        assert_eq!(judge(&shield, &more_in_ip), dropped(Reason::Lengths));
    }
}

#[test]
fn the_first_part_of_a_packet_is_dropped_and_later_parts_are_left_alone() {
    let Some(shield) = load(&open()) else { return };
    assert_eq!(judge(&shield, &Frame::v4().part(0, true)), dropped(Reason::Fragment));
    assert_eq!(judge(&shield, &Frame::v6().part(0, true)), dropped(Reason::Fragment));
    for more in [true, false] {
        assert_eq!(judge(&shield, &Frame::v4().part(8, more)), PASS);
        assert_eq!(judge(&shield, &Frame::v6().part(8, more)), PASS);
    }
    for frame in [Frame::v4(), Frame::v6()] {
        assert_eq!(judge(&shield, &frame.to_port(PORT + 1).part(0, true)), PASS);
    }
}

#[test]
fn datagrams_behind_options_or_extension_headers_are_dropped() {
    let Some(shield) = load(&open()) else { return };
    for words in [1, 10] {
        let frame = Frame::v4().with_options(words);
        assert_eq!(judge(&shield, &frame), dropped(Reason::Options));
        assert_eq!(judge(&shield, &Frame::v4().to_port(PORT + 1).with_options(words)), PASS);
    }
    // Hop by hop, routing, destination; and all of them.
    for kinds in [&[0][..], &[43], &[60], &[0, 60, 43, 60]] {
        let frame = Frame::v6().with_extensions(kinds);
        assert_eq!(judge(&shield, &frame), dropped(Reason::Options), "{kinds:?}");
        let frame = Frame::v6().to_port(PORT + 1).with_extensions(kinds);
        assert_eq!(judge(&shield, &frame), PASS, "{kinds:?}");
    }
}

#[test]
fn sources_that_no_other_machine_has_are_dropped() {
    let Some(shield) = load(&open()) else { return };
    let v4 = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", NODE_V4];
    let v6 = ["::", "::1", "::ffff:198.18.0.2", "ff02::1", NODE_V6];
    for source in v4.into_iter().chain(v6) {
        let frame = Frame::from(SocketAddr::new(ip(source), 4000)).bytes();
        assert_eq!(judge(&shield, &frame), dropped(Reason::Martian), "{source}");
    }
    for source in ["1.2.3.4", "126.0.0.1", "128.0.0.1", "223.9.9.9", "fe80::1", "2001:2::2"] {
        let frame = Frame::from(SocketAddr::new(ip(source), 4000)).bytes();
        assert_eq!(judge(&shield, &frame), let_in(Reason::Stranger), "{source}");
    }
}

#[test]
fn peers_are_known_by_their_address_whatever_their_port() {
    let Some(shield) = load(&closed()) else { return };
    shield.guests().set_peers([ip("198.18.0.2"), ip("2001:2::2")]).unwrap();
    for source in ["198.18.0.2:1", "198.18.0.2:4000", "[2001:2::2]:4000"] {
        let frame = Frame::from(address(source)).bytes();
        assert_eq!(judge(&shield, &frame), let_in(Reason::Peer), "{source}");
    }
    for source in ["198.18.0.3:4000", "[2001:2::3]:4000"] {
        let frame = Frame::from(address(source)).bytes();
        assert_eq!(judge(&shield, &frame), dropped(Reason::StrangersBudget), "{source}");
    }
}

#[test]
fn a_client_is_a_stranger_from_another_port() {
    let Some(shield) = load(&closed()) else { return };
    for client in ["198.18.0.2:4000", "[2001:2::2]:4000"] {
        shield.guests().add_client(address(client)).unwrap();
        let frame = Frame::from(address(client)).bytes();
        assert_eq!(judge(&shield, &frame), let_in(Reason::Client), "{client}");
        let other = SocketAddr::new(address(client).ip(), 4001);
        let frame = Frame::from(other).bytes();
        assert_eq!(judge(&shield, &frame), dropped(Reason::StrangersBudget), "{other}");
        shield.guests().remove_client(address(client)).unwrap();
        let frame = Frame::from(address(client)).bytes();
        assert_eq!(judge(&shield, &frame), dropped(Reason::StrangersBudget), "{client}");
    }
}

#[test]
fn peers_are_replaced_as_a_set() {
    let Some(shield) = load(&closed()) else { return };
    let guests = shield.guests();
    let reason = |host: u8| {
        judge(&shield, &Frame::from(SocketAddr::new([198, 18, 1, host].into(), 1)).bytes()).1
    };
    let set = |hosts: std::ops::Range<u8>| {
        guests.set_peers(hosts.map(|host| IpAddr::from([198, 18, 1, host])))
    };
    set(0..4).unwrap();
    // All four change, though there are four places.
    for first in [2, 4, 0] {
        set(first..first + 4).unwrap();
        for host in 0..10 {
            let peer = (first..first + 4).contains(&host);
            assert_eq!(reason(host) == Reason::Peer, peer, "host {host} of {first}..");
        }
    }
    set(0..0).unwrap();
    assert!((0..10).all(|host| reason(host) == Reason::StrangersBudget));
}

#[test]
fn a_full_list_says_so_and_stays_as_it_is() {
    let Some(shield) = load(&closed()) else { return };
    let guests = shield.guests();
    guests.set_peers([ip("198.18.0.2")]).unwrap();
    let many = (0..5).map(|host| IpAddr::from([198, 18, 1, host]));
    let error = guests.set_peers(many).unwrap_err();
    assert!(matches!(error, ShieldError::Full { guests: "peers", places: 4 }), "{error}");
    let frame = |source: SocketAddr| judge(&shield, &Frame::from(source).bytes());
    assert_eq!(frame(address("198.18.0.2:1")), let_in(Reason::Peer));
    assert_eq!(frame(address("198.18.1.0:1")), dropped(Reason::StrangersBudget));

    let client = |port| SocketAddr::new(ip("198.18.0.9"), port);
    (0..4).for_each(|port| guests.add_client(client(port)).unwrap());
    let error = guests.add_client(client(4)).unwrap_err();
    assert!(matches!(error, ShieldError::Full { guests: "clients", places: 4 }), "{error}");
    // Whoever is on the list may be added again, and leaves a place.
    guests.add_client(client(0)).unwrap();
    guests.remove_client(client(0)).unwrap();
    guests.remove_client(client(0)).unwrap();
    guests.add_client(client(4)).unwrap();
    assert_eq!(frame(client(4)), let_in(Reason::Client));
}

#[test]
fn a_stranger_gets_its_burst_and_no_more() {
    let Some(shield) = load(&Settings { per_source: at_once(3), ..open() }) else { return };
    for n in 0..4 {
        for _ in 0..3 {
            assert_eq!(judge(&shield, &stranger(n)), let_in(Reason::Stranger));
        }
        for _ in 0..3 {
            assert_eq!(judge(&shield, &stranger(n)), dropped(Reason::SourceBudget));
        }
    }
}

#[test]
fn a_stranger_that_varies_its_port_is_one_stranger() {
    let Some(shield) = load(&Settings { per_source: at_once(3), ..open() }) else { return };
    let sent =
        (0..10).map(|port| judge(&shield, &Frame::from(([198, 18, 0, 9], port).into()).bytes()));
    assert_eq!(sent.filter(|judged| *judged == let_in(Reason::Stranger)).count(), 3);
}

#[test]
fn a_network_of_ipv6_is_one_stranger() {
    let Some(shield) = load(&Settings { per_source: at_once(3), ..open() }) else { return };
    let let_in_from = |network: u16| {
        let host = |host| SocketAddr::new([0x2001, 2, 9, network, 7, host, 0, host].into(), 4000);
        let sent = (1..10).map(|number| judge(&shield, &Frame::from(host(number)).bytes()));
        sent.filter(|judged| *judged == let_in(Reason::Stranger)).count()
    };
    assert_eq!([let_in_from(1), let_in_from(2)], [3, 3]);
}

#[test]
fn a_budget_fills_up_again() {
    let per_source = Budget { per_second: 20, burst: 2 };
    let Some(shield) = load(&Settings { per_source, ..open() }) else { return };
    let let_in_of_ten =
        || (0..10).filter(|_| judge(&shield, &stranger(0)) == let_in(Reason::Stranger)).count();
    assert_eq!(let_in_of_ten(), 2);
    // Long enough for more than two; a silence is not saved up beyond the burst.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(let_in_of_ten(), 2);
}

#[test]
fn a_source_over_its_budget_uses_up_nothing_of_the_others() {
    let settings = Settings { strangers: at_once(10), per_source: at_once(2), ..open() };
    let Some(shield) = load(&settings) else { return };
    for _ in 0..100 {
        judge(&shield, &stranger(0));
    }
    let others: Vec<_> = (1..10).map(|n| judge(&shield, &stranger(n)).1).collect();
    assert_eq!(others[..8], [Reason::Stranger; 8]);
    assert_eq!(others[8], Reason::StrangersBudget);
}

#[test]
fn invented_sources_get_one_budget_together_while_peers_and_clients_pass() {
    let settings = Settings { strangers: at_once(50), per_source: at_once(5), ..open() };
    let Some(shield) = load(&settings) else { return };
    let (peer, client) = (address("198.18.0.2:4000"), address("198.18.0.3:4000"));
    shield.guests().set_peers([peer.ip()]).unwrap();
    shield.guests().add_client(client).unwrap();
    let (peer, client) = (Frame::from(peer).bytes(), Frame::from(client).bytes());
    let mut rng = Rng::from_seed([5; 32]);
    for _ in 0..10_000 {
        let [a, b, c, d] = rng.bytes();
        let source = SocketAddr::new([1 + a % 120, b, c, d].into(), u16::from(a) + 1);
        bpf::run(shield.program(), &Frame::from(source).bytes(), 1);
        assert_eq!(bpf::run(shield.program(), &peer, 1).0, Verdict::Redirect);
        assert_eq!(bpf::run(shield.program(), &client, 1).0, Verdict::Redirect);
    }
    let counters = shield.counters().unwrap();
    assert_eq!([counters.of(Reason::Peer), counters.of(Reason::Client)], [10_000; 2]);
    // One a second comes in beside the burst.
    assert!((50..60).contains(&counters.of(Reason::Stranger)), "{counters:?}");
    let strangers = [Reason::Stranger, Reason::StrangersBudget, Reason::SourceBudget];
    assert_eq!(strangers.map(|reason| counters.of(reason)).iter().sum::<u64>(), 10_000);
}

#[test]
fn the_budget_of_all_strangers_is_exact_on_all_cores_together() {
    const BURST: u32 = 100_000;
    let Some(shield) = load(&Settings { strangers: at_once(BURST), ..open() }) else { return };
    thread::scope(|scope| {
        for core in mixline::host::cores() {
            let shield = &shield;
            scope.spawn(move || {
                assert!(mixline::host::pin(core));
                let frame = stranger(u32::try_from(core).unwrap());
                bpf::run(shield.program(), &frame, 2 * BURST.cast_signed());
            });
        }
    });
    let let_in = shield.counters().unwrap().of(Reason::Stranger);
    // One a second comes in beside the burst.
    assert!((u64::from(BURST)..u64::from(BURST) + 20).contains(&let_in), "{let_in}");
}

#[test]
fn the_budget_of_a_source_is_exact_on_all_cores_together() {
    const BURST: u32 = 100_000;
    let Some(shield) = load(&Settings { per_source: at_once(BURST), ..open() }) else { return };
    // Entered before, so that no two cores do it at the same time.
    judge(&shield, &stranger(0));
    thread::scope(|scope| {
        for core in mixline::host::cores() {
            let shield = &shield;
            scope.spawn(move || {
                assert!(mixline::host::pin(core));
                bpf::run(shield.program(), &stranger(0), 2 * BURST.cast_signed());
            });
        }
    });
    let let_in = shield.counters().unwrap().of(Reason::Stranger);
    assert!((u64::from(BURST)..u64::from(BURST) + 20).contains(&let_in), "{let_in}");
}

#[test]
fn without_a_socket_on_the_queue_the_kernels_socket_gets_the_datagram() {
    let Some(shield) = load(&open()) else { return };
    let socket = bpf::Socket::new();
    shield.serve(0, socket.as_fd()).unwrap();
    assert_eq!(judge(&shield, &Frame::v4().bytes()), let_in(Reason::Stranger));
    assert_eq!(shield.counters().unwrap().of(Reason::Unserved), 0);
    drop(socket);
    assert_eq!(judge(&shield, &Frame::v4().bytes()), (Verdict::Pass, Reason::Stranger));
    assert_eq!(shield.counters().unwrap().of(Reason::Unserved), 1);
}

#[test]
fn a_queue_without_a_place_is_named() {
    let Some(shield) = load(&open()) else { return };
    let error = shield.serve(64, bpf::socket()).unwrap_err();
    assert!(error.to_string().contains("queue 64"), "{error}");
}

#[test]
fn no_mutation_of_a_frame_is_judged_otherwise_than_it_is_read() {
    let Some(shield) = load(&open()) else { return };
    let right = [Frame::v4(), Frame::v6(), Frame::v4().tagged(), Frame::v6().tagged()];
    let right = right.map(|frame| frame.bytes());
    let mut rng = Rng::from_seed([6; 32]);
    let mut verdicts = [0; 3];
    for round in 0..10_000 {
        let mut frame = right[round % right.len()].clone();
        frames::mutate(&mut frame, &mut rng);
        let (verdict, _) = bpf::run(shield.program(), &frame, 1);
        let allowed = allowed(&frame);
        assert!(
            allowed.contains(&verdict),
            "round {round}: {verdict:?}: {:02x?}",
            &frame[..66.min(frame.len())]
        );
        verdicts[verdict as usize] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 500), "{verdicts:?}");
}

/// What may become of a frame at an open node, by what the node's own parser says.
fn allowed(frame: &[u8]) -> &'static [Verdict] {
    match wire::parse(frame) {
        Ok((headers, _)) if headers.ends.destination().port() != PORT => &[Verdict::Pass],
        Ok((headers, payload)) => {
            let right = payload.len() == PAYLOAD_BYTES && !frames::is_martian(&headers.ends);
            if right { &[Verdict::Redirect] } else { &[Verdict::Drop] }
        }
        // It depends on the port, which the parser does not tell of such.
        Err(Foreign::Options | Foreign::ExtensionHeader | Foreign::Fragment | Foreign::Length) => {
            &[Verdict::Pass, Verdict::Drop]
        }
        Err(_) => &[Verdict::Pass],
    }
}

#[test]
fn lists_and_counters_need_no_privilege() {
    let Some(shield) = load(&closed()) else { return };
    thread::scope(|scope| {
        let deprived = scope.spawn(|| {
            bpf::drop_privileges();
            let guests = shield.guests();
            guests.set_peers([ip("198.18.0.2")]).unwrap();
            guests.set_peers([ip("198.18.0.3")]).unwrap();
            guests.add_client(address("198.18.0.4:1")).unwrap();
            guests.remove_client(address("198.18.0.4:1")).unwrap();
            shield.counters().unwrap();
        });
        deprived.join().unwrap();
    });
    let frame = Frame::from(address("198.18.0.3:1")).bytes();
    assert_eq!(judge(&shield, &frame), let_in(Reason::Peer));
}

#[test]
fn the_lists_follow_when_all_privileges_were_given_up() {
    let Some(shield) = load(&closed()) else { return };
    let (frame, client) = (Frame::from(address("198.18.0.3:1")).bytes(), address("198.18.0.4:1"));
    assert_eq!(judge(&shield, &frame), dropped(Reason::StrangersBudget));
    thread::scope(|scope| {
        // As a node does it, which stays user 0: by descriptors that are open, in this thread.
        let deprived = scope.spawn(|| {
            privileges::drop_of_thread().unwrap();
            assert_eq!(privileges::missing(), Privilege::ALL);
            shield.guests().set_peers([ip("198.18.0.3")]).unwrap();
            shield.guests().add_client(client).unwrap();
            assert!(Shield::load(&closed()).is_err());
        });
        deprived.join().unwrap();
    });
    assert_eq!(judge(&shield, &frame), let_in(Reason::Peer));
    assert_eq!(judge(&shield, &Frame::from(client).bytes()), let_in(Reason::Client));
}

#[test]
fn without_privileges_the_error_names_them() {
    if load(&open()).is_none() {
        return;
    }
    let deprived = thread::spawn(|| {
        bpf::drop_privileges();
        Shield::load(&open()).map(drop).unwrap_err().to_string()
    });
    let error = deprived.join().unwrap();
    assert!(error.contains("cap_bpf and cap_net_admin"), "{error}");
}

/// Its index, in every network.
const LOOPBACK: u32 = 1;

/// What `ip` says of an interface of this thread's network.
fn shown(interface: &str) -> String {
    let output = Command::new("ip").args(["link", "show", interface]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_interface_is_held_and_given_back() {
    let Some(mut shield) = load(&open()) else { return };
    let alone = thread::spawn(move || {
        bpf::leave_network();
        assert!(!shown("lo").contains("xdp"));
        shield.attach(LOOPBACK, Attachment::Generic).unwrap();
        assert!(shown("lo").contains("xdpgeneric"), "{}", shown("lo"));
        shield.attach(LOOPBACK, Attachment::Generic).unwrap();
        drop(shield);
        assert!(!shown("lo").contains("xdp"), "{}", shown("lo"));
    });
    alone.join().unwrap();
}

#[test]
fn a_driver_with_xdp_takes_it_natively() {
    let Some(mut shield) = load(&open()) else { return };
    let alone = thread::spawn(move || {
        bpf::leave_network();
        let words = "link add shield0 index 77 type veth peer name shield1";
        assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success());
        shield.attach(77, Attachment::Native).unwrap();
        assert!(shown("shield0").contains(" xdp "), "{}", shown("shield0"));
        drop(shield);
        assert!(!shown("shield0").contains("xdp"), "{}", shown("shield0"));
    });
    alone.join().unwrap();
}

#[test]
fn what_keeps_a_program_from_an_interface_is_named() {
    let Some(mut shield) = load(&open()) else { return };
    let Some(mut second) = load(&open()) else { return };
    let alone = thread::spawn(move || {
        bpf::leave_network();
        let mut refused = |interface, attachment| second.attach(interface, attachment).unwrap_err();
        let error = refused(77, Attachment::Generic);
        assert!(matches!(error, ShieldError::NoInterface(_)), "{error}");
        let error = refused(LOOPBACK, Attachment::Native);
        assert!(matches!(error, ShieldError::NoNative(_)), "{error}");
        assert!(error.to_string().contains("driver of lo"), "{error}");
        shield.attach(LOOPBACK, Attachment::Generic).unwrap();
        let error = refused(LOOPBACK, Attachment::Generic);
        assert!(matches!(error, ShieldError::Occupied { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("`shield`") && text.contains("ip link set dev lo xdp off"), "{text}");
    });
    alone.join().unwrap();
}

#[test]
fn what_a_frame_costs_is_printed() {
    let over = Settings { per_source: at_once(1), ..open() };
    let flooded = Settings { strangers: at_once(1), ..open() };
    let (foreign, short) = (Frame::v4().to_port(53), Frame::v4().with_payload(100));
    let stranger = Frame::from(address("198.19.0.1:4000"));
    let rows = [
        ("foreign: another port", open(), foreign),
        ("dropped: short", open(), short),
        ("let in: peer", open(), Frame::v4()),
        ("let in: client", open(), Frame::v6()),
        ("let in: stranger", open(), stranger),
        ("dropped: stranger over its budget", over, stranger),
        ("dropped: strangers over theirs", flooded, stranger),
    ];
    eprintln!("ns on one core, ns on every core at once");
    for (name, settings, frame) in rows {
        let Some(shield) = load(&settings) else { return };
        shield.guests().set_peers([frames::V4_SOURCE.ip()]).unwrap();
        shield.guests().add_client(frames::V6_SOURCE).unwrap();
        let cores = mixline::host::cores();
        let (alone, together) = (cost(&shield, frame, &cores[..1]), cost(&shield, frame, &cores));
        eprintln!("{alone:4} {together:4}  {name}");
    }
}

/// Nanoseconds that one frame takes, while each of `cores` judges such frames; the best of many times.
fn cost(shield: &Shield, frame: Frame, cores: &[usize]) -> u128 {
    let best = |core: usize| {
        assert!(mixline::host::pin(core));
        let frame = frame.bytes();
        (0..20).map(|_| bpf::run(shield.program(), &frame, 100_000).1.as_nanos()).min()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = cores.iter().map(|core| scope.spawn(move || best(*core))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).max().unwrap_or_default()
    })
}
