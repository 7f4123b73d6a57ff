//! What a run prints: tables as `docs/performance.md` has them, then lines for scripts.

use crate::sampling::Comparison;
use crate::stages::STAGES;
use crate::windows::{Band, Summary};
use std::fmt::{self, Display, Formatter};

/// Comparisons of one subject.
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) comparisons: Vec<Comparison>,
}

/// All that was measured.
pub(crate) struct Report<'a> {
    pub(crate) groups: &'a [Group],
    /// The markers that count.
    pub(crate) band: Band,
    pub(crate) ticks_per_ns: f64,
}

const COLUMNS: [&str; 9] =
    ["name", "ticks", "ns", "per second", "peer", "its ticks", "ratio", "of medians", "windows"];

impl Report<'_> {
    /// The comparisons that have no result, because the machine was disturbed too often.
    pub(crate) fn undecided(&self) -> Vec<String> {
        let all = self.comparisons();
        let undecided = all.filter(|comparison| self.summary(comparison).is_none());
        undecided.map(|comparison| format!("{} vs {}", comparison.name, comparison.peer)).collect()
    }

    fn comparisons(&self) -> impl Iterator<Item = &Comparison> {
        self.groups.iter().flat_map(|group| &group.comparisons)
    }

    fn summary(&self, comparison: &Comparison) -> Option<Summary> {
        self.band.summary(&comparison.windows)
    }

    fn summary_of(&self, name: &str) -> Option<Summary> {
        self.summary(self.comparisons().find(|comparison| comparison.name == name)?)
    }

    fn ns(&self, ticks: f64) -> f64 {
        ticks / self.ticks_per_ns
    }

    fn table(&self, group: &Group) -> Table {
        let mut table = Table::new(&COLUMNS);
        for comparison in &group.comparisons {
            table.add(self.row(comparison));
        }
        table
    }

    fn row(&self, comparison: &Comparison) -> Vec<String> {
        let windows = &comparison.windows;
        let windows = format!("{} of {}", self.band.counted(windows).count(), windows.len());
        let (name, peer) = (comparison.name.clone(), comparison.peer.to_owned());
        let Some(summary) = self.summary(comparison) else {
            let [ticks, ns, rate, theirs, ratio, medians] = ["-"; 6].map(str::to_owned);
            return vec![name, ticks, ns, rate, peer, theirs, ratio, medians, windows];
        };
        let Summary { ours, peer: theirs } = summary;
        let ns = self.ns(ours.minimum);
        vec![
            name,
            format!("{:.0} / {:.0}", ours.minimum, ours.median),
            format!("{ns:.0}"),
            format!("{:.0}", 1e9 / ns),
            peer,
            format!("{:.0} / {:.0}", theirs.minimum, theirs.median),
            format!("{:.2}", summary.ratio()),
            format!("{:.2}", summary.median_ratio()),
            windows,
        ]
    }

    /// What each stage is of the whole hop; none unless all of them were measured.
    fn shares(&self) -> Option<Table> {
        let hop = self.summary_of("hop_1024")?.ours.scaled;
        let mut table = Table::new(&["stage", "ticks", "share", "the crates' ticks", "ratio"]);
        let mut rest = hop;
        for (name, stage) in STAGES {
            let Summary { ours, peer } = self.summary_of(name)?;
            rest -= ours.scaled;
            let ratio = format!("{:.2}", peer.scaled / ours.scaled);
            table.add(share(stage, ours.scaled, hop, [format!("{:.0}", peer.scaled), ratio]));
        }
        table.add(share("parse, compare, write, wipe", rest, hop, ["", ""].map(str::to_owned)));
        table.add(share("hop_1024", hop, hop, ["", ""].map(str::to_owned)));
        Some(table)
    }
}

fn share(stage: &str, ticks: f64, hop: f64, others: [String; 2]) -> Vec<String> {
    let percent = 100.0 * ticks / hop;
    let own = [stage.to_owned(), format!("{ticks:.0}"), format!("{percent:.1} %")];
    own.into_iter().chain(others).collect()
}

impl Display for Report<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let (mhz, Band { luckiest, best, worst }) = (1e3 * self.ticks_per_ns, self.band);
        writeln!(out, "{mhz:.0} million ticks a second. Figures are for one packet or operation;")?;
        writeln!(out, "ticks: minimum / median of the windows with a marker from {best:.0} to")?;
        writeln!(out, "{worst:.0} ticks (the luckiest of all windows: {luckiest:.0}).")?;
        for group in self.groups.iter().filter(|group| !group.comparisons.is_empty()) {
            write!(out, "\n### {}\n\n{}", group.title, self.table(group))?;
        }
        if let Some(shares) = self.shares() {
            write!(out, "\n### The stages of a hop\n\n{shares}")?;
        }
        writeln!(out)?;
        for comparison in self.comparisons() {
            let Comparison { name, peer, .. } = comparison;
            if let Some(summary) = self.summary(comparison) {
                let (ns, ratio) = (self.ns(summary.ours.minimum), summary.ratio());
                writeln!(out, "RESULT {name} {ns:.1} ns vs {peer} {ratio:.2}")?;
            }
        }
        Ok(())
    }
}

/// A table in Markdown, its columns aligned for the terminal; all but the first to the right.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&str]) -> Self {
        Table { rows: vec![head.iter().map(|&name| name.to_owned()).collect()] }
    }

    fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    fn width(&self, column: usize) -> usize {
        self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    }
}

impl Display for Table {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let widths: Vec<_> = (0..self.rows[0].len()).map(|column| self.width(column)).collect();
        for (index, row) in self.rows.iter().enumerate() {
            write!(out, "| {:<1$}", row[0], widths[0])?;
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                write!(out, " | {cell:>width$}")?;
            }
            writeln!(out, " |")?;
            if index == 0 {
                write!(out, "| {}", "-".repeat(widths[0]))?;
                for width in &widths[1..] {
                    write!(out, " | {}:", "-".repeat(width - 1))?;
                }
                writeln!(out, " |")?;
            }
        }
        Ok(())
    }
}
