//! How long to wait before something is done again: twice as long every time, never as long as
//! anybody else.

use crate::clock::Nanos;
use crate::crypto::random::Rng;
use crate::pki::Parameters;

/// The longest wait for an acknowledgement, unless the network's own delays are longer.
pub const WAIT_MAX: Nanos = Nanos::from_secs(8);
/// What links, gateways and their disks take beside the mixes' delays.
const OVERHEAD: Nanos = Nanos::from_millis(200);
/// How long a message rests when its mailbox is full or no path leads there: at first, at last.
const REST: Backoff = Backoff { first: Nanos::from_secs(4), last: Nanos::from_secs(120) };

/// Waits that double from `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backoff {
    first: Nanos,
    last: Nanos,
}

impl Backoff {
    /// For the acknowledgement of a packet in the network of `parameters`.
    ///
    /// There and back a packet is delayed by every hop but the last; the first wait is twice the
    /// mean of that, which with three layers 99 in 100 acknowledgements keep.
    pub(super) fn of_acknowledgements(parameters: &Parameters) -> Self {
        let delays = 2 * (u64::from(parameters.layers) + 1);
        let round_trip = Nanos(parameters.delay_mean.0.saturating_mul(delays));
        let first = round_trip + round_trip + OVERHEAD;
        Backoff { first, last: first.max(WAIT_MAX) }
    }

    /// For a message that cannot be delivered just now.
    pub(super) const fn of_rests() -> Self {
        REST
    }

    /// The wait after try `number`, from 0: a random one of the last quarter of the full wait.
    pub(super) fn wait(self, number: u32, rng: &mut Rng) -> Nanos {
        let doublings = 1u64.checked_shl(number).unwrap_or(u64::MAX);
        let full = Nanos(self.first.0.saturating_mul(doublings)).min(self.last);
        rng.between(Nanos(full.0 / 4 * 3), full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Rates;
    use crate::sphinx::Geometry;

    fn parameters(delay_mean: Nanos) -> Parameters {
        Parameters { layers: 3, delay_mean, rates: Rates::default(), geometry: Geometry::DEFAULT }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_spread_over_a_quarter() {
        let backoff = Backoff::of_acknowledgements(&parameters(Nanos::from_millis(100)));
        let mut rng = Rng::from_seed([1; 32]);
        for (number, millis) in [(0, 1800), (1, 3600), (2, 7200), (3, 8000), (200, 8000)] {
            let waits: Vec<Nanos> = (0..200).map(|_| backoff.wait(number, &mut rng)).collect();
            let full = Nanos::from_millis(millis);
            let (low, high) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
            assert!(low.0 >= full.0 / 4 * 3 && low.0 < full.0 / 10 * 8, "{low:?}");
            assert!(high <= full && high.0 > full.0 / 100 * 95, "{high:?}");
        }
    }

    #[test]
    fn a_slow_network_is_given_its_time() {
        let backoff = Backoff::of_acknowledgements(&parameters(Nanos::from_secs(1)));
        let mut rng = Rng::from_seed([2; 32]);
        assert!(backoff.wait(0, &mut rng) >= Nanos::from_secs(12));
        assert!(backoff.wait(9, &mut rng) <= Nanos::from_millis(16_200));
    }
}
