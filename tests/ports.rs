//! One suite for every port: what the contract of `io::Port` promises, on each implementation.

#[path = "support/allocator.rs"]
mod allocator;
#[cfg(test)]
#[path = "ports/detached.rs"]
mod detached;
#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/hosts.rs"]
mod hosts;
#[cfg(test)]
#[path = "ports/simulated.rs"]
mod simulated;
#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/namespace.rs"]
mod namespace;
#[path = "support/redirect.rs"]
mod redirect;
#[cfg(test)]
#[path = "ports/sockets.rs"]
mod sockets;
#[cfg(test)]
#[path = "ports/suite.rs"]
mod suite;
#[path = "support/switch.rs"]
mod switch;
#[path = "support/tun.rs"]
mod tun;
#[cfg(test)]
#[path = "ports/xdp.rs"]
mod xdp;
#[path = "support/xdp_host.rs"]
mod xdp_host;

use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::io::memory::{Conditions, Network};
use mixline::io::udp::UdpPort;
use mixline::io::uring::UringPort;
use mixline::io::xdp::Mode;
use mixline::io::{BATCH, Port};
use simulated::{Memory, lossy_run};
use sockets::{Open, Sockets};
use std::net::SocketAddr;
use std::process::Command;
use suite::{LENGTH, Site, datagram, is_skipped, send};
use xdp::Xdp;

/// The whole contract, one test for each promise, on the site that `$site` makes.
macro_rules! suite {
    ($name:ident, $site:expr) => {
        mod $name {
            use super::*;
            promises!(
                suite,
                $site,
                bytes_and_source_arrive,
                batches_of_every_size_arrive_in_order,
                more_than_a_batch_is_handed_over_in_batches,
                mixed_destinations_each_get_their_own_in_order,
                wrong_lengths_are_dropped_and_counted,
                a_full_queue_is_a_value_and_loses_nothing,
                a_declined_frame_is_free_again,
                an_empty_port_gives_nothing_at_once,
                another_thread_ends_the_sleep
            );
            promises!(
                detached,
                $site,
                a_detached_sender_sends_from_the_address_of_its_port,
                what_comes_all_comes_to_the_port_and_not_to_its_sender,
                what_comes_does_not_wake_a_detached_sender,
                one_thread_sends_while_another_receives
            );
        }
    };
}

/// What ports promise that are not simulated.
macro_rules! heap {
    ($name:ident, $site:expr) => {
        mod $name {
            use super::*;
            promises!(detached, $site, nothing_is_allocated_once_ports_are_open);
        }
    };
}

/// What ports over sockets promise beside it.
macro_rules! sockets {
    ($name:ident, $site:expr) => {
        mod $name {
            use super::*;
            promises!(
                sockets,
                $site,
                an_ipv6_port_shows_ipv4_peers_as_ipv4,
                ports_that_share_an_address_divide_its_sources_between_them,
                a_detached_sender_has_no_share_of_the_sources,
                what_the_kernel_dropped_is_counted,
                what_is_too_long_for_the_way_is_counted_and_not_fatal,
                what_has_no_route_is_counted_and_the_rest_is_sent,
                empty_datagrams_hold_nothing_up,
                a_datagram_ends_the_sleep,
                a_flood_is_received_to_its_end,
                an_address_is_free_again_when_its_port_is_dropped
            );
        }
    };
}

macro_rules! promises {
    ($of:ident, $site:expr, $($promise:ident),*) => {
        $(#[test] fn $promise() {
            let site = $site;
            if !is_skipped(&site, stringify!($promise)) {
                $of::$promise(&site);
            }
        })*
    };
}

/// Sites of `$open`, each at addresses of its own.
macro_rules! site {
    ($open:expr, $net:literal, $offload:literal) => {
        Sockets { open: $open, ip: |host| format!("127.77.{}.{host}:0", $net), offload: $offload }
    };
    ($open:expr) => {
        Sockets { open: $open, ip: |_| "[::1]:0".into(), offload: true }
    };
}

suite!(udp_with_offload, site!(UdpPort::open, 0, true));
suite!(udp_plain, site!(UdpPort::open, 0, false));
suite!(udp_over_ipv6, site!(UdpPort::open));
sockets!(udp, site!(UdpPort::open, 1, true));
suite!(uring_with_offload, site!(UringPort::open, 2, true));
suite!(uring_plain, site!(UringPort::open, 2, false));
suite!(uring_over_ipv6, site!(UringPort::open));
sockets!(uring, site!(UringPort::open, 3, true));
suite!(xdp_native, Xdp::new(Mode::Native, hosts::v4, 4));
suite!(xdp_native_over_ipv6, Xdp::new(Mode::Native, hosts::v6, 2));
suite!(xdp_generic, Xdp::new(Mode::Generic, hosts::v4, 1));
heap!(udp_heap, site!(UdpPort::open, 4, true));
heap!(uring_heap, site!(UringPort::open, 5, true));
heap!(xdp_heap, Xdp::new(Mode::Native, hosts::v4, 2));
suite!(memory, Memory(Network::new(Rng::from_seed([1; 32]), Conditions::default())));

#[test]
fn what_the_kernel_has_no_room_for_stays_queued() {
    namespace::within("what_the_kernel_has_no_room_for_stays_queued", || {
        // Two ends of a cable on one host: packets to a neighbour that does not answer wait.
        let ip = |words: String| {
            let done = Command::new("ip").args(words.split(' ')).status().unwrap();
            assert!(done.success(), "ip {words}");
        };
        ip("link add near type veth peer name far".into());
        ip("link set lo up".into());
        ip("link set near up".into());
        ip("link set far up".into());
        ip("address add 198.18.0.1/24 dev near".into());
        let answer = |neighbour: &str| {
            ip(format!("neigh replace {neighbour} lladdr 02:00:00:00:00:02 dev near"));
        };
        fn near<P>(open: Open<P>) -> Sockets<P> {
            Sockets { open, ip: |_| "198.18.0.1:0".into(), offload: false }
        }
        let to = |address: &str| SocketAddr::new(address.parse().unwrap(), 9);
        let [first, second, third, fourth] = [2, 3, 4, 5].map(|end| format!("198.18.0.{end}"));
        let udp = near(UdpPort::open);
        sockets::what_the_kernel_has_no_room_for_stays_queued(&udp, to(&first), || answer(&first));
        sockets::a_detached_sender_wakes_for_room_only(&udp, to(&second), || answer(&second));
        let uring = near(UringPort::open);
        if !is_skipped(&uring, "what_the_kernel_has_no_room_for_stays_queued") {
            let (third, fourth) = (&third, &fourth);
            sockets::what_the_kernel_has_no_room_for_stays_queued(&uring, to(third), || {
                answer(third);
            });
            sockets::a_detached_sender_wakes_for_room_only(&uring, to(fourth), || answer(fourth));
        }
    });
}

const ROUGH: Conditions = Conditions {
    loss: 0.1,
    duplicate: 0.05,
    delay_min: Nanos::from_micros(20),
    delay_max: Nanos::from_micros(60),
    queue_max: 1000,
};

#[test]
fn the_memory_network_repeats_itself_for_one_seed_only() {
    assert_eq!(lossy_run(1, ROUGH).0, lossy_run(1, ROUGH).0);
    assert_ne!(lossy_run(1, ROUGH).0, lossy_run(2, ROUGH).0);
}

#[test]
fn loss_and_duplication_have_the_rates_asked_for() {
    let (arrived, network) = lossy_run(3, ROUGH);
    let totals = network.totals();
    // Five standard deviations: 30 of 10 000 at 0.1, 21 of 9 000 at 0.05.
    assert!(totals.lost.abs_diff(1000) < 150, "{totals:?}");
    assert!(totals.duplicated.abs_diff(450) < 105, "{totals:?}");
    assert_eq!(arrived.len() as u64, totals.delivered);
    let mut once = arrived;
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len() as u64, totals.sent - totals.lost);
}

#[test]
fn delay_between_two_bounds_reorders_and_equal_bounds_do_not() {
    let overtakes = |arrived: &[usize]| arrived.windows(2).filter(|w| w[0] > w[1]).count();
    let calm = Conditions { loss: 0.0, duplicate: 0.0, ..ROUGH };
    assert!(overtakes(&lossy_run(4, calm).0) > 3000);
    let even = Conditions { delay_max: calm.delay_min, ..calm };
    assert_eq!(lossy_run(4, even).0, (0..10_000).collect::<Vec<_>>());
}

#[test]
fn every_datagram_in_the_memory_network_is_accounted_for() {
    let network = Network::new(Rng::from_seed([6; 32]), Conditions { queue_max: 40, ..ROUGH });
    let site = Memory(network.clone());
    let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
    let nowhere = SocketAddr::from(([10, 0, 0, 200], 1));
    for round in 0..20u64 {
        for number in 0..BATCH {
            let to = if number % 8 == 0 { nowhere } else { b.local() };
            send(&mut a, to, &datagram(number, LENGTH)).unwrap();
        }
        a.flush();
        network.inject(nowhere, b.local(), b"short");
        network.advance(Nanos::from_micros(30 * round));
        b.receive(BATCH, |_, _| {});
    }
    let t = network.totals();
    assert!(t.lost > 0 && t.duplicated > 0 && t.overflowed > 0 && t.unreachable > 0, "{t:?}");
    let fates = t.lost + t.unreachable + t.overflowed + t.delivered + t.in_flight;
    assert_eq!(t.sent + t.injected + t.duplicated, fates);
    while b.receive(BATCH, |_, _| {}) > 0 {}
    let at_b = *b.counters();
    assert!(at_b.wrong_length > 0);
    assert_eq!(at_b.received + at_b.wrong_length, t.delivered);
    assert_eq!(at_b.kernel_dropped, t.overflowed);
}

#[test]
fn the_tap_shows_every_datagram_with_its_times() {
    let fixed = Conditions {
        delay_min: Nanos::from_micros(50),
        delay_max: Nanos::from_micros(50),
        ..Conditions::default()
    };
    let network = Network::new(Rng::from_seed([7; 32]), fixed);
    let site = Memory(network.clone());
    let (mut a, b) = (site.port(1, 4), site.port(2, 4));
    let (seen, shown) = std::sync::mpsc::channel();
    network.tap(move |crossing| {
        let times = (crossing.sent, crossing.arrives);
        seen.send((times, crossing.from, crossing.to, crossing.datagram.to_vec())).unwrap();
    });
    network.advance(Nanos::from_micros(7));
    send(&mut a, b.local(), b"data").unwrap();
    a.flush();
    network.set_conditions(Conditions { loss: 1.0, ..fixed });
    send(&mut a, b.local(), b"gone").unwrap();
    a.flush();
    let sent = Nanos::from_micros(7);
    let ends = (a.local(), b.local());
    let arrives = Some(Nanos::from_micros(57));
    let first = ((sent, arrives), ends.0, ends.1, b"data".to_vec());
    let second = ((sent, None), ends.0, ends.1, b"gone".to_vec());
    assert_eq!(shown.try_iter().collect::<Vec<_>>(), [first, second]);
}

#[test]
fn an_address_of_the_memory_network_is_free_again_when_its_port_is_dropped() {
    let network = Network::new(Rng::from_seed([8; 32]), Conditions::default());
    let address = "10.0.0.1:4000".parse().unwrap();
    let port = network.port(address, 8).unwrap();
    assert!(network.port(address, 8).is_err());
    drop(port);
    assert!(network.port(address, 8).is_ok());
}
