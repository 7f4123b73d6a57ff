//! Uneven load: what a worker cannot unwrap at once goes to others that can.
//!
//! All datagrams of a source come to one worker, because cards and kernels spread them by
//! address; and a mix has few neighbours, and a machine may have more cores than its card has
//! queues. So a worker whose port holds more than it can unwrap in this turn opens more than that,
//! and passes the rest on by whole groups. Which worker unwraps a packet is nothing that anybody
//! could see: it leaves by the owner of its next link in any case.

use super::ring::{Consumer, Producer, ring};
use super::roles::Roles;
use super::slab::Slot;
use crate::io::wake::Waker;

/// Other workers that one passes packets on to at most: eight together unwrap what a link of
/// 10 Gbit/s carries.
const PEERS_MAX: usize = 7;
/// Packets on their way from one worker to another at most: two groups.
const SPILL_MAX: u32 = 64;

/// One worker's ways to others, and theirs to it.
#[derive(Debug, Default)]
pub struct Spills {
    to: Vec<(Producer<Slot>, Waker)>,
    from: Vec<Consumer<Slot>>,
    /// The place in `to` of who gets the next packet.
    turn: usize,
    /// Packets that it still gets of this group.
    left: usize,
}

impl Spills {
    /// From every worker to those behind it, round in a ring: each worker's ends, by its number.
    pub fn between(roles: Roles, wakers: &[Waker]) -> Vec<Self> {
        let workers = roles.workers();
        let mut ends: Vec<_> = (0..workers).map(|_| Spills::default()).collect();
        for worker in 0..workers {
            for step in 1..workers.min(PEERS_MAX + 1) {
                let peer = (worker + step) % workers;
                let (producer, consumer) = ring(SPILL_MAX);
                ends[worker].to.push((producer, wakers[peer].clone()));
                ends[peer].from.push(consumer);
            }
        }
        ends
    }

    /// Slots on their way between all workers at most.
    pub fn slots(roles: Roles) -> usize {
        roles.workers() * roles.workers().saturating_sub(1).min(PEERS_MAX) * SPILL_MAX as usize
    }

    /// Packets that others could take now, by whole groups of `group`.
    pub(super) fn room(&mut self, group: usize) -> usize {
        let takes = |(ring, _): &mut (Producer<Slot>, Waker)| ring.room() >= group;
        group * self.to.iter_mut().map(takes).filter(|takes| *takes).count()
    }

    /// Passes a packet on, a group at a time to each of those that have room for one.
    ///
    /// # Errors
    /// The packet itself, when nobody has.
    pub(super) fn push(&mut self, slot: Slot, group: usize) -> Result<(), Slot> {
        for _ in 0..=self.to.len() {
            if self.left > 0
                && let Some((ring, _)) = self.to.get_mut(self.turn)
            {
                self.left -= 1;
                return ring.push(slot);
            }
            self.turn = (self.turn + 1) % self.to.len().max(1);
            let takes = self.to.get_mut(self.turn).is_some_and(|(ring, _)| ring.room() >= group);
            self.left = if takes { group } else { 0 };
        }
        Err(slot)
    }

    /// Hands over what was passed on.
    pub(super) fn publish(&mut self) {
        for (ring, waker) in &mut self.to {
            if ring.publish() {
                waker.wake();
            }
        }
        self.left = 0;
    }

    /// Takes what others passed on, at most `most` packets and as even as it gets.
    pub(super) fn pop_each(&mut self, most: usize, mut take: impl FnMut(Slot)) {
        let (mut taken, mut idle) = (0, 0);
        for place in (0..self.from.len()).cycle() {
            if taken == most || idle == self.from.len() {
                break;
            }
            match self.from[place].pop() {
                Some(slot) => {
                    take(slot);
                    (taken, idle) = (taken + 1, 0);
                }
                None => idle += 1,
            }
        }
        self.from.iter_mut().for_each(Consumer::give_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::wake;
    use crate::worker::slab::{Slab, SlotCache};

    const GROUP: usize = 32;

    fn spills(threads: usize) -> Vec<Spills> {
        let wakers: Vec<_> = (0..threads).map(|_| wake::pair().unwrap().1).collect();
        Spills::between(Roles::of(threads), &wakers)
    }

    fn slots(count: u32) -> Vec<Slot> {
        let mut cache = SlotCache::new(Slab::new(count, 64));
        std::iter::from_fn(|| cache.take()).collect()
    }

    fn taken(spills: &mut Spills) -> usize {
        let mut count = 0;
        spills.pop_each(usize::MAX, |slot| {
            count += 1;
            drop(slot);
        });
        count
    }

    #[test]
    fn others_get_whole_groups_in_turn_until_nobody_has_room() {
        let mut workers = spills(3);
        assert_eq!(workers[0].room(GROUP), 2 * GROUP);
        let mut refused = 0;
        for slot in slots(5 * 32) {
            if let Err(slot) = workers[0].push(slot, GROUP) {
                refused += 1;
                drop(slot);
            }
        }
        workers[0].publish();
        // Two rings of two groups each.
        assert_eq!((refused, workers[0].room(GROUP)), (GROUP, 0));
        assert_eq!((taken(&mut workers[1]), taken(&mut workers[2])), (2 * GROUP, 2 * GROUP));
        assert_eq!(workers[0].room(GROUP), 2 * GROUP);
    }

    #[test]
    fn a_lone_worker_keeps_everything() {
        let mut alone = spills(1).remove(0);
        assert_eq!(alone.room(GROUP), 0);
        let refused =
            slots(1).into_iter().map(|slot| alone.push(slot, GROUP)).filter(Result::is_err);
        assert_eq!(refused.count(), 1);
    }

    #[test]
    fn who_takes_over_takes_as_much_of_each_and_no_more_than_it_asked_for() {
        let mut workers = spills(3);
        for worker in [0, 1] {
            for slot in slots(64) {
                assert!(workers[worker].push(slot, GROUP).is_ok());
            }
            workers[worker].publish();
        }
        let mut first = vec![];
        workers[2].pop_each(10, |slot| first.push(slot));
        assert_eq!(first.len(), 10);
        drop(first);
        assert_eq!(taken(&mut workers[2]), 2 * GROUP - 10);
    }
}
