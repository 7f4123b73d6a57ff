//! The threshold mix (Chaum, "Untraceable Electronic Mail", 1981): as soon as a number of packets
//! is inside, so many leave.
//!
//! It has no clock: between two packets nothing happens, and one of whom there are never enough
//! waits for ever. What is no packet leaves at the next look, alone if need be.

use super::Evicted;
use super::crowd::Crowd;
use crate::clock::Nanos;
use crate::crypto::random::Rng;

/// Items, and how many make a batch.
pub(super) struct Threshold<T> {
    crowd: Crowd<T>,
    packets: usize,
}

impl<T> Threshold<T> {
    /// An empty one.
    pub(super) fn new(packets_max: u32, packets: u32) -> Self {
        Threshold { crowd: Crowd::new(packets_max), packets: packets as usize }
    }

    /// Keeps `item`.
    pub(super) fn insert(&mut self, item: T, rng: &mut Rng) -> Result<(), Evicted<T>> {
        self.crowd.insert(item, rng)
    }

    /// Keeps `item` until the next look.
    pub(super) fn accompany(&mut self, item: T) {
        self.crowd.accompany(item);
    }

    /// Moves as many packets as make whole batches, picked at random, to the end of `out`: one
    /// batch, or several that came between two looks and then leave as one set.
    pub(super) fn take_due(&mut self, rng: &mut Rng, out: &mut Vec<T>) {
        let packets = self.crowd.packets();
        self.crowd.take(packets - packets % self.packets, rng, out);
    }

    /// Moves everything inside to the end of `out`.
    pub(super) fn take_all(&mut self, out: &mut Vec<T>) {
        self.crowd.take_all(out);
    }

    /// At once, if there is a batch or a companion.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        let is_due = self.crowd.packets() >= self.packets || self.crowd.has_companions();
        is_due.then_some(Nanos::ZERO)
    }

    /// How many are inside.
    pub(super) fn len(&self) -> usize {
        self.crowd.len()
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Nanos;
    use crate::crypto::random::Rng;
    use crate::pool::{Options, Pool, Strategy};

    fn pool() -> Pool<u32> {
        let strategy = Strategy::Threshold { packets: 100 };
        let delay_mean = Nanos::from_millis(50);
        Pool::new(Options { packets_max: 1000, delay_mean, strategy }, Rng::from_seed([1; 32]))
    }

    fn fill(pool: &mut Pool<u32>, packets: u32) {
        (0..packets).for_each(|item| pool.insert(Nanos::ZERO, item, Nanos::ZERO).unwrap());
    }

    #[test]
    fn a_batch_leaves_as_soon_as_it_is_complete_and_never_before() {
        let mut pool = pool();
        for _ in 0..5 {
            fill(&mut pool, 99);
            assert_eq!((pool.next_due(), pool.release(Nanos::from_secs(9), drop)), (None, 0));
            fill(&mut pool, 1);
            assert_eq!(
                (pool.next_due(), pool.release(Nanos::ZERO, drop)),
                (Some(Nanos::ZERO), 100)
            );
        }
    }

    #[test]
    fn what_came_between_two_looks_leaves_in_whole_batches_as_one_set() {
        let mut pool = pool();
        fill(&mut pool, 399);
        assert_eq!((pool.release(Nanos::ZERO, drop), pool.len()), (300, 99));
    }

    #[test]
    fn companions_leave_alone_and_make_no_batch_complete() {
        let mut pool = pool();
        fill(&mut pool, 99);
        assert!(pool.accompany(999, Nanos::ZERO).is_ok());
        let mut left = vec![];
        pool.release(Nanos::ZERO, |item| left.push(item));
        assert_eq!((left, pool.len(), pool.next_due()), (vec![999], 99, None));
    }
}
