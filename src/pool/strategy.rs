//! Who decides when a packet leaves, and with which parameters.

use crate::clock::Nanos;
use std::fmt;

/// The shortest interval of a timed pool: a worker has turns of up to half of it.
pub const INTERVAL_MIN: Nanos = Nanos::from_millis(1);
/// The longest interval: dummies of links leave at its end, and a link that is silent for three
/// seconds is down.
pub const INTERVAL_MAX: Nanos = Nanos::from_secs(1);
/// The smallest threshold: one packet is not mixed.
pub const THRESHOLD_MIN: u32 = 2;

/// How a pool decides when its packets leave (`docs/mixing.md` says what each gives and costs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Each packet when its sender said.
    #[default]
    Poisson,
    /// At every interval a share of those inside; delays that senders ask for are ignored.
    TimedDynamic {
        /// The time between two flushes, [`INTERVAL_MIN`] to [`INTERVAL_MAX`].
        interval: Nanos,
        /// The share of those inside that leaves, rounded down to whole packets.
        fraction: Fraction,
        /// Packets that always stay.
        packets_min: u32,
    },
    /// As soon as so many packets are inside, all of them; delays are ignored.
    Threshold {
        /// Packets of a batch, at least [`THRESHOLD_MIN`].
        packets: u32,
    },
}

impl Strategy {
    /// Whether a pool for `packets_max` packets could follow it.
    ///
    /// # Errors
    /// When no packet would ever leave but by eviction, or a parameter is out of its range.
    pub fn check(self, packets_max: u32) -> Result<(), StrategyError> {
        match self {
            Strategy::Poisson => Ok(()),
            Strategy::TimedDynamic { interval, fraction, packets_min } => {
                if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
                    return Err(StrategyError::Interval(interval));
                }
                if packets_min >= packets_max {
                    return Err(StrategyError::Minimum { packets_min, packets_max });
                }
                match fraction.of(packets_max as usize) {
                    0 => Err(StrategyError::Fraction { fraction, packets_max }),
                    _ => Ok(()),
                }
            }
            Strategy::Threshold { packets } => {
                match (THRESHOLD_MIN..=packets_max).contains(&packets) {
                    true => Ok(()),
                    false => Err(StrategyError::Threshold { packets, packets_max }),
                }
            }
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strategy::Poisson => out.write_str("poisson: each packet when its sender said"),
            Strategy::TimedDynamic { interval, fraction, packets_min } => write!(
                out,
                "timed-dynamic: every {:?} {fraction} of the packets inside a pool, at least \
                 {packets_min} stay",
                interval.as_duration()
            ),
            Strategy::Threshold { packets } => {
                write!(out, "threshold: {packets} packets as soon as they are inside a pool")
            }
        }
    }
}

/// Why a pool cannot follow a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StrategyError {
    /// The interval is too short for the workers, or too long for anybody.
    #[error("`mix.interval` is {:?}: use \"1ms\" to \"1s\"", .0.as_duration())]
    Interval(Nanos),
    /// The pool never has more than those who stay.
    #[error(
        "`mix.packets_min` is {packets_min}, but a pool has room for {packets_max} \
         packets: nothing would ever leave; use fewer, or raise mix.packets_max"
    )]
    Minimum {
        /// Who stay.
        packets_min: u32,
        /// Whom it has room for.
        packets_max: u32,
    },
    /// The share of a full pool is less than a packet.
    #[error(
        "`mix.fraction` is {fraction}, less than one packet of the {packets_max} that a pool \
         has room for: nothing would ever leave; use more, or raise mix.packets_max"
    )]
    Fraction {
        /// The share.
        fraction: Fraction,
        /// Whom it is taken of.
        packets_max: u32,
    },
    /// A batch is none, or never becomes complete.
    #[error(
        "`mix.threshold` is {packets}, but a pool has room for {packets_max} packets: use \
         2 to {packets_max}, or raise mix.packets_max"
    )]
    Threshold {
        /// Of a batch.
        packets: u32,
        /// Whom the pool has room for.
        packets_max: u32,
    },
}

/// A share of a whole, over 0 and at most 1, exact to the millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    millionths: u32,
}

/// The whole.
const MILLION: u32 = 1_000_000;

impl Fraction {
    /// The share nearest to `value`; none if that is not over 0 or is over 1.
    pub fn new(value: f64) -> Option<Self> {
        let millionths = (value * f64::from(MILLION)).round();
        if !(1.0..=f64::from(MILLION)).contains(&millionths) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        let millionths = millionths as u32;
        Some(Fraction { millionths })
    }

    /// The share of `count`, rounded down.
    pub fn of(self, count: usize) -> usize {
        // A count of packets has 32 bits, so the product has at most 52.
        count.saturating_mul(self.millionths as usize) / MILLION as usize
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", f64::from(self.millionths) / f64::from(MILLION))
    }
}
