//! The table `[mix]` of a node's file: how many packets wait, and who decides when they leave.

use super::ConfigError;
use super::error::Source;
use super::node::SLOTS_MAX;
use super::values::{Count, Span};
use crate::clock::Nanos;
use crate::pool::{Fraction, INTERVAL_MAX, INTERVAL_MIN, Strategy, THRESHOLD_MIN};
use serde::Deserialize;
use toml::Spanned;

/// The table as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MixText {
    packets_max: Option<Spanned<Count<1, SLOTS_MAX>>>,
    strategy: Option<Spanned<StrategyText>>,
    interval: Option<Spanned<Span>>,
    fraction: Option<Spanned<f64>>,
    packets_min: Option<Spanned<Count<0, SLOTS_MAX>>>,
    threshold: Option<Spanned<Count<{ THRESHOLD_MIN as usize }, SLOTS_MAX>>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StrategyText {
    #[default]
    Poisson,
    TimedDynamic,
    Threshold,
}

impl StrategyText {
    const fn as_str(self) -> &'static str {
        match self {
            StrategyText::Poisson => "poisson",
            StrategyText::TimedDynamic => "timed-dynamic",
            StrategyText::Threshold => "threshold",
        }
    }
}

impl MixText {
    /// The pool's quota: what was written, or three quarters of the slots. The rest is for packets
    /// that are just received or sent, so that receiving never starves.
    pub(super) fn packets_max(
        &self,
        slots: usize,
        source: Source<'_>,
    ) -> Result<usize, ConfigError> {
        let Some(written) = &self.packets_max else { return Ok(slots / 4 * 3) };
        let packets_max = written.get_ref().0;
        if packets_max < slots {
            return Ok(packets_max);
        }
        let message = format!(
            "`mix.packets_max` is {packets_max}, but `memory.slots` is {slots}: \
             use fewer packets (three quarters of the slots) or more slots"
        );
        Err(source.fault(written.span(), message))
    }

    /// The strategy with its parameters: all that belong to it, and no other. Whether they fit the
    /// pools is known when the number of workers is.
    pub(super) fn strategy(&self, source: Source<'_>) -> Result<Strategy, ConfigError> {
        let chosen = Chosen {
            strategy: self.strategy.as_ref().map_or_else(Default::default, |text| *text.get_ref()),
            place: self.strategy.as_ref().map(Spanned::span).unwrap_or_default(),
            source,
        };
        let (timed, threshold) = (StrategyText::TimedDynamic, StrategyText::Threshold);
        let interval = chosen.parameter("interval", timed, self.interval.as_ref())?;
        let fraction = chosen.parameter("fraction", timed, self.fraction.as_ref())?;
        let minimum = chosen.parameter("packets_min", timed, self.packets_min.as_ref())?;
        let packets = chosen.parameter("threshold", threshold, self.threshold.as_ref())?;
        if let (Some(interval), Some(fraction), Some(minimum)) = (interval, fraction, minimum) {
            return Ok(Strategy::TimedDynamic {
                interval: checked_interval(interval, source)?,
                fraction: checked_fraction(fraction, source)?,
                packets_min: count(minimum.get_ref().0),
            });
        }
        Ok(match packets {
            Some(packets) => Strategy::Threshold { packets: count(packets.get_ref().0) },
            None => Strategy::Poisson,
        })
    }
}

/// The strategy that was chosen, and where.
struct Chosen<'a> {
    strategy: StrategyText,
    place: std::ops::Range<usize>,
    source: Source<'a>,
}

impl Chosen<'_> {
    /// The parameter `key` of the strategy `owner`: there if this is chosen, and only then.
    fn parameter<'t, T>(
        &self,
        key: &str,
        owner: StrategyText,
        written: Option<&'t Spanned<T>>,
    ) -> Result<Option<&'t Spanned<T>>, ConfigError> {
        let (own, chosen) = (owner.as_str(), self.strategy.as_str());
        match written {
            Some(written) if owner != self.strategy => {
                let message = format!(
                    "`mix.{key}` belongs to the strategy \"{own}\", but `mix.strategy` is \
                     \"{chosen}\": remove one of them"
                );
                Err(self.source.fault(written.span(), message))
            }
            None if owner == self.strategy => {
                let message = format!("`mix.strategy` \"{chosen}\" needs `mix.{key}`");
                Err(self.source.fault(self.place.clone(), message))
            }
            written => Ok(written),
        }
    }
}

fn checked_interval(written: &Spanned<Span>, source: Source<'_>) -> Result<Nanos, ConfigError> {
    let interval = Nanos::from(written.get_ref().0);
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        return Ok(interval);
    }
    let (least, most) = (INTERVAL_MIN.as_duration(), INTERVAL_MAX.as_duration());
    let message = format!("`mix.interval` is out of range: use \"{least:?}\" to \"{most:?}\"");
    Err(source.fault(written.span(), message))
}

fn checked_fraction(written: &Spanned<f64>, source: Source<'_>) -> Result<Fraction, ConfigError> {
    let refused = || {
        let message = "`mix.fraction` is out of range: use over 0 and up to 1, as 0.1";
        source.fault(written.span(), message.to_owned())
    };
    Fraction::new(*written.get_ref()).ok_or_else(refused)
}

/// A count of packets; the type that it was written as bounds it far below.
fn count(packets: usize) -> u32 {
    u32::try_from(packets).unwrap_or(u32::MAX)
}
