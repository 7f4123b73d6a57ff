//! T2: one packet went in. Which of all that came out is it?
//!
//! An observer who knows only when something went in or out, and that delays are exponential, can
//! do no better than this (Danezis, "The Traffic Analysis of Continuous-Time Mixes", 2004, section
//! 3): exponential delays forget, so at each departure every packet inside is as likely as any
//! other to be the one that leaves. With n inside, the departure is the target with probability
//! q = p / n, where p is the probability that it is still inside, and p goes down by q. The entropy
//! of all q is what the mix gives the packet: log2(e lambda m) bits on average, where lambda m
//! packets are inside.
//!
//! That entropy comes from counts alone, so it tests the traffic; what tests the mix is whether
//! the true departures are distributed as the observer believes. What the belief gives to all
//! departures before the true one, and a uniform share of what it gives to that one, is uniform
//! between 0 and 1 if and only if the belief is right (Rosenblatt's transformation, randomized).

use crate::clock::Nanos;
use crate::crypto::random::Rng;

use super::SEED;
use super::delays::Residence;
use super::finding::{Bar, Finding, Test};
use super::observation::{Journey, Observation};
use super::statistics::{P_MIN, kolmogorov_smirnov_p};

/// Bits that the entropy may be under the closed form.
const ENTROPY_SLACK: f64 = 0.10;
/// The closed form is for so many packets inside, or more.
const PACKETS_INSIDE_MIN: f64 = 10.0;
/// Targets that an average, or a distribution, needs.
const TARGETS_MIN: usize = 20_000;
/// The logarithm of the share of a belief that is left when the one packet inside has left.
const NOTHING_LEFT_LN: f64 = -700.0;

/// What the observer believes of one target, beside the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Posterior {
    /// When the target arrived.
    pub arrived: Nanos,
    /// The entropy of the belief, in bits.
    pub entropy: f64,
    /// What the belief gives to departures before the true one, and a random share of what it gives
    /// to that one.
    pub level: f64,
}

/// Entropy by the closed form, in bits, with so many packets inside.
pub fn closed_form(packets_inside: f64) -> f64 {
    (std::f64::consts::E * packets_inside).log2()
}

/// The observer's belief of each of `journeys`.
pub fn posteriors(observation: &Observation, journeys: &[Journey]) -> Vec<Posterior> {
    let belief = Belief::new(observation, Residence::of(observation, journeys).added());
    let mut rng = Rng::from_seed(SEED);
    journeys.iter().map(|journey| belief.of(journey, rng.unit())).collect()
}

pub(super) fn judge(observation: &Observation, journeys: &[Journey]) -> Vec<Finding> {
    let posteriors = posteriors(observation, journeys);
    let n = posteriors.len();
    let packets_inside = observation.packets_inside();
    let enough = (if packets_inside < PACKETS_INSIDE_MIN { 0 } else { n }, TARGETS_MIN);
    let mean = posteriors.iter().map(|target| target.entropy).sum::<f64>() / (n as f64).max(1.0);
    let expected = closed_form(packets_inside);
    let what = format!("entropy, bits, with {packets_inside:.0} packets inside");
    let bar = Bar::AtLeast(expected - ENTROPY_SLACK);
    let entropy = Finding::new(Test::T2, what, (mean, Some(expected)), bar, enough);
    let mut levels: Vec<f64> = posteriors.iter().map(|target| target.level).collect();
    let p = kolmogorov_smirnov_p(&mut levels, |level| level);
    let what = "p of true departures as the observer believes";
    vec![entropy, Finding::of_p(Test::T2, what, p, P_MIN, (n, TARGETS_MIN))]
}

/// What there is to know of a packet from the counts: one entry a departure, in order.
struct Belief {
    /// When it was.
    times: Vec<Nanos>,
    /// Its place among all departures.
    departures: Vec<usize>,
    /// How many packets were inside.
    inside: Vec<f64>,
    /// The logarithm of the probability that a packet inside at the very first departure is still
    /// inside.
    survival_ln: Vec<f64>,
    /// The entropy of the belief of a packet that is inside at the departure; and behind the last.
    entropy: Vec<f64>,
    /// What every packet takes besides its delay: so long after its arrival it may leave.
    added: Nanos,
}

impl Belief {
    /// Packets alone are counted: whoever can tell dummies from them knows more.
    fn new(observation: &Observation, added: Nanos) -> Self {
        let mut journeys = observation.all();
        let arrivals: Vec<Nanos> = journeys.iter().map(|journey| journey.arrived).collect();
        journeys.sort_unstable_by_key(|journey| journey.departure);
        let inside = |(left, journey): (usize, &Journey)| {
            let arrived = arrivals.partition_point(|&at| at + added <= journey.left);
            arrived.saturating_sub(left).max(1) as f64
        };
        let inside: Vec<f64> = journeys.iter().enumerate().map(inside).collect();
        Belief {
            times: journeys.iter().map(|journey| journey.left).collect(),
            departures: journeys.iter().map(|journey| journey.departure).collect(),
            survival_ln: survival_ln(&inside),
            entropy: entropy(&inside),
            inside,
            added,
        }
    }

    fn of(&self, target: &Journey, share: f64) -> Posterior {
        let truth = self.departures.partition_point(|&departure| departure < target.departure);
        // Some take half a tick less.
        let first = self.times.partition_point(|&at| at < target.arrived + self.added).min(truth);
        let still_inside = (self.survival_ln[truth] - self.survival_ln[first]).exp();
        let level = 1.0 - still_inside * (1.0 - share / self.inside[truth]);
        Posterior { arrived: target.arrived, entropy: self.entropy[first], level }
    }
}

/// Each departure is another packet with probability 1 - 1/n.
fn survival_ln(inside: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let after = |n: &f64| {
        let before = sum;
        sum += (-1.0 / n).ln_1p().max(NOTHING_LEFT_LN);
        before
    };
    inside.iter().map(after).collect()
}

/// By the chain rule: first whether the packet leaves now, and, if not, when later.
fn entropy(inside: &[f64]) -> Vec<f64> {
    let mut entropy = vec![0.0; inside.len() + 1];
    for (place, n) in inside.iter().enumerate().rev() {
        let (now, later) = (1.0 / n, 1.0 - 1.0 / n);
        let whether = -now * now.log2() - if later > 0.0 { later * later.log2() } else { 0.0 };
        entropy[place] = whether + later * entropy[place + 1];
    }
    entropy
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::Verdict;
    use crate::audit::ideal::Ideal;
    use crate::audit::observation::Arrival;

    fn findings(ideal: Ideal) -> Vec<Finding> {
        let observation = ideal.run();
        judge(&observation, &observation.journeys())
    }

    #[test]
    fn the_entropy_of_an_ideal_mix_is_that_of_the_closed_form() {
        for packets_inside in [10.0, 100.0, 1000.0] {
            let found = findings(Ideal::new(packets_inside, 100_000, 1));
            assert!(found.iter().all(|finding| finding.verdict == Verdict::Holds), "{found:?}");
            let off = found[0].measured - found[0].expected.unwrap();
            assert!(off.abs() < 0.04, "{found:?}");
        }
    }

    #[test]
    fn the_chain_rule_gives_the_entropy_of_the_posterior() {
        let observation = Ideal::new(20.0, 2_000, 2).run();
        let belief = Belief::new(&observation, Nanos::ZERO);
        let target = observation.all()[700];
        let first = belief.times.partition_point(|&at| at < target.arrived);
        let (mut p, mut entropy) = (1.0, 0.0);
        for n in &belief.inside[first..] {
            let q = p / n;
            entropy -= if q > 0.0 { q * q.log2() } else { 0.0 };
            p -= q;
        }
        assert!((belief.of(&target, 0.5).entropy - entropy).abs() < 1e-9);
    }

    #[test]
    fn what_leaves_in_another_order_than_at_random_is_seen() {
        let ideal = Ideal::new(100.0, 100_000, 3);
        let by_age = |burst: &mut [usize], _: &[Arrival]| burst.sort_unstable();
        // With long ticks the order in one matters.
        let found = findings(Ideal { order: by_age, tick: Nanos::from_millis(20), ..ideal });
        assert_eq!(found[1].verdict, Verdict::Fails, "{found:?}");
        let found = findings(Ideal { delay: |asked| Nanos(asked.0.min(100_000_000)), ..ideal });
        assert_eq!(found[1].verdict, Verdict::Fails, "{found:?}");
    }

    #[test]
    fn few_packets_inside_decide_nothing() {
        let found = findings(Ideal::new(5.0, 30_000, 4));
        assert_eq!(found[0].verdict, Verdict::Inconclusive);
    }
}
