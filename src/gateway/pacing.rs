//! When frames leave for clients: each link a Poisson process of its own.
//!
//! The schedule knows links and a rate, and nothing of what waits for them: so when a frame
//! leaves, to whoever watches, says nothing about a mailbox.

use std::collections::{BTreeSet, HashMap};

use crate::clock::Nanos;
use crate::crypto::random::Rng;
use crate::link::LinkIndex;

/// A link that is further behind than this starts afresh, instead of catching up in a burst.
const BEHIND_MAX: Nanos = Nanos::from_secs(1);

/// The next turn of every link.
#[derive(Debug)]
pub struct Schedule {
    gap_mean: Nanos,
    turns: BTreeSet<(Nanos, LinkIndex)>,
    by_link: HashMap<LinkIndex, Nanos>,
}

impl Schedule {
    /// Without links; each will have a turn every `gap_mean` on average.
    pub fn new(gap_mean: Nanos) -> Self {
        Schedule { gap_mean, turns: BTreeSet::new(), by_link: HashMap::new() }
    }

    /// Turns that are drawn from now on have this mean gap.
    pub fn set_gap(&mut self, gap_mean: Nanos) {
        self.gap_mean = gap_mean;
    }

    /// Begins the turns of a link.
    pub fn add(&mut self, link: LinkIndex, now: Nanos, rng: &mut Rng) {
        self.remove(link);
        self.set(link, now + rng.exponential(self.gap_mean));
    }

    /// Ends the turns of a link.
    pub fn remove(&mut self, link: LinkIndex) {
        if let Some(at) = self.by_link.remove(&link) {
            self.turns.remove(&(at, link));
        }
    }

    /// A link whose turn has come; its next one is drawn.
    pub fn pop(&mut self, now: Nanos, rng: &mut Rng) -> Option<LinkIndex> {
        let (at, link) = *self.turns.first().filter(|(at, _)| *at <= now)?;
        self.remove(link);
        let from = if now - at > BEHIND_MAX { now } else { at };
        self.set(link, from + rng.exponential(self.gap_mean));
        Some(link)
    }

    /// When the next turn comes.
    pub fn next(&self) -> Nanos {
        self.turns.first().map_or(Nanos::NEVER, |(at, _)| *at)
    }

    fn set(&mut self, link: LinkIndex, at: Nanos) {
        self.by_link.insert(link, at);
        self.turns.insert((at, link));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Nanos = Nanos::from_millis(20);

    /// The turns of one link among `others` in `span`.
    fn turns(others: u32, span: Nanos, step: Nanos) -> Vec<Nanos> {
        let mut rng = Rng::from_seed([1; 32]);
        let mut schedule = Schedule::new(GAP);
        (0..=others).for_each(|link| schedule.add(LinkIndex(link), Nanos::ZERO, &mut rng));
        let (mut now, mut turns) = (Nanos::ZERO, vec![]);
        while now < span {
            let due = schedule.next();
            while let Some(link) = schedule.pop(now, &mut rng) {
                if link == LinkIndex(0) {
                    turns.push(due.min(now));
                }
            }
            now = schedule.next().max(now + step);
        }
        turns
    }

    #[test]
    fn the_turns_of_a_link_are_a_poisson_process() {
        let turns = turns(20, Nanos::from_secs(200), Nanos(1));
        let mut gaps: Vec<f64> =
            turns.windows(2).map(|two| (two[1] - two[0]).as_secs_f64() / 0.02).collect();
        gaps.sort_unstable_by(f64::total_cmp);
        let count = gaps.len() as f64;
        assert!((9_600.0..10_400.0).contains(&count), "{count} turns in 200 s at 50/s");
        let distance = gaps.iter().enumerate().map(|(rank, gap)| {
            let expected = 1.0 - (-gap).exp();
            (expected - rank as f64 / count).abs().max((expected - (rank + 1) as f64 / count).abs())
        });
        // Kolmogorov and Smirnov: 2.23 / sqrt(n) is the quantile of p = 1e-4.
        assert!(distance.fold(0.0, f64::max) < 2.23 / count.sqrt());
    }

    #[test]
    fn a_thread_that_wakes_late_keeps_the_rate() {
        let turns = turns(0, Nanos::from_secs(100), Nanos::from_millis(200));
        assert!((4_700..5_300).contains(&turns.len()), "{}", turns.len());
    }

    #[test]
    fn a_link_that_is_removed_has_no_turn_and_a_long_stall_makes_no_burst() {
        let mut rng = Rng::from_seed([2; 32]);
        let mut schedule = Schedule::new(GAP);
        schedule.add(LinkIndex(1), Nanos::ZERO, &mut rng);
        schedule.add(LinkIndex(2), Nanos::ZERO, &mut rng);
        schedule.remove(LinkIndex(1));
        let late = Nanos::from_secs(60);
        let burst = std::iter::from_fn(|| schedule.pop(late, &mut rng)).collect::<Vec<_>>();
        assert_eq!(burst, [LinkIndex(2)]);
        schedule.remove(LinkIndex(2));
        assert_eq!(schedule.next(), Nanos::NEVER);
    }
}
