//! How full the replay tables are, and what follows from it: a word to the operator in time, and
//! the end of a key whose table could no longer tell a replay from another packet.

use std::sync::Arc;

use crate::clock::Nanos;
use crate::replay::{EpochKey, FILL_CLOSED, FILL_DEGRADED, FILL_PLANNED};

/// How often the tables are looked at: a sample of each, half a millisecond of the control thread.
const LOOK_EVERY: Nanos = Nanos::from_secs(1);

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As planned.
    Planned,
    /// Fuller than it was planned for; it takes a new packet for a replay a little more often.
    Warning,
    /// The node does not do what it should; the key will soon be closed.
    Degraded,
    /// The key is closed: packets under it are refused.
    Closed,
}

impl Level {
    fn of(fill: f64) -> Self {
        match fill {
            _ if fill >= FILL_CLOSED => Level::Closed,
            _ if fill >= FILL_DEGRADED => Level::Degraded,
            _ if fill > FILL_PLANNED => Level::Warning,
            _ => Level::Planned,
        }
    }
}

/// The keys in force, watched.
#[derive(Debug, Default)]
pub struct FillWatch {
    keys: Vec<(u64, Arc<EpochKey>, Level)>,
    next: Nanos,
}

impl FillWatch {
    /// Watches `keys` from now on, each with its epoch.
    pub fn follow(&mut self, keys: &[(u64, Arc<EpochKey>)]) {
        let before = std::mem::take(&mut self.keys);
        let level = |epoch| before.iter().find(|(of, ..)| *of == epoch).map(|known| known.2);
        let watched = keys
            .iter()
            .map(|(epoch, key)| (*epoch, key.clone(), level(*epoch).unwrap_or(Level::Planned)));
        self.keys = watched.collect();
    }

    /// Looks at every table, if it is time to; closes the key of one that is too full.
    pub fn tick(&mut self, now: Nanos) {
        if now < self.next {
            return;
        }
        self.next = now + LOOK_EVERY;
        for (epoch, key, said) in &mut self.keys {
            let fill = key.table().fill_ratio();
            let level = if key.is_closed() { Level::Closed } else { Level::of(fill) };
            if level == Level::Closed {
                key.close();
            }
            if level > *said {
                say(level, *epoch, fill);
                *said = level;
            }
        }
    }

    /// When `tick` has something to do.
    pub fn next_deadline(&self) -> Nanos {
        self.next
    }

    /// The worst of all levels.
    pub fn level(&self) -> Level {
        self.keys.iter().map(|&(_, _, level)| level).max().unwrap_or(Level::Planned)
    }
}

fn say(level: Level, epoch: u64, fill: f64) {
    let percent = 100.0 * fill;
    let remedy = "raise replay.packets_per_second (or packets_max) for the next epoch";
    match level {
        Level::Planned => {}
        Level::Warning => {
            tracing::warn!("replay table of epoch {epoch} {percent:.0} % full: {remedy}");
        }
        Level::Degraded => tracing::warn!(
            "replay table of epoch {epoch} {percent:.0} % full, its key is closed at 90 %: {remedy}"
        ),
        Level::Closed => tracing::error!(
            "replay table of epoch {epoch} {percent:.0} % full: its key is closed, and packets \
             under it are dropped: {remedy}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;
    use crate::crypto::x25519::Secret;
    use crate::replay::Options;

    #[test]
    fn a_key_is_closed_for_good_when_its_table_is_nine_tenths_full() {
        let mut rng = Rng::from_seed([1; 32]);
        let secret = Secret::random(&mut rng);
        let key = EpochKey::new(secret, Options { packets_max: 70_000 }, &mut rng).unwrap();
        let key = Arc::new(key);
        let mut watch = FillWatch::default();
        watch.follow(&[(7, key.clone())]);
        let mut seen = vec![];
        for second in 0..100 {
            watch.tick(Nanos::from_secs(second));
            if seen.last() != Some(&watch.level()) {
                seen.push(watch.level());
            }
            assert_eq!(key.is_closed(), watch.level() == Level::Closed);
            assert_eq!(key.is_closed(), key.table().fill_ratio() >= FILL_CLOSED);
            for _ in 0..1000 {
                key.table().insert(&rng.bytes());
            }
        }
        assert_eq!(seen, [Level::Planned, Level::Warning, Level::Degraded, Level::Closed]);
    }

    #[test]
    fn tables_are_looked_at_once_a_second() {
        let mut watch = FillWatch::default();
        watch.tick(Nanos::from_secs(5));
        assert_eq!(watch.next_deadline(), Nanos::from_secs(6));
        watch.tick(Nanos::from_millis(5500));
        assert_eq!(watch.next_deadline(), Nanos::from_secs(6));
    }
}
