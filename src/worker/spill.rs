//! Uneven load: what a worker cannot unwrap at once goes to others that can.
//!
//! All datagrams of a source come to one worker, because cards and kernels spread them by
//! address; and a mix has few neighbours, and a machine may have more cores than its card has
//! queues. So a worker whose port holds more than it can unwrap in this turn opens more than that,
//! and passes the rest on by whole groups. Which worker unwraps a packet is nothing that anybody
//! could see: it leaves by the owner of its next link in any case.

use std::collections::VecDeque;

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
    /// The place in `to` of who got the last group.
    turn: usize,
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

    /// Passes on what of `waiting` makes whole groups, to others in turn, as long as they have
    /// room.
    pub(super) fn pass_on(&mut self, waiting: &mut VecDeque<Slot>, group: usize) {
        for _ in 0..self.to.len() {
            if waiting.len() < group {
                break;
            }
            self.turn = (self.turn + 1) % self.to.len();
            let (ring, waker) = &mut self.to[self.turn];
            if ring.room() >= group {
                for slot in waiting.drain(..group) {
                    assert!(ring.push(slot).is_ok(), "there is room for a group");
                }
                ring.publish();
                waker.wake();
            }
        }
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

    fn slots(count: u32) -> VecDeque<Slot> {
        let mut cache = SlotCache::new(Slab::new(count, 64));
        std::iter::from_fn(|| cache.take()).collect()
    }

    fn taken(spills: &mut Spills, most: usize) -> usize {
        let mut count = 0;
        spills.pop_each(most, |slot| {
            count += 1;
            drop(slot);
        });
        count
    }

    #[test]
    fn others_get_whole_groups_in_turn_until_nobody_has_room() {
        let mut workers = spills(3);
        let mut waiting = slots(3 * 32 + 5);
        workers[0].pass_on(&mut waiting, GROUP);
        assert_eq!(waiting.len(), GROUP + 5);
        waiting.extend(slots(5 * 32));
        (0..3).for_each(|_| workers[0].pass_on(&mut waiting, GROUP));
        // Two rings of two groups each.
        assert_eq!(waiting.len(), 4 * GROUP + 5);
        assert_eq!(taken(&mut workers[1], usize::MAX), 2 * GROUP);
        assert_eq!(taken(&mut workers[2], usize::MAX), 2 * GROUP);
        workers[0].pass_on(&mut waiting, GROUP);
        assert_eq!(waiting.len(), 2 * GROUP + 5);
    }

    #[test]
    fn a_lone_worker_keeps_everything() {
        let mut waiting = slots(100);
        spills(1)[0].pass_on(&mut waiting, GROUP);
        assert_eq!(waiting.len(), 100);
    }

    #[test]
    fn who_takes_over_takes_no_more_than_it_asked_for() {
        let mut workers = spills(3);
        for worker in [0, 1] {
            let mut waiting = slots(128);
            (0..2).for_each(|_| workers[worker].pass_on(&mut waiting, GROUP));
        }
        let mine: usize = 2 * 2 * GROUP;
        assert_eq!(taken(&mut workers[2], 10), 10);
        assert_eq!(taken(&mut workers[2], usize::MAX), mine - 10);
    }
}
