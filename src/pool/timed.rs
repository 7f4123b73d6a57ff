//! The timed dynamic pool mix, Mixmaster's (Cottrell, 1995; Serjantov, Dingledine and Syverson,
//! "From a Trickle to a Flood", 2002): at every interval a share of what is inside leaves, picked
//! at random, and a minimum always stays.
//!
//! Intervals that pass while nobody would leave are not saved up, and a worker that was held up
//! for many of them lets go one share, not many: what stays is what later packets hide among, and
//! a stall, which an attacker may cause, must not be a way to flush it.

use super::crowd::Crowd;
use super::{Evicted, Fraction};
use crate::clock::Nanos;
use crate::crypto::random::Rng;

/// Items, and when the next of them leave.
pub(super) struct TimedDynamic<T> {
    crowd: Crowd<T>,
    interval: Nanos,
    fraction: Fraction,
    packets_min: u32,
    /// When the next share leaves: a multiple of the interval, at all owners of a node the same.
    flush_at: Nanos,
}

impl<T> TimedDynamic<T> {
    /// An empty one.
    pub(super) fn new(
        packets_max: u32,
        interval: Nanos,
        fraction: Fraction,
        packets_min: u32,
    ) -> Self {
        let crowd = Crowd::new(packets_max);
        TimedDynamic { crowd, interval, fraction, packets_min, flush_at: Nanos::ZERO }
    }

    /// Keeps `item`.
    pub(super) fn insert(&mut self, item: T, now: Nanos, rng: &mut Rng) -> Result<(), Evicted<T>> {
        self.forget_idle_intervals(now);
        self.crowd.insert(item, rng)
    }

    /// Keeps `item` until the next interval's end.
    pub(super) fn accompany(&mut self, item: T, now: Nanos) {
        self.forget_idle_intervals(now);
        self.crowd.accompany(item);
    }

    /// If an interval has ended at `now`, moves its share to the end of `out`.
    pub(super) fn take_due(&mut self, now: Nanos, rng: &mut Rng, out: &mut Vec<T>) {
        if self.is_idle() || now < self.flush_at {
            return;
        }
        self.crowd.take(self.share(), rng, out);
        self.flush_at = self.end_of_interval(now);
    }

    /// Moves everything inside to the end of `out`.
    pub(super) fn take_all(&mut self, out: &mut Vec<T>) {
        self.crowd.take_all(out);
    }

    /// The end of the interval, if somebody would leave then.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        (!self.is_idle()).then_some(self.flush_at)
    }

    /// How many are inside.
    pub(super) fn len(&self) -> usize {
        self.crowd.len()
    }

    /// The length of an interval.
    pub(super) fn interval(&self) -> Nanos {
        self.interval
    }

    /// How many packets leave at the end of an interval.
    fn share(&self) -> usize {
        let packets = self.crowd.packets();
        self.fraction.of(packets).min(packets.saturating_sub(self.packets_min as usize))
    }

    fn is_idle(&self) -> bool {
        self.share() == 0 && !self.crowd.has_companions()
    }

    /// Before somebody comes: intervals that ended while nobody would have left do not count, or
    /// whoever wakes the mix would leave at once.
    fn forget_idle_intervals(&mut self, now: Nanos) {
        if now >= self.flush_at && self.is_idle() {
            self.flush_at = self.end_of_interval(now);
        }
    }

    /// The end of the interval that `now` is in.
    fn end_of_interval(&self, now: Nanos) -> Nanos {
        let interval = self.interval.0;
        Nanos((now.0 / interval).saturating_add(1).saturating_mul(interval))
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Nanos;
    use crate::crypto::random::Rng;
    use crate::pool::{Fraction, Options, Pool, Strategy};

    const INTERVAL: Nanos = Nanos::from_millis(5);

    fn pool(packets_min: u32) -> Pool<u32> {
        let fraction = Fraction::new(0.1).unwrap();
        let strategy = Strategy::TimedDynamic { interval: INTERVAL, fraction, packets_min };
        let delay_mean = Nanos::from_millis(50);
        Pool::new(Options { packets_max: 1000, delay_mean, strategy }, Rng::from_seed([1; 32]))
    }

    fn fill(pool: &mut Pool<u32>, packets: u32, now: Nanos) {
        (0..packets).for_each(|item| pool.insert(Nanos::ZERO, item, now).unwrap());
    }

    fn interval(number: u64) -> Nanos {
        Nanos(INTERVAL.0 * number)
    }

    #[test]
    fn at_every_interval_a_tenth_leaves_until_the_minimum_is_left() {
        let mut pool = pool(100);
        fill(&mut pool, 1000, Nanos(1));
        let mut inside = 1000usize;
        for number in 1..40 {
            assert_eq!(pool.release(interval(number) - Nanos(1), drop), 0);
            let expected = (inside / 10).min(inside - 100);
            assert_eq!(pool.release(interval(number), drop), expected);
            inside -= expected;
            assert_eq!(pool.len(), inside);
        }
        assert_eq!((inside, pool.next_due()), (100, None));
    }

    #[test]
    fn fewer_than_make_a_whole_packet_of_the_share_stay_until_there_are_more() {
        let mut pool = pool(0);
        fill(&mut pool, 9, Nanos(1));
        assert_eq!((pool.next_due(), pool.release(interval(5), drop)), (None, 0));
        fill(&mut pool, 1, interval(5));
        assert_eq!((pool.next_due(), pool.release(interval(6), drop)), (Some(interval(6)), 1));
    }

    #[test]
    fn a_stall_of_many_intervals_lets_one_share_go() {
        let mut pool = pool(100);
        fill(&mut pool, 1000, Nanos(1));
        assert_eq!(pool.release(interval(50) + Nanos(7), drop), 100);
        assert_eq!(pool.next_due(), Some(interval(51)));
    }

    #[test]
    fn who_wakes_a_sleeping_mix_waits_for_the_end_of_the_interval() {
        let mut pool = pool(100);
        fill(&mut pool, 100, Nanos(1));
        assert_eq!(pool.next_due(), None);
        let now = interval(1000) + Nanos(1);
        fill(&mut pool, 100, now);
        assert_eq!(pool.next_due(), Some(interval(1001)));
        assert_eq!(pool.release(now, drop), 0);
        assert_eq!(pool.release(interval(1001), drop), 20);
    }

    #[test]
    fn companions_leave_beside_the_share() {
        let mut pool = pool(100);
        fill(&mut pool, 200, Nanos(1));
        (0..5).for_each(|_| pool.accompany(999, Nanos(1)).unwrap());
        fill(&mut pool, 100, Nanos(1));
        let mut companions = 0;
        let left = pool.release(interval(1), |item| companions += u32::from(item == 999));
        assert_eq!((left, companions, pool.len()), (35, 5, 270));
    }
}
