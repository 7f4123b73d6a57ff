//! One suite for every port: what the contract of `io::Port` promises, on each implementation.

use mixline::clock::{self, Nanos};
use mixline::crypto::random::Rng;
use mixline::io::memory::{Conditions, MemoryPort, Network};
use mixline::io::udp::{Options, UdpPort};
use mixline::io::uring::UringPort;
use mixline::io::wake;
use mixline::io::{BATCH, OpenError, Port, PortCounters, Unsent};
use std::convert::Infallible;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;
use suite::*;

#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/namespace.rs"]
mod namespace;
#[path = "support/tun.rs"]
mod tun;

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
        /// Waits until `port` may have something to receive.
        fn settle(&self, port: &Self::Port);
        /// What this machine lacks for such ports.
        fn missing(&self) -> Option<String> {
            None
        }
    }

    /// Whether the test `name` cannot be run here; then it says so, or fails where all must run.
    pub(super) fn is_skipped(site: &impl Site, name: &str) -> bool {
        let Some(missing) = site.missing() else { return false };
        assert!(std::env::var_os("MIXLINE_REQUIRE_XDP").is_none(), "{name}: {missing}");
        eprintln!("SKIP {name}: {missing}");
        true
    }

    /// Opens a port over a socket.
    pub(super) type Open<P> = fn(&Options) -> Result<P, OpenError>;

    /// Sockets on loopback; every port has a number of the kernel's choice, so tests can run at
    /// once.
    pub(super) struct Sockets<P> {
        pub(super) open: Open<P>,
        pub(super) ip: fn(u8) -> String,
        pub(super) offload: bool,
    }

    impl<P: Port + Send> Sockets<P> {
        /// A port as `change` wants it.
        pub(super) fn port_with(&self, host: u8, change: impl FnOnce(&mut Options)) -> P {
            let mut options = Options::new((self.ip)(host).parse().unwrap(), LENGTH);
            (options.coalesce, options.segment) = (self.offload, self.offload);
            change(&mut options);
            (self.open)(&options).unwrap()
        }
    }

    impl<P: Port + Send> Site for Sockets<P> {
        type Port = P;

        fn port(&self, host: u8, datagram_bytes: usize) -> P {
            self.port_with(host, |options| options.datagram_bytes = datagram_bytes)
        }

        fn settle(&self, port: &P) {
            let (mut sleeper, _waker) = wake::pair().unwrap();
            let now = clock::now();
            sleeper.sleep(port, now, now + Nanos::from_millis(20));
        }

        fn missing(&self) -> Option<String> {
            match (self.open)(&Options::new((self.ip)(1).parse().unwrap(), LENGTH)) {
                Err(error @ (OpenError::UringForbidden | OpenError::UringMissing)) => {
                    Some(error.to_string())
                }
                _ => None,
            }
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
        let lengths = [1, 64, LENGTH - 1, LENGTH + 1, 2 * LENGTH, 9000];
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
        let expected = PortCounters { received: 1, wrong_length: 18, ..Default::default() };
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

    pub(super) fn an_ipv6_port_shows_ipv4_peers_as_ipv4<P: Port + Send>(site: &Sockets<P>) {
        let mut four = site.port(1, LENGTH);
        let mut both = site.port_with(2, |options| options.address = "[::]:0".parse().unwrap());
        let to = SocketAddr::new(four.local().ip(), both.local().port());
        send(&mut four, to, &datagram(1, LENGTH)).unwrap();
        four.flush();
        assert_eq!(receive(site, &mut both, 1), [(four.local(), datagram(1, LENGTH))]);
        send(&mut both, four.local(), &datagram(2, LENGTH)).unwrap();
        both.flush();
        let arrived = receive(site, &mut four, 1);
        assert_eq!(arrived.len(), 1);
        assert_eq!(arrived[0].1, datagram(2, LENGTH));
    }

    pub(super) fn ports_that_share_an_address_divide_its_sources_between_them<P: Port + Send>(
        site: &Sockets<P>,
    ) {
        let mut first = site.port_with(1, |options| options.shared = true);
        let mut second = site.port_with(1, |options| {
            (options.shared, options.address) = (true, first.local());
        });
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

    pub(super) fn what_the_kernel_dropped_is_counted<P: Port + Send>(site: &Sockets<P>) {
        let mut a = site.port(2, LENGTH);
        let mut small = site.port_with(1, |options| options.receive_buffer_bytes = 64 << 10);
        let mut sent = 0;
        let mut flood = |a: &mut P, to: SocketAddr, count: u64| {
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

    pub(super) fn what_is_too_long_for_the_way_is_counted_and_not_fatal<P: Port + Send>(
        site: &Sockets<P>,
    ) {
        // Loopback carries 65536 bytes: with the headers of IPv6 these are 19 more.
        let mut port = site.port_with(1, |options| {
            options.address = "[::1]:0".parse().unwrap();
            options.datagram_bytes = 65_507;
        });
        let to = port.local();
        send(&mut port, to, &datagram(1, 65_507)).unwrap();
        port.flush();
        assert_eq!(*port.counters(), PortCounters { too_long: 1, ..Default::default() });
        assert_eq!(port.queued(), 0);
    }

    pub(super) fn what_has_no_route_is_counted_and_the_rest_is_sent<P: Port + Send>(
        site: &Sockets<P>,
    ) {
        let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
        for (number, to) in ["127.77.5.9:0", "[::1]:9", "255.255.255.255:9"].iter().enumerate() {
            send(&mut a, to.parse().unwrap(), &datagram(number, LENGTH)).unwrap();
            send(&mut a, b.local(), &datagram(number, LENGTH)).unwrap();
        }
        a.flush();
        assert_eq!(receive(site, &mut b, 3).len(), 3);
        let counters = a.counters();
        assert_eq!((counters.sent, counters.unreachable, counters.send_failed), (3, 2, 1));
    }

    /// To be called where packets to `to` wait for something that `let_go` makes happen.
    pub(super) fn what_the_kernel_has_no_room_for_stays_queued<P: Port + Send>(
        site: &Sockets<P>,
        to: SocketAddr,
        let_go: impl FnOnce(),
    ) {
        let mut port = site.port_with(1, |options| options.send_buffer_bytes = 16 << 10);
        for number in 0..BATCH {
            send(&mut port, to, &datagram(number, LENGTH)).unwrap();
        }
        port.flush();
        let queued = port.queued();
        let first = BATCH - queued;
        assert!(first > 0 && queued > 0, "{first}");
        port.flush();
        assert_eq!((port.counters().sent, port.queued()), (first as u64, queued));
        // Frames that are not in use are free.
        for number in 0..first {
            send(&mut port, to, &datagram(number, LENGTH)).unwrap();
        }
        assert_eq!(send(&mut port, to, &datagram(0, LENGTH)), Err(Unsent::Full));
        let_go();
        let end = clock::now() + PATIENCE;
        while port.queued() > 0 && clock::now() < end {
            site.settle(&port);
            port.flush();
        }
        let sent = (BATCH + first) as u64;
        assert_eq!(*port.counters(), PortCounters { sent, send_full: 1, ..Default::default() });
    }

    pub(super) fn empty_datagrams_hold_nothing_up<P: Port + Send>(site: &Sockets<P>) {
        let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
        let stranger = UdpSocket::bind((a.local().ip(), 0)).unwrap();
        for number in 0..BATCH {
            stranger.send_to(&[], b.local()).unwrap();
            send(&mut a, b.local(), &datagram(number, LENGTH)).unwrap();
            a.flush();
        }
        assert_eq!(receive(site, &mut b, BATCH).len(), BATCH);
        assert_eq!(b.counters().wrong_length, BATCH as u64);
    }

    pub(super) fn a_datagram_ends_the_sleep<P: Port + Send>(site: &Sockets<P>) {
        let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
        let (mut sleeper, _waker) = wake::pair().unwrap();
        let to = b.local();
        // Once before the port was ever used, and then with it in full use.
        for round in 0..3 {
            let before = clock::now();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(20));
                    stranger_sends(to, round);
                });
                sleeper.sleep(&b, before, before + PATIENCE);
            });
            let slept = clock::now() - before;
            assert!(slept >= Nanos::from_millis(20) && slept < PATIENCE, "{slept:?}");
            let arrived = receive(site, &mut b, 1);
            assert_eq!(arrived[0].1, datagram(round, LENGTH));
            send(&mut b, a.local(), &datagram(round, LENGTH)).unwrap();
            b.flush();
            assert_eq!(receive(site, &mut a, 1).len(), 1);
            assert_eq!(b.receive(BATCH, |_, _| {}), 0);
        }
    }

    fn stranger_sends(to: SocketAddr, number: usize) {
        let stranger = UdpSocket::bind((to.ip(), 0)).unwrap();
        stranger.send_to(&datagram(number, LENGTH), to).unwrap();
    }

    /// Every buffer is used up and comes back many times, also while the port sends.
    pub(super) fn a_flood_is_received_to_its_end<P: Port + Send>(site: &Sockets<P>) {
        let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
        let back = UdpSocket::bind((a.local().ip(), 0)).unwrap();
        let mut count = 0;
        for round in 0..20 {
            for number in 0..2 * BATCH {
                if send(&mut a, b.local(), &datagram(number, LENGTH)) == Err(Unsent::Full) {
                    a.flush();
                    send(&mut a, b.local(), &datagram(number, LENGTH)).unwrap();
                }
            }
            a.flush();
            let most = [1, 7, BATCH / 2, BATCH][round % 4];
            let end = clock::now() + PATIENCE;
            while count < (round + 1) * 2 * BATCH && clock::now() < end {
                b.receive(most, |_, content| {
                    assert!(*content == datagram(count % (2 * BATCH), LENGTH), "{count}");
                    count += 1;
                });
                send(&mut b, back.local_addr().unwrap(), &datagram(0, LENGTH)).unwrap();
                b.flush();
            }
        }
        let expected = 20 * 2 * BATCH as u64;
        assert_eq!((b.counters().received, b.counters().receive_failed), (expected, 0));
    }

    pub(super) fn an_address_is_free_again_when_its_port_is_dropped<P: Port + Send>(
        site: &Sockets<P>,
    ) {
        let mut a = site.port(1, LENGTH);
        let mut address = (site.ip)(2).parse().unwrap();
        let open_again = |address: SocketAddr| {
            let end = clock::now() + PATIENCE;
            loop {
                match (site.open)(&Options::new(address, LENGTH)) {
                    Err(OpenError::InUse(_)) if clock::now() < end => std::thread::yield_now(),
                    port => return port.unwrap(),
                }
            }
        };
        for dropped_elsewhere in [false, false, true, true] {
            let mut b = open_again(address);
            address = b.local();
            // Datagrams lie in the socket, in the port, and in its queue when it ends.
            for number in 0..BATCH {
                send(&mut a, b.local(), &datagram(number, LENGTH)).unwrap();
                send(&mut b, a.local(), &datagram(number, LENGTH)).unwrap();
            }
            a.flush();
            b.receive(1, |_, _| {});
            b.flush();
            a.flush();
            send(&mut b, a.local(), &datagram(0, LENGTH)).unwrap();
            if dropped_elsewhere {
                std::thread::scope(|scope| scope.spawn(|| drop(b)).join().unwrap());
            } else {
                drop(b);
            }
        }
        open_again(address);
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

/// The whole contract, one test for each promise, on the site that `$site` makes.
macro_rules! suite {
    ($name:ident, $site:expr) => {
        mod $name {
            use super::*;
            promises!(
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
        }
    };
}

/// What ports over sockets promise beside it.
macro_rules! sockets {
    ($name:ident, $site:expr) => {
        mod $name {
            use super::*;
            promises!(
                $site,
                an_ipv6_port_shows_ipv4_peers_as_ipv4,
                ports_that_share_an_address_divide_its_sources_between_them,
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
    ($site:expr, $($promise:ident),*) => {
        $(#[test] fn $promise() {
            let site = $site;
            if !is_skipped(&site, stringify!($promise)) {
                suite::$promise(&site);
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
        let (first, second) = ("198.18.0.2", "198.18.0.3");
        suite::what_the_kernel_has_no_room_for_stays_queued(
            &near(UdpPort::open),
            to(first),
            || answer(first),
        );
        let uring = near(UringPort::open);
        if !is_skipped(&uring, "what_the_kernel_has_no_room_for_stays_queued") {
            suite::what_the_kernel_has_no_room_for_stays_queued(&uring, to(second), || {
                answer(second);
            });
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
