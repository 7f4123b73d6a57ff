//! What a strategy without deadlines keeps: packets in no order, each as likely as any other to be
//! picked or evicted, and what is to accompany those that leave next.

use super::Evicted;
use crate::crypto::random::Rng;

/// A bounded crowd.
pub(super) struct Crowd<T> {
    /// The companions, then the packets.
    items: Vec<T>,
    companions: usize,
    packets_max: u32,
}

impl<T> Crowd<T> {
    /// Room for `packets_max` in all.
    pub(super) fn new(packets_max: u32) -> Self {
        Crowd { items: Vec::with_capacity(packets_max as usize), companions: 0, packets_max }
    }

    /// How many there are in all.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// How many of them are packets.
    pub(super) fn packets(&self) -> usize {
        self.items.len() - self.companions
    }

    /// Whether somebody waits for those that leave next.
    pub(super) fn has_companions(&self) -> bool {
        self.companions > 0
    }

    /// Adds a packet; where there is no room, gives up one of the packets or the newcomer.
    pub(super) fn insert(&mut self, item: T, rng: &mut Rng) -> Result<(), Evicted<T>> {
        if self.items.len() < self.packets_max as usize {
            self.items.push(item);
            return Ok(());
        }
        let choice = below(rng, self.packets() + 1);
        match self.items.get_mut(self.companions + choice) {
            Some(resident) => Err(Evicted(std::mem::replace(resident, item))),
            None => Err(Evicted(item)),
        }
    }

    /// Adds what leaves with those that leave next; there must be room.
    pub(super) fn accompany(&mut self, item: T) {
        self.items.push(item);
        let last = self.items.len() - 1;
        self.items.swap(self.companions, last);
        self.companions += 1;
    }

    /// Moves `count` of the packets, each set of so many equally likely, and all companions to the
    /// end of `out`.
    pub(super) fn take(&mut self, count: usize, rng: &mut Rng, out: &mut Vec<T>) {
        let len = self.items.len();
        if count < self.packets() {
            // Fisher-Yates, as far as it is needed: the picks gather at the end.
            for last in (len - count..len).rev() {
                let pick = self.companions + below(rng, last + 1 - self.companions);
                self.items.swap(pick, last);
            }
        }
        out.extend(self.items.drain(len - count..));
        self.take_companions(out);
    }

    /// Moves everything to the end of `out`.
    pub(super) fn take_all(&mut self, out: &mut Vec<T>) {
        self.companions = 0;
        out.append(&mut self.items);
    }

    fn take_companions(&mut self, out: &mut Vec<T>) {
        // From the last: each place is filled from the end, where no companion is left.
        for place in (0..self.companions).rev() {
            out.push(self.items.swap_remove(place));
        }
        self.companions = 0;
    }
}

/// A uniform index below `bound`; a crowd has at most 2^32 - 1.
fn below(rng: &mut Rng, bound: usize) -> usize {
    rng.below(u32::try_from(bound).unwrap_or(u32::MAX)) as usize
}
