//! The Poisson mix: each packet carries a deadline that its sender drew from an exponential
//! distribution, and the pool only keeps time (Danezis, "The Traffic Analysis of Continuous-Time
//! Mixes", 2004).
//!
//! Time is cut into ticks, and what is due in a tick leaves together, shuffled: sending it in
//! order of arrival would cost one to four bits of anonymity.

use super::wheel::Wheel;
use super::{Evicted, Options};
use crate::clock::Nanos;
use crate::crypto::random::Rng;

/// A tick is at most the mean delay divided by this: coarser ticks show in the distribution of
/// the residence times (Kolmogorov-Smirnov).
const TICKS_PER_MEAN_MIN: u64 = 200;

/// The longest tick, as a power of two in nanoseconds: 262 us. Longer ones would only make the
/// bursts larger and the packets later.
const TICK_SHIFT_MAX: u32 = 18;

/// Items by the tick at which they leave.
pub(super) struct Poisson<T> {
    packets_max: u32,
    delay_cap: Nanos,
    tick_shift: u32,
    wheel: Wheel<T>,
}

impl<T> Poisson<T> {
    /// An empty one.
    pub(super) fn new(options: Options) -> Self {
        let (packets_max, delay_cap) = (options.packets_max, options.delay_cap());
        let tick_shift = tick_shift(options.delay_mean);
        let wheel = Wheel::new(packets_max, horizon_ticks(delay_cap, tick_shift));
        Poisson { packets_max, delay_cap, tick_shift, wheel }
    }

    /// Keeps `item` until the first tick at or after `due`.
    pub(super) fn insert(
        &mut self,
        due: Nanos,
        item: T,
        now: Nanos,
        rng: &mut Rng,
    ) -> Result<(), Evicted<T>> {
        let evicted = if self.len() == self.packets_max as usize {
            let choice = rng.below(self.packets_max.saturating_add(1));
            if choice == self.packets_max {
                return Err(Evicted(item));
            }
            self.wheel.remove_random(rng)
        } else {
            None
        };
        self.keep(due, item, now);
        evicted.map_or(Ok(()), |victim| Err(Evicted(victim)))
    }

    /// The same where there is room.
    pub(super) fn keep(&mut self, due: Nanos, item: T, now: Nanos) {
        let due = due.min(now + self.delay_cap);
        self.wheel.insert(self.tick_at_or_after(due), item, self.tick_before(now));
    }

    /// Moves everything due at `now` to the end of `out`, however many ticks that are.
    pub(super) fn take_due(&mut self, now: Nanos, out: &mut Vec<T>) {
        self.wheel.take_until(self.tick_before(now), out);
    }

    /// Moves everything inside to the end of `out`.
    pub(super) fn take_all(&mut self, out: &mut Vec<T>) {
        self.wheel.take_all(out);
    }

    /// The first tick at which something leaves.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.wheel.next_tick().map(|tick| Nanos(tick.saturating_mul(1 << self.tick_shift)))
    }

    /// How many are inside.
    pub(super) fn len(&self) -> usize {
        self.wheel.len()
    }

    /// The length of a tick.
    pub(super) fn tick(&self) -> Nanos {
        Nanos(1 << self.tick_shift)
    }

    /// The last tick that has begun at `now`.
    fn tick_before(&self, now: Nanos) -> u64 {
        now.0 >> self.tick_shift
    }

    /// The first tick at which what is due at `due` may leave: never early.
    fn tick_at_or_after(&self, due: Nanos) -> u64 {
        due.0.div_ceil(1 << self.tick_shift)
    }
}

/// The largest power of two, in nanoseconds, that respects both limits of a tick.
fn tick_shift(delay_mean: Nanos) -> u32 {
    let tick_max = (delay_mean.0 / TICKS_PER_MEAN_MIN).max(1);
    tick_max.ilog2().min(TICK_SHIFT_MAX)
}

/// How many ticks ahead of the running one a deadline can be: one more than the cap has, because
/// deadlines are rounded up, and one because the running tick is not complete.
fn horizon_ticks(delay_cap: Nanos, tick_shift: u32) -> u32 {
    u32::try_from(delay_cap.0 >> tick_shift).unwrap_or(u32::MAX - 2) + 2
}

#[cfg(test)]
mod tests {
    use crate::clock::Nanos;
    use crate::crypto::random::Rng;
    use crate::pool::{Options, Pool, Strategy};
    use std::collections::{BTreeMap, BTreeSet};

    const OPTIONS: Options = Options {
        packets_max: 1000,
        delay_mean: Nanos::from_millis(50),
        strategy: Strategy::Poisson,
    };

    fn rng(seed: u8) -> Rng {
        Rng::from_seed([seed; 32])
    }

    /// What the wheel must do, said slowly: items by the tick at which they leave.
    struct Oracle {
        tick: u64,
        inside: BTreeMap<u64, BTreeSet<u32>>,
    }

    impl Oracle {
        fn insert(&mut self, due: Nanos, item: u32, now: Nanos) {
            let tick = due.0.div_ceil(self.tick).max(now.0 / self.tick + 1);
            self.inside.entry(tick).or_default().insert(item);
        }

        fn release(&mut self, now: Nanos) -> BTreeSet<u32> {
            let later = self.inside.split_off(&(now.0 / self.tick + 1));
            std::mem::replace(&mut self.inside, later).into_values().flatten().collect()
        }

        fn len(&self) -> usize {
            self.inside.values().map(BTreeSet::len).sum()
        }

        fn next_due(&self) -> Option<Nanos> {
            self.inside.keys().next().map(|tick| Nanos(tick * self.tick))
        }
    }

    /// Runs a pool beside the oracle, with steps of up to `step_max`, for `steps` releases.
    fn agree(step_max: Nanos, steps: u32, seed: u8) {
        let mut chance = rng(seed);
        let mut pool = Pool::new(Options { packets_max: 1 << 20, ..OPTIONS }, rng(seed + 1));
        let mut oracle = Oracle { tick: pool.tick().0, inside: BTreeMap::new() };
        let mut now = Nanos::from_secs(1);
        let mut item = 0;
        for _ in 0..steps {
            now = now + chance.between(Nanos::ZERO, step_max);
            for _ in 0..chance.below(20) {
                let delay = chance.exponential(OPTIONS.delay_mean).min(pool.delay_cap());
                let received = now - chance.between(Nanos::ZERO, Nanos::from_millis(1));
                pool.insert(received + delay, item, now).unwrap();
                oracle.insert(received + delay, item, now);
                item += 1;
            }
            let mut released = BTreeSet::new();
            let count = pool.release(now, |item| assert!(released.insert(item)));
            assert_eq!(count, released.len());
            assert_eq!(released, oracle.release(now));
            assert_eq!(pool.next_due(), oracle.next_due());
            assert_eq!(pool.len(), oracle.len());
        }
    }

    #[test]
    fn packets_leave_at_the_first_tick_after_their_deadline() {
        agree(Nanos::from_micros(300), 20_000, 1);
    }

    #[test]
    fn a_clock_that_jumps_over_many_ticks_releases_all_that_is_due_and_nothing_else() {
        agree(Nanos::from_millis(40), 5_000, 3);
    }

    #[test]
    fn stalls_longer_than_the_wheel_is_wide_lose_and_hasten_nothing() {
        agree(Nanos::from_secs(6), 2_000, 5);
    }

    #[test]
    fn the_longest_delay_is_kept_for_its_whole_length_from_any_point_of_a_tick() {
        let mut chance = rng(7);
        let mut pool = Pool::new(OPTIONS, rng(8));
        let mut now = Nanos::ZERO;
        for _ in 0..500 {
            now = now + chance.between(Nanos::ZERO, Nanos::from_secs(5));
            let due = now + pool.delay_cap();
            pool.insert(due, (), now).unwrap();
            assert_eq!(pool.release(due - Nanos(1), drop), 0);
            assert_eq!(pool.release(due + pool.tick(), drop), 1);
            now = due + pool.tick();
        }
    }

    #[test]
    fn a_deadline_beyond_the_cap_is_cut_to_the_cap() {
        let mut pool = Pool::new(OPTIONS, rng(9));
        pool.insert(Nanos::NEVER, (), Nanos::ZERO).unwrap();
        assert_eq!(pool.release(pool.delay_cap() + pool.tick(), drop), 1);
    }

    #[test]
    fn a_clock_that_steps_back_releases_nothing_early() {
        let mut pool = Pool::new(OPTIONS, rng(10));
        pool.release(Nanos::from_secs(10), drop::<()>);
        pool.insert(Nanos::from_secs(6), (), Nanos::from_secs(5)).unwrap();
        assert_eq!(pool.release(Nanos::from_secs(10), drop), 0);
        assert_eq!(pool.release(Nanos::from_secs(10) + pool.tick(), drop), 1);
    }

    #[test]
    fn the_tick_is_a_power_of_two_and_at_most_a_two_hundredth_of_the_mean() {
        for (mean_ms, tick) in [(1000, 1 << 18), (53, 1 << 18), (52, 1 << 17), (1, 1 << 12)] {
            let options = Options { delay_mean: Nanos::from_millis(mean_ms), ..OPTIONS };
            assert_eq!(Pool::<()>::new(options, rng(15)).tick(), Nanos(tick));
        }
    }
}
