//! T6: what tells decoys from packets, or a client that talks from one that is silent.
//!
//! If nothing does, whatever a classifier learns from one half of the windows is worth nothing on
//! the other half: the area under its curve is one half, with the standard error of Mann and
//! Whitney. All datagrams have one length, and their bytes are uniform (`uniformity`).

use super::SEED;
use super::classifier::{Classifier, Feature};
use super::finding::{Bar, Finding, Test};
use super::statistics::{area_error, area_under_curve, dispersion};
use super::uniformity::Sample;
use crate::clock::Nanos;
use crate::crypto::random::Rng;

/// The bar of the area at 4 700 windows of each kind and more: three standard errors.
const AREA_BAR: f64 = 0.018;
/// The standard errors that the area may always be off.
const AREA_ERRORS: f64 = 3.0;
/// Windows of each kind below which nothing is decided.
const WINDOWS_MIN: usize = 300;
/// The bar of every p-value of bytes: there are thousands.
const P_MIN: f64 = 1e-6;
/// Datagrams of each kind below which their bytes decide nothing: five for each value of a byte.
const DATAGRAMS_MIN: u64 = 1_280;
/// Ranges of a feature that are told apart.
const RANGES: usize = 8;
/// Parts of a window whose counts are compared.
const PARTS: u8 = 8;

/// A stretch of one client's link as its wire shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// How long it is; the same in all that are compared.
    pub span: Nanos,
    /// When datagrams went up, since its beginning, in order.
    pub up: Vec<Nanos>,
    /// When datagrams came down, since its beginning, in order.
    pub down: Vec<Nanos>,
}

/// All that was seen of one kind of traffic.
#[derive(Debug)]
pub struct Class {
    /// Its windows: of different clients, or of one at times that do not overlap.
    pub windows: Vec<Window>,
    /// Its datagrams.
    pub datagrams: Sample,
}

/// T6 of two kinds of traffic that must look alike; `what` names them for people, such as "decoys
/// against packets".
pub fn judge(what: &str, classes: [&Class; 2]) -> Vec<Finding> {
    let samples = classes.map(|class| &class.datagrams);
    let least = |of: fn(&Sample) -> f64| samples.map(of).into_iter().fold(f64::MAX, f64::min);
    let count = samples.iter().map(|sample| sample.count).min().unwrap_or(0);
    let enough = |least: u64| {
        let of = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        (of(count), of(least))
    };
    let p = least(Sample::least_p);
    let odd: u64 = samples.iter().map(|sample| sample.odd).sum();
    vec![
        area(what, classes.map(|class| &class.windows[..])),
        Finding::of_p(
            Test::T6,
            format!("{what}: least p of a byte"),
            p,
            P_MIN,
            enough(DATAGRAMS_MIN),
        ),
        Finding::new(
            Test::T6,
            format!("{what}: datagrams of another length"),
            (odd as f64, Some(0.0)),
            Bar::Within(0.0),
            enough(1),
        ),
    ]
}

/// How well two classifiers, each trained on one half of the windows, rank the other half.
fn area(what: &str, classes: [&[Window]; 2]) -> Finding {
    let [first, second] = classes.map(<[Window]>::len);
    let windows: Vec<&Window> = classes.into_iter().flatten().collect();
    let labels: Vec<u16> = (0..windows.len()).map(|window| u16::from(window >= first)).collect();
    let (expected, mut measured) = (0.5, 0.5);
    let enough = (first.min(second), WINDOWS_MIN);
    if enough.0 >= enough.1 {
        let features = features(&windows);
        let mut rng = Rng::from_seed(SEED);
        let half: Vec<u32> = windows.iter().map(|_| rng.below(2)).collect();
        let areas = [0, 1].map(|tested| area_of_half(&features, &labels, &half, tested));
        measured = (areas[0] + areas[1]) / 2.0;
    }
    let bar = AREA_BAR.max(AREA_ERRORS * area_error(first.max(1), second.max(1)));
    let what = format!("{what}: area under the curve of a trained classifier");
    Finding::new(Test::T6, what, (measured, Some(expected)), Bar::Within(bar), enough)
}

fn area_of_half(features: &[Feature], labels: &[u16], half: &[u32], tested: u32) -> f64 {
    let classifier = Classifier::train(features, labels, 2, |window| half[window] != tested);
    let mut scores = [vec![], vec![]];
    for window in (0..labels.len()).filter(|&window| half[window] == tested) {
        let of = classifier.scores(features, window);
        scores[usize::from(labels[window])].push(of[1] - of[0]);
    }
    area_under_curve(&scores[0], &scores[1])
}

/// What can be told of a window.
fn features(windows: &[&Window]) -> Vec<Feature> {
    let of = |name: &str, value: &dyn Fn(&Window) -> f64| {
        let values: Vec<f64> = windows.iter().map(|window| value(window)).collect();
        Feature::by_rank(name, &values, RANGES)
    };
    let mut features = vec![of("answers", &answers)];
    for (way, times) in WAYS {
        let mut of = |what: &str, value: &dyn Fn(&[Nanos], Nanos) -> f64| {
            let value = |window: &Window| value(times(window), window.span);
            features.push(of(&format!("{way} {what}"), &value));
        };
        of("count", &|times, _| times.len() as f64);
        of("longest gap", &|times, span| gaps(times, span).fold(0.0, f64::max));
        of("shortest gap", &|times, span| gaps(times, span).fold(f64::MAX, f64::min));
        of("first", &|times, span| times.first().unwrap_or(&span).0 as f64);
        of("dispersion", &in_parts);
    }
    features
}

type Times = fn(&Window) -> &[Nanos];
const WAYS: [(&str, Times); 2] = [("up", |window| &window.up), ("down", |window| &window.down)];

/// The gaps between datagrams; of one or none, the span.
fn gaps(times: &[Nanos], span: Nanos) -> impl Iterator<Item = f64> {
    let none = (times.len() < 2).then_some(span.0 as f64);
    times.windows(2).map(|pair| (pair[1] - pair[0]).0 as f64).chain(none)
}

/// How unevenly datagrams are spread over the parts of a window.
fn in_parts(times: &[Nanos], span: Nanos) -> f64 {
    let end_of = |part: u8| Nanos(span.0 / u64::from(PARTS) * u64::from(part));
    let before = |end: Nanos| times.partition_point(|at| *at < end) as u64;
    let count = |part: u8| before(end_of(part + 1)) - before(end_of(part));
    if times.is_empty() { 0.0 } else { dispersion(&(0..PARTS).map(count).collect::<Vec<_>>()) }
}

/// The mean time from a datagram up to the next one down.
fn answers(window: &Window) -> f64 {
    let next = |up: &Nanos| {
        let down = window.down.get(window.down.partition_point(|down| down <= up));
        (*down.unwrap_or(&window.span) - *up).0 as f64
    };
    window.up.iter().map(next).sum::<f64>() / (window.up.len() as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::finding::Verdict;

    const SPAN: Nanos = Nanos::from_secs(10);

    /// Windows of independent Poisson processes; an answer follows with probability `answered`.
    fn windows(count: usize, answered: f64, rng: &mut Rng) -> Vec<Window> {
        let mut times = |mean: Nanos| {
            let gaps = std::iter::repeat_with(|| rng.exponential(mean));
            let sums = gaps.scan(Nanos::ZERO, |at, gap| {
                *at = *at + gap;
                Some(*at)
            });
            sums.take_while(|at| *at < SPAN).collect::<Vec<_>>()
        };
        let mut drawn: Vec<_> = (0..count)
            .map(|_| (times(Nanos::from_millis(500)), times(Nanos::from_millis(700))))
            .collect();
        let mut window = |(up, mut down): (Vec<Nanos>, Vec<Nanos>)| {
            for at in &up {
                if rng.unit() < answered {
                    down.push(*at + Nanos::from_millis(20));
                }
            }
            down.sort_unstable();
            Window { span: SPAN, up, down }
        };
        drawn.drain(..).map(&mut window).collect()
    }

    fn class(windows: Vec<Window>, rng: &mut Rng) -> Class {
        let mut datagrams = Sample::new(64);
        for _ in 0..2_000 {
            datagrams.add(([10, 0, 0, 1], 1).into(), &rng.bytes::<64>());
        }
        Class { windows, datagrams }
    }

    #[test]
    fn two_kinds_that_are_one_cannot_be_told_apart() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut one = || class(windows(4_700, 0.0, &mut rng), &mut rng);
        let found = judge("", [&one(), &one()]);
        assert!(found.iter().all(|finding| finding.verdict == Verdict::Holds), "{found:?}");
        assert_eq!(found[0].bar, Bar::Within(AREA_BAR));
    }

    #[test]
    fn one_answer_in_ten_is_seen() {
        let mut rng = Rng::from_seed([2; 32]);
        let classes = [0.0, 0.1].map(|answered| windows(4_700, answered, &mut rng));
        let found = area("", [&classes[0], &classes[1]]);
        assert_eq!(found.verdict, Verdict::Fails, "{found:?}");
    }

    #[test]
    fn another_length_and_a_byte_that_is_not_uniform_are_seen() {
        let mut rng = Rng::from_seed([3; 32]);
        let mut odd = class(windows(300, 0.0, &mut rng), &mut rng);
        let other = class(windows(300, 0.0, &mut rng), &mut rng);
        odd.datagrams.add(([10, 0, 0, 1], 1).into(), &[0; 63]);
        for _ in 0..1_000 {
            let mut datagram = rng.bytes::<64>();
            datagram[9] &= 0x7f;
            odd.datagrams.add(([10, 0, 0, 1], 1).into(), &datagram);
        }
        let found = judge("", [&odd, &other]);
        let verdicts = found.iter().map(|finding| finding.verdict).collect::<Vec<_>>();
        assert_eq!(verdicts, [Verdict::Holds, Verdict::Fails, Verdict::Fails]);
    }

    #[test]
    fn few_windows_decide_nothing() {
        let mut rng = Rng::from_seed([4; 32]);
        let few = [(); 2].map(|()| windows(200, 0.0, &mut rng));
        assert_eq!(area("", [&few[0], &few[1]]).verdict, Verdict::Inconclusive);
    }
}
