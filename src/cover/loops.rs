//! Loops that are under way, and what came of them: how much is lost, and whether somebody blocks
//! honest traffic, shows in their return.

use std::collections::{HashMap, VecDeque};

use crate::clock::Nanos;
use crate::sphinx::Identifier;

/// How long a loop may take beside its delays.
const GRACE: Nanos = Nanos::from_secs(5);
/// The delays of a loop together, in means; one of 10^8 loops of five hops takes longer.
const DELAY_MEANS: u64 = 32;
/// Loops under way at most; beyond, loops are sent and not watched.
const UNDER_WAY_MAX: usize = 1 << 16;

/// What came of all loops; sums only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopCounts {
    /// Sent.
    pub sent: u64,
    /// Come back in time.
    pub returned: u64,
    /// Not come back in time.
    pub lost: u64,
    /// How long those that came back took together.
    pub time: Nanos,
}

impl LoopCounts {
    /// How long a loop takes on average; nothing before the first is back.
    pub fn time_mean(&self) -> Option<Nanos> {
        self.time.0.checked_div(self.returned).map(Nanos)
    }
}

/// The loops under way.
#[derive(Debug)]
pub struct Loops {
    patience: Nanos,
    under_way: HashMap<Identifier, Nanos>,
    /// In the order in which they were sent; those that are back are still in here.
    sent: VecDeque<(Nanos, Identifier)>,
    counts: LoopCounts,
}

impl Loops {
    /// None yet, in a network whose mean delay at a hop is `delay_mean`.
    pub fn new(delay_mean: Nanos) -> Self {
        let patience = Nanos(delay_mean.0.saturating_mul(DELAY_MEANS)) + GRACE;
        Loops {
            patience,
            under_way: HashMap::new(),
            sent: VecDeque::new(),
            counts: LoopCounts::default(),
        }
    }

    /// A loop leaves.
    pub fn launch(&mut self, identifier: Identifier, now: Nanos) {
        self.forget_lost(now);
        if self.sent.len() < UNDER_WAY_MAX {
            self.sent.push_back((now, identifier));
            self.under_way.insert(identifier, now);
            self.counts.sent += 1;
        }
    }

    /// Whether `identifier` is that of a loop under way; it is then back.
    pub fn take(&mut self, identifier: &Identifier, now: Nanos) -> bool {
        self.forget_lost(now);
        let Some(sent) = self.under_way.remove(identifier) else { return false };
        self.counts.returned += 1;
        self.counts.time = self.counts.time + (now - sent);
        true
    }

    /// What came of all loops so far.
    pub fn counts(&self) -> LoopCounts {
        self.counts
    }

    fn forget_lost(&mut self, now: Nanos) {
        while let Some((sent, identifier)) = self.sent.front()
            && now - *sent > self.patience
        {
            self.counts.lost += u64::from(self.under_way.remove(identifier).is_some());
            self.sent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_comes_back_once_or_is_lost() {
        let mut loops = Loops::new(Nanos::from_millis(100));
        let at = Nanos::from_secs;
        for (number, sent) in [(1, at(1)), (2, at(2)), (3, at(3))] {
            loops.launch([number; 16], sent);
        }
        assert!(loops.take(&[2; 16], at(4)));
        assert!(!loops.take(&[2; 16], at(4)), "it is back already");
        assert!(!loops.take(&[9; 16], at(4)), "it is none of ours");
        assert!(!loops.take(&[1; 16], at(60)), "it is long lost");
        let expected = LoopCounts { sent: 3, returned: 1, lost: 2, time: at(2) };
        assert_eq!(loops.counts(), expected);
        assert_eq!(loops.counts().time_mean(), Some(at(2)));
        assert_eq!(LoopCounts::default().time_mean(), None);
    }

    #[test]
    fn loops_under_way_are_bounded() {
        let mut loops = Loops::new(Nanos::from_millis(100));
        for number in 0..UNDER_WAY_MAX as u128 + 5 {
            loops.launch(number.to_le_bytes(), Nanos::ZERO);
        }
        assert_eq!(loops.counts().sent, UNDER_WAY_MAX as u64);
    }
}
