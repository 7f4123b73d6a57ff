//! Questions to a real kernel about links, routes, neighbours and drivers, and the table of next
//! hops that follows from the answers: between hosts in network namespaces.

#[path = "support/hosts.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod hosts;
#[path = "support/switch.rs"]
mod switch;
#[path = "support/wire.rs"]
#[expect(dead_code, reason = "no frame is put on the wire by hand")]
mod wire;

use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::host::event::{self, Watch};
use mixline::host::netlink::events::{Event, Events, Prefix};
use mixline::host::netlink::neighbours::NeighbourState;
use mixline::host::netlink::netdev::{Driver, Netdev, Queues};
use mixline::host::netlink::routes::{Route, RouteKind};
use mixline::host::netlink::{Netlink, NetlinkError};
use mixline::io::xdp::hops::{HopsReader, HopsWriter};
use mixline::io::xdp::resolver::{Options, Resolver};
use mixline::wire::Ethernet;

use hosts::{Host, INTERFACE, ip, mac, v4, v6};
use switch::Switch;

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Nanos = Nanos::from_secs(20);
/// The length of the packets that the resolver is to find ways for.
const PACKET_BYTES: u32 = 1400;

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = clock::now() + PATIENCE;
    while !is_so() {
        assert!(clock::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Lets the kernel of this thread's namespace send something to `destination`.
fn send_to(destination: IpAddr) {
    let any = if destination.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).expect("any address is free");
    // Where there is no way yet, it is refused.
    let _ = socket.send_to(b"?", (destination, 9));
}

/// Lets neighbours become stale and fail within a fraction of a second in place of half a minute.
fn hurry() {
    for cache in ["arp_cache", "ndisc_cache"] {
        let times = "base_reachable 200 retrans 100 delay_probe 100";
        ip(&format!("ntable change name {cache} dev {INTERFACE} {times}"));
    }
}

#[test]
fn links_are_found_by_number_name_and_address() {
    if !hosts::is_possible("links_are_found_by_number_name_and_address") {
        return;
    }
    let [host, _other] = wire::pair(1);
    host.namespace.enter(|| {
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link_named(INTERFACE).unwrap();
        assert_eq!((link.index, link.mac, link.mtu_bytes), (host.index, Some(mac(1)), 1500));
        assert!(link.is_up && !link.is_loopback && link.vlan.is_none());
        assert_eq!(netlink.link(host.index).unwrap().as_ref(), Some(&link));
        assert_eq!(netlink.link(4000).unwrap(), None);
        assert_eq!(netlink.link_of(v4(1)).unwrap(), link);
        assert_eq!(netlink.link_of(v6(1)).unwrap(), link);
        assert!(netlink.link_of(address("127.0.0.1")).unwrap().is_loopback);

        for name in ["eth1", "", "a-name-that-is-too-long-for-any", "eth\0"] {
            let error = netlink.link_named(name).unwrap_err();
            assert!(matches!(&error, NetlinkError::NoLink(said) if said == name), "{error}");
        }
        let error = netlink.link_of(v4(2)).unwrap_err();
        assert!(matches!(error, NetlinkError::NoAddress(said) if said == v4(2)), "{error}");

        ip(&format!("link set {INTERFACE} mtu 1300 down"));
        let link = netlink.link(host.index).unwrap().unwrap();
        assert_eq!((link.mtu_bytes, link.is_up, link.is_running), (1300, false, false));
    });
}

#[test]
fn an_unspecified_address_is_the_link_of_the_default_route() {
    if !hosts::is_possible("an_unspecified_address_is_the_link_of_the_default_route") {
        return;
    }
    let [host, _other] = wire::pair(1);
    host.namespace.enter(|| {
        let mut netlink = Netlink::open().unwrap();
        let (any_v4, any_v6) = (address("0.0.0.0"), address("::"));
        for any in [any_v4, any_v6] {
            let error = netlink.link_of(any).unwrap_err();
            assert!(matches!(error, NetlinkError::NoDefaultRoute), "{error}");
        }
        // A socket at :: serves IPv4 too.
        ip(&format!("route add default via {}", v4(2)));
        assert_eq!(netlink.link_of(any_v4).unwrap().index, host.index);
        assert_eq!(netlink.link_of(any_v6).unwrap().index, host.index);
        ip("route del default");
        ip(&format!("route add default via {}", v6(2)));
        assert_eq!(netlink.link_of(any_v6).unwrap().index, host.index);
        assert!(netlink.link_of(any_v4).is_err());
    });
}

#[test]
fn routes_say_interface_gateway_and_source() {
    if !hosts::is_possible("routes_say_interface_gateway_and_source") {
        return;
    }
    let [host, _other] = wire::pair(1);
    host.namespace.enter(|| {
        let mut netlink = Netlink::open().unwrap();
        let on_link = |source| Route {
            kind: RouteKind::Unicast,
            interface: host.index,
            gateway: None,
            source: Some(source),
            mtu_bytes: None,
        };
        assert_eq!(netlink.route(v4(2), None).unwrap(), Some(on_link(v4(1))));
        assert_eq!(netlink.route(v6(2), None).unwrap(), Some(on_link(v6(1))));
        assert_eq!(netlink.route(v4(2), Some(v4(1))).unwrap(), Some(on_link(v4(1))));
        assert_eq!(netlink.route(v4(2), Some(v4(9))).unwrap(), None, "not our address");
        let local = netlink.route(v4(1), None).unwrap().unwrap();
        assert_eq!(local.kind, RouteKind::Local);
        assert_eq!(netlink.route(address("224.0.0.1"), None).unwrap(), None);

        let (far_v4, far_v6) = (address("198.19.0.5"), address("2001:2:0:9::5"));
        assert_eq!(netlink.route(far_v4, None).unwrap(), None);
        assert_eq!(netlink.route(far_v6, None).unwrap(), None);
        ip(&format!("route add default via {} mtu 1300", v4(2)));
        ip(&format!("route add 2001:2:0:9::/64 via {}", v6(2)));
        let over = Route { gateway: Some(v4(2)), mtu_bytes: Some(1300), ..on_link(v4(1)) };
        assert_eq!(netlink.route(far_v4, None).unwrap(), Some(over));
        let over = Route { gateway: Some(v6(2)), ..on_link(v6(1)) };
        assert_eq!(netlink.route(far_v6, None).unwrap(), Some(over));

        for kind in ["blackhole", "unreachable", "prohibit"] {
            ip(&format!("route add {kind} 198.19.0.0/24"));
            ip(&format!("route add {kind} 2001:2:0:9::/96"));
            assert_eq!(netlink.route(far_v4, None).unwrap(), None, "{kind}");
            assert_eq!(netlink.route(far_v6, None).unwrap(), None, "{kind}");
            ip(&format!("route del {kind} 198.19.0.0/24"));
            ip(&format!("route del {kind} 2001:2:0:9::/96"));
        }
    });
}

#[test]
fn neighbours_answer_become_stale_and_fail() {
    if !hosts::is_possible("neighbours_answer_become_stale_and_fail") {
        return;
    }
    let [host, _other] = wire::pair(1);
    host.namespace.enter(|| {
        hurry();
        let mut netlink = Netlink::open().unwrap();
        for (there, nobody) in [(v4(2), v4(77)), (v6(2), v6(77))] {
            assert_eq!(netlink.neighbour(host.index, there).unwrap(), None);
            send_to(nobody);
            eventually("it answers", || {
                let found = netlink.neighbour(host.index, there).unwrap();
                let is_there = found.is_some_and(|found| found.reachable_at() == Some(mac(2)));
                if !is_there {
                    send_to(there);
                }
                is_there
            });
            eventually("it becomes stale", || {
                let found = netlink.neighbour(host.index, there).unwrap().unwrap();
                found.state == NeighbourState::Stale && found.reachable_at() == Some(mac(2))
            });
            eventually("nobody answers", || {
                let found = netlink.neighbour(host.index, nobody).unwrap().unwrap();
                assert_eq!(found.reachable_at(), None);
                found.state == NeighbourState::Failed
            });
        }
        let all = netlink.neighbours(host.index).unwrap();
        for address in [v4(2), v4(77), v6(2), v6(77)] {
            assert!(all.iter().any(|neighbour| neighbour.address == address), "{all:?}");
        }
        assert!(all.iter().all(|neighbour| neighbour.interface == host.index));
        assert!(netlink.neighbours(4000).unwrap().is_empty());
    });
}

#[test]
fn drivers_say_what_they_can_and_how_many_queues_they_use() {
    if !hosts::is_possible("drivers_say_what_they_can_and_how_many_queues_they_use") {
        return;
    }
    let [host, _other] = wire::pair(3);
    host.namespace.enter(|| {
        let mut netlink = Netlink::open().unwrap();
        let mut netdev = Netdev::open().unwrap();
        let link = netlink.link_named(INTERFACE).unwrap();
        let driver = netdev.driver(link.index).unwrap().expect("this kernel says it");
        assert!(driver.is_native && !driver.is_zero_copy, "{driver:?}");
        assert_eq!(netdev.queues(&link).unwrap(), Queues { receive: 3, send: 3 });
        let lo = netlink.link_named("lo").unwrap();
        let nothing =
            Driver { is_native: false, is_zero_copy: false, zero_copy_segments_max: None };
        assert_eq!(netdev.driver(lo.index).unwrap(), Some(nothing));
        let error = netdev.driver(4000).unwrap_err().to_string();
        assert!(error.contains("interface number 4000"), "{error}");
    });
}

/// The next events until there is one that `is_it`.
fn await_event(events: &mut Events, what: &str, is_it: impl Fn(&Event) -> bool) {
    eventually(what, || {
        let mut watches = [Watch::new(events.as_raw_fd(), false)];
        event::wait(&mut watches, Some(Duration::from_millis(100)));
        events.by_ref().any(|event| is_it(&event))
    });
}

#[test]
fn what_changes_is_told() {
    if !hosts::is_possible("what_changes_is_told") {
        return;
    }
    let [host, _other] = wire::pair(1);
    host.namespace.enter(|| {
        let mut events = Events::open().unwrap();
        assert_eq!(events.next(), None);
        let index = host.index;
        ip(&format!("neigh add {} lladdr 02:00:00:00:00:09 dev {INTERFACE}", v4(9)));
        await_event(&mut events, "a neighbour", |event| {
            matches!(event, Event::Neighbour(neighbour)
                if neighbour.interface == index && neighbour.mac == Some(mac(9)))
        });
        ip(&format!("neigh del {} dev {INTERFACE}", v4(9)));
        await_event(&mut events, "a neighbour is gone", |event| {
            *event == Event::NeighbourGone { interface: index, address: v4(9) }
        });
        ip(&format!("route add 198.19.0.0/16 via {}", v4(2)));
        let prefix = Prefix::new(address("198.19.0.0"), 16);
        await_event(&mut events, "a route", |event| *event == Event::Routes(prefix));
        ip(&format!("route add default via {}", v6(2)));
        let all = Prefix::new(address("::"), 0);
        await_event(&mut events, "a default route", |event| *event == Event::Routes(all));
        ip(&format!("address add 198.18.1.1/24 dev {INTERFACE}"));
        await_event(&mut events, "an address", |event| *event == Event::Addresses(index));
        ip(&format!("link set {INTERFACE} down"));
        await_event(&mut events, "a link", |event| *event == Event::Link(index));
        ip("rule add from 198.18.1.1 table 100");
        await_event(&mut events, "a rule", |event| *event == Event::Everything);
    });
}

#[test]
fn more_events_than_fit_are_told_as_everything() {
    if !hosts::is_possible("more_events_than_fit_are_told_as_everything") {
        return;
    }
    let [host, _other] = wire::pair(1);
    host.namespace.enter(|| {
        let mut events = Events::open().unwrap();
        // Each tells of the link and of its routes.
        for round in 0..400 {
            ip(&format!("link set {INTERFACE} mtu {}", 1400 + round % 2));
        }
        let overruns = events.by_ref().filter(|event| *event == Event::Everything).count();
        assert_eq!(overruns, 1);
        ip(&format!("link set {INTERFACE} mtu 1500"));
        await_event(&mut events, "a link", |event| *event == Event::Link(host.index));
    });
}

/// A resolver of the interface of this thread's namespace, and a port's view of its table.
fn resolver(options: &Options) -> (Resolver, HopsReader) {
    let mut writer = HopsWriter::new();
    let reader = writer.reader();
    (Resolver::start(options.clone(), writer).expect("there is the interface"), reader)
}

fn options(host: &Host, address: &str) -> Options {
    Options::new(host.index, self::address(address), PACKET_BYTES)
}

/// Sends by the kernel what has no hop, like a port, until there is one.
fn await_hop(reader: &mut HopsReader, to: IpAddr, ethernet: Ethernet, source: IpAddr) {
    eventually(&format!("a hop to {to}"), || {
        reader.refresh();
        match reader.find(&to) {
            Some(hop) => hop.ethernet == ethernet && hop.source == source,
            None => {
                send_to(to);
                false
            }
        }
    });
}

fn await_none(reader: &mut HopsReader, to: IpAddr) {
    eventually(&format!("no hop to {to}"), || {
        reader.refresh();
        reader.find(&to).is_none()
    });
}

fn frame_to(number: u8) -> Ethernet {
    Ethernet { destination: mac(number), source: mac(1), vlan_tag: None }
}

#[test]
fn what_a_port_wishes_for_gets_a_next_hop() {
    if !hosts::is_possible("what_a_port_wishes_for_gets_a_next_hop") {
        return;
    }
    let switch = Switch::new();
    let (host, _gateway, _other) = (switch.host(1, 1), switch.host(2, 1), switch.host(3, 1));
    host.namespace.enter(|| {
        let (resolver, mut reader) = resolver(&options(&host, "::"));
        await_hop(&mut reader, v4(3), frame_to(3), v4(1));
        await_hop(&mut reader, v6(3), frame_to(3), v6(1));
        ip(&format!("route add default via {}", v4(2)));
        ip(&format!("route add default via {}", v6(2)));
        await_hop(&mut reader, address("198.19.7.7"), frame_to(2), v4(1));
        await_hop(&mut reader, address("2001:2:0:7::7"), frame_to(2), v6(1));
        // What is not ours to send stays the kernel's.
        ip("link add elsewhere type veth peer name nowhere");
        ip("address add 198.18.9.1/24 dev elsewhere");
        ip("link set elsewhere up");
        ip("link set nowhere up");
        ip("neigh add 198.18.9.2 lladdr 02:00:00:00:00:99 dev elsewhere nud permanent");
        ip("route add 198.19.8.0/24 via 198.18.0.2 mtu 1300");
        let kernels =
            ["127.0.0.1", "198.18.0.1", "198.18.9.2", "224.0.0.1", "198.19.8.8", "fe80::2", "::1"];
        for destination in kernels.map(address) {
            reader.find(&destination);
        }
        let questions = resolver.figures().questions;
        eventually("they are asked about", || resolver.figures().questions > questions + 5);
        std::thread::sleep(Duration::from_millis(100));
        reader.refresh();
        for destination in kernels.map(address) {
            assert!(reader.find(&destination).is_none(), "{destination}");
        }
        assert_eq!(resolver.figures().hops, 4);
        assert_eq!(resolver.figures().failed, 0);
        resolver.stop();
    });
}

#[test]
fn a_hop_follows_its_neighbour() {
    if !hosts::is_possible("a_hop_follows_its_neighbour") {
        return;
    }
    let [host, other] = wire::pair(1);
    host.namespace.enter(|| {
        hurry();
        let (_resolver, mut reader) = resolver(&options(&host, "198.18.0.1"));
        await_hop(&mut reader, v4(2), frame_to(2), v4(1));
        // It is quiet for a while: one datagram, and only one, must take the kernel's socket.
        eventually("it becomes stale", || {
            reader.refresh();
            reader.find(&v4(2)).is_none()
        });
        assert!(reader.find(&v4(2)).is_some());
        send_to(v4(2));
        // The other end changes its card.
        other
            .namespace
            .enter(|| ip(&format!("link set {INTERFACE} address {}", "02:00:00:00:00:07")));
        send_to(v4(2));
        await_hop(&mut reader, v4(2), frame_to(7), v4(1));
        // It goes away.
        other.namespace.enter(|| ip(&format!("address flush dev {INTERFACE}")));
        eventually("it fails", || {
            send_to(v4(2));
            reader.refresh();
            reader.find(&v4(2)).is_none() && {
                std::thread::sleep(Duration::from_millis(300));
                reader.refresh();
                reader.find(&v4(2)).is_none()
            }
        });
    });
}

#[test]
fn peers_are_resolved_before_anything_is_sent_to_them() {
    if !hosts::is_possible("peers_are_resolved_before_anything_is_sent_to_them") {
        return;
    }
    let switch = Switch::new();
    let (host, _gateway, _other) = (switch.host(1, 1), switch.host(2, 1), switch.host(3, 1));
    host.namespace.enter(|| {
        for number in [2, 3] {
            ip(&format!(
                "neigh add {} lladdr 02:00:00:00:00:0{number} dev {INTERFACE}",
                v4(number)
            ));
        }
        let (resolver, mut reader) = resolver(&options(&host, "198.18.0.1"));
        let far = address("198.19.7.7");
        resolver.follow([v4(3), far]);
        eventually("the one on the link", || resolver.figures().hops == 1);
        ip(&format!("route add 198.19.0.0/16 via {}", v4(2)));
        eventually("the one behind the gateway", || resolver.figures().hops == 2);
        reader.refresh();
        assert_eq!(reader.find(&far).unwrap().ethernet, frame_to(2));
        // The route moves, and vanishes.
        ip(&format!("route replace 198.19.0.0/16 via {}", v4(3)));
        await_hop(&mut reader, far, frame_to(3), v4(1));
        ip("route del 198.19.0.0/16");
        await_none(&mut reader, far);
        // So does the link.
        ip(&format!("link set {INTERFACE} down"));
        await_none(&mut reader, v4(3));
    });
}

#[test]
fn strangers_make_the_resolver_neither_large_nor_busy() {
    if !hosts::is_possible("strangers_make_the_resolver_neither_large_nor_busy") {
        return;
    }
    let [host, _other] = wire::pair(1);
    host.namespace.enter(|| {
        ip(&format!("neigh add {} lladdr 02:00:00:00:00:02 dev {INTERFACE}", v4(2)));
        ip(&format!("route add default via {}", v4(2)));
        let limited =
            Options { clients_max: 300, questions_per_second: 200, ..options(&host, "198.18.0.1") };
        let (resolver, reader) = resolver(&limited);
        let begin = clock::now();
        for number in 0..4000u32 {
            reader.find(&IpAddr::from((0xc613_0000 + number).to_be_bytes()));
            if number % 100 == 0 {
                std::thread::sleep(Duration::from_millis(25));
            }
        }
        eventually("the table is full", || resolver.figures().hops == 300);
        let seconds = (clock::now() - begin).as_secs_f64();
        let figures = resolver.figures();
        assert!(figures.questions as f64 <= 200.0 * seconds + 3.0, "{figures:?} in {seconds} s");
        assert!(figures.refused > 100, "{figures:?}");
        // A peer of the consensus finds room all the same, and does not wait behind them.
        resolver.follow([v4(2)]);
        eventually("the peer", || resolver.figures().hops == 301);
    });
}
