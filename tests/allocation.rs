//! A worker's turn does not allocate: counted on a real gateway, made as `mixline run` makes it,
//! that forwards real packets between real sockets.
//!
//! Counted is all that the turns of the node's workers do, and what they call down to aws-lc: take
//! commands, receive, open, refuse, unwrap, route, mix, seal, send, pass up. Not counted is the
//! control thread, which allocates as it likes. A session that ends is freed by the worker that
//! used it last, so the turns that take such commands may free memory; they do not allocate either.

#![cfg(test)] // also what is included may unwrap

#[path = "support/allocator.rs"]
mod allocator;
#[path = "support/endpoint.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod endpoint;
#[path = "support/loopback.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod loopback;
#[path = "support/packets.rs"]
mod packets;
#[path = "support/testnet.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod testnet;

use std::hint::black_box;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use allocator::HeapCalls;
use endpoint::Endpoint;
use loopback::Loopback;
use packets::Builder;

use mixline::clock::Nanos;
use mixline::crypto::aead;
use mixline::crypto::random::Rng;
use mixline::io::udp::UdpPort;
use mixline::link::control::Item;
use mixline::link::{self, Frame};
use mixline::node;
use mixline::pool::{self, Fraction, Pool, Strategy};
use mixline::route::delay_max;
use mixline::sphinx::{self, Geometry, RouteHop};
use mixline::worker::Counts;
use mixline::worker::drops::{Reason, Refusal};
use mixline::worker::rings::Command;
use mixline::worker::roles::Roles;

/// More than this many packets must be forwarded.
const PACKETS: u64 = 100_000;
/// Enough that the kernel spreads them over both workers, but once in 2^23 runs.
const CLIENTS: usize = 24;
const DELAY_MEAN: Nanos = Nanos::from_millis(20);
/// What a client may send at once.
const BURST: usize = 64;
/// Packets that are sent before the clock moves on.
const ROUND: usize = 64;

const NOTHING: HeapCalls = HeapCalls { allocations: 0, frees: 0 };

fn options() -> node::Options {
    node::Options {
        workers: 2,
        slots: 16_384,
        packets_max: 3072,
        replay_packets_max: 400_000,
        clients_max: 64,
        ..node::Options::default()
    }
}

/// A gateway whose workers' turns are counted, its clients, and its neighbour.
struct Bench {
    net: Loopback<UdpPort>,
    clients: Vec<Endpoint>,
    neighbour: Endpoint,
    calls: HeapCalls,
}

impl Bench {
    /// All links are up; the workers have forwarded, refused and delivered something.
    fn new(options: &node::Options) -> Self {
        let mut net = Loopback::new(77, DELAY_MEAN, options, |port| port);
        let clients = (0..CLIENTS).map(|number| net.client(number)).collect();
        let neighbour = net.neighbour();
        let mut bench = Bench { net, clients, neighbour, calls: NOTHING };
        bench.run_until("all links are up", |bench| {
            bench.clients.iter().all(Endpoint::is_up) && bench.neighbour.is_up()
        });
        bench.run(10);
        let mut builder = Builder::new(&mut bench.net);
        for number in 0..8 * ROUND {
            bench.send(number, &builder.forwarded(Nanos::ZERO));
            if number % ROUND == 0 {
                bench.disturb(number / ROUND, &mut builder);
                bench.step(Nanos::from_millis(5));
            }
        }
        bench.run(100);
        bench.calls = NOTHING;
        bench
    }

    /// Moves the clock; then the ends of the links take their turns, and the gateway its own.
    fn step(&mut self, span: Nanos) {
        self.net.advance(span);
        self.turn_ends();
        let calls = &mut self.calls;
        self.net.turn_gateway(|worker, now| allocator::count(calls, || worker.turn(now)));
    }

    fn turn_ends(&mut self) {
        let at = self.net.at;
        for end in self.clients.iter_mut().chain([&mut self.neighbour]) {
            while end.turn(at, |_, _| {}) > 0 {}
            end.frames.clear();
        }
    }

    /// Turns of the workers only: the control thread is held up.
    fn turn_workers(&mut self) {
        let (calls, now) = (&mut self.calls, self.net.at.now);
        for worker in &mut self.net.gateway.workers {
            while allocator::count(calls, || worker.turn(now)) > 0 {}
        }
    }

    fn run(&mut self, steps: usize) {
        (0..steps).for_each(|_| self.step(Nanos::from_millis(10)));
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if done(self) {
                return;
            }
            self.step(Nanos::from_millis(10));
        }
        panic!("not within ten seconds: {what}");
    }

    /// Sends a Sphinx frame from one of the clients.
    fn send(&mut self, client: usize, frame: &[u8]) {
        self.clients[client % CLIENTS].send(Frame::Sphinx, frame, self.net.at);
    }

    /// One of each kind of datagram and packet that a worker refuses without much work, from one
    /// client; and one of each that it passes up.
    fn disturb(&mut self, client: usize, builder: &mut Builder) {
        let at = self.net.at;
        let client = &mut self.clients[client % CLIENTS];
        let sealed = client.seal(Frame::Dummy, &[], at);
        client.send_raw(&sealed);
        client.send_raw(&sealed);
        let mut sealed = client.seal(Frame::Dummy, &[], at);
        sealed[1407] ^= 1;
        client.send_raw(&sealed);
        client.send_raw(&builder.rng.bytes::<1408>());
        client.send(Frame::Deliver, &[0; 64], at);
        for packet in refused(builder) {
            client.send(Frame::Sphinx, &packet, at);
        }
        let again = builder.forwarded(Nanos::ZERO);
        client.send(Frame::Sphinx, &again, at);
        client.send(Frame::Sphinx, &again, at);
        client.send(Frame::Sphinx, &builder.delivered([5; 32]), at);
        client.send(Frame::Control, &Item::Echo([7; 8]).to_body(), at);
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let gateway = self.net.listed_gateway().addresses()[0];
        stranger.send_to(&builder.rng.bytes::<1408>(), gateway).unwrap();
        stranger.send_to(&[0; 100], gateway).unwrap();
    }

    /// The sum over the workers of what `value` reads.
    fn sum(&self, value: impl Fn(&Counts) -> u64) -> u64 {
        self.net.gateway.workers.iter().map(|worker| value(worker.counts())).sum()
    }

    fn dropped(&self, reason: impl Into<Reason>) -> u64 {
        let reason = reason.into();
        self.sum(|counts| counts.drops.of(reason))
    }

    #[track_caller]
    fn assert_dropped(&self, reasons: &[Reason]) {
        for &reason in reasons {
            assert!(self.dropped(reason) > 0, "no packet was dropped for {reason:?}");
        }
    }

    fn sent(&self) -> u64 {
        self.sum(|counts| counts.packets_out.value())
    }
}

/// A round of packets that go on to the mix after random delays.
fn mixed(builder: &mut Builder) -> Vec<Vec<u8>> {
    let delays: [Nanos; ROUND] =
        std::array::from_fn(|_| builder.rng.exponential(DELAY_MEAN).min(delay_max(DELAY_MEAN)));
    builder.forwarded_each(&delays)
}

/// A packet for each check between the link and the pool.
fn refused(builder: &mut Builder) -> Vec<Vec<u8>> {
    let tail = Geometry::DEFAULT.packet_bytes();
    let mut changed = |byte: usize| {
        let mut frame = builder.delivered([5; 32]);
        frame[byte] ^= 1;
        frame
    };
    let (forged, bad_epoch, bad_tail) = (changed(40), changed(tail), changed(tail + 2));
    let mut low_order = builder.delivered([5; 32]);
    low_order[..32].fill(0);
    let nowhere = RouteHop { address: [9; 32], ..builder.mix };
    let nowhere = builder.frame(&[builder.gateway, nowhere], [5; 32]);
    let late = builder.forwarded(Nanos::from_secs(3600));
    vec![forged, bad_epoch, bad_tail, low_order, nowhere, late]
}

/// Sends rounds of packets into `rounds` until nobody takes them any more.
fn supply(mut builder: Builder, rounds: &SyncSender<Vec<Vec<u8>>>) {
    while rounds.send(mixed(&mut builder)).is_ok() {}
}

#[test]
fn what_rust_and_c_ask_of_the_heap_is_counted_while_a_thread_is_armed() {
    let counted = |section: &mut dyn FnMut()| {
        let mut calls = NOTHING;
        allocator::count(&mut calls, section);
        calls
    };
    let one = HeapCalls { allocations: 1, frees: 1 };
    assert_eq!(counted(&mut || {}), NOTHING);
    assert_eq!(counted(&mut || black_box(&mut Vec::new()).push(1u8)), one);
    assert_eq!(counted(&mut || drop(black_box(vec![0u64; 100]))), one);
    #[repr(align(64))]
    struct Line(#[expect(dead_code, reason = "only its alignment matters")] [u8; 64]);
    assert_eq!(counted(&mut || drop(black_box(Box::new(Line([0; 64]))))), one);
    let mut grown = Vec::with_capacity(1);
    let growth = counted(&mut || (0..2u8).for_each(|byte| black_box(&mut grown).push(byte)));
    assert_eq!(growth, HeapCalls { allocations: 1, frees: 0 });
    // The context of a key is aws-lc's own memory.
    assert_eq!(counted(&mut || drop(black_box(aead::Key::new(&[1; 32])))), one);
    // What another thread does meanwhile is not counted.
    let (begin, end) = (AtomicBool::new(false), AtomicBool::new(false));
    let wait_for = |flag: &AtomicBool| {
        while !flag.load(Ordering::Acquire) {
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            wait_for(&begin);
            drop(black_box(vec![1; 1000]));
            end.store(true, Ordering::Release);
        });
        let calls = counted(&mut || {
            begin.store(true, Ordering::Release);
            wait_for(&end);
        });
        assert_eq!(calls, NOTHING);
    });
}

#[test]
fn a_hundred_thousand_packets_are_forwarded_without_the_heap() {
    forward(2);
}

#[test]
fn workers_and_owners_that_are_apart_do_not_use_the_heap_either() {
    forward(4);
}

fn forward(workers: usize) {
    let mut bench = Bench::new(&node::Options { workers, ..options() });
    let before = bench.sent();
    let mut builder = Builder::new(&mut bench.net);
    let old: Vec<_> = (0..CLIENTS)
        .map(|client| bench.clients[client].seal(Frame::Dummy, &[], bench.net.at))
        .collect();
    thread::scope(|scope| {
        let (sender, rounds) = sync_channel(8);
        for _ in 0..2 {
            let (builder, sender) = (builder.fork(), sender.clone());
            scope.spawn(move || supply(builder, &sender));
        }
        let rounds_max = usize::try_from(PACKETS).unwrap() / ROUND + 10;
        for (number, round) in rounds.into_iter().take(rounds_max).enumerate() {
            round.iter().enumerate().for_each(|(client, frame)| bench.send(client, frame));
            if number % 16 == 0 {
                bench.disturb(number / 16, &mut builder);
            }
            bench.step(Nanos::from_millis(5));
        }
    });
    old.iter().zip(&mut bench.clients).for_each(|(old, client)| client.send_raw(old));
    bench.run(100);

    let sent = bench.sent() - before;
    let turns = bench.sum(|counts| counts.turns.value());
    eprintln!("{sent} packets forwarded in {turns} turns: {:?}", bench.calls);
    assert!(sent > PACKETS, "only {sent} packets were forwarded");
    assert_eq!(bench.neighbour.packets, bench.sent(), "what was sent has arrived");
    let mut receivers = bench.net.gateway.workers.iter().take(Roles::of(workers).workers());
    assert!(receivers.all(|worker| worker.counts().packets_in.value() > 0));
    assert!(bench.sum(|counts| counts.dummies_in.value()) > 100);
    assert!(bench.sum(|counts| counts.frames_out.value()) > 100);
    assert!(bench.sum(|counts| counts.delivered.value()) > 100);
    bench.assert_dropped(&[
        link::Refusal::NotThisKey.into(),
        link::Refusal::BadTag.into(),
        link::Refusal::Replay.into(),
        link::Refusal::TooOld.into(),
        link::Refusal::BadKind.into(),
        sphinx::Refusal::Authentication.into(),
        sphinx::Refusal::Replay.into(),
        Refusal::BadTail.into(),
        Refusal::UnknownEpoch.into(),
        Refusal::UnknownNextHop.into(),
        Refusal::DelayTooLong.into(),
    ]);
    assert_eq!(bench.calls, NOTHING);
}

#[test]
fn what_is_full_or_overdue_does_not_send_a_worker_to_the_heap() {
    let options = node::Options { packets_max: 256, ..options() };
    let mut bench = Bench::new(&options);
    let mut builder = Builder::new(&mut bench.net);
    for client in 0..600 {
        bench.send(client, &builder.forwarded(Nanos::from_millis(400)));
        if client % ROUND == 0 {
            bench.step(Nanos::ZERO);
        }
    }
    // The control thread is held up, and its ring fills.
    for round in 0..100 {
        // By the time of a client's next round it may send a whole burst again.
        bench.net.advance(Nanos::from_millis(1));
        for _ in 0..BURST + 5 {
            let echo = Item::Echo([7; 8]).to_body();
            bench.clients[round % CLIENTS].send(Frame::Control, &echo, bench.net.at);
        }
        bench.turn_ends();
        bench.turn_workers();
    }
    // The clock jumps: everything in the pool leaves in one turn.
    let before = bench.sent();
    bench.step(Nanos::from_secs(1));
    // A dummy may have had a place among them.
    assert!(bench.sent() - before >= 250);
    bench.assert_dropped(&[
        Refusal::Evicted.into(),
        Refusal::FrameControlFull.into(),
        Refusal::TooFast.into(),
    ]);

    // Stopping: newcomers are refused, residents that stay too long are given back. They are to
    // be known, so the loops have left before.
    bench.net.gateway.control.end_loops();
    bench.run(60);
    bench.send(0, &builder.forwarded(Nanos::from_millis(400)));
    bench.run(5);
    bench.net.gateway.control.tell_workers(|| Command::Drain);
    bench.send(0, &builder.forwarded(Nanos::ZERO));
    bench.run(5);
    assert_eq!(bench.dropped(Refusal::Drained), 1);
    let Bench { net, calls, .. } = &mut bench;
    net.gateway.workers.iter_mut().for_each(|worker| allocator::count(calls, || worker.stop()));
    assert_eq!(bench.dropped(Refusal::Drained), 2);
    assert_eq!(bench.calls, NOTHING);
}

#[test]
fn sessions_come_are_renewed_and_go_without_new_memory_in_a_worker() {
    let mut bench = Bench::new(&options());
    let first: Vec<_> = bench.clients.iter().map(Endpoint::session).collect();
    // Five minutes: keys are renewed after 100 to 140 seconds, and the old ones erased.
    for _ in 0..3000 {
        bench.step(Nanos::from_millis(100));
    }
    let renewed = bench.clients.iter().zip(first).all(|(client, first)| client.session() != first);
    assert!(renewed && bench.clients.iter().all(Endpoint::is_up));
    // Strangers come and go, 600 of them, through a table for 64 clients.
    for generation in 1..=15 {
        for place in 0..40 {
            let stranger = bench.net.client(CLIENTS + 40 * generation + place);
            bench.clients.push(stranger);
        }
        bench.run_until("strangers are let in", |bench| bench.clients.iter().all(Endpoint::is_up));
        let at = bench.net.at;
        bench.clients[CLIENTS..].iter_mut().for_each(|stranger| stranger.close(at));
        bench.run(150);
        bench.clients.truncate(CLIENTS);
    }
    // One who asks too often.
    for _ in 0..10 {
        let Loopback { at, rng, .. } = &mut bench.net;
        bench.clients[0].restart(*at, rng);
        bench.step(Nanos::from_millis(1));
    }
    bench.assert_dropped(&[link::Refusal::RateLimited.into()]);
    eprintln!("sessions installed and erased: {:?}", bench.calls);
    assert_eq!(bench.calls.allocations, 0);
}

#[test]
fn a_pool_of_any_strategy_takes_all_its_memory_when_it_is_built() {
    let fraction = Fraction::new(0.1).expect("a share");
    let interval = Nanos::from_millis(2);
    for strategy in [
        Strategy::Poisson,
        Strategy::TimedDynamic { interval, fraction, packets_min: 100 },
        Strategy::Threshold { packets: 700 },
    ] {
        let options = pool::Options { packets_max: 1000, delay_mean: DELAY_MEAN, strategy };
        let mut pool = Pool::new(options, Rng::from_seed([9; 32]));
        let mut chance = Rng::from_seed([8; 32]);
        let (mut calls, mut evicted, mut left) = (NOTHING, 0, 0);
        allocator::count(&mut calls, || {
            for item in 0..50_000u64 {
                let now = Nanos(item * 10_000);
                let due = now + chance.exponential(DELAY_MEAN);
                evicted += u32::from(pool.insert(due, item, now).is_err());
                let _ = pool.accompany(item, now);
                if chance.below(600) == 0 {
                    left += pool.release(now, drop);
                }
            }
            left += pool.drain(drop);
        });
        assert_eq!(calls, NOTHING, "{strategy}");
        assert!(evicted > 0 && left > 10_000, "{strategy}: {evicted} evicted, {left} left");
    }
}
