//! What the contract of `io::Port` promises, each promise as a function over any place.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::crypto::random::Rng;
use mixline::io::wake;
use mixline::io::{BATCH, Port, PortCounters, Unsent};

/// Long enough for anything that happens at all.
pub(crate) const PATIENCE: Nanos = Nanos::from_secs(5);
pub(crate) const LENGTH: usize = 1400;

/// A place where ports of one kind find each other.
pub(crate) trait Site {
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
    /// What this machine lacks for such ports.
    fn missing(&self) -> Option<String> {
        None
    }
}

/// Whether the test `name` cannot be run here; then it says so, or fails where all must run.
pub(crate) fn is_skipped(site: &impl Site, name: &str) -> bool {
    let Some(missing) = site.missing() else { return false };
    assert!(std::env::var_os("MIXLINE_REQUIRE_XDP").is_none(), "{name}: {missing}");
    eprintln!("SKIP {name}: {missing}");
    true
}

type Arrived = (SocketAddr, Vec<u8>);

/// Receives until `count` datagrams came, or, when fewer come, until patience ends.
pub(crate) fn receive<S: Site>(site: &S, port: &mut S::Port, count: usize) -> Vec<Arrived> {
    let mut arrived = Vec::new();
    let end = clock::now() + PATIENCE;
    while arrived.len() < count && clock::now() < end {
        site.settle(port);
        let before = arrived.len();
        let said = port.receive(BATCH, |from, datagram| arrived.push((from, datagram.to_vec())));
        assert_eq!(said, arrived.len() - before);
        assert!(said <= BATCH);
    }
    arrived
}

/// A datagram that no other number gives.
pub(crate) fn datagram(number: usize, bytes: usize) -> Vec<u8> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    let mut out = vec![0; bytes];
    Rng::from_seed(seed).fill(&mut out);
    out
}

pub(crate) fn send(
    port: &mut impl Port,
    to: SocketAddr,
    content: &[u8],
) -> Result<(), Unsent<Infallible>> {
    port.send(|frame| {
        frame.copy_from_slice(content);
        Ok(to)
    })
}

pub(crate) fn bytes_and_source_arrive<S: Site>(site: &S) {
    let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
    send(&mut a, b.local(), &datagram(1, LENGTH)).unwrap();
    a.flush();
    assert_eq!(receive(site, &mut b, 1), [(a.local(), datagram(1, LENGTH))]);
    send(&mut b, a.local(), &datagram(2, LENGTH)).unwrap();
    b.flush();
    assert_eq!(receive(site, &mut a, 1), [(b.local(), datagram(2, LENGTH))]);
}

pub(crate) fn batches_of_every_size_arrive_in_order<S: Site>(site: &S) {
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

pub(crate) fn more_than_a_batch_is_handed_over_in_batches<S: Site>(site: &S) {
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

pub(crate) fn mixed_destinations_each_get_their_own_in_order<S: Site>(site: &S) {
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
    let mut sources: Vec<_> = receive(site, &mut hub, 5).iter().map(|(from, _)| *from).collect();
    sources.sort();
    let mut locals: Vec<_> = spokes.iter().map(Port::local).collect();
    locals.sort();
    assert_eq!(sources, locals);
}

pub(crate) fn wrong_lengths_are_dropped_and_counted<S: Site>(site: &S) {
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

pub(crate) fn a_full_queue_is_a_value_and_loses_nothing<S: Site>(site: &S) {
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

pub(crate) fn a_declined_frame_is_free_again<S: Site>(site: &S) {
    let (mut a, mut b) = (site.port(1, LENGTH), site.port(2, LENGTH));
    for _ in 0..3 * BATCH {
        assert_eq!(a.send(|_| Err("no")), Err(Unsent::Refused("no")));
    }
    assert_eq!(a.queued(), 0);
    send(&mut a, b.local(), &datagram(1, LENGTH)).unwrap();
    a.flush();
    assert_eq!(receive(site, &mut b, 1), [(a.local(), datagram(1, LENGTH))]);
}

pub(crate) fn an_empty_port_gives_nothing_at_once<S: Site>(site: &S) {
    let mut port = site.port(1, LENGTH);
    let before = clock::now();
    assert_eq!(port.receive(BATCH, |_, _| panic!("nothing was sent")), 0);
    port.flush();
    assert!(clock::now() - before < Nanos::from_millis(500));
    assert_eq!(*port.counters(), PortCounters::default());
}

pub(crate) fn another_thread_ends_the_sleep<S: Site>(site: &S) {
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

/// Sleeps until `port` has something, or for a moment.
pub(crate) fn sleep(port: &impl Port) {
    let (mut sleeper, _waker) = wake::pair().unwrap();
    let now = clock::now();
    sleeper.sleep(port, now, now + Nanos::from_millis(20));
}
