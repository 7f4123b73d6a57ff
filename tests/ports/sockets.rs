//! Ports over sockets, and what they promise beside what every port does.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::io::udp::Options;
use mixline::io::wake;
use mixline::io::{BATCH, OpenError, Port, PortCounters, Unsent};

use crate::suite::{LENGTH, PATIENCE, Site, datagram, receive, send, sleep};

/// Opens a port over a socket.
pub(crate) type Open<P> = fn(&Options) -> Result<P, OpenError>;

/// Sockets on loopback; every port has a number of the kernel's choice, so tests can run at
/// once.
pub(crate) struct Sockets<P> {
    pub(crate) open: Open<P>,
    pub(crate) ip: fn(u8) -> String,
    pub(crate) offload: bool,
}

impl<P: Port + Send> Sockets<P> {
    /// A port as `change` wants it.
    pub(crate) fn port_with(&self, host: u8, change: impl FnOnce(&mut Options)) -> P {
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
        sleep(port);
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

pub(crate) fn an_ipv6_port_shows_ipv4_peers_as_ipv4<P: Port + Send>(site: &Sockets<P>) {
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

pub(crate) fn ports_that_share_an_address_divide_its_sources_between_them<P: Port + Send>(
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

pub(crate) fn a_detached_sender_has_no_share_of_the_sources<P: Port + Send>(site: &Sockets<P>) {
    let mut first = site.port_with(1, |options| options.shared = true);
    let mut second = site.port_with(1, |options| {
        (options.shared, options.address) = (true, first.local());
    });
    // One sender for two ports.
    let mut sender = first.detach_sender().unwrap();
    let mut sources: Vec<_> = (2..42).map(|host| site.port(host, LENGTH)).collect();
    for (number, source) in sources.iter_mut().enumerate() {
        send(source, first.local(), &datagram(number, LENGTH)).unwrap();
        source.flush();
        send(&mut sender, source.local(), &datagram(number, LENGTH)).unwrap();
        sender.flush();
        let answer = [(first.local(), datagram(number, LENGTH))];
        assert_eq!(receive(site, source, 1), answer);
    }
    assert_eq!(sender.receive(BATCH, |_, _| {}), 0);
    let to_both = [&mut first, &mut second].map(|port| port.receive(BATCH, |_, _| {}));
    assert_eq!(to_both.iter().sum::<usize>(), 40);
    assert!(!to_both.contains(&0), "{to_both:?}");
}

pub(crate) fn what_the_kernel_dropped_is_counted<P: Port + Send>(site: &Sockets<P>) {
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

pub(crate) fn what_is_too_long_for_the_way_is_counted_and_not_fatal<P: Port + Send>(
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

pub(crate) fn what_has_no_route_is_counted_and_the_rest_is_sent<P: Port + Send>(site: &Sockets<P>) {
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
pub(crate) fn what_the_kernel_has_no_room_for_stays_queued<P: Port + Send>(
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

/// To be called where packets to `to` wait for something that `let_go` makes happen.
pub(crate) fn a_detached_sender_wakes_for_room_only<P: Port + Send>(
    site: &Sockets<P>,
    to: SocketAddr,
    let_go: impl FnOnce() + Send,
) {
    let mut port = site.port_with(1, |options| options.send_buffer_bytes = 16 << 10);
    let mut sender = port.detach_sender().unwrap();
    for number in 0..BATCH {
        send(&mut sender, to, &datagram(number, LENGTH)).unwrap();
    }
    sender.flush();
    let queued = sender.queued();
    assert!(queued > 0);
    stranger_sends(port.local(), 1);
    let (mut sleeper, _waker) = wake::pair().unwrap();
    let moment = Nanos::from_millis(30);
    let before = clock::now();
    sleeper.sleep(&sender, before, before + moment);
    assert!(clock::now() - before >= moment, "there was no room, and it woke");
    let before = clock::now();
    std::thread::scope(|scope| {
        scope.spawn(let_go);
        sleeper.sleep(&sender, before, before + PATIENCE);
    });
    assert!(clock::now() - before < PATIENCE, "there was room, and it slept");
    sender.flush();
    assert!(sender.queued() < queued);
    assert_eq!(receive(site, &mut port, 1).len(), 1);
}

pub(crate) fn empty_datagrams_hold_nothing_up<P: Port + Send>(site: &Sockets<P>) {
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

pub(crate) fn a_datagram_ends_the_sleep<P: Port + Send>(site: &Sockets<P>) {
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
pub(crate) fn a_flood_is_received_to_its_end<P: Port + Send>(site: &Sockets<P>) {
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

pub(crate) fn an_address_is_free_again_when_its_port_is_dropped<P: Port + Send>(site: &Sockets<P>) {
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
