//! Overload: when more comes than can be unwrapped, a random share of it is turned away at once.
//!
//! Otherwise the kernel would turn away whatever comes when its buffers are full: who sends at
//! the right instant could decide whose packets get lost, and what does get through would have
//! waited in a full buffer, for a time that is no part of its delay. Turning away costs a
//! fiftieth of an unwrapping, so the buffers stay short, and neither its source nor its place in
//! the queue decides what becomes of a datagram.
//!
//! The share follows the buffer as in "Controlling Queue Delay" (Nichols and Jacobson, 2012): a
//! buffer that is not emptied for a while is not a burst but an overload.

use crate::clock::Nanos;
use crate::crypto::random::Rng;

/// How long a buffer may not be empty before that is overload: a burst of 300 packets takes as
/// long.
const PATIENCE: Nanos = Nanos::from_millis(5);
/// The most that is turned away: of an overload of sixteen times.
const SHARE_MAX: f64 = 15.0 / 16.0;
/// How much of the way to its end the share goes in a turn.
const STEP: f64 = 1.0 / 64.0;
/// A share that is not worth a draw.
const SHARE_MIN: f64 = 1.0 / 1024.0;

/// What one worker turns away.
#[derive(Debug)]
pub(super) struct Shedder {
    share: f64,
    /// Since when the buffer has not been empty.
    pressed_since: Option<Nanos>,
    rng: Rng,
}

impl Shedder {
    pub(super) fn new(rng: Rng) -> Self {
        Shedder { share: 0.0, pressed_since: None, rng }
    }

    /// How many datagrams a turn looks at, so that about `group` of them stay.
    #[expect(clippy::cast_possible_truncation, reason = "at most sixteen groups")]
    pub(super) fn reach(&self, group: usize) -> usize {
        (group as f64 / (1.0 - self.share)) as usize
    }

    /// Whether the next datagram stays.
    pub(super) fn keeps(&mut self) -> bool {
        self.share < SHARE_MIN || self.rng.unit() >= self.share
    }

    /// Takes note of a turn at `now` that could have looked at `reach` datagrams and found `seen`.
    pub(super) fn note(&mut self, seen: usize, reach: usize, now: Nanos) {
        if seen >= reach {
            let since = *self.pressed_since.get_or_insert(now);
            if now - since >= PATIENCE {
                self.share += (SHARE_MAX - self.share) * STEP;
            }
            return;
        }
        self.pressed_since = None;
        // A worker that finds nothing at all is not even busy.
        self.share -= self.share * if seen == 0 { 0.5 } else { STEP };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: usize = 32;

    /// Turns at a buffer into which `load` times as much comes as can be unwrapped, each turn half
    /// a millisecond; the longest that the buffer was in the second half, and what was kept of it.
    fn settle(load: f64, turns: u64) -> (f64, f64) {
        let mut shedder = Shedder::new(Rng::from_seed([1; 32]));
        let (mut waiting, mut longest, mut seen_in_all, mut kept_in_all) = (0.0, 0.0f64, 0, 0);
        let mut now = Nanos::ZERO;
        for turn in 0..turns {
            let reach = shedder.reach(GROUP);
            let seen = reach.min(waiting as usize);
            let kept = (0..seen).filter(|_| shedder.keeps()).count();
            shedder.note(seen, reach, now);
            // A turn takes as long as its unwrappings, and a little.
            let span = 0.02 + 0.98 * kept as f64 / GROUP as f64;
            now = now + Nanos::from_micros((500.0 * span) as u64);
            waiting += load * GROUP as f64 * span - seen as f64;
            if turn > turns / 2 {
                longest = longest.max(waiting);
                seen_in_all += seen;
                kept_in_all += kept;
            }
        }
        (longest, kept_in_all as f64 / seen_in_all as f64)
    }

    #[test]
    fn without_overload_nothing_is_turned_away() {
        assert_eq!(settle(0.9, 100_000).1, 1.0);
    }

    #[test]
    fn in_overload_what_can_be_unwrapped_is_kept_and_the_buffer_stays_short() {
        for load in [1.2, 2.0, 8.0] {
            let (longest, kept) = settle(load, 100_000);
            assert!((kept * load - 1.0).abs() < 0.03, "{kept} of {load}");
            // Less than 20 ms of unwrapping.
            assert!(longest / load < 40.0 * GROUP as f64, "{longest} of {load}");
        }
    }

    #[test]
    fn a_burst_is_kept_whole() {
        let mut shedder = Shedder::new(Rng::from_seed([2; 32]));
        for turn in 0..1000 {
            // Nine full turns of half a millisecond, and one that empties the buffer.
            let reach = shedder.reach(GROUP);
            let seen = if turn % 10 == 9 { 1 } else { reach };
            assert!(shedder.keeps());
            shedder.note(seen, reach, Nanos::from_micros(turn * 500));
        }
    }

    #[test]
    fn an_overload_that_is_over_is_forgotten_by_an_idle_worker() {
        let mut shedder = Shedder::new(Rng::from_seed([3; 32]));
        for turn in 0..1000 {
            shedder.note(GROUP, GROUP, Nanos::from_millis(turn));
        }
        assert!(shedder.reach(GROUP) > 15 * GROUP);
        (0..11).for_each(|_| shedder.note(0, GROUP, Nanos::from_secs(2)));
        assert_eq!(shedder.reach(GROUP), GROUP);
        assert!((0..1000).all(|_| shedder.keeps()));
    }
}
