//! When epochs begin and end, and when their documents are made.
//!
//! An epoch's number is the time since 1970 divided by the length of an epoch, so nobody needs to
//! be asked for it. All spans hang on that length: a consensus is published a quarter ahead of
//! its epoch, and is valid until the epoch behind its own is over.

use super::Consensus;
use crate::clock::{Nanos, UnixMicros};

/// The shortest epoch: its quarter still has room for asking twice.
const LENGTH_MIN_S: u64 = 4;
/// The longest one: keys are to be forgotten.
const LENGTH_MAX_S: u64 = 7 * 24 * 3600;

/// Why epochs cannot have a length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("epochs of {0} s: use whole seconds, {LENGTH_MIN_S} to {LENGTH_MAX_S}")]
pub struct EpochsError(pub u64);

/// The epochs of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    length_s: u64,
}

impl Epochs {
    /// Epochs of `length_s` seconds.
    ///
    /// # Errors
    /// When they are too short or too long.
    pub fn new(length_s: u64) -> Result<Self, EpochsError> {
        let allowed = (LENGTH_MIN_S..=LENGTH_MAX_S).contains(&length_s);
        if allowed { Ok(Epochs { length_s }) } else { Err(EpochsError(length_s)) }
    }

    /// The epochs that `consensus` belongs to; none if its number is not that of its time, as in
    /// a network that has one epoch only.
    pub fn of(consensus: &Consensus) -> Option<Self> {
        let length_s = consensus.epoch_length().0 / Nanos::from_secs(1).0;
        let epochs = Epochs::new(length_s).ok()?;
        let start = epochs.start(consensus.epoch());
        (consensus.valid_from() <= start && start < consensus.valid_until()).then_some(epochs)
    }

    /// Seconds of an epoch.
    pub fn length_s(self) -> u64 {
        self.length_s
    }

    /// The span of an epoch.
    pub fn length(self) -> Nanos {
        Nanos::from_secs(self.length_s)
    }

    /// The epoch at `wall`.
    pub fn at(self, wall: UnixMicros) -> u64 {
        wall.as_secs() / self.length_s
    }

    /// The first moment of `epoch`.
    pub fn start(self, epoch: u64) -> UnixMicros {
        UnixMicros::from_secs(epoch.saturating_mul(self.length_s))
    }

    /// How long before its epoch a consensus is published.
    pub fn lead(self) -> Nanos {
        Nanos::from_secs(self.length_s / 4)
    }

    /// When the consensus of `epoch` is published; it is valid from then on, so that everybody
    /// has it before it is needed.
    pub fn publication(self, epoch: u64) -> UnixMicros {
        UnixMicros::from_secs(self.start(epoch).as_secs().saturating_sub(self.length_s / 4))
    }

    /// How long packets of one key may come: from the beginning of its epoch until its consensus
    /// is no longer valid, which is one more epoch in which the next key takes its place.
    pub fn accept_window(self) -> Nanos {
        Nanos::from_secs(2 * self.length_s)
    }

    /// The first moment at which the consensus of `epoch` is no longer valid: its keys are
    /// erased then.
    pub fn valid_until(self, epoch: u64) -> UnixMicros {
        self.start(epoch.saturating_add(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_follow_each_other_without_gap_and_are_published_ahead() {
        let epochs = Epochs::new(16).unwrap();
        let start = epochs.start(100);
        assert_eq!(start, UnixMicros::from_secs(1600));
        assert_eq!(epochs.at(start), 100);
        assert_eq!(epochs.at(UnixMicros(start.0 - 1)), 99);
        assert_eq!(epochs.publication(100), UnixMicros::from_secs(1596));
        assert_eq!(epochs.valid_until(100), epochs.start(102));
        assert_eq!(start.until(epochs.valid_until(100)), epochs.accept_window());
    }

    #[test]
    fn epochs_have_a_sensible_length() {
        assert_eq!(Epochs::new(3), Err(EpochsError(3)));
        assert!(Epochs::new(4).is_ok() && Epochs::new(u64::MAX).is_err());
    }
}
