//! When a worker stood still: its last stalls, for who measures a node in a laboratory.
//!
//! A stall is a turn that took longer than [`STALL_MIN`], or a release that much after it was due:
//! the machine did something else. What leaves then is late through no fault of the mix, so an
//! audit leaves such windows out. In a network with users nobody is told: a stall that somebody
//! has caused would tell him what went through the node meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Nanos;

/// From here on it is a stall: twenty ticks of the mix.
pub const STALL_MIN: Nanos = Nanos::from_millis(5);
/// Stalls that are remembered: more than a machine that can be measured has in a second.
const STALLS_MAX: usize = 256;

/// A time in which a worker stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// Since when.
    pub from: Nanos,
    /// When it went on.
    pub until: Nanos,
}

/// The last stalls of one worker; it writes, any thread may read.
#[derive(Debug)]
pub struct Stalls {
    places: [(AtomicU64, AtomicU64); STALLS_MAX],
    /// How many were noted ever: one is counted before it is written, and again behind it.
    begun: AtomicU64,
    noted: AtomicU64,
}

impl Default for Stalls {
    fn default() -> Self {
        Stalls {
            places: std::array::from_fn(|_| Default::default()),
            begun: AtomicU64::new(0),
            noted: AtomicU64::new(0),
        }
    }
}

impl Stalls {
    /// The worker takes a turn at `now`: it was last awake at `last`, and its next release was due
    /// at `due`. Only the worker may call this.
    pub fn look(&self, last: Nanos, due: Nanos, now: Nanos) {
        let from = last.min(due);
        if now - from > STALL_MIN {
            self.note(Stall { from, until: now });
        }
    }

    /// The stalls that are remembered, the oldest first.
    pub fn recent(&self) -> Vec<Stall> {
        let noted = self.noted.load(Ordering::Acquire);
        let first = noted.saturating_sub(STALLS_MAX as u64);
        let read: Vec<_> = (first..noted).map(|number| (number, self.at(number))).collect();
        std::sync::atomic::fence(Ordering::Acquire);
        // Those whose place was taken while they were read are gone.
        let gone = self.begun.load(Ordering::Relaxed).saturating_sub(STALLS_MAX as u64);
        read.into_iter().filter(|(number, _)| *number >= gone).map(|(_, stall)| stall).collect()
    }

    fn note(&self, stall: Stall) {
        let number = self.noted.load(Ordering::Relaxed);
        self.begun.store(number + 1, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::Release);
        let (from, until) = self.place(number);
        from.store(stall.from.0, Ordering::Relaxed);
        until.store(stall.until.0, Ordering::Relaxed);
        self.noted.store(number + 1, Ordering::Release);
    }

    fn at(&self, number: u64) -> Stall {
        let (from, until) = self.place(number);
        let nanos = |of: &AtomicU64| Nanos(of.load(Ordering::Relaxed));
        Stall { from: nanos(from), until: nanos(until) }
    }

    fn place(&self, number: u64) -> &(AtomicU64, AtomicU64) {
        let index = usize::try_from(number % STALLS_MAX as u64).unwrap_or(0);
        &self.places[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_turn_and_a_late_release_are_stalls_and_a_short_turn_is_none() {
        let stalls = Stalls::default();
        let ms = Nanos::from_millis;
        stalls.look(ms(0), Nanos::NEVER, ms(5));
        assert_eq!(stalls.recent(), []);
        stalls.look(ms(10), Nanos::NEVER, ms(16));
        stalls.look(ms(20), ms(14), ms(21));
        let long = Stall { from: ms(10), until: ms(16) };
        assert_eq!(stalls.recent(), [long, Stall { from: ms(14), until: ms(21) }]);
    }

    #[test]
    fn the_last_stalls_are_remembered() {
        let stalls = Stalls::default();
        for second in 0..300 {
            stalls.look(Nanos::from_secs(second), Nanos::NEVER, Nanos::from_secs(second + 1));
        }
        let recent = stalls.recent();
        assert_eq!(recent.len(), STALLS_MAX);
        assert_eq!(recent[0].from, Nanos::from_secs(300 - STALLS_MAX as u64));
        assert_eq!(recent[STALLS_MAX - 1].until, Nanos::from_secs(300));
    }
}
