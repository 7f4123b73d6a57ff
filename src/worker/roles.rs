//! Which of a node's threads do what.
//!
//! Crypto workers take packets in and unwrap them; egress owners own the links, mix, seal and
//! send. Owners are few, because a packet that changes core costs a share of a cache line, and
//! because the fewer mix, the larger is the set that each packet leaves in. On small machines
//! every thread is both.

use std::ops::Range;

use crate::io::{OpenError, Port};
use crate::link::LinkIndex;

/// From so many threads on, some do nothing but own links.
const THREADS_APART_MIN: usize = 4;
/// Crypto workers that one owner keeps up with: it mixes and sends 500 000 packets a second, they
/// unwrap 60 000 each (`docs/performance.md`).
const WORKERS_AN_OWNER: usize = 8;

/// How the threads of a node share its work, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    threads: usize,
    owners: usize,
}

impl Roles {
    /// Of a node with so many `threads` (one at least).
    pub fn of(threads: usize) -> Self {
        let threads = threads.max(1);
        let owners = match threads < THREADS_APART_MIN {
            true => threads,
            false => threads.div_ceil(WORKERS_AN_OWNER + 1),
        };
        Roles { threads, owners }
    }

    /// How many threads there are.
    pub fn threads(self) -> usize {
        self.threads
    }

    /// How many of them take packets in: the first ones.
    pub fn workers(self) -> usize {
        if self.are_apart() { self.threads - self.owners } else { self.threads }
    }

    /// The threads that own links.
    pub fn owners(self) -> Range<usize> {
        self.threads - self.owners..self.threads
    }

    /// Which of the owners has `link`: it alone mixes and sends what leaves by that link, so
    /// nothing on the wire says which thread took a packet in. It stays as long as the link does.
    pub fn owner_of(self, link: LinkIndex) -> usize {
        link.0 as usize % self.owners
    }

    /// The number of the thread that owns `link`.
    pub fn thread_of(self, link: LinkIndex) -> usize {
        self.owners().start + self.owner_of(link)
    }

    /// A port for every thread, from those of the threads that take packets in: owners that only
    /// send do it from the same address.
    ///
    /// # Errors
    /// When a sender cannot be had.
    pub fn ports<P: Port>(self, mut receivers: Vec<P>) -> Result<Vec<P>, OpenError> {
        if self.are_apart() {
            for owner in 0..self.owners {
                let sender = receivers[owner].detach_sender()?;
                receivers.push(sender);
            }
        }
        Ok(receivers)
    }

    fn are_apart(self) -> bool {
        self.owners < self.threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_four_threads_each_is_both_and_above_an_owner_has_at_most_eight_workers() {
        for threads in 1..=3 {
            let roles = Roles::of(threads);
            assert_eq!((roles.workers(), roles.owners()), (threads, 0..threads));
        }
        for threads in 4..=200 {
            let roles = Roles::of(threads);
            let owners = roles.owners().len();
            assert_eq!(roles.workers() + owners, threads);
            assert!(roles.workers() <= 8 * owners && threads > 9 * (owners - 1));
        }
        assert_eq!(Roles::of(4).owners(), 3..4);
        assert_eq!(Roles::of(9).owners(), 8..9);
        assert_eq!(Roles::of(18).owners(), 16..18);
    }

    #[test]
    fn every_link_has_one_owner_and_the_links_are_spread_evenly() {
        for threads in [1, 2, 3, 4, 10, 64] {
            let roles = Roles::of(threads);
            let mut links = vec![0; threads];
            for link in 0..10 * threads {
                let link = LinkIndex(u32::try_from(link).unwrap());
                let thread = roles.thread_of(link);
                assert_eq!(thread, roles.owners().start + roles.owner_of(link));
                links[thread] += 1;
            }
            let least = *links[roles.owners()].iter().min().unwrap();
            assert!(links[roles.owners()].iter().all(|&count| count - least <= 1));
            assert!(links[..roles.owners().start].iter().all(|&count| count == 0));
        }
    }
}
