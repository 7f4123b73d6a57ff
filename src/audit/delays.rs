//! T3: how long packets are in the node, and when datagrams leave it.
//!
//! Residence is the delay that was asked for, exponential with mean m; up to the next tick, uniform
//! over a tick; and a constant that the node needs. A constant tells nothing, what varies might.
//! Departures are a Poisson process if arrivals are and each is delayed on its own, whatever the
//! delays (Mirasol, "The output of an M/G/infinity queuing system is Poisson", 1963).

use super::finding::{Bar, Finding, Test};
use super::observation::{Journey, Observation};
use super::statistics::{
    P_MIN, anderson_darling_p, autocorrelation_p, dispersion, dispersion_error,
    kolmogorov_smirnov_p,
};
use crate::clock::Nanos;

/// The bar of the mean, as a share of it, at [`PACKETS`] packets: four standard errors.
const MEAN_BAR: f64 = 0.01;
/// So many packets and more have that bar, fewer one that is wider as the root.
const PACKETS: usize = 160_000;
/// Fewer decide nothing: the bar of the mean would be a tenth of it.
const PACKETS_MIN: usize = 1_600;
/// From this share on cuts decide nothing about residences: stalls come in clusters, and a short
/// residence lies between two of them more often than a long one.
const CUT_MAX: f64 = 0.05;
/// What the node adds, beyond a tick and a constant, as a share of the mean delay: what a tick may
/// be of it, too.
const ADDED_BAR: f64 = 0.005;
/// A bin of departures, in mean delays: 10 ms for 50 ms.
const BIN_MEANS: f64 = 0.2;
/// The bar of the dispersion, and the standard errors that it may always have.
const DISPERSION_BAR: f64 = 0.03;
const DISPERSION_ERRORS: f64 = 3.0;
/// Bins that a dispersion needs.
const BINS_MIN: usize = 100;
/// How many bins back a bin may know of.
const LAGS: usize = 10;

/// The distribution of residence times in an ideal mix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Residence {
    /// The mean of the exponential part, in nanoseconds.
    pub mean_ns: f64,
    /// The length of the uniform part, in nanoseconds.
    pub tick_ns: f64,
    /// The constant part, in nanoseconds.
    pub offset_ns: f64,
}

impl Residence {
    /// That of an ideal mix in place of the observed one, which takes as long as that one usually
    /// does: the median, so that few odd packets move nothing.
    pub fn of(observation: &Observation, journeys: &[Journey]) -> Self {
        let mut added: Vec<f64> = journeys.iter().map(Journey::added_ns).collect();
        added.sort_unstable_by(f64::total_cmp);
        let median = added.get(added.len() / 2).copied().unwrap_or(0.0);
        let tick_ns = observation.tick.0 as f64;
        let mean_ns = observation.delay_mean.0 as f64;
        Residence { mean_ns, tick_ns, offset_ns: median - tick_ns / 2.0 }
    }

    /// The probability of a residence of at most so many nanoseconds: the integral of the
    /// exponential distribution over a tick.
    pub fn cdf(&self, residence_ns: f64) -> f64 {
        let Residence { mean_ns, tick_ns, offset_ns } = *self;
        let y = residence_ns - offset_ns;
        let covered = y.clamp(0.0, tick_ns);
        let spent = (-(y.max(0.0) - covered) / mean_ns).exp() - (-y.max(0.0) / mean_ns).exp();
        (covered - mean_ns * spent) / tick_ns
    }

    /// What it adds to the delay on average.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    pub fn added(&self) -> Nanos {
        Nanos((self.offset_ns + self.tick_ns / 2.0) as u64)
    }

    /// The mean residence, in nanoseconds.
    pub fn mean(&self) -> f64 {
        self.mean_ns + self.tick_ns / 2.0 + self.offset_ns
    }
}

pub(super) fn judge(observation: &Observation, journeys: &[Journey]) -> Vec<Finding> {
    let residence = Residence::of(observation, journeys);
    let packets_min = if observation.share_cut() > CUT_MAX { usize::MAX } else { PACKETS_MIN };
    let mut findings = Vec::from(residences(&residence, journeys, packets_min));
    findings.push(added(&residence, journeys));
    findings.push(added_by_core(&residence, journeys));
    findings.extend(departures(observation));
    findings
}

fn residences(expected: &Residence, journeys: &[Journey], packets_min: usize) -> [Finding; 3] {
    let mut residences: Vec<f64> = journeys.iter().map(Journey::residence_ns).collect();
    let n = residences.len();
    let enough = (n, packets_min);
    let mean = residences.iter().sum::<f64>() / n as f64;
    let mean_expected = (expected.mean() - expected.offset_ns) / 1e6;
    let measured = ((mean - expected.offset_ns) / 1e6, Some(mean_expected));
    let widening = (PACKETS as f64 / n.min(PACKETS) as f64).sqrt();
    let bar = Bar::Within(MEAN_BAR * widening * expected.mean_ns / 1e6);
    let offset_us = expected.offset_ns / 1e3;
    let what = format!("mean residence less the constant {offset_us:.0} us, ms");
    let p_above = kolmogorov_smirnov_p(&mut residences, |x| expected.cdf(x));
    let p_ends = anderson_darling_p(&mut residences, |x| expected.cdf(x));
    let of_p = |what, p| Finding::of_p(Test::T3, what, p, P_MIN, enough);
    [
        Finding::new(Test::T3, what, measured, bar, enough),
        of_p("p of residences, Kolmogorov and Smirnov", p_above),
        of_p("p of residences, Anderson and Darling", p_ends),
    ]
}

/// How far what the node adds is from uniform over a tick and a constant: the distance by which one
/// distribution must be moved to be the other (Wasserstein), as a share of the mean delay.
fn added(expected: &Residence, journeys: &[Journey]) -> Finding {
    let mut added: Vec<f64> = journeys.iter().map(Journey::added_ns).collect();
    added.sort_unstable_by(f64::total_cmp);
    let n = added.len() as f64;
    let ideal = |rank: usize| expected.offset_ns + expected.tick_ns * (rank as f64 + 0.5) / n;
    let moved = added.iter().enumerate().map(|(rank, added)| (added - ideal(rank)).abs());
    let share = moved.sum::<f64>() / n / expected.mean_ns;
    let what = "what the node adds beyond a tick and a constant, mean delays";
    let enough = (added.len(), PACKETS_MIN);
    Finding::new(Test::T3, what, (share, Some(0.0)), Bar::Within(ADDED_BAR), enough)
}

/// A core that is slower than another would show in when its packets leave.
fn added_by_core(expected: &Residence, journeys: &[Journey]) -> Finding {
    let cores = journeys.iter().map(|journey| usize::from(journey.ingress) + 1).max().unwrap_or(0);
    let mut sums = vec![(0usize, 0.0); cores];
    for journey in journeys {
        let (count, sum) = &mut sums[usize::from(journey.ingress)];
        *count += 1;
        *sum += journey.added_ns();
    }
    let means = sums.iter().filter(|sum| sum.0 > 0).map(|(count, sum)| sum / *count as f64);
    let (least, most) =
        means.fold((f64::MAX, f64::MIN), |(low, high), mean| (low.min(mean), high.max(mean)));
    let apart = if journeys.is_empty() { 0.0 } else { (most - least) / expected.mean_ns };
    let what = "what it adds, slowest core less fastest, mean delays";
    let enough = (journeys.len(), PACKETS_MIN);
    Finding::new(Test::T3, what, (apart, Some(0.0)), Bar::Within(ADDED_BAR), enough)
}

fn departures(observation: &Observation) -> [Finding; 2] {
    let bins = bins(observation);
    let counts: Vec<u64> = bins.iter().copied().flatten().collect();
    let enough = (counts.len(), BINS_MIN);
    let bar = DISPERSION_BAR.max(DISPERSION_ERRORS * dispersion_error(counts.len().max(2)));
    let measured = (dispersion(&counts), Some(1.0));
    let what = "dispersion of departures in bins of a fifth of the mean delay";
    let values: Vec<_> = bins.iter().map(|bin| bin.map(|count| count as f64)).collect();
    let p = autocorrelation_p(&values, LAGS);
    [
        Finding::new(Test::T3, what, measured, Bar::Within(bar), enough),
        Finding::of_p(Test::T3, "p of departures, autocorrelation", p, P_MIN, enough),
    ]
}

/// Departures of packets in bins of whole ticks, so that each bin has as many releases; none where
/// a bin touches a cut.
fn bins(observation: &Observation) -> Vec<Option<u64>> {
    let tick = observation.tick.0.max(1);
    let ticks = (BIN_MEANS * observation.delay_mean.0 as f64 / tick as f64).round().max(1.0);
    #[expect(clippy::cast_possible_truncation, reason = "a float-to-integer cast saturates")]
    let width = (ticks as u64).saturating_mul(tick);
    let (from, until) = departures_full(observation);
    let mut times: Vec<Nanos> = observation.all().iter().map(|journey| journey.left).collect();
    times.sort_unstable();
    let before = |at: Nanos| times.partition_point(|&time| time < at);
    let bin = |number: u64| {
        let begin = from + Nanos(width * number);
        let end = begin + Nanos(width);
        let is_clear = observation.is_all_clear(begin, end);
        is_clear.then(|| (before(end) - before(begin)) as u64)
    };
    (0..(until - from).0 / width).map(bin).collect()
}

/// While the node is full, departures come as arrivals do: until the last arrival.
fn departures_full(observation: &Observation) -> (Nanos, Nanos) {
    let last = observation.arrivals.last().map_or(Nanos::ZERO, |arrival| arrival.at);
    // Half a tick off, so that no release is at the edge of a bin.
    let from = observation.full().0.0 / observation.tick.0.max(1) * observation.tick.0;
    (Nanos(from + observation.tick.0 / 2), last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::Verdict;
    use crate::audit::ideal::Ideal;

    fn findings(ideal: Ideal) -> Vec<Finding> {
        let observation = ideal.run();
        judge(&observation, &observation.journeys())
    }

    fn failed(found: &[Finding]) -> Vec<bool> {
        found.iter().map(|finding| finding.verdict == Verdict::Fails).collect()
    }

    #[test]
    fn an_ideal_mix_holds() {
        for (packets_inside, packets) in [(1000.0, 200_000), (50.0, 40_000)] {
            let found = findings(Ideal::new(packets_inside, packets, 1));
            assert!(found.iter().all(|finding| finding.verdict == Verdict::Holds), "{found:?}");
        }
    }

    #[test]
    fn the_distribution_of_residences_is_the_integral_over_a_tick() {
        let residence = Residence { mean_ns: 50.0, tick_ns: 10.0, offset_ns: 3.0 };
        assert_eq!(residence.cdf(3.0), 0.0);
        for x in [4.0f64, 11.0, 13.0, 60.0, 400.0] {
            let steps = 100_000;
            let part = |step: i32| {
                let share = (f64::from(step) + 0.5) / f64::from(steps);
                1.0 - (-(x - 3.0 - 10.0 * share).max(0.0) / 50.0).exp()
            };
            let integral = (0..steps).map(part).sum::<f64>() / f64::from(steps);
            assert!((residence.cdf(x) - integral).abs() < 1e-6, "{x}: {integral}");
        }
    }

    #[test]
    fn truncated_delays_are_seen() {
        let ideal = Ideal::new(1000.0, 200_000, 2);
        let found = findings(Ideal { delay: |asked| Nanos(asked.0.min(100_000_000)), ..ideal });
        assert_eq!(failed(&found)[..4], [true; 4], "{found:?}");
    }

    #[test]
    fn a_lattice_of_ten_milliseconds_is_seen() {
        let on_lattice = |asked: Nanos| Nanos(asked.0.div_ceil(10_000_000) * 10_000_000);
        let found = findings(Ideal { delay: on_lattice, ..Ideal::new(1000.0, 200_000, 3) });
        assert_eq!(failed(&found)[1..4], [true; 3], "{found:?}");
    }

    #[test]
    fn departures_that_depend_on_each_other_are_seen() {
        let mut observation = Ideal::new(1000.0, 200_000, 4).run();
        for departure in &mut observation.departures {
            let slow = Nanos::from_millis(30).0;
            departure.at = Nanos(departure.at.0.div_ceil(slow) * slow);
        }
        let found = departures(&observation);
        assert_eq!(failed(&found), [true; 2], "{found:?}");
    }

    #[test]
    fn a_slow_core_is_seen() {
        let mut observation = Ideal::new(1000.0, 200_000, 5).run();
        for passage in &observation.passages {
            let core = u64::from(observation.arrivals[passage.arrival].ingress);
            let departure = &mut observation.departures[passage.departure];
            departure.at = departure.at + Nanos::from_micros(100 * core);
        }
        let found = judge(&observation, &observation.journeys());
        assert!(failed(&found)[4], "{found:?}");
    }
}
