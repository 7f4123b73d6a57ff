//! The mix: keeps any `T` until it is time, and lets what leaves together leave in random order.
//!
//! It knows time and chance, not packets: a `T` is whatever token the caller must get back, and
//! every token that goes in comes out exactly once: released, evicted or drained.
//!
//! When it is time, a [`Strategy`] says: the sender (Poisson), a clock and a share (timed dynamic
//! pool), or how many are inside (threshold). All of them share what is here: memory taken at
//! start, eviction, the shuffle. `docs/mixing.md` says what each gives and costs.

mod chunks;
mod crowd;
mod poisson;
mod strategy;
mod threshold;
mod timed;
mod wheel;

use crate::clock::Nanos;
use crate::crypto::random::Rng;
use poisson::Poisson;
use threshold::Threshold;
use timed::TimedDynamic;

pub use strategy::{Fraction, INTERVAL_MAX, INTERVAL_MIN, Strategy, StrategyError, THRESHOLD_MIN};

/// The longest delay, in mean delays: the 1 - 1e-12 quantile of the exponential distribution.
/// A lower cap would refuse honest packets, and what a mix refuses an observer can see.
pub const DELAY_CAP_MEANS: u64 = 28;

/// The longest mean delay: the memory of a pool grows with it.
pub const DELAY_MEAN_MAX: Nanos = Nanos::from_secs(3600);

/// What a pool is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many packets may be inside; when there is one more, a random one is evicted.
    pub packets_max: u32,
    /// The network's mean delay per hop: it sets the tick and the longest delay.
    pub delay_mean: Nanos,
    /// Who decides when a packet leaves.
    pub strategy: Strategy,
}

impl Options {
    /// The longest delay that a packet may ask for: [`DELAY_CAP_MEANS`] means.
    pub fn delay_cap(self) -> Nanos {
        Nanos(self.delay_mean.0.saturating_mul(DELAY_CAP_MEANS))
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
    inside: Inside<T>,
    /// What leaves in one release, while it is shuffled: room for everything.
    leaving: Vec<T>,
    rng: Rng,
}

/// What is inside, kept as its strategy needs it.
enum Inside<T> {
    Poisson(Poisson<T>),
    TimedDynamic(TimedDynamic<T>),
    Threshold(Threshold<T>),
}

impl<T> std::fmt::Debug for Pool<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pool").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<T> Pool<T> {
    /// An empty pool; `rng` decides who is evicted, who leaves, and in which order.
    ///
    /// # Panics
    /// When the mean delay is over [`DELAY_MEAN_MAX`], or [`Strategy::check`] refuses.
    pub fn new(options: Options, rng: Rng) -> Self {
        let Options { packets_max, delay_mean, strategy } = options;
        assert!(delay_mean <= DELAY_MEAN_MAX, "the mean delay is over its maximum");
        if let Err(error) = strategy.check(packets_max) {
            panic!("{error}");
        }
        let inside = match strategy {
            Strategy::Poisson => Inside::Poisson(Poisson::new(options)),
            Strategy::TimedDynamic { interval, fraction, packets_min } => Inside::TimedDynamic(
                TimedDynamic::new(packets_max, interval, fraction, packets_min),
            ),
            Strategy::Threshold { packets } => {
                Inside::Threshold(Threshold::new(packets_max, packets))
            }
        };
        Pool { options, inside, leaving: Vec::with_capacity(packets_max as usize), rng }
    }

    /// Keeps `item` until its strategy lets it go: the Poisson mix until the first tick at or
    /// after `due` (what is already due leaves with the next one); the others do not look at
    /// `due`.
    ///
    /// Delays longer than [`Pool::delay_cap`] must be refused before; here they are cut to it.
    ///
    /// # Errors
    /// When the pool is full: the victim, so that the caller can take back what it stands for.
    pub fn insert(&mut self, due: Nanos, item: T, now: Nanos) -> Result<(), Evicted<T>> {
        let Pool { inside, rng, .. } = self;
        match inside {
            Inside::Poisson(poisson) => poisson.insert(due, item, now, rng),
            Inside::TimedDynamic(timed) => timed.insert(item, now, rng),
            Inside::Threshold(threshold) => threshold.insert(item, rng),
        }
    }

    /// Lets `item`, which is no packet, leave with what the strategy's clock lets go next: the
    /// next tick or interval, and without a clock at once. It waits for no other packets, so a
    /// link lives on dummies where there is no traffic; and it takes no packet's place.
    ///
    /// # Errors
    /// When the pool is full: the item itself.
    pub fn accompany(&mut self, item: T, now: Nanos) -> Result<(), T> {
        if self.is_full() {
            return Err(item);
        }
        match &mut self.inside {
            Inside::Poisson(poisson) => poisson.keep(now, item, now),
            Inside::TimedDynamic(timed) => timed.accompany(item, now),
            Inside::Threshold(threshold) => threshold.accompany(item),
        }
        Ok(())
    }

    /// Hands everything whose time has come at `now` to `send`, as one set in uniformly random
    /// order, also when the worker was held up for long. Returns how many that were.
    pub fn release(&mut self, now: Nanos, send: impl FnMut(T)) -> usize {
        let Pool { inside, leaving, rng, .. } = self;
        match inside {
            Inside::Poisson(poisson) => poisson.take_due(now, leaving),
            Inside::TimedDynamic(timed) => timed.take_due(now, rng, leaving),
            Inside::Threshold(threshold) => threshold.take_due(rng, leaving),
        }
        self.let_go(send)
    }

    /// Hands everything inside to `send`, due or not, in uniformly random order: at shutdown.
    pub fn drain(&mut self, send: impl FnMut(T)) -> usize {
        match &mut self.inside {
            Inside::Poisson(poisson) => poisson.take_all(&mut self.leaving),
            Inside::TimedDynamic(timed) => timed.take_all(&mut self.leaving),
            Inside::Threshold(threshold) => threshold.take_all(&mut self.leaving),
        }
        self.let_go(send)
    }

    /// When the next release has something to give, if nothing more comes: a sleeping worker must
    /// wake then.
    pub fn next_due(&self) -> Option<Nanos> {
        match &self.inside {
            Inside::Poisson(poisson) => poisson.next_due(),
            Inside::TimedDynamic(timed) => timed.next_due(),
            Inside::Threshold(threshold) => threshold.next_due(),
        }
    }

    /// How many are inside.
    pub fn len(&self) -> usize {
        match &self.inside {
            Inside::Poisson(poisson) => poisson.len(),
            Inside::TimedDynamic(timed) => timed.len(),
            Inside::Threshold(threshold) => threshold.len(),
        }
    }

    /// Whether the next packet evicts one.
    pub fn is_full(&self) -> bool {
        self.len() >= self.options.packets_max as usize
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The longest delay a packet may ask for.
    pub fn delay_cap(&self) -> Nanos {
        self.options.delay_cap()
    }

    /// The time between two releases: a Poisson mix's packet leaves up to one tick after its
    /// deadline, a timed pool's at a multiple of the interval; a threshold mix has no clock and
    /// none ([`Nanos::ZERO`]).
    pub fn tick(&self) -> Nanos {
        match &self.inside {
            Inside::Poisson(poisson) => poisson.tick(),
            Inside::TimedDynamic(timed) => timed.interval(),
            Inside::Threshold(_) => Nanos::ZERO,
        }
    }

    fn let_go(&mut self, send: impl FnMut(T)) -> usize {
        let count = self.leaving.len();
        self.rng.shuffle(&mut self.leaving);
        self.leaving.drain(..).for_each(send);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS_MAX: u32 = 1000;
    const MEAN: Nanos = Nanos::from_millis(50);

    fn pool<T>(strategy: Strategy) -> Pool<T> {
        Pool::new(Options { packets_max: PACKETS_MAX, delay_mean: MEAN, strategy }, rng(1))
    }

    fn strategies() -> [Strategy; 3] {
        let fraction = Fraction::new(0.1).unwrap();
        let interval = Nanos::from_millis(2);
        [
            Strategy::Poisson,
            Strategy::TimedDynamic { interval, fraction, packets_min: 100 },
            Strategy::Threshold { packets: 300 },
        ]
    }

    fn rng(seed: u8) -> Rng {
        Rng::from_seed([seed; 32])
    }

    #[test]
    fn every_token_comes_back_exactly_once_evicted_released_or_drained() {
        for strategy in strategies() {
            let (mut pool, mut chance) = (pool(strategy), rng(11));
            let mut now = Nanos::ZERO;
            let mut back = vec![0u8; 50_000];
            let mut released = 0;
            for token in 0..back.len() {
                now = now + chance.exponential(Nanos::from_micros(20));
                let due = now + chance.exponential(MEAN);
                // Boxes, because tokens need not be `Copy`.
                let boxed = Box::new(token);
                let refused = match chance.below(20) {
                    0 => pool.accompany(boxed, now).err(),
                    _ => pool.insert(due, boxed, now).err().map(|Evicted(victim)| victim),
                };
                refused.into_iter().for_each(|token| back[*token] += 1);
                assert!(pool.len() <= PACKETS_MAX as usize);
                // In the second half so rarely that every pool is full.
                if chance.below(if token < 25_000 { 50 } else { 3000 }) == 0 {
                    released += pool.release(now, |token| back[*token] += 1);
                }
            }
            let inside = pool.len();
            assert_eq!(pool.drain(|token| back[*token] += 1), inside);
            assert!(pool.is_empty() && pool.next_due().is_none());
            assert!(released + inside < back.len(), "some were evicted: {strategy:?}");
            assert!(back.iter().all(|&times| times == 1), "{strategy:?}");
        }
    }

    #[test]
    fn a_drained_pool_can_be_used_again() {
        for strategy in strategies() {
            let mut pool = pool(strategy);
            for round in 0..3u64 {
                let now = Nanos::from_secs(round);
                for item in 0..PACKETS_MAX {
                    pool.insert(now + Nanos::from_micros(u64::from(item)), item, now).unwrap();
                }
                assert!(pool.is_full());
                assert_eq!(pool.drain(drop), PACKETS_MAX as usize);
            }
        }
    }

    #[test]
    fn the_next_release_has_something_when_it_is_due_and_nothing_before() {
        for strategy in strategies() {
            let (mut pool, mut chance) = (pool(strategy), rng(12));
            let mut now = Nanos::ZERO;
            let mut wakes = 0;
            for item in 0..20_000u32 {
                now = now + chance.exponential(Nanos::from_micros(200));
                while let Some(due) = pool.next_due().filter(|&due| due <= now) {
                    let before = pool.release(Nanos(due.0.saturating_sub(1)), drop);
                    assert!(before == 0 || due == Nanos::ZERO, "before {due:?}: {strategy:?}");
                    assert!(before + pool.release(due, drop) > 0, "at {due:?}: {strategy:?}");
                    wakes += 1;
                }
                assert_eq!(pool.release(now, drop), 0, "{strategy:?}");
                assert!(pool.insert(now + chance.exponential(MEAN), item, now).is_ok());
            }
            assert!(wakes > 50);
        }
    }

    #[test]
    fn what_accompanies_leaves_by_the_clock_and_takes_no_packets_place() {
        for strategy in strategies() {
            let mut pool = pool(strategy);
            let now = Nanos::from_secs(1);
            assert_eq!(pool.accompany(7, now), Ok(()));
            let due = pool.next_due().expect("it is not alone for ever");
            assert!(due <= now + pool.tick());
            let mut left = vec![];
            pool.release(due, |item| left.push(item));
            assert_eq!(left, [7], "{strategy:?}");
            for item in 0..PACKETS_MAX {
                assert!(pool.insert(Nanos::NEVER, item, now).is_ok());
            }
            assert_eq!(pool.accompany(8, now), Err(8));
        }
    }

    #[test]
    fn strategies_by_which_nothing_would_ever_leave_are_refused() {
        let [_, timed, threshold] = strategies();
        let name = |strategy: Strategy, packets_max| {
            let message = strategy.check(packets_max).unwrap_err().to_string();
            message.split('`').nth(1).expect("it names the key").to_owned()
        };
        assert_eq!((timed.check(101), threshold.check(300)), (Ok(()), Ok(())));
        assert_eq!(name(timed, 100), "mix.packets_min");
        assert_eq!(name(threshold, 299), "mix.threshold");
        let Strategy::TimedDynamic { interval, fraction, .. } = timed else { unreachable!() };
        let small = Strategy::TimedDynamic { interval, fraction, packets_min: 0 };
        assert_eq!((name(small, 9), small.check(10)), ("mix.fraction".to_owned(), Ok(())));
        let endless =
            Strategy::TimedDynamic { interval: Nanos::from_secs(2), fraction, packets_min: 0 };
        assert_eq!(name(endless, 1000), "mix.interval");
        assert_eq!(name(Strategy::Threshold { packets: 1 }, 1000), "mix.threshold");
    }
}
