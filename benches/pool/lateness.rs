//! How long after its deadline a packet leaves: of a thread that does everything, and of an owner
//! that only mixes and sends.
//!
//! The pool, the ring and the clock are real, what surrounds them is time that is spent: the
//! hop's, and the sealing and sending of what leaves. What the kernel or the machine below it
//! delays, by taking the core from a thread, does not count: it shows as a pause that is several
//! times longer than any work here. A tick is in the figures: half of one on average.

use crate::{Figure, Measurement};
use mixline::clock::{self, Nanos};
use mixline::crypto::random::Rng;
use mixline::host;
use mixline::pool::{Options, Pool, Strategy};
use mixline::worker::ring::{Consumer, Producer, ring};
use std::collections::VecDeque;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const MEAN: Nanos = Nanos::from_millis(50);
/// A hop with batches of eight, where the fastest kernels are missing.
const HOP: Nanos = Nanos::from_micros(15);
/// Sealing and sending.
const SENDING: Nanos = Nanos(800);
/// Packets that a thread unwraps between two looks at its pool.
const GROUP: usize = 8;
/// Packets that a worker hands over together.
const CHUNK: usize = 32;
/// Samples for which there is memory from the start: four seconds at the highest rate.
const SAMPLES: usize = 1 << 21;
/// Packets that fit into the ring.
const PLACES: u32 = 1 << 16;
/// A thread that does not look, or does not hand over, for longer was held up.
const PAUSE_MAX: Nanos = Nanos::from_millis(1);
/// Who is further behind was held up: what should have come meanwhile is left out.
const BACKLOG_MAX: Nanos = Nanos::from_millis(5);

/// When a packet was handed over, and its deadline.
type Message = (Nanos, Nanos);

pub(crate) fn measurements(cores: [usize; 2]) -> [Measurement; 3] {
    [
        // Busy 93 % of its time.
        Measurement::new("lateness_both", move |seconds| {
            let span = Nanos::from_secs(seconds);
            figures("lateness_both", thread_with_both_roles(cores[1], 62_000.0, span))
        }),
        Measurement::new("lateness_owner_62k", move |seconds| {
            let span = Nanos::from_secs(seconds);
            figures("lateness_owner_62k", owner(cores, 62_500.0, span))
        }),
        Measurement::new("lateness_owner_500k", move |seconds| {
            let span = Nanos::from_secs(seconds);
            figures("lateness_owner_500k", owner(cores, 500_000.0, span))
        }),
    ]
}

/// Median, 99th percentile and maximum, in microseconds.
fn figures(name: &str, mut latenesses: Vec<Nanos>) -> Vec<Figure> {
    latenesses.sort_unstable();
    let quantile = |share: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
        let index = (share * latenesses.len().saturating_sub(1) as f64) as usize;
        latenesses.get(index).map_or(f64::NAN, |lateness| lateness.0 as f64 / 1e3)
    };
    [("p50", 0.5), ("p99", 0.99), ("max", 1.0)]
        .map(|(which, share)| (format!("{name}_{which}"), quantile(share), "us"))
        .into()
}

/// A pool whose packets are their deadlines, and how late they left.
struct Watched {
    pool: Pool<Nanos>,
    latenesses: Vec<Nanos>,
    looked: Nanos,
}

impl Watched {
    fn new() -> Self {
        let options =
            Options { packets_max: 1 << 18, delay_mean: MEAN, strategy: Strategy::Poisson };
        Watched {
            pool: Pool::new(options, Rng::from_os()),
            latenesses: Vec::with_capacity(SAMPLES),
            looked: clock::now(),
        }
    }

    fn insert(&mut self, due: Nanos, now: Nanos) {
        let inserted = self.pool.insert(due, due, now);
        debug_assert!(inserted.is_ok());
    }

    /// Looks at the pool; returns how many left.
    fn look(&mut self) -> usize {
        let now = clock::now();
        let before = self.latenesses.len();
        let latenesses = &mut self.latenesses;
        let left = self.pool.release(now, |due| latenesses.push(now - due));
        if now - self.looked > PAUSE_MAX {
            self.latenesses.truncate(before);
        }
        self.looked = now;
        left
    }
}

/// Arrivals of a Poisson process.
struct Arrivals {
    rng: Rng,
    gap_mean: Nanos,
    next: Nanos,
}

impl Arrivals {
    fn new(rate: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a span")]
        let gap_mean = Nanos((1e9 / rate) as u64);
        Arrivals { rng: Rng::from_os(), gap_mean, next: clock::now() }
    }

    /// The deadline of the next packet, if it has come.
    fn next(&mut self, now: Nanos) -> Option<Nanos> {
        if now - self.next > BACKLOG_MAX {
            self.next = now;
        }
        if now < self.next {
            return None;
        }
        self.next = self.next + self.rng.exponential(self.gap_mean);
        Some(now + self.rng.exponential(MEAN))
    }
}

fn spend(span: Nanos) {
    let end = clock::now() + span;
    while clock::now() < end {
        spin_loop();
    }
}

fn thread_with_both_roles(core: usize, rate: f64, span: Nanos) -> Vec<Nanos> {
    host::pin(core);
    let (mut watched, mut arrivals) = (Watched::new(), Arrivals::new(rate));
    let mut group = VecDeque::with_capacity(GROUP);
    let end = clock::now() + span;
    loop {
        let now = clock::now();
        if now >= end {
            return watched.latenesses;
        }
        while group.len() < GROUP
            && let Some(due) = arrivals.next(now)
        {
            group.push_back(due);
        }
        spend(Nanos(HOP.0 * group.len() as u64));
        // Deadlines count from when the packet is inside: what the hop takes is not the mix's.
        let taken_in = clock::now();
        group.drain(..).for_each(|due| watched.insert(taken_in + (due - now), taken_in));
        watched.look();
    }
}

fn owner(cores: [usize; 2], rate: f64, span: Nanos) -> Vec<Nanos> {
    let (producer, consumer) = ring::<Message>(PLACES);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            host::pin(cores[0]);
            hand_over(producer, rate, &stop);
        });
        host::pin(cores[1]);
        let latenesses = mix_and_send(consumer, span);
        stop.store(true, Ordering::Relaxed);
        latenesses
    })
}

fn hand_over(mut producer: Producer<Message>, rate: f64, stop: &AtomicBool) {
    // Chunks come at the rate of packets over their size.
    let mut arrivals = Arrivals::new(rate / CHUNK as f64);
    while !stop.load(Ordering::Relaxed) {
        let now = clock::now();
        if arrivals.next(now).is_some() {
            for _ in 0..CHUNK {
                // A full ring drops; it has room for all that is inside.
                let _ = producer.push((now, now + arrivals.rng.exponential(MEAN)));
            }
            producer.publish();
        }
        spin_loop();
    }
}

fn mix_and_send(mut consumer: Consumer<Message>, span: Nanos) -> Vec<Nanos> {
    let mut watched = Watched::new();
    let end = clock::now() + span;
    while clock::now() < end {
        let now = clock::now();
        while let Some((handed, due)) = consumer.pop() {
            if now - handed <= PAUSE_MAX {
                watched.insert(due, now);
            }
        }
        consumer.give_back();
        let left = watched.look();
        spend(Nanos(SENDING.0 * left as u64));
    }
    watched.latenesses
}
