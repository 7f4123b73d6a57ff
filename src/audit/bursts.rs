//! T4: the order inside a burst on the wire.
//!
//! What leaves together is shuffled, so of two packets of one burst either is as likely the one
//! that came first: Kendall's tau of the order of departure with the order of arrival is 0 on
//! average. Of each burst one random pair is judged, because pairs of one burst are not
//! independent; over n pairs the standard error is then n^(-1/2).

use std::ops::Range;

use super::SEED;
use super::finding::{Bar, Finding, Test};
use super::observation::{Departure, Journey, Observation};
use crate::clock::Nanos;
use crate::crypto::random::Rng;

/// Departures that follow each other faster are one burst.
const GAP_MAX: Nanos = Nanos::from_micros(20);
/// The bar at [`BURSTS`] bursts: four and a half standard errors.
const TAU_BAR: f64 = 0.01;
/// So many bursts and more have that bar, fewer one that is wider as the root.
const BURSTS: usize = 200_000;
/// Fewer decide nothing: their bar would be over a tenth.
const BURSTS_MIN: usize = 2_000;

/// The bursts of at least two departures, as places among all departures.
pub fn bursts(departures: &[Departure]) -> Vec<Range<usize>> {
    let mut bursts = vec![];
    let mut begin = 0;
    for chunk in departures.chunk_by(|one, next| next.at - one.at < GAP_MAX) {
        let burst = begin..begin + chunk.len();
        begin = burst.end;
        if chunk.len() > 1 {
            bursts.push(burst);
        }
    }
    bursts
}

/// One random pair of packets of each burst that has two, in order of departure.
pub fn pairs(observation: &Observation, journeys: &[Journey]) -> Vec<(Journey, Journey)> {
    let mut rng = Rng::from_seed(SEED);
    let mut by_departure = vec![None; observation.departures.len()];
    journeys.iter().for_each(|journey| by_departure[journey.departure] = Some(*journey));
    let of_burst = |burst: Range<usize>| {
        let mut packets: Vec<Journey> = by_departure[burst].iter().copied().flatten().collect();
        if packets.len() < 2 {
            return None;
        }
        let mut draw = |most: usize| rng.below(u32::try_from(most).unwrap_or(u32::MAX)) as usize;
        let first = packets.swap_remove(draw(packets.len()));
        let second = packets[draw(packets.len())];
        let is_in_order = first.departure < second.departure;
        Some(if is_in_order { (first, second) } else { (second, first) })
    };
    bursts(&observation.departures).into_iter().filter_map(of_burst).collect()
}

pub(super) fn judge(observation: &Observation, journeys: &[Journey]) -> Vec<Finding> {
    let pairs = pairs(observation, journeys);
    let n = pairs.len();
    let in_order = pairs.iter().filter(|(first, second)| first.arrival < second.arrival).count();
    let tau = 2.0 * in_order as f64 / (n as f64).max(1.0) - 1.0;
    let bar = Bar::Within(TAU_BAR * (BURSTS as f64 / n.clamp(1, BURSTS) as f64).sqrt());
    let what = "Kendall's tau of departure with arrival, one pair a burst";
    vec![Finding::new(Test::T4, what, (tau, Some(0.0)), bar, (n, BURSTS_MIN))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::Verdict;
    use crate::audit::ideal::Ideal;
    use crate::audit::observation::Arrival;

    fn finding(ideal: Ideal) -> Finding {
        let observation = ideal.run();
        judge(&observation, &observation.journeys()).remove(0)
    }

    #[test]
    fn a_burst_ends_where_twenty_microseconds_pass() {
        let departure = |&at: &u64| Departure { at: Nanos(at), mark: Default::default() };
        let times = [0, 19_999, 39_999, 39_999, 100_000];
        let departures: Vec<_> = times.iter().map(departure).collect();
        assert_eq!(bursts(&departures), [0..2, 2..4]);
    }

    #[test]
    fn bursts_of_an_ideal_mix_have_no_order() {
        let found = finding(Ideal::new(1000.0, 150_000, 1));
        assert_eq!(found.verdict, Verdict::Holds, "{found:?}");
        assert!(found.samples > 30_000);
    }

    #[test]
    fn bursts_in_order_of_arrival_are_seen_and_so_is_a_trace_of_it() {
        let ideal = Ideal::new(1000.0, 150_000, 2);
        let by_age = |burst: &mut [usize], _: &[Arrival]| burst.sort_unstable();
        let found = finding(Ideal { order: by_age, ..ideal });
        assert_eq!((found.verdict, found.measured), (Verdict::Fails, 1.0));
        let one_in_twenty = |burst: &mut [usize], arrivals: &[Arrival]| {
            if arrivals[burst[0]].at.0.is_multiple_of(20) {
                burst.sort_unstable();
            }
        };
        let found = finding(Ideal { order: one_in_twenty, ..ideal });
        assert_eq!(found.verdict, Verdict::Fails, "{found:?}");
    }
}
