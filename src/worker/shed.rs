//! Overload: when more comes than can be unwrapped, a random share of it is turned away at once.
//!
//! Otherwise the kernel would turn away whatever comes when its buffers are full: who sends at
//! the right instant could decide whose packets get lost, and what does get through would have
//! waited in a full buffer, for a time that is no part of its delay. Turning away costs a
//! fiftieth of an unwrapping, so little waits, and neither its source nor its place in the queue
//! decides what becomes of a datagram.
//!
//! The share follows what waits as in "Controlling Queue Delay" (Nichols and Jacobson, 2012): what
//! never gets less for a while is not a burst but an overload.

use crate::clock::Nanos;
use crate::crypto::random::Rng;

/// How long, and for how many turns, there must be more than fits before that is overload. A burst
/// takes as long, and so does what has come while the worker's core was somebody else's; neither
/// is lost.
const PATIENCE: Nanos = Nanos::from_millis(20);
const TURNS_MIN: u32 = 16;
/// The most that is turned away: of an overload of sixteen times.
const SHARE_MAX: f64 = 15.0 / 16.0;
/// How much of the way to its end the share goes in a turn, up and down.
const RISE: f64 = 1.0 / 32.0;
const FALL: f64 = 1.0 / 64.0;
/// A share that is not worth a draw.
const SHARE_MIN: f64 = 1.0 / 1024.0;

/// What a worker found in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing at all: it is not even busy.
    Nothing,
    /// No more than it unwraps in this turn.
    Enough,
    /// More than that.
    More,
    /// More than it has room for.
    TooMuch,
}

/// What one worker turns away.
#[derive(Debug)]
pub(super) struct Shedder {
    share: f64,
    /// Since when, and for how many turns, it has been too much.
    pressed: Option<(Nanos, u32)>,
    rng: Rng,
}

impl Shedder {
    pub(super) fn new(rng: Rng) -> Self {
        Shedder { share: 0.0, pressed: None, rng }
    }

    /// Whether the next datagram stays.
    pub(super) fn keeps(&mut self) -> bool {
        self.share < SHARE_MIN || self.rng.unit() >= self.share
    }

    /// Takes note of a turn at `now`.
    pub(super) fn note(&mut self, found: Found, now: Nanos) {
        // In an overload that is known nothing need wait.
        let (is_pressed, patience, turns_min) = match self.share < SHARE_MIN {
            true => (found == Found::TooMuch, PATIENCE, TURNS_MIN),
            false => (matches!(found, Found::More | Found::TooMuch), Nanos::ZERO, 1),
        };
        if is_pressed {
            let (since, turns) = self.pressed.get_or_insert((now, 0));
            *turns = turns.saturating_add(1);
            if now - *since >= patience && *turns >= turns_min {
                self.share += (SHARE_MAX - self.share) * RISE;
            }
            return;
        }
        self.pressed = None;
        self.share -= self.share * if found == Found::Nothing { 0.5 } else { FALL };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const GROUP: usize = 32;
    const WAITING_MAX: usize = 512;

    /// A worker on which `load` times as much comes as it can unwrap, a group each half
    /// millisecond: the most that waited in the second half of `turns`, and which share was kept.
    fn settle(load: f64, turns: u64) -> (f64, f64) {
        let mut shedder = Shedder::new(Rng::from_seed([1; 32]));
        let (mut outside, mut waiting, mut now) = (0.0, 0, Nanos::ZERO);
        let (mut longest, mut seen, mut kept) = (0.0f64, 0u64, 0u64);
        for turn in 0..turns {
            let before = waiting;
            let mut came = 0;
            while outside >= 1.0 && waiting < WAITING_MAX {
                outside -= 1.0;
                came += 1;
                waiting += usize::from(shedder.keeps());
            }
            let found = match waiting {
                WAITING_MAX => Found::TooMuch,
                0 => Found::Nothing,
                _ if waiting > GROUP => Found::More,
                _ => Found::Enough,
            };
            shedder.note(found, now);
            if turn > turns / 2 {
                longest = longest.max(waiting as f64 + outside);
                seen += came;
                kept += (waiting - before) as u64;
            }
            let served = waiting.min(GROUP);
            waiting -= served;
            // A turn takes as long as its unwrappings, and a little.
            let span = 0.02 + 0.98 * served as f64 / GROUP as f64;
            now = now + Nanos::from(Duration::from_secs_f64(0.0005 * span));
            outside += load * GROUP as f64 * span;
        }
        (longest, kept as f64 / seen as f64)
    }

    #[test]
    fn without_overload_nothing_is_turned_away() {
        assert_eq!(settle(0.9, 100_000).1, 1.0);
    }

    #[test]
    fn in_overload_what_can_be_unwrapped_is_kept_and_little_waits() {
        for load in [1.2, 2.0, 8.0] {
            let (longest, kept) = settle(load, 100_000);
            assert!((kept * load - 1.0).abs() < 0.03, "{kept} of {load}");
            // Less than 4 ms of what comes.
            assert!(longest / load < 8.0 * GROUP as f64, "{longest} of {load}");
        }
    }

    #[test]
    fn a_worker_that_always_has_something_waiting_is_not_overloaded() {
        let mut shedder = Shedder::new(Rng::from_seed([2; 32]));
        for turn in 0..10_000 {
            shedder.note(Found::More, Nanos::from_micros(turn * 500));
            assert!(shedder.keeps());
        }
    }

    #[test]
    fn what_came_while_the_core_was_somebody_elses_is_kept_whole() {
        let mut shedder = Shedder::new(Rng::from_seed([4; 32]));
        let mut now = Nanos::ZERO;
        for turn in 0..1000 {
            // Fifteen turns with too much, of which one lasted 50 ms, and one that had enough.
            now = now + Nanos::from_micros(if turn % 16 == 3 { 50_000 } else { 500 });
            shedder.note(if turn % 16 == 15 { Found::Enough } else { Found::TooMuch }, now);
            assert!(shedder.keeps());
        }
    }

    #[test]
    fn an_overload_that_is_over_is_forgotten_by_an_idle_worker() {
        let mut shedder = Shedder::new(Rng::from_seed([3; 32]));
        (0..1000).for_each(|turn| shedder.note(Found::TooMuch, Nanos::from_millis(turn)));
        assert!((0..1000).filter(|_| shedder.keeps()).count() < 100);
        (0..11).for_each(|_| shedder.note(Found::Nothing, Nanos::from_secs(2)));
        assert!((0..1000).all(|_| shedder.keeps()));
    }
}
