//! What a responder remembers to bound its work: first flights of clients it has seen, how many
//! sessions a source has, how fast first flights come.

use super::Refusal;
use super::gate;
use crate::clock::{Nanos, UnixMicros};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// How far an initiator's clock may be off.
const SKEW_MAX: UnixMicros = UnixMicros::from_secs(120);
/// How long a first flight is remembered: longer than its time is accepted on both sides.
const MEMORY: Nanos = Nanos::from_secs(240);
/// First flights remembered in each of the two sets (2 MB together with the tables' slack).
const SEEN_MAX: usize = 1 << 17;
/// Sessions of one source.
const SESSIONS_PER_SOURCE: u32 = 64;
/// First flights in a second above which the responder is loaded.
const INIT_PER_SECOND: u32 = 200;

/// The time of a first flight against the clock.
///
/// # Errors
/// [`Refusal::ClockSkew`].
pub(super) fn timely(time: UnixMicros, wall: UnixMicros) -> Result<(), Refusal> {
    (time.0.abs_diff(wall.0) <= SKEW_MAX.0).then_some(()).ok_or(Refusal::ClockSkew)
}

/// Whether `time` is later than that of the last first flight. A last one from further ahead than
/// any clock may be means that ours was set back: it does not count.
///
/// # Errors
/// [`Refusal::Replay`].
pub(super) fn later(time: UnixMicros, last: UnixMicros, wall: UnixMicros) -> Result<(), Refusal> {
    let counts = last.0 <= wall.0.saturating_add(SKEW_MAX.0);
    (time > last || !counts).then_some(()).ok_or(Refusal::Replay)
}

/// The ephemeral keys of clients' first flights, in two sets that take turns.
#[derive(Debug, Default)]
pub(super) struct Seen {
    hasher: RandomState,
    current: HashSet<u64>,
    previous: HashSet<u64>,
    turn_at: Nanos,
}

impl Seen {
    /// Remembers a first flight.
    ///
    /// # Errors
    /// [`Refusal::Replay`] if it was seen before, [`Refusal::TableFull`].
    pub(super) fn insert(&mut self, ephemeral: &[u8; 32], now: Nanos) -> Result<(), Refusal> {
        if now >= self.turn_at {
            std::mem::swap(&mut self.current, &mut self.previous);
            self.current.clear();
            self.turn_at = now + MEMORY;
        }
        let key = self.hasher.hash_one(ephemeral);
        if self.current.contains(&key) || self.previous.contains(&key) {
            return Err(Refusal::Replay);
        }
        if self.current.len() >= SEEN_MAX {
            return Err(Refusal::TableFull);
        }
        self.current.insert(key);
        Ok(())
    }
}

/// How many client sessions each source has.
#[derive(Debug, Default)]
pub(super) struct Sources(HashMap<[u8; 16], u32>);

impl Sources {
    /// Counts one more.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] if the source has its share.
    pub(super) fn enter(&mut self, source: IpAddr) -> Result<(), Refusal> {
        let count = self.0.entry(gate::prefix(source)).or_default();
        if *count >= SESSIONS_PER_SOURCE {
            return Err(Refusal::RateLimited);
        }
        *count += 1;
        Ok(())
    }

    /// Counts one less.
    pub(super) fn leave(&mut self, source: IpAddr) {
        let key = gate::prefix(source);
        if let Some(count) = self.0.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&key);
            }
        }
    }
}

/// How many first flights came in the running second.
#[derive(Debug, Default)]
pub(super) struct Rate {
    until: Nanos,
    count: u32,
}

impl Rate {
    /// Counts one; says whether there are too many.
    pub(super) fn exceeded(&mut self, now: Nanos) -> bool {
        if now >= self.until {
            *self = Rate { until: now + Nanos::from_secs(1), count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count > INIT_PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_flight_is_new_once_in_240_seconds() {
        let mut seen = Seen::default();
        let at = Nanos::from_secs;
        assert_eq!(seen.insert(&[1; 32], at(100)), Ok(()));
        assert_eq!(seen.insert(&[1; 32], at(100)), Err(Refusal::Replay));
        assert_eq!(seen.insert(&[2; 32], at(339)), Ok(()));
        assert_eq!(seen.insert(&[1; 32], at(341)), Err(Refusal::Replay));
        assert_eq!(seen.insert(&[2; 32], at(578)), Err(Refusal::Replay));
        assert_eq!(seen.insert(&[1; 32], at(600)), Ok(()));
    }

    #[test]
    fn the_memory_of_first_flights_is_bounded() {
        let mut seen = Seen::default();
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            key
        };
        assert!((0..SEEN_MAX).all(|at| seen.insert(&key(at), Nanos::ZERO).is_ok()));
        assert_eq!(seen.insert(&key(SEEN_MAX), Nanos::ZERO), Err(Refusal::TableFull));
    }

    #[test]
    fn a_source_has_its_share_and_no_more() {
        let mut sources = Sources::default();
        let here = IpAddr::from([192, 0, 2, 1]);
        assert!((0..SESSIONS_PER_SOURCE).all(|_| sources.enter(here).is_ok()));
        assert_eq!(sources.enter(here), Err(Refusal::RateLimited));
        assert_eq!(sources.enter(IpAddr::from([192, 0, 2, 2])), Ok(()));
        sources.leave(here);
        assert_eq!(sources.enter(here), Ok(()));
    }

    #[test]
    fn a_first_flight_is_later_than_the_last_unless_that_came_from_the_future() {
        let at = UnixMicros::from_secs;
        assert_eq!(later(at(1001), at(1000), at(1000)), Ok(()));
        assert_eq!(later(at(1000), at(1000), at(1000)), Err(Refusal::Replay));
        assert_eq!(later(at(1000), at(1120), at(1000)), Err(Refusal::Replay));
        assert_eq!(later(at(1000), at(1121), at(1000)), Ok(()));
    }

    #[test]
    fn two_minutes_off_is_too_far() {
        let wall = UnixMicros::from_secs(1000);
        let at = UnixMicros::from_secs;
        assert_eq!(timely(at(880), wall), Ok(()));
        assert_eq!(timely(at(1120), wall), Ok(()));
        assert_eq!(timely(at(879), wall), Err(Refusal::ClockSkew));
        assert_eq!(timely(at(1121), wall), Err(Refusal::ClockSkew));
    }
}
