//! A mix in its steady state, in virtual time: as many packets come in as leave.
//!
//! Packets come at equal distances, in groups of 32 as a worker takes them in, and behind each
//! group the mix is looked at. A round takes in as many packets as are inside, so every round has
//! the same number of ticks, flushes or batches.

use crate::Measurement;
use crate::usage::processor_time;
use mixline::clock::{self, Nanos};
use mixline::crypto::random::Rng;
use mixline::host;
use mixline::pool::{Fraction, Options, Pool, Strategy};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::hint::black_box;

/// Packets between two looks.
const GROUP: usize = 32;
/// Delays drawn beforehand, used again and again.
const DELAYS: usize = 1 << 16;
/// Packets of a round at least: fewer are over before the clock has moved much.
const ROUND_MIN: usize = 16_384;
/// Means that pass before the first round: what was there at the start has left.
const WARM_UP_MEANS: usize = 6;

/// What keeps packets, of eight bytes like a worker's, until they leave.
trait Mix {
    fn insert(&mut self, due: Nanos, packet: u64, now: Nanos);
    fn release(&mut self, now: Nanos) -> u64;
}

impl Mix for Pool<u64> {
    fn insert(&mut self, due: Nanos, packet: u64, now: Nanos) {
        // Whoever is evicted is nobody's.
        let _ = Pool::insert(self, due, packet, now);
    }

    fn release(&mut self, now: Nanos) -> u64 {
        let mut sum = 0;
        Pool::release(self, now, |packet| sum ^= packet);
        sum
    }
}

/// The standard library's heap, without ticks or shuffle: the anchor.
struct Heap(BinaryHeap<Reverse<(Nanos, u64)>>);

impl Mix for Heap {
    fn insert(&mut self, due: Nanos, packet: u64, _: Nanos) {
        self.0.push(Reverse((due, packet)));
    }

    fn release(&mut self, now: Nanos) -> u64 {
        let mut sum = 0;
        while let Some(first) = self.0.peek_mut().filter(|first| first.0.0 <= now) {
            sum ^= PeekMut::pop(first).0.1;
        }
        sum
    }
}

/// How many are inside if all of them find room, and their mean delay.
#[derive(Clone, Copy)]
struct Load {
    inside: usize,
    mean: Nanos,
}

impl Load {
    /// Room for twice as many: nothing is evicted.
    fn pool(self, strategy: Strategy) -> Pool<u64> {
        self.pool_with_room_for(2 * self.inside, strategy)
    }

    fn pool_with_room_for(self, packets: usize, strategy: Strategy) -> Pool<u64> {
        let packets_max = u32::try_from(packets).unwrap_or(u32::MAX);
        let options = Options { packets_max, delay_mean: self.mean, strategy };
        Pool::new(options, Rng::from_os())
    }

    fn heap(self) -> Heap {
        Heap(BinaryHeap::with_capacity(2 * self.inside))
    }

    fn gap(self) -> Nanos {
        Nanos(self.mean.0 / self.inside as u64)
    }
}

pub(crate) fn measurements() -> Vec<Measurement> {
    let short = Nanos::from_millis(50);
    let k1 = Load { inside: 1000, mean: short };
    let k100 = Load { inside: 100_000, mean: short };
    let m1 = Load { inside: 1_000_000, mean: Nanos::from_secs(1) };
    let twice = Load { inside: 200_000, mean: short };
    let threshold = Strategy::Threshold { packets: 100_000 };
    vec![
        steady("pool_1k", k1, move || k1.pool(Strategy::Poisson)),
        steady("pool_100k", k100, move || k100.pool(Strategy::Poisson)),
        steady("pool_1m", m1, move || m1.pool(Strategy::Poisson)),
        steady("pool_100k_overloaded", twice, move || {
            twice.pool_with_room_for(100_000, Strategy::Poisson)
        }),
        steady("pool_100k_timed_dynamic", k100, move || k100.pool(timed_dynamic(k100))),
        steady("pool_100k_threshold", k100, move || k100.pool(threshold)),
        steady("heap_1k", k1, move || k1.heap()),
        steady("heap_100k", k100, move || k100.heap()),
        steady("heap_1m", m1, move || m1.heap()),
    ]
}

/// The timed pool with as many inside: a tenth leaves, and as many have come since the last time.
fn timed_dynamic(load: Load) -> Strategy {
    #[expect(clippy::expect_used, reason = "a tenth is a share")]
    let fraction = Fraction::new(0.1).expect("a tenth is a share");
    Strategy::TimedDynamic { interval: Nanos(load.mean.0 / 10), fraction, packets_min: 100 }
}

fn steady<M: Mix>(name: &'static str, load: Load, new: impl Fn() -> M + 'static) -> Measurement {
    Measurement::new(name, move |seconds| {
        if let Some(core) = host::cores().last() {
            host::pin(*core);
        }
        let ns = Steady::new(load, new()).fastest_round(Nanos::from_secs(seconds));
        vec![(name.to_owned(), ns, "ns")]
    })
}

/// A mix with the packets that come.
struct Steady<M> {
    load: Load,
    mix: M,
    delays_us: Vec<u32>,
    /// Packets so far.
    packets: usize,
    now: Nanos,
}

impl<M: Mix> Steady<M> {
    fn new(load: Load, mix: M) -> Self {
        let mut rng = Rng::from_os();
        let mut delay_us = || u32::try_from(rng.exponential(load.mean).as_micros());
        let delays_us = (0..DELAYS).map(|_| delay_us().unwrap_or(u32::MAX)).collect();
        Steady { load, mix, delays_us, packets: 0, now: Nanos::from_secs(1) }
    }

    /// The processor time for a packet, in ns.
    fn fastest_round(mut self, span: Nanos) -> f64 {
        self.take_in(WARM_UP_MEANS * self.load.inside);
        let round = self.load.inside.max(ROUND_MIN).next_multiple_of(GROUP);
        let end = clock::now() + span;
        let mut fastest = f64::INFINITY;
        while clock::now() < end {
            let start = processor_time();
            self.take_in(round);
            let ns = (processor_time() - start).0 as f64 / round as f64;
            fastest = fastest.min(ns);
        }
        fastest
    }

    fn take_in(&mut self, packets: usize) {
        let gap = self.load.gap();
        for _ in 0..packets.div_ceil(GROUP) {
            for _ in 0..GROUP {
                self.now = self.now + gap;
                let delay = Nanos::from_micros(self.delays_us[self.packets % DELAYS].into());
                self.mix.insert(self.now + delay, self.packets as u64, self.now);
                self.packets += 1;
            }
            black_box(self.mix.release(self.now));
        }
    }
}
