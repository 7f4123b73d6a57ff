//! What a run prints: a table, then lines for scripts.

use crate::Options;
use crate::contender::{Contender, Round};
use std::fmt::{self, Display, Formatter};

/// The port that all others are compared with, each with the same number of flows.
pub(crate) const PEER: &str = "recvmmsg";
/// The end of names of ports that receive one flow.
pub(crate) const ONE_FLOW: &str = "_1flow";

/// The figure is what one round of so many beats.
const LUCKY: usize = 20;
/// Fewer rounds that count give no figure.
const ROUNDS_MIN: usize = 10;

/// All that was measured; the first contender is the generator.
pub(crate) struct Report<'a> {
    pub(crate) contenders: &'a [Contender],
    pub(crate) options: &'a Options,
}

/// Nanoseconds a datagram.
struct Figures {
    /// The whole round, without the generator.
    whole: f64,
    median: f64,
    /// Of `whole`, what is done when the datagrams arrive.
    arrival: f64,
}

impl Report<'_> {
    /// The figures of a contender; none if it was disturbed too often.
    fn figures(&self, contender: &Contender) -> Option<Figures> {
        let whole = |round: &Round| round.arrival + round.forwarding;
        let generator = lucky(&sorted(&self.contenders.first()?.rounds, whole))?;
        let sum = sorted(&contender.rounds, whole);
        let arrival = sorted(&contender.rounds, |round| round.arrival);
        Some(Figures {
            whole: lucky(&sum)? - generator,
            median: sum[sum.len() / 2] - generator,
            arrival: lucky(&arrival)? - generator,
        })
    }

    /// How much of its peer's time a contender needs.
    fn ratio(&self, contender: &Contender) -> Option<f64> {
        let ending = if contender.name.ends_with(ONE_FLOW) { ONE_FLOW } else { "" };
        let peer = format!("{PEER}{ending}");
        let peer = self.contenders.iter().find(|contender| contender.name == peer)?;
        Some(self.figures(contender)?.whole / self.figures(peer)?.whole)
    }
}

fn sorted(rounds: &[Round], time: impl Fn(&Round) -> f64) -> Vec<f64> {
    let mut times: Vec<_> = rounds.iter().map(time).collect();
    times.sort_by(f64::total_cmp);
    times
}

fn lucky(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / LUCKY).copied().filter(|_| sorted.len() >= ROUNDS_MIN)
}

impl Display for Report<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Options { burst, rounds, .. } = self.options;
        writeln!(out, "Nanoseconds of processor time a datagram, {rounds} bursts of {burst};")?;
        writeln!(out, "arrival: what of it is spent before the port is asked.\n")?;
        writeln!(out, "| port                | ns   | median | arrival | ratio | rounds |")?;
        writeln!(out, "| ------------------- | ---: | -----: | ------: | ----: | -----: |")?;
        let ports = self.contenders.get(1..).unwrap_or_default();
        for contender in ports {
            let (name, count) = (&contender.name, contender.rounds.len());
            let (Some(figures), Some(ratio)) = (self.figures(contender), self.ratio(contender))
            else {
                writeln!(out, "| {name:19} |    - |      - |       - |     - | {count:6} |")?;
                continue;
            };
            let Figures { whole, median, arrival } = figures;
            write!(out, "| {name:19} | {whole:4.0} | {median:6.0} | {arrival:7.0} ")?;
            writeln!(out, "| {ratio:5.2} | {count:6} |")?;
        }
        writeln!(out)?;
        for contender in ports {
            if let (Some(figures), Some(ratio)) = (self.figures(contender), self.ratio(contender)) {
                let (name, whole) = (&contender.name, figures.whole);
                writeln!(out, "RESULT io_forward_{name} {whole:.1} ns vs {PEER} {ratio:.2}")?;
            }
        }
        Ok(())
    }
}
