//! The XDP program on frames, run by the kernel itself (`BPF_PROG_TEST_RUN`): what it lets in,
//! what it drops and for which reason, and what it leaves alone.
//!
//! Needs root. Nothing is attached to an interface of the machine: where one is needed, it is in
//! a network that ends with the test's thread.

#![cfg(test)] // also what is included may unwrap

#[path = "bpf/attachment.rs"]
mod attachment;
#[path = "support/bpf.rs"]
mod bpf;
#[path = "bpf/budgets.rs"]
mod budgets;
#[path = "bpf/costs.rs"]
mod costs;
#[path = "bpf/frames.rs"]
mod frames;
#[path = "bpf/guests.rs"]
mod guests;

use std::env;
use std::net::{IpAddr, SocketAddr};
use std::thread;

use bpf::Verdict;
use frames::{Frame, NODE_V4, NODE_V6, PAYLOAD_BYTES, PORT};
use mixline::crypto::random::Rng;
use mixline::io::shield::{Budget, Reason, Settings, Shield, ShieldError};
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
