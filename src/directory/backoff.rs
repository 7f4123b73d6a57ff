//! When to try again what has failed: later each time, and at no time that others could share.

use crate::clock::Nanos;
use crate::crypto::random::Rng;

/// The pause after the first failure, at most.
const PAUSE_FIRST: Nanos = Nanos::from_millis(500);

/// Failures in a row, and the pause that follows from them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
    not_before: Nanos,
}

impl Backoff {
    /// Notes a failure: the next pause is twice as long, up to `pause_max`, and of that a random
    /// part of at least one half.
    pub fn fail(&mut self, now: Nanos, pause_max: Nanos, rng: &mut Rng) {
        let doubled = PAUSE_FIRST.0.saturating_mul(1 << self.failures.min(20));
        let pause = Nanos(doubled).min(pause_max);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + rng.between(Nanos(pause.0 / 2), pause);
    }

    /// What is left of the pause.
    pub fn pause(&self, now: Nanos) -> Nanos {
        self.not_before - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_never_the_same() {
        let (mut backoff, mut rng) = (Backoff::default(), Rng::from_seed([1; 32]));
        let now = Nanos::from_secs(1);
        assert_eq!(backoff.pause(now), Nanos::ZERO);
        let mut pauses = vec![];
        for millis in [500, 1000, 2000, 3000, 3000] {
            backoff.fail(now, Nanos::from_millis(3000), &mut rng);
            let longest = Nanos::from_millis(millis);
            let pause = backoff.pause(now);
            assert!(Nanos(longest.0 / 2) <= pause && pause <= longest, "{pause:?}");
            pauses.push(pause);
        }
        assert_ne!(pauses[3], pauses[4]);
        assert_eq!(backoff.pause(now + Nanos::from_secs(9)), Nanos::ZERO);
    }
}
