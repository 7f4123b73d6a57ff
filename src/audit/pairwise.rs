//! T1: two packets, one shortly after the other. Which of those that left was the first?
//!
//! Of two exponential delays that begin a time D apart the first ends first with probability
//! 1 - e^(-D/m) / 2: unless it ends within D, forgetting makes the two alike. So the best guess,
//! "first in, first out", wins 2p - 1 = 1 - e^(-D/m), and nothing that a mix does may let it win
//! more.

use super::finding::{Bar, Finding, Test};
use super::observation::{Journey, Observation};

/// Gaps that are looked for, in mean delays.
const GAPS: [f64; 4] = [0.01, 0.1, 0.5, 1.0];
/// How far a gap may be from that, as a share of it.
const GAP_TOLERANCE: f64 = 0.25;
/// The bar at [`PAIRS`] pairs: three standard errors of a gain near nothing.
const GAIN_BAR: f64 = 0.015;
/// So many pairs and more have that bar, fewer one that is wider as the root.
const PAIRS: usize = 40_000;
/// Fewer pairs say nothing: their bar would be over a tenth.
const PAIRS_MIN: usize = 900;

/// The gain over all pairs of about each gap.
pub(super) fn judge(observation: &Observation, journeys: &[Journey]) -> Vec<Finding> {
    GAPS.iter().map(|&gap| gain(observation, journeys, gap)).collect()
}

fn gain(observation: &Observation, journeys: &[Journey], gap: f64) -> Finding {
    let mean = observation.delay_mean.0 as f64;
    let pairs = pairs(journeys, gap * mean);
    let (mut wins, mut expected) = (0.0, 0.0);
    for (first, second) in &pairs {
        wins += if first.departure < second.departure { 1.0 } else { -1.0 };
        let gap = (second.arrived - first.arrived).0 as f64;
        expected += -(-gap / mean).exp_m1();
    }
    let n = pairs.len() as f64;
    let bar = Bar::Within(GAIN_BAR * (PAIRS as f64 / n.min(PAIRS as f64)).sqrt());
    let what = format!("gain of the best guess, arrivals {gap} means apart");
    let (measured, expected) = (wins / n.max(1.0), expected / n.max(1.0));
    Finding::new(Test::T1, what, (measured, Some(expected)), bar, (pairs.len(), PAIRS_MIN))
}

/// Pairs of journeys about `gap` nanoseconds apart, none of them in two pairs.
fn pairs(journeys: &[Journey], gap: f64) -> Vec<(Journey, Journey)> {
    let mut pairs = vec![];
    let mut is_taken = vec![false; journeys.len()];
    let mut second = 0;
    for first in 0..journeys.len() {
        if is_taken[first] {
            continue;
        }
        let behind = |other: usize| (journeys[other].arrived - journeys[first].arrived).0 as f64;
        let is_early =
            |other: usize| is_taken[other] || behind(other) < gap * (1.0 - GAP_TOLERANCE);
        second = second.max(first + 1);
        while second < journeys.len() && is_early(second) {
            second += 1;
        }
        if second < journeys.len() && behind(second) <= gap * (1.0 + GAP_TOLERANCE) {
            is_taken[second] = true;
            pairs.push((journeys[first], journeys[second]));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::Verdict;
    use crate::audit::ideal::{Ideal, MEAN};
    use crate::clock::Nanos;

    fn findings(ideal: Ideal) -> Vec<Finding> {
        let observation = ideal.run();
        judge(&observation, &observation.journeys())
    }

    #[test]
    fn an_ideal_mix_gives_no_more_away_than_the_closed_form() {
        for (packets_inside, pairs) in [(1000.0, 60_000), (100.0, 30_000)] {
            for finding in findings(Ideal::new(packets_inside, 170_000, 1)) {
                assert_eq!(finding.verdict, Verdict::Holds, "{finding:?}");
                assert!(finding.samples > pairs, "{finding:?}");
            }
        }
    }

    #[test]
    fn delays_that_hardly_vary_are_seen() {
        let ideal = Ideal::new(1000.0, 170_000, 2);
        let found = findings(Ideal { delay: |asked| MEAN + Nanos(asked.0 / 10), ..ideal });
        assert!(found.iter().all(|finding| finding.verdict == Verdict::Fails), "{found:?}");
    }

    #[test]
    fn few_packets_decide_nothing() {
        let found = findings(Ideal::new(100.0, 3_500, 3));
        assert!(found.iter().all(|finding| finding.verdict == Verdict::Inconclusive), "{found:?}");
    }
}
