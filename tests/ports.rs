//! One suite for every port: what the contract of `io::Port` promises, on each implementation.

use mixline::clock::{self, Nanos};
use mixline::crypto::random::Rng;
use mixline::io::memory::{Conditions, MemoryPort, Network};
use mixline::io::udp::{Options, UdpPort};
use mixline::io::uring::UringPort;
use mixline::io::wake;
use mixline::io::xdp::{Mode, XdpPort};
use mixline::io::{BATCH, OpenError, Port, PortCounters, Unsent};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;
use suite::*;

#[path = "support/hosts.rs"]
mod hosts;
#[path = "support/redirect.rs"]
mod redirect;
#[path = "support/switch.rs"]
mod switch;
#[path = "support/xdp_host.rs"]
mod xdp_host;

/// The sites, and each promise as a function over any of them.
#[cfg(test)]
mod suite {
    use super::*;

    /// Long enough for anything that happens at all.
    const PATIENCE: Nanos = Nanos::from_secs(5);
    pub(super) const LENGTH: usize = 1400;

    /// A place where ports of one kind find each other.
    pub(super) trait Site {
        /// Of any kind, it can move to the thread of its worker.
        type Port: Port + Send;
        /// The `host`-th port of this site.
        fn port(&self, host: u8, datagram_bytes: usize) -> Self::Port;
        /// Lengths of datagrams that travel here and are not [`LENGTH`].
        fn other_lengths(&self) -> Vec<usize> {
            vec![1, 64, LENGTH - 1, LENGTH + 1, 2 * LENGTH, 9000]
        }
        /// Waits until `port` may have something to receive.
        fn settle(&self, port: &Self::Port);
    }

    fn sleep(port: &impl Port) {
        let (mut sleeper, _waker) = wake::pair().unwrap();
        let now = clock::now();
        sleeper.sleep(port, now, now + Nanos::from_millis(20));
    }

    /// UDP on loopback; every port has a number of the kernel's choice, so tests can run at once.
    pub(super) struct Udp {
        pub(super) ip: fn(u8) -> String,
        pub(super) offload: bool,
    }

    impl Site for Udp {
        type Port = UdpPort;

        fn port(&self, host: u8, datagram_bytes: usize) -> UdpPort {
            let address = (self.ip)(host).parse().unwrap();
            let options = Options::new(address, datagram_bytes);
            let (coalesce, segment) = (self.offload, self.offload);
            UdpPort::open(&Options { coalesce, segment, ..options }).unwrap()
        }

        fn settle(&self, port: &UdpPort) {
            sleep(port);
        }
    }

    /// AF_XDP on hosts of their own, joined by a switch.
    pub(super) struct Xdp {
        switch: switch::Switch,
        mode: Mode,
        ip: fn(u8) -> IpAddr,
        queues: u32,
        /// What must last as long as the ports.
        rest: Mutex<Vec<(hosts::Host, redirect::Redirect)>>,
    }

    impl Xdp {
        pub(super) fn new(mode: Mode, ip: fn(u8) -> IpAddr, queues: u32) -> Self {
            Xdp { switch: switch::Switch::new(), mode, ip, queues, rest: Mutex::default() }
        }
    }

    impl Site for Xdp {
        type Port = XdpPort;

        fn port(&self, number: u8, datagram_bytes: usize) -> XdpPort {
            let host = self.switch.host(number, self.queues);
            let ip = (self.ip)(number);
            let options = xdp_host::options(&host, ip, self.mode, self.queues, datagram_bytes);
            let (port, program) =
                xdp_host::open(&host, &options, xdp_host::hops(&host, 1..=99, None));
            self.rest.lock().unwrap().push((host, program));
            port
        }

        /// What ethernet carries.
        fn other_lengths(&self) -> Vec<usize> {
            vec![1, 64, LENGTH - 1, LENGTH + 1, 1452]
        }

        fn settle(&self, port: &XdpPort) {
            sleep(port);
        }
    }

    /// Whether the kernel lets us use io_uring; says why if not.
    pub(super) fn uring_is_possible(name: &str) -> bool {
        let address = "127.77.8.1:0".parse().unwrap();
        match UringPort::open(&Options::new(address, LENGTH)) {
            Err(missing @ (OpenError::UringForbidden | OpenError::UringMissing)) => {
                assert!(std::env::var_os("MIXLINE_REQUIRE_XDP").is_none(), "{name}: {missing}");
                eprintln!("SKIP {name}: {missing}");
                false
            }
            _ => true,
        }
    }

    /// As [`Udp`], through io_uring.
    pub(super) struct Uring {
        pub(super) ip: fn(u8) -> String,
        pub(super) coalesce: bool,
    }

    impl Site for Uring {
        type Port = UringPort;

        fn port(&self, host: u8, datagram_bytes: usize) -> UringPort {
            let address = (self.ip)(host).parse().unwrap();
            let options = Options::new(address, datagram_bytes);
            UringPort::open(&Options { coalesce: self.coalesce, ..options }).unwrap()
        }

        fn settle(&self, port: &UringPort) {
            sleep(port);
        }
    }

    pub(super) struct Memory(pub(super) Network);

    impl Site for Memory {
        type Port = MemoryPort;

        fn port(&self, host: u8, datagram_bytes: usize) -> MemoryPort {
            self.0.port(SocketAddr::from(([10, 0, 0, host], 4000)), datagram_bytes).unwrap()
        }

        fn settle(&self, _: &MemoryPort) {
            self.0.advance(Nanos::ZERO);
        }
    }

    type Arrived = (SocketAddr, Vec<u8>);

    /// Receives until `count` datagrams came, or, when fewer come, until patience ends.
    pub(super) fn receive<S: Site>(site: &S, port: &mut S::Port, count: usize) -> Vec<Arrived> {
        let mut arrived = Vec::new();
        let end = clock::now() + PATIENCE;
        while arrived.len() < count && clock::now() < end {
            site.settle(port);
            let before = arrived.len();
            let said =
                port.receive(BATCH, |from, datagram| arrived.push((from, datagram.to_vec())));
            assert_eq!(said, arrived.len() - before);
            assert!(said <= BATCH);
        }
        arrived
    }

    /// A datagram that no other number gives.
    pub(super) fn datagram(number: usize, bytes: usize) -> Vec<u8> {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let mut out = vec![0; bytes];
        Rng::from_seed(seed).fill(&mut out);
        out
    }

    pub(super) fn send(
        port: &mut impl Port,
        to: SocketAddr,
        content: &[u8],
    ) -> Result<(), Unsent<Infallible>> {
        port.send(|frame| {
            frame.copy_from_slice(content);
            Ok(to)
        })
    }

    pub(super) fn bytes_and_source_arrive<S: Site>(site: &S) {
        let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
        send(&mut a, b.local(), &datagram(1, LENGTH)).unwrap();
        a.flush();
        assert_eq!(receive(site, &mut b, 1), [(a.local(), datagram(1, LENGTH))]);
        send(&mut b, a.local(), &datagram(2, LENGTH)).unwrap();
        b.flush();
        assert_eq!(receive(site, &mut a, 1), [(b.local(), datagram(2, LENGTH))]);
    }

    pub(super) fn batches_of_every_size_arrive_in_order<S: Site>(site: &S) {
        let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
        let mut total = 0;
        for size in (1..=BATCH).chain([1]) {
            let sent: Vec<_> = (0..size).map(|index| datagram(total + index, LENGTH)).collect();
            for content in &sent {
                send(&mut a, b.local(), content).unwrap();
            }
            assert_eq!(a.queued(), size);
            a.flush();
            assert_eq!(a.queued(), 0);
            let arrived = receive(site, &mut b, size);
            assert_eq!(arrived, sent.into_iter().map(|c| (a.local(), c)).collect::<Vec<_>>());
            total += size;
        }
        assert_eq!(*a.counters(), PortCounters { sent: total as u64, ..Default::default() });
        assert_eq!(*b.counters(), PortCounters { received: total as u64, ..Default::default() });
    }

    pub(super) fn more_than_a_batch_is_handed_over_in_batches<S: Site>(site: &S) {
        let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
        // As many as fit the receive buffer that a kernel of default settings gives a user.
        let count = 2 * BATCH + 7;
        for number in 0..count {
            if send(&mut a, b.local(), &datagram(number, LENGTH)) == Err(Unsent::Full) {
                a.flush();
                send(&mut a, b.local(), &datagram(number, LENGTH)).unwrap();
            }
        }
        a.flush();
        let arrived = receive(site, &mut b, count);
        assert_eq!(arrived.len(), count);
        for (number, (_, content)) in arrived.iter().enumerate() {
            assert!(*content == datagram(number, LENGTH), "datagram {number} is not itself");
        }
    }

    pub(super) fn mixed_destinations_each_get_their_own_in_order<S: Site>(site: &S) {
        let mut hub = site.port(1, LENGTH);
        let mut spokes: Vec<_> = (2..7).map(|host| site.port(host, LENGTH)).collect();
        let mut rng = Rng::from_seed([5; 32]);
        let mut expected = vec![Vec::new(); spokes.len()];
        for number in 0..BATCH {
            let spoke = rng.below(5) as usize;
            let content = datagram(number, LENGTH);
            send(&mut hub, spokes[spoke].local(), &content).unwrap();
            expected[spoke].push((hub.local(), content));
        }
        hub.flush();
        for (spoke, expected) in spokes.iter_mut().zip(expected) {
            assert_eq!(receive(site, spoke, expected.len()), expected);
        }
        for (number, spoke) in spokes.iter_mut().enumerate() {
            send(spoke, hub.local(), &datagram(number, LENGTH)).unwrap();
            spoke.flush();
        }
        let mut sources: Vec<_> =
            receive(site, &mut hub, 5).iter().map(|(from, _)| *from).collect();
        sources.sort();
        let mut locals: Vec<_> = spokes.iter().map(Port::local).collect();
        locals.sort();
        assert_eq!(sources, locals);
    }

    pub(super) fn wrong_lengths_are_dropped_and_counted<S: Site>(site: &S) {
        let mut port = site.port(1, LENGTH);
        let lengths = site.other_lengths();
        let count = 3 * lengths.len() as u64;
        let mut others: Vec<_> = (2..).zip(lengths).map(|(host, n)| site.port(host, n)).collect();
        for other in &mut others {
            for number in 0..3 {
                let content = datagram(number, other.datagram_bytes());
                send(other, port.local(), &content).unwrap();
            }
            other.flush();
        }
        let mut right = site.port(99, LENGTH);
        send(&mut right, port.local(), &datagram(7, LENGTH)).unwrap();
        right.flush();
        assert_eq!(receive(site, &mut port, 1), [(right.local(), datagram(7, LENGTH))]);
        let expected = PortCounters { received: 1, wrong_length: count, ..Default::default() };
        assert_eq!(*port.counters(), expected);
    }

    pub(super) fn a_full_queue_is_a_value_and_loses_nothing<S: Site>(site: &S) {
        let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
        let mut queued = 0;
        while send(&mut a, b.local(), &datagram(queued, LENGTH)).is_ok() {
            queued += 1;
        }
        assert!(queued >= BATCH);
        let mut called = false;
        let full = a.send(|_| {
            called = true;
            Ok::<_, Infallible>(b.local())
        });
        assert_eq!((full, called), (Err(Unsent::Full), false));
        assert_eq!((a.counters().send_full, a.queued()), (2, queued));
        a.flush();
        assert_eq!(receive(site, &mut b, queued).len(), queued);
        send(&mut a, b.local(), &datagram(0, LENGTH)).unwrap();
    }

    pub(super) fn a_declined_frame_is_free_again<S: Site>(site: &S) {
        let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
        for _ in 0..3 * BATCH {
            assert_eq!(a.send(|_| Err("no")), Err(Unsent::Refused("no")));
        }
        assert_eq!(a.queued(), 0);
        send(&mut a, b.local(), &datagram(1, LENGTH)).unwrap();
        a.flush();
        assert_eq!(receive(site, &mut b, 1), [(a.local(), datagram(1, LENGTH))]);
    }

    pub(super) fn an_empty_port_gives_nothing_at_once<S: Site>(site: &S) {
        let mut port = site.port(1, LENGTH);
        let before = clock::now();
        assert_eq!(port.receive(BATCH, |_, _| panic!("nothing was sent")), 0);
        port.flush();
        assert!(clock::now() - before < Nanos::from_millis(500));
        assert_eq!(*port.counters(), PortCounters::default());
    }

    pub(super) fn another_thread_ends_the_sleep<S: Site>(site: &S) {
        let port = site.port(1, LENGTH);
        let (mut sleeper, waker) = wake::pair().unwrap();
        let before = clock::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                waker.wake();
            });
            sleeper.sleep(&port, before, before + PATIENCE);
        });
        let slept = clock::now() - before;
        assert!(slept >= Nanos::from_millis(20) && slept < PATIENCE, "{slept:?}");
    }

    /// What a sender sees of a lossy run: the numbers that arrived, in order.
    pub(super) fn lossy_run(seed: u8, conditions: Conditions) -> (Vec<usize>, Network) {
        let network = Network::new(Rng::from_seed([seed; 32]), conditions);
        let site = Memory(network.clone());
        let (mut a, mut b) = (site.port(1, 8), site.port(2, 8));
        let mut arrived = Vec::new();
        for number in 0..10_000usize {
            network.advance(Nanos::from_micros(number as u64));
            send(&mut a, b.local(), &number.to_le_bytes()).unwrap();
            a.flush();
            b.receive(BATCH, |_, content| {
                arrived.push(usize::from_le_bytes(content.try_into().unwrap()))
            });
        }
        while let Some(next) = network.next_delivery() {
            network.advance(next);
            b.receive(BATCH, |_, content| {
                arrived.push(usize::from_le_bytes(content.try_into().unwrap()))
            });
        }
        while b.receive(BATCH, |_, content| {
            arrived.push(usize::from_le_bytes(content.try_into().unwrap()))
        }) > 0
        {}
        (arrived, network)
    }
}

/// The whole contract, one test for each promise, on the site that `$site` makes, where
/// `$is_possible` says so.
macro_rules! suite {
    ($name:ident, $site:expr) => {
        suite!($name, $site, |_| true);
    };
    ($name:ident, $site:expr, $is_possible:expr) => {
        mod $name {
            use super::*;
            suite!(@ $name, $site, $is_possible, bytes_and_source_arrive,
                batches_of_every_size_arrive_in_order, more_than_a_batch_is_handed_over_in_batches,
                mixed_destinations_each_get_their_own_in_order,
                wrong_lengths_are_dropped_and_counted, a_full_queue_is_a_value_and_loses_nothing,
                a_declined_frame_is_free_again, an_empty_port_gives_nothing_at_once,
                another_thread_ends_the_sleep);
        }
    };
    (@ $name:ident, $site:expr, $is_possible:expr, $($promise:ident),*) => {
        $(#[test] fn $promise() {
            let is_possible: fn(&str) -> bool = $is_possible;
            if is_possible(concat!(stringify!($name), "::", stringify!($promise))) {
                suite::$promise(&$site);
            }
        })*
    };
}

suite!(udp_with_offload, Udp { ip: |host| format!("127.77.0.{host}:0"), offload: true });
suite!(udp_plain, Udp { ip: |host| format!("127.77.0.{host}:0"), offload: false });
suite!(udp_over_ipv6, Udp { ip: |_| "[::1]:0".into(), offload: true });
suite!(xdp_native, Xdp::new(Mode::Native, hosts::v4, 4), hosts::is_possible);
suite!(xdp_native_over_ipv6, Xdp::new(Mode::Native, hosts::v6, 2), hosts::is_possible);
suite!(xdp_generic, Xdp::new(Mode::Generic, hosts::v4, 1), hosts::is_possible);
suite!(
    uring_with_coalescing,
    Uring { ip: |host| format!("127.77.8.{host}:0"), coalesce: true },
    uring_is_possible
);
suite!(
    uring_plain,
    Uring { ip: |host| format!("127.77.8.{host}:0"), coalesce: false },
    uring_is_possible
);
suite!(uring_over_ipv6, Uring { ip: |_| "[::1]:0".into(), coalesce: true }, uring_is_possible);
suite!(memory, Memory(Network::new(Rng::from_seed([1; 32]), Conditions::default())));

#[test]
fn an_ipv6_port_shows_ipv4_peers_as_ipv4() {
    let site = Udp { ip: |_| "127.77.2.1:0".into(), offload: true };
    let mut four = site.port(0, LENGTH);
    let mut both = UdpPort::open(&Options::new("[::]:0".parse().unwrap(), LENGTH)).unwrap();
    let to = SocketAddr::from(([127, 77, 2, 2], both.local().port()));
    send(&mut four, to, &datagram(1, LENGTH)).unwrap();
    four.flush();
    assert_eq!(receive(&site, &mut both, 1), [(four.local(), datagram(1, LENGTH))]);
    send(&mut both, four.local(), &datagram(2, LENGTH)).unwrap();
    both.flush();
    let arrived = receive(&site, &mut four, 1);
    assert_eq!(arrived.len(), 1);
    assert_eq!(arrived[0].1, datagram(2, LENGTH));
}

#[test]
fn ports_that_share_an_address_divide_its_sources_between_them() {
    let address = "127.77.3.1:0".parse().unwrap();
    let options = Options { shared: true, ..Options::new(address, LENGTH) };
    let mut first = UdpPort::open(&options).unwrap();
    let mut second = UdpPort::open(&Options { address: first.local(), ..options }).unwrap();
    let site = Udp { ip: |host| format!("127.77.3.{host}:0"), offload: true };
    let mut sources: Vec<_> = (2..42).map(|host| site.port(host, LENGTH)).collect();
    for source in &mut sources {
        send(source, first.local(), &datagram(1, LENGTH)).unwrap();
        source.flush();
    }
    let to_first = first.receive(BATCH, |_, _| {});
    let to_second = second.receive(BATCH, |_, _| {});
    assert_eq!(to_first + to_second, 40);
    // All 40 at one of two would be a chance of 2^-39.
    assert!(to_first > 0 && to_second > 0);
}

#[test]
fn what_the_kernel_dropped_is_counted() {
    let site = Udp { ip: |host| format!("127.77.4.{host}:0"), offload: false };
    let address = "127.77.4.1:0".parse().unwrap();
    let options = Options { receive_buffer_bytes: 64 << 10, ..Options::new(address, LENGTH) };
    let (mut a, mut small) = (site.port(2, LENGTH), UdpPort::open(&options).unwrap());
    let mut sent = 0;
    let mut flood = |a: &mut UdpPort, to: SocketAddr, count: u64| {
        for _ in 0..count {
            send(a, to, &datagram(1, LENGTH)).unwrap();
            a.flush();
        }
        sent += count;
        sent
    };
    flood(&mut a, small.local(), 500);
    while small.receive(BATCH, |_, _| {}) > 0 {}
    // The kernel tells with the next datagram it has room for.
    let sent = flood(&mut a, small.local(), 1);
    while small.receive(BATCH, |_, _| {}) > 0 {}
    let counters = small.counters();
    assert!(counters.kernel_dropped > 0);
    assert_eq!(counters.received + counters.kernel_dropped, sent);
}

#[test]
fn what_is_too_long_for_the_way_is_counted_and_not_fatal() {
    // Loopback carries 65536 bytes: with the headers of IPv6 these are 19 more.
    let mut port = UdpPort::open(&Options::new("[::1]:0".parse().unwrap(), 65_507)).unwrap();
    let to = port.local();
    send(&mut port, to, &datagram(1, 65_507)).unwrap();
    port.flush();
    assert_eq!(*port.counters(), PortCounters { too_long: 1, ..Default::default() });
    assert_eq!(port.queued(), 0);
}

#[test]
fn what_has_no_route_is_counted_and_the_rest_is_sent() {
    let site = Udp { ip: |host| format!("127.77.5.{host}:0"), offload: true };
    let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
    for (number, to) in ["127.77.5.9:0", "[::1]:9", "255.255.255.255:9"].iter().enumerate() {
        send(&mut a, to.parse().unwrap(), &datagram(number, LENGTH)).unwrap();
        send(&mut a, b.local(), &datagram(number, LENGTH)).unwrap();
    }
    a.flush();
    assert_eq!(receive(&site, &mut b, 3).len(), 3);
    let counters = a.counters();
    assert_eq!((counters.sent, counters.unreachable, counters.send_failed), (3, 2, 1));
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
