//! T5: does anything on the wire tell which core took a packet in?
//!
//! Every feature of a departure must be independent of the core: Pearson's chi-square over the
//! table of cores and values, and a classifier over all features together, trained on one half of
//! the packets, which must guess the core of the other half no better than chance: if a guess says
//! nothing, it is right as often as guesses and truths fall together by chance, the sum over the
//! cores of (share of guesses) x (share of truths).

use super::SEED;
use super::bursts::bursts;
use super::classifier::{Classifier, Feature};
use super::finding::{Bar, Finding, Test};
use super::observation::{Departure, Journey, Observation};
use super::statistics::homogeneity_p;
use crate::crypto::random::Rng;

/// The bar of a p-value, after correction for the number of features (Bonferroni).
const P_MIN: f64 = 0.01;
/// How many standard errors the classifier may be from chance.
const CHANCE_ERRORS: f64 = 3.0;
/// Fewer packets decide nothing.
const PACKETS_MIN: usize = 2_000;
/// Places in a burst that are told apart: eighths, and alone.
const PLACES: usize = 8;

pub(super) fn judge(observation: &Observation, journeys: &[Journey]) -> Vec<Finding> {
    let labels: Vec<u16> = journeys.iter().map(|journey| journey.ingress).collect();
    let cores = labels.iter().map(|&core| usize::from(core) + 1).max().unwrap_or(0);
    let features = features(observation, journeys);
    let neighbours = neighbours(observation, journeys, cores);
    let tests = features.iter().filter(|feature| feature.values > 1).count() + 1;
    let corrected = |p: f64| (p * tests as f64).min(1.0);
    let enough = (journeys.len(), PACKETS_MIN);
    let mut findings = vec![];
    for group in GROUPS {
        let of_group = features.iter().filter(|feature| feature.name == group);
        let p = of_group.map(|feature| homogeneity_p(&feature.table(&labels, cores)));
        let what = format!("p of {group} against core, corrected for {tests} features");
        let p = corrected(p.fold(1.0, f64::min));
        findings.push(Finding::of_p(Test::T5, what, p, P_MIN, enough));
    }
    let what = format!("p of neighbours in a burst by core, corrected for {tests} features");
    let p = corrected(homogeneity_p(&neighbours));
    findings.push(Finding::of_p(Test::T5, what, p, P_MIN, enough));
    findings.push(guesses(&features, &labels, cores));
    findings
}

const PORT: &str = "source port";
const HEADER: &str = "header bytes";
const PLACE: &str = "place in burst";
const GAP: &str = "gap before";
/// Features of one name are one finding.
const GROUPS: [&str; 4] = [PORT, HEADER, PLACE, GAP];

/// All that the wire shows of each packet.
fn features(observation: &Observation, journeys: &[Journey]) -> Vec<Feature> {
    let departures = &observation.departures;
    let of = |name, value: &dyn Fn(usize) -> u64| {
        let values: Vec<u64> = journeys.iter().map(|journey| value(journey.departure)).collect();
        Feature::new(name, &values)
    };
    let places = places(departures);
    let gap = |departure: usize| match departure.checked_sub(1) {
        Some(before) => (departures[departure].at - departures[before].at)
            .0
            .checked_ilog2()
            .map_or(0, u64::from),
        None => 0,
    };
    let mut features = vec![
        of(PORT, &|departure| u64::from(departures[departure].mark.source_port)),
        of(PLACE, &|departure| places[departure]),
        of(GAP, &gap),
    ];
    let bytes = departures.iter().map(|departure| departure.mark.header.len()).max().unwrap_or(0);
    let byte = |place: usize, departure: usize| {
        departures[departure].mark.header.get(place).copied().map_or(256, u64::from)
    };
    features.extend((0..bytes).map(|place| of(HEADER, &|departure| byte(place, departure))));
    features
}

/// In which eighth of its burst each departure is.
fn places(departures: &[Departure]) -> Vec<u64> {
    let mut places = vec![PLACES as u64; departures.len()];
    for burst in bursts(departures) {
        for place in burst.clone() {
            places[place] = ((place - burst.start) * PLACES / burst.len()) as u64;
        }
    }
    places
}

/// The cores of neighbours in a burst, one pair of a burst: a table of the one's by the other's.
fn neighbours(observation: &Observation, journeys: &[Journey], cores: usize) -> Vec<Vec<u64>> {
    let mut rng = Rng::from_seed(SEED);
    let mut core_of = vec![None; observation.departures.len()];
    journeys.iter().for_each(|journey| core_of[journey.departure] = Some(journey.ingress));
    let mut table = vec![vec![0; cores]; cores];
    for burst in bursts(&observation.departures) {
        let pairs = u32::try_from(burst.len() - 1).unwrap_or(u32::MAX);
        let first = burst.start + rng.below(pairs) as usize;
        if let (Some(one), Some(other)) = (core_of[first], core_of[first + 1]) {
            table[usize::from(one)][usize::from(other)] += 1;
        }
    }
    table
}

/// How often a classifier trained on one half of the packets is right about the other half.
fn guesses(features: &[Feature], labels: &[u16], cores: usize) -> Finding {
    let mut rng = Rng::from_seed(SEED);
    let is_trained_on: Vec<bool> = labels.iter().map(|_| rng.below(2) == 0).collect();
    let classifier = Classifier::train(features, labels, cores, |sample| is_trained_on[sample]);
    let (mut guessed, mut true_of) = (vec![0.0; cores], vec![0.0; cores]);
    let (mut right, mut n) = (0.0, 0.0f64);
    for sample in (0..labels.len()).filter(|&sample| !is_trained_on[sample]) {
        let (guess, truth) = (classifier.guess(features, sample), usize::from(labels[sample]));
        guessed[guess] += 1.0;
        true_of[truth] += 1.0;
        right += if guess == truth { 1.0 } else { 0.0 };
        n += 1.0;
    }
    let n = n.max(1.0);
    let chance: f64 = guessed.iter().zip(&true_of).map(|(a, b)| a * b / (n * n)).sum();
    let bar = CHANCE_ERRORS * (chance * (1.0 - chance) / n).sqrt();
    let what = "share of cores guessed by a trained classifier";
    let measured = (right / n, Some(chance));
    Finding::new(Test::T5, what, measured, Bar::Within(bar), (labels.len(), PACKETS_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::Verdict;
    use crate::audit::ideal::{Ideal, mark};
    use crate::audit::observation::{Arrival, Mark};

    fn failed(ideal: Ideal) -> Vec<bool> {
        let observation = ideal.run();
        let found = judge(&observation, &observation.journeys());
        found.iter().map(|finding| finding.verdict == Verdict::Fails).collect()
    }

    #[test]
    fn an_ideal_mix_shows_no_core() {
        assert_eq!(failed(Ideal::new(1000.0, 150_000, 1)), [false; 6]);
    }

    #[test]
    fn a_port_of_each_core_is_seen() {
        let port = |core: u16, rng: &mut Rng| Mark { source_port: 7700 + core, ..mark(core, rng) };
        let found = failed(Ideal { mark: port, ..Ideal::new(1000.0, 150_000, 2) });
        assert_eq!(found, [true, false, false, false, false, true]);
    }

    #[test]
    fn a_byte_that_knows_a_little_of_the_core_is_seen() {
        let byte = |core: u16, rng: &mut Rng| {
            let mut mark = mark(core, rng);
            mark.header[1] =
                if rng.below(10) == 0 { core.to_be_bytes()[1] } else { mark.header[1] };
            mark
        };
        let found = failed(Ideal { mark: byte, ..Ideal::new(1000.0, 150_000, 3) });
        assert_eq!(found, [false, true, false, false, false, true]);
    }

    #[test]
    fn bursts_in_the_order_of_the_cores_are_seen() {
        let order = |burst: &mut [usize], all: &[Arrival]| {
            burst.sort_by_key(|&packet| all[packet].ingress);
        };
        let found = failed(Ideal { order, ..Ideal::new(1000.0, 150_000, 4) });
        assert_eq!(found, [false, false, true, true, true, true]);
    }

    #[test]
    fn bursts_by_cores_whose_order_is_random_are_seen_by_their_neighbours() {
        let order = |burst: &mut [usize], all: &[Arrival]| {
            let turn = all[burst[0]].at.0 % 4;
            burst.sort_by_key(|&packet| (u64::from(all[packet].ingress) + turn) % 4);
        };
        let found = failed(Ideal { order, ..Ideal::new(1000.0, 150_000, 5) });
        assert!(found[4], "{found:?}");
    }
}
