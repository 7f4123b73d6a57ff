//! One deadline for each link, the earliest first.

use crate::clock::Nanos;
use std::collections::{BTreeSet, HashMap};

/// The deadlines of all links.
#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(Nanos, u32)>,
    of: HashMap<u32, Nanos>,
}

impl Timers {
    /// Moves the deadline of `link`; [`Nanos::NEVER`] takes it away.
    pub(super) fn set(&mut self, link: u32, at: Nanos) {
        if let Some(before) = self.of.remove(&link) {
            self.order.remove(&(before, link));
        }
        if at < Nanos::NEVER {
            self.of.insert(link, at);
            self.order.insert((at, link));
        }
    }

    /// The link whose deadline has come, and is taken away.
    pub(super) fn pop(&mut self, now: Nanos) -> Option<u32> {
        let &(at, link) = self.order.first().filter(|first| first.0 <= now)?;
        self.order.remove(&(at, link));
        self.of.remove(&link);
        Some(link)
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Nanos {
        self.order.first().map_or(Nanos::NEVER, |first| first.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_moved_ones_once() {
        let mut timers = Timers::default();
        for (link, at) in [(1, 30), (2, 10), (3, 20), (1, 5), (2, u64::MAX)] {
            timers.set(link, Nanos(at));
        }
        assert_eq!(timers.next(), Nanos(5));
        assert_eq!(timers.pop(Nanos(4)), None);
        assert_eq!(timers.pop(Nanos(100)), Some(1));
        assert_eq!(timers.pop(Nanos(100)), Some(3));
        assert_eq!(timers.pop(Nanos(100)), None);
        assert_eq!(timers.next(), Nanos::NEVER);
    }
}
