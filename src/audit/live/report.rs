//! What an audit has to say: for people a table, for programs JSON.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::audit::{Bar, Finding, Verdict};

/// The largest share of the time that may be cut out.
const CUT_MAX: f64 = 0.2;

/// How an audit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All that was measured holds.
    Holds,
    /// Something does not, twice.
    Fails,
    /// Too much had to be cut out, or too little was seen.
    Inconclusive,
}

/// What was sent, and what stood in the way.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Traffic {
    /// Packets handed in.
    pub packets: usize,
    /// Those that came out.
    pub passed: usize,
    /// For how long they were handed in.
    pub seconds: f64,
    /// The mean delay that their senders drew from, in milliseconds.
    pub delay_mean_ms: f64,
    /// Stalls of the node, by what it says itself.
    pub node_stalls: usize,
    /// Stalls of the audit: late in sending, or not there to look.
    pub own_stalls: usize,
    /// The share of the packets that stalls leave out.
    pub cut: f64,
}

impl fmt::Display for Traffic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Traffic { packets, passed, seconds, delay_mean_ms, node_stalls, own_stalls, cut } =
            self;
        write!(
            out,
            "{packets} packets in {seconds:.0} s, mean delay {delay_mean_ms:.0} ms; {passed} came \
             out; stalls: {node_stalls} of the node, {own_stalls} of the audit; {:.1} % cut out",
            100.0 * cut,
        )
    }
}

/// The clients of T6.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Clients {
    /// Clients of each of the two kinds.
    pub clients: usize,
    /// Windows of each.
    pub windows: usize,
    /// Messages that arrived meanwhile.
    pub messages: u64,
    /// The share of the windows that stalls leave out.
    pub cut: f64,
}

/// What came of an audit.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The node that was measured.
    pub node: String,
    /// How packets come to it, as it says itself when it starts.
    pub port: Option<String>,
    /// The machine.
    pub machine: String,
    /// Whether bars are those of a quick audit.
    pub quick: bool,
    /// The stream of T1 to T5.
    pub traffic: Traffic,
    /// The clients of T6, if there were any.
    pub clients: Option<Clients>,
    /// What was measured.
    pub findings: Vec<Finding>,
    /// What failed at first and did not when it was tried again.
    pub retried: Vec<Finding>,
    /// What was not seen, and why.
    pub unseen: Vec<String>,
    /// Where the plots lie.
    pub plots: Vec<PathBuf>,
    /// How it ended.
    pub outcome: Outcome,
}

impl Report {
    /// How an audit ends with these findings, of whose time the share `cut` was left out.
    pub(super) fn outcome(findings: &[Finding], cut: f64) -> Outcome {
        let any = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
        match () {
            () if cut > CUT_MAX => Outcome::Inconclusive,
            () if any(Verdict::Fails) => Outcome::Fails,
            () if any(Verdict::Inconclusive) || findings.is_empty() => Outcome::Inconclusive,
            () => Outcome::Holds,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { traffic, .. } = self;
        writeln!(out, "{}", self.node)?;
        writeln!(out, "{}", self.machine)?;
        if let Some(port) = &self.port {
            writeln!(out, "{port}")?;
        }
        writeln!(out, "{traffic}")?;
        if let Some(Clients { clients, windows, messages, cut }) = &self.clients {
            let cut = 100.0 * cut;
            writeln!(
                out,
                "{clients} clients that write and {clients} that do not, {windows} windows of \
                 each; {messages} messages arrived; {cut:.1} % cut out"
            )?;
        }
        writeln!(out)?;
        table(out, &self.findings)?;
        for finding in &self.retried {
            let Finding { test, what, measured, .. } = finding;
            writeln!(out, "tried again: {test} {what} was {}", number(*measured))?;
        }
        for unseen in &self.unseen {
            writeln!(out, "not seen: {unseen}")?;
        }
        for plot in &self.plots {
            writeln!(out, "plot: {}", plot.display())?;
        }
        out.write_str(match self.outcome {
            Outcome::Holds => "all of it holds",
            Outcome::Fails => "NOT ALL OF IT HOLDS",
            Outcome::Inconclusive => {
                "inconclusive: try again when the machine has less to do, or for longer"
            }
        })
    }
}

fn table(out: &mut fmt::Formatter<'_>, findings: &[Finding]) -> fmt::Result {
    let heads = ["test", "what", "measured", "expected", "bar", "samples", "verdict"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(findings.iter().map(row));
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Words stand at the left, numbers at the right.
            match column {
                0 | 1 => write!(out, "{cell:<width$}  ")?,
                6 => writeln!(out, "{cell}")?,
                _ => write!(out, "{cell:>width$}  ")?,
            }
        }
    }
    writeln!(out)
}

fn row(finding: &Finding) -> [String; 7] {
    let Finding { test, what, measured, expected, bar, samples, verdict, .. } = finding;
    [
        test.to_string(),
        what.clone(),
        number(*measured),
        expected.map_or_else(|| "-".into(), number),
        match bar {
            Bar::Within(most) => format!("+- {}", number(*most)),
            Bar::AtLeast(least) => format!(">= {}", number(*least)),
            Bar::AtMost(most) => format!("<= {}", number(*most)),
        },
        samples.to_string(),
        match verdict {
            Verdict::Holds => "holds".into(),
            Verdict::Fails => "FAILS".into(),
            Verdict::Inconclusive => "too few".into(),
        },
    ]
}

/// Four digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || (0.001..1e6).contains(&size) => {
            let text = format!("{value:.4}");
            let short = text.trim_end_matches('0').trim_end_matches('.');
            if short.is_empty() || short == "-" { "0".into() } else { short.to_owned() }
        }
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Test;

    fn finding(verdict: Verdict) -> Finding {
        Finding {
            test: Test::T3,
            what: "something".into(),
            measured: 0.5,
            expected: Some(1.0),
            bar: Bar::Within(0.25),
            samples: 7,
            p: None,
            verdict,
        }
    }

    #[test]
    fn one_failure_fails_the_audit_and_what_was_cut_too_much_says_nothing() {
        use Verdict::{Fails, Holds, Inconclusive};
        let outcome = |verdicts: &[Verdict], cut| {
            let findings: Vec<_> = verdicts.iter().copied().map(finding).collect();
            Report::outcome(&findings, cut)
        };
        assert_eq!(outcome(&[Holds, Holds], 0.2), Outcome::Holds);
        assert_eq!(outcome(&[Holds, Fails, Inconclusive], 0.1), Outcome::Fails);
        assert_eq!(outcome(&[Holds, Inconclusive], 0.0), Outcome::Inconclusive);
        assert_eq!(outcome(&[Holds, Fails], 0.21), Outcome::Inconclusive);
        assert_eq!(outcome(&[], 0.0), Outcome::Inconclusive);
    }

    #[test]
    fn a_row_shows_what_was_measured_beside_its_bar() {
        let row = row(&finding(Verdict::Fails));
        assert_eq!(row, ["T3", "something", "0.5", "1", "+- 0.25", "7", "FAILS"]);
        assert_eq!(number(0.0), "0");
        assert_eq!(number(-13.05), "-13.05");
        assert_eq!(number(2.5e-7), "2.5e-7");
    }
}
