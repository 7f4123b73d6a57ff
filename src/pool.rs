//! The mix: keeps any `T` until it is due, and lets what is due together leave in random order.
//!
//! It knows time and chance, not packets: a `T` is whatever token the caller must get back, and
//! every token that goes in comes out exactly once: released, evicted or drained.
//!
//! The strategy is the Poisson mix (Danezis, "The Traffic Analysis of Continuous-Time Mixes",
//! 2004): each packet carries a deadline that its sender drew from an exponential distribution,
//! and the pool only keeps time. Time is cut into ticks, and a tick's packets are shuffled:
//! sending them in order of arrival would cost one to four bits of anonymity. Other strategies
//! (timed dynamic, threshold) would stand beside `wheel` behind the same calls.

mod chunks;
mod wheel;

use crate::clock::Nanos;
use crate::crypto::random::Rng;
use wheel::Wheel;

/// The longest delay, in mean delays: the 1 - 1e-12 quantile of the exponential distribution.
/// A lower cap would refuse honest packets, and what a mix refuses an observer can see.
pub const DELAY_CAP_MEANS: u64 = 28;

/// The longest mean delay: the memory of a pool grows with it.
pub const DELAY_MEAN_MAX: Nanos = Nanos::from_secs(3600);

/// A tick is at most the mean delay divided by this: coarser ticks show in the distribution of
/// the residence times (Kolmogorov-Smirnov).
const TICKS_PER_MEAN_MIN: u64 = 200;

/// The longest tick, as a power of two in nanoseconds: 262 us. Longer ones would only make the
/// bursts larger and the packets later.
const TICK_SHIFT_MAX: u32 = 18;

/// What a pool is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many packets may be inside; when there is one more, a random one is evicted.
    pub packets_max: u32,
    /// The network's mean delay per hop: it sets the tick and the longest delay.
    pub delay_mean: Nanos,
}

impl Options {
    /// The longest delay that a pool of these options keeps: [`DELAY_CAP_MEANS`] means.
    pub fn delay_cap(self) -> Nanos {
        Nanos(self.delay_mean.0.saturating_mul(DELAY_CAP_MEANS))
    }

    /// The time between two releases.
    pub fn tick(self) -> Nanos {
        Nanos(1 << self.tick_shift())
    }

    /// The tick's logarithm: the largest power of two that respects both limits above.
    fn tick_shift(self) -> u32 {
        let tick_max = (self.delay_mean.0 / TICKS_PER_MEAN_MIN).max(1);
        tick_max.ilog2().min(TICK_SHIFT_MAX)
    }

    /// How many ticks ahead of the running one a deadline can be: one more than the cap has,
    /// because deadlines are rounded up, and one because the running tick is not complete.
    fn horizon_ticks(self) -> u32 {
        u32::try_from(self.delay_cap().0 >> self.tick_shift()).unwrap_or(u32::MAX - 2) + 2
    }
}

/// The pool was full: this one, chosen uniformly among the residents and the newcomer, is given
/// up. At random, because an attacker could steer a drop of the newest or of the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evicted<T>(pub T);

/// The mix of one egress owner, over all its links.
///
/// All memory is taken when it is built; no call allocates.
pub struct Pool<T> {
    options: Options,
    tick_shift: u32,
    wheel: Wheel<T>,
    /// What leaves in one release, while it is shuffled: room for everything.
    leaving: Vec<T>,
    rng: Rng,
}

impl<T> std::fmt::Debug for Pool<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pool").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<T> Pool<T> {
    /// An empty pool; `rng` decides the order in which packets leave.
    ///
    /// # Panics
    /// When the mean delay is over [`DELAY_MEAN_MAX`].
    pub fn new(options: Options, rng: Rng) -> Self {
        assert!(options.delay_mean <= DELAY_MEAN_MAX, "the mean delay is over its maximum");
        let tick_shift = options.tick_shift();
        Pool {
            options,
            tick_shift,
            wheel: Wheel::new(options.packets_max, options.horizon_ticks()),
            leaving: Vec::with_capacity(options.packets_max as usize),
            rng,
        }
    }

    /// Keeps `item` until the first tick at or after `due`; what is already due leaves with the
    /// next tick.
    ///
    /// Delays longer than [`Pool::delay_cap`] must be refused before; here they are cut to it.
    ///
    /// # Errors
    /// When the pool is full: the victim, so that the caller can take back what it stands for.
    pub fn insert(&mut self, due: Nanos, item: T, now: Nanos) -> Result<(), Evicted<T>> {
        let evicted = if self.wheel.len() == self.options.packets_max as usize {
            let choice = self.rng.below(self.options.packets_max.saturating_add(1));
            if choice == self.options.packets_max {
                return Err(Evicted(item));
            }
            self.wheel.remove_random(&mut self.rng)
        } else {
            None
        };
        let due = due.min(now + self.delay_cap());
        self.wheel.insert(self.tick_at_or_after(due), item, self.tick_before(now));
        evicted.map_or(Ok(()), |victim| Err(Evicted(victim)))
    }

    /// Hands everything due at `now` to `send`, as one set in uniformly random order, also when
    /// it spans many ticks (the worker was held up). Returns how many that were.
    pub fn release(&mut self, now: Nanos, send: impl FnMut(T)) -> usize {
        self.wheel.take_until(self.tick_before(now), &mut self.leaving);
        self.let_go(send)
    }

    /// Hands everything inside to `send`, due or not, in uniformly random order: at shutdown.
    pub fn drain(&mut self, send: impl FnMut(T)) -> usize {
        self.wheel.take_all(&mut self.leaving);
        self.let_go(send)
    }

    /// When the next release will have something to give: a sleeping worker must wake then.
    pub fn next_due(&self) -> Option<Nanos> {
        self.wheel.next_tick().map(|tick| Nanos(tick.saturating_mul(1 << self.tick_shift)))
    }

    /// How many are inside.
    pub fn len(&self) -> usize {
        self.wheel.len()
    }

    /// Whether the next packet evicts one.
    pub fn is_full(&self) -> bool {
        self.wheel.len() >= self.options.packets_max as usize
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.wheel.len() == 0
    }

    /// The longest delay a packet may ask for.
    pub fn delay_cap(&self) -> Nanos {
        self.options.delay_cap()
    }

    /// The time between two releases; a packet leaves up to one tick after its deadline.
    pub fn tick(&self) -> Nanos {
        Nanos(1 << self.tick_shift)
    }

    fn let_go(&mut self, send: impl FnMut(T)) -> usize {
        let count = self.leaving.len();
        self.rng.shuffle(&mut self.leaving);
        self.leaving.drain(..).for_each(send);
        count
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    const OPTIONS: Options = Options { packets_max: 1000, delay_mean: Nanos::from_millis(50) };

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
    fn every_token_comes_back_exactly_once_evicted_released_or_drained() {
        let mut chance = rng(11);
        let mut pool = Pool::new(OPTIONS, rng(12));
        let mut now = Nanos::ZERO;
        let mut back = vec![0u8; 50_000];
        // Boxes, because tokens need not be `Copy`.
        for token in 0..back.len() {
            now = now + chance.exponential(Nanos::from_micros(20));
            let due = now + chance.exponential(OPTIONS.delay_mean);
            if let Err(Evicted(victim)) = pool.insert(due, Box::new(token), now) {
                back[*victim] += 1;
            }
            assert!(pool.len() <= OPTIONS.packets_max as usize);
            if chance.below(50) == 0 {
                pool.release(now, |token| back[*token] += 1);
            }
        }
        let inside = pool.len();
        assert_eq!(pool.drain(|token| back[*token] += 1), inside);
        assert!(pool.is_empty() && pool.next_due().is_none());
        assert!(back.iter().all(|&times| times == 1));
    }

    #[test]
    fn a_drained_pool_can_be_used_again() {
        let mut pool = Pool::new(OPTIONS, rng(13));
        for round in 0..3u64 {
            let now = Nanos::from_secs(round);
            for item in 0..OPTIONS.packets_max {
                pool.insert(now + Nanos::from_micros(u64::from(item)), item, now).unwrap();
            }
            assert_eq!(pool.drain(drop), OPTIONS.packets_max as usize);
        }
    }

    #[test]
    fn a_pool_without_room_gives_everything_back_at_once() {
        let mut pool = Pool::new(Options { packets_max: 0, ..OPTIONS }, rng(14));
        assert_eq!(pool.insert(Nanos(1), 7, Nanos::ZERO), Err(Evicted(7)));
        assert_eq!(pool.release(Nanos::from_secs(9), drop), 0);
    }

    #[test]
    fn the_tick_is_a_power_of_two_and_at_most_a_two_hundredth_of_the_mean() {
        for (mean_ms, tick) in [(1000, 1 << 18), (53, 1 << 18), (52, 1 << 17), (1, 1 << 12)] {
            let options = Options { delay_mean: Nanos::from_millis(mean_ms), ..OPTIONS };
            assert_eq!(Pool::<()>::new(options, rng(15)).tick(), Nanos(tick));
        }
    }
}
