//! What the contract promises of a sender that was detached: two threads at one address.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use mixline::clock::{self, Nanos};
use mixline::io::wake;
use mixline::io::{BATCH, Port, PortCounters};

use crate::allocator::{self, HeapCalls};
use crate::suite::{LENGTH, PATIENCE, Site, datagram, receive, send};

pub(crate) fn a_detached_sender_sends_from_the_address_of_its_port<S: Site>(site: &S) {
    let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
    let mut sender = a.detach_sender().unwrap();
    assert_eq!((sender.local(), sender.datagram_bytes()), (a.local(), LENGTH));
    for number in 0..3 {
        send(&mut sender, b.local(), &datagram(number, LENGTH)).unwrap();
        assert_eq!((sender.queued(), a.queued()), (1, 0));
        sender.flush();
        assert_eq!(receive(site, &mut b, 1), [(a.local(), datagram(number, LENGTH))]);
    }
    // The port can do so too, and another sender.
    let mut other = a.detach_sender().unwrap();
    for port in [&mut a, &mut other] {
        send(port, b.local(), &datagram(7, LENGTH)).unwrap();
        port.flush();
        assert_eq!(receive(site, &mut b, 1), [(port.local(), datagram(7, LENGTH))]);
    }
    let sent = [&a, &sender, &other].map(|port| port.counters().sent);
    assert_eq!((sent, b.counters().received), ([1, 3, 1], 5));
}

pub(crate) fn what_comes_all_comes_to_the_port_and_not_to_its_sender<S: Site>(site: &S) {
    const SOURCES: u8 = 16;
    const ROUNDS: usize = 24;
    const BURST: usize = BATCH / 8;
    let mut a = site.port(1, LENGTH);
    let mut sender = a.detach_sender().unwrap();
    let mut sources: Vec<_> = (2..2 + SOURCES).map(|host| site.port(host, LENGTH)).collect();
    for round in 0..ROUNDS {
        for source in &mut sources {
            for _ in 0..BURST {
                send(source, a.local(), &datagram(round, LENGTH)).unwrap();
            }
            source.flush();
        }
        site.settle(&a);
        assert_eq!(sender.receive(BATCH, |_, _| panic!("it came to the sender")), 0);
        let arrived = receive(site, &mut a, sources.len() * BURST);
        for source in &sources {
            let of_source = arrived.iter().filter(|(from, _)| *from == source.local());
            assert_eq!(of_source.count(), BURST, "of {}", source.local());
        }
    }
    assert_eq!(*sender.counters(), PortCounters::default());
    let received = (sources.len() * ROUNDS * BURST) as u64;
    assert_eq!(*a.counters(), PortCounters { received, ..PortCounters::default() });
}

pub(crate) fn what_comes_does_not_wake_a_detached_sender<S: Site>(site: &S) {
    let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
    let sender = a.detach_sender().unwrap();
    send(&mut b, a.local(), &datagram(1, LENGTH)).unwrap();
    b.flush();
    site.settle(&a);
    let (mut sleeper, waker) = wake::pair().unwrap();
    let before = clock::now();
    sleeper.sleep(&sender, before, before + Nanos::from_millis(30));
    assert!(clock::now() - before >= Nanos::from_millis(30), "it woke");
    waker.wake();
    sleeper.sleep(&sender, before, before + PATIENCE);
    assert!(clock::now() - before < PATIENCE, "it did not wake");
    assert_eq!(receive(site, &mut a, 1), [(b.local(), datagram(1, LENGTH))]);
}

/// Datagrams of each stream in the test of threads.
const COUNT: u64 = 30_000;
/// Those on their way at most, as in `more_than_a_batch_is_handed_over_in_batches`.
const WINDOW: u64 = 2 * BATCH as u64;
/// Long enough for all of them, on a machine with other work.
const LONG: Nanos = Nanos::from_secs(60);

/// How far the receiving end of a stream is.
#[derive(Default)]
struct Received(AtomicU64);

impl Received {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Takes what waits at `port`, which must be the next of the stream.
    fn take(&self, port: &mut impl Port) {
        port.receive(BATCH, |_, content| {
            let expected = self.count();
            let (number, rest) = content.split_first_chunk().expect("it is longer");
            assert_eq!(u64::from_le_bytes(*number), expected);
            assert!(rest.iter().all(|byte| *byte == number[0]), "{expected} is not itself");
            self.0.store(expected + 1, Ordering::Release);
        });
    }
}

/// The sending end of a stream.
struct Stream<'a> {
    to: SocketAddr,
    sent: u64,
    received: &'a Received,
}

impl Stream<'_> {
    /// Sends what may be on its way.
    fn go_on(&mut self, port: &mut impl Port) {
        let end = COUNT.min(self.received.count() + WINDOW);
        while self.sent < end {
            let number = self.sent.to_le_bytes();
            let queued = port.send(|frame| {
                frame.fill(number[0]);
                frame[..8].copy_from_slice(&number);
                Ok::<_, Infallible>(self.to)
            });
            if queued.is_err() {
                break;
            }
            self.sent += 1;
        }
        port.flush();
        thread::yield_now();
    }
}

pub(crate) fn one_thread_sends_while_another_receives<S: Site>(site: &S) {
    let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
    let mut sender = a.detach_sender().unwrap();
    let (at_a, at_b) = (Received::default(), Received::default());
    let mut out = Stream { to: b.local(), sent: 0, received: &at_b };
    let mut back = Stream { to: a.local(), sent: 0, received: &at_a };
    let end = clock::now() + LONG;
    let is_under_way = || at_a.count().min(at_b.count()) < COUNT && clock::now() < end;
    thread::scope(|scope| {
        scope.spawn(|| {
            while is_under_way() {
                out.go_on(&mut sender);
            }
        });
        scope.spawn(|| {
            while is_under_way() {
                back.go_on(&mut b);
                at_b.take(&mut b);
            }
        });
        while is_under_way() {
            site.settle(&a);
            at_a.take(&mut a);
        }
    });
    let mut ports = [a, sender, b];
    for port in &mut ports {
        while port.audit() > 0 && clock::now() < end {
            port.flush();
        }
        assert_eq!(port.audit(), 0, "frames are missing");
    }
    let none = PortCounters::default();
    let [a, sender, b] = ports.map(|port| PortCounters { send_full: 0, ..*port.counters() });
    assert_eq!(a, PortCounters { received: COUNT, ..none });
    assert_eq!(sender, PortCounters { sent: COUNT, ..none });
    assert_eq!(b, PortCounters { received: COUNT, sent: COUNT, ..none });
}

/// Often enough that a port also does what it does now and then.
const ROUNDS: usize = 600;

pub(crate) fn nothing_is_allocated_once_ports_are_open<S: Site>(site: &S) {
    let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
    let mut sender = a.detach_sender().unwrap();
    let content = datagram(1, LENGTH);
    let mut calls = HeapCalls::default();
    let mut exchange = |from: &mut S::Port, to: &mut S::Port| {
        allocator::count(&mut calls, || {
            for _ in 0..4 {
                send(from, to.local(), &content).unwrap();
            }
            from.flush();
            from.receive(BATCH, |_, _| {});
        });
        site.settle(to);
        allocator::count(&mut calls, || to.receive(BATCH, |_, _| {}));
    };
    for _ in 0..ROUNDS {
        exchange(&mut sender, &mut b);
        exchange(&mut b, &mut a);
    }
    allocator::count(&mut calls, || [&mut a, &mut sender, &mut b].map(|port| port.audit()));
    // Some may have come after the last look.
    let all = 4 * ROUNDS as u64;
    assert!(a.counters().received > all / 2 && b.counters().received > all / 2);
    assert_eq!(calls, HeapCalls::default());
}
