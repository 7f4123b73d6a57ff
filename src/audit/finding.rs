//! What a test of anonymity found.

use std::fmt;

use serde::Serialize;

/// The tests, as `docs/anonymity.md` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Test {
    /// Two packets: which of them was first?
    T1,
    /// One packet: which of all that came out is it?
    T2,
    /// Are times in the node and times of departure those of an ideal mix?
    T3,
    /// Does the order in a burst tell the order of arrival?
    T4,
    /// Does anything on the wire tell the core that took a packet in?
    T5,
    /// Does anything tell decoys from packets, or talking from silence?
    T6,
}

impl fmt::Display for Test {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, out)
    }
}

/// What must hold of a measured value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// At most this far from what is expected.
    Within(f64),
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The value is within its bar.
    Holds,
    /// It is not.
    Fails,
    /// Too little was seen to say so.
    Inconclusive,
}

/// One measured value beside what an ideal mix gives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The test that it belongs to.
    pub test: Test,
    /// What was measured, with its unit, for people.
    pub what: String,
    /// The value.
    pub measured: f64,
    /// The value of an ideal mix, where there is one; of p-values there is none.
    pub expected: Option<f64>,
    /// What must hold of the value.
    pub bar: Bar,
    /// How many packets, pairs, bursts or windows it was measured on.
    pub samples: usize,
    /// How probable an ideal mix makes a value as far off or farther, where that is known.
    pub p: Option<f64>,
    /// Whether it holds.
    pub verdict: Verdict,
}

impl Finding {
    /// The finding that `measured` over `samples` makes under `bar`; too few samples, fewer than
    /// `samples_min`, make none.
    pub(super) fn new(
        test: Test,
        what: impl Into<String>,
        (measured, expected): (f64, Option<f64>),
        bar: Bar,
        (samples, samples_min): (usize, usize),
    ) -> Self {
        let holds = match bar {
            Bar::Within(most) => (measured - expected.unwrap_or(f64::NAN)).abs() <= most,
            Bar::AtLeast(least) => measured >= least,
            Bar::AtMost(most) => measured <= most,
        };
        let verdict = match holds {
            _ if samples < samples_min => Verdict::Inconclusive,
            true => Verdict::Holds,
            false => Verdict::Fails,
        };
        let what = what.into();
        Finding { test, what, measured, expected, bar, samples, p: None, verdict }
    }

    /// A finding whose value is a p-value, which must be at least `p_min`.
    pub(super) fn of_p(
        test: Test,
        what: impl Into<String>,
        p: f64,
        p_min: f64,
        samples: (usize, usize),
    ) -> Self {
        let finding = Self::new(test, what, (p, None), Bar::AtLeast(p_min), samples);
        Finding { p: Some(p), ..finding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(measured: f64, bar: Bar, samples: usize) -> Verdict {
        Finding::new(Test::T1, "", (measured, Some(1.0)), bar, (samples, 10)).verdict
    }

    #[test]
    fn a_value_holds_within_its_bar_and_too_few_samples_decide_nothing() {
        for (bar, well, ill) in [
            (Bar::Within(0.5), 0.5, 1.6),
            (Bar::AtLeast(2.0), 2.0, 1.9),
            (Bar::AtMost(2.0), 2.0, 2.1),
        ] {
            assert_eq!(verdict(well, bar, 10), Verdict::Holds);
            assert_eq!(verdict(ill, bar, 10), Verdict::Fails);
            assert_eq!(verdict(f64::NAN, bar, 10), Verdict::Fails);
            assert_eq!(verdict(ill, bar, 9), Verdict::Inconclusive);
        }
    }
}
