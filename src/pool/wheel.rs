//! A timing wheel: what leaves at a tick is in the bucket of that tick (Varghese and Lauck,
//! "Hashed and Hierarchical Timing Wheels", 1987). It knows ticks, not time.
//!
//! One turn of the wheel is longer than any delay, so a bucket never mixes two turns.

use super::chunks::Chunks;
use crate::crypto::random::Rng;

/// Buckets in a word of the occupancy map.
const WORD_BUCKETS: u32 = u64::BITS;

/// Items by the tick at which they leave.
pub(super) struct Wheel<T> {
    /// One list a bucket, and behind them the list of what was overdue before it was taken.
    lists: Chunks<T>,
    /// One bit a bucket: whether it has items. So a mostly empty wheel is searched quickly.
    occupied: Box<[u64]>,
    /// The number of buckets, a power of two; also the number of the overdue list.
    buckets: u32,
    /// The first tick not taken yet.
    next: u64,
}

impl<T> Wheel<T> {
    /// A wheel for `items_max` items, none of them more than `horizon` ticks ahead of the
    /// running one.
    pub(super) fn new(items_max: u32, horizon: u32) -> Self {
        let buckets = horizon.saturating_add(1).next_power_of_two().max(WORD_BUCKETS);
        Wheel {
            lists: Chunks::new(items_max, buckets + 1),
            occupied: vec![0; (buckets / WORD_BUCKETS) as usize].into_boxed_slice(),
            buckets,
            next: 0,
        }
    }

    /// How many items are inside.
    pub(super) fn len(&self) -> usize {
        self.lists.len()
    }

    /// Adds `item` to leave at `tick`, or at the next one when that has begun; `running` is the
    /// tick that has begun last.
    pub(super) fn insert(&mut self, tick: u64, item: T, running: u64) {
        if tick.saturating_sub(self.next) >= u64::from(self.buckets) {
            self.set_overdue_aside(running);
        }
        let bucket = self.bucket(tick.max(running.saturating_add(1)).max(self.next));
        self.lists.push(bucket, item);
        self.occupied[(bucket / WORD_BUCKETS) as usize] |= 1 << (bucket % WORD_BUCKETS);
    }

    /// Moves everything that leaves at `last` or earlier to the end of `out`.
    pub(super) fn take_until(&mut self, last: u64, out: &mut Vec<T>) {
        self.lists.take(self.buckets, out);
        while let Some(tick) = self.first_occupied().filter(|&tick| tick <= last) {
            let bucket = self.bucket(tick);
            self.lists.take(bucket, out);
            self.mark_if_empty(bucket);
        }
        self.next = self.next.max(last.saturating_add(1));
    }

    /// Moves everything inside to the end of `out`.
    pub(super) fn take_all(&mut self, out: &mut Vec<T>) {
        for list in 0..=self.buckets {
            self.lists.take(list, out);
        }
        self.occupied.fill(0);
    }

    /// The first tick that has something to take.
    pub(super) fn next_tick(&self) -> Option<u64> {
        if self.lists.is_empty(self.buckets) { self.first_occupied() } else { Some(self.next - 1) }
    }

    /// Takes an item chosen uniformly among all.
    pub(super) fn remove_random(&mut self, rng: &mut Rng) -> Option<T> {
        let (list, item) = self.lists.remove_random(rng)?;
        if list != self.buckets {
            self.mark_if_empty(list);
        }
        Some(item)
    }

    /// Makes room at the far end of a wheel that has not been turned for long: otherwise the
    /// newcomer's bucket would be one that still has items of the turn before.
    #[cold]
    fn set_overdue_aside(&mut self, running: u64) {
        while let Some(tick) = self.first_occupied().filter(|&tick| tick <= running) {
            let bucket = self.bucket(tick);
            while let Some(item) = self.lists.pop(bucket) {
                self.lists.push(self.buckets, item);
            }
            self.mark_if_empty(bucket);
        }
        self.next = self.next.max(running.saturating_add(1));
    }

    /// The first tick, from `next` on, whose bucket has items.
    fn first_occupied(&self) -> Option<u64> {
        let start = self.bucket(self.next);
        let words = self.buckets / WORD_BUCKETS;
        // The start's word comes twice: its buckets before the start are the last ones.
        let mut wanted = u64::MAX << (start % WORD_BUCKETS);
        for step in 0..=words {
            let word = (start / WORD_BUCKETS + step) % words;
            let found = self.occupied[word as usize] & wanted;
            wanted = u64::MAX;
            if found != 0 {
                let bucket = word * WORD_BUCKETS + found.trailing_zeros();
                let ahead = bucket.wrapping_sub(start) % self.buckets;
                return Some(self.next + u64::from(ahead));
            }
        }
        None
    }

    #[expect(clippy::cast_possible_truncation, reason = "the divisor has 32 bits")]
    fn bucket(&self, tick: u64) -> u32 {
        (tick % u64::from(self.buckets)) as u32
    }

    fn mark_if_empty(&mut self, bucket: u32) {
        if self.lists.is_empty(bucket) {
            self.occupied[(bucket / WORD_BUCKETS) as usize] &= !(1 << (bucket % WORD_BUCKETS));
        }
    }
}
