//! The replay filter of one mix-key epoch: which tags have been seen. All cores share it.
//!
//! A packet may come a second time on another core, so the filter is keyed by the tag alone. A
//! key may be used only with its own table: they are one object, the [`EpochKey`], and where they
//! lie, in a [`Memory`], they live and die together.

mod error;
mod file;
mod fingerprints;
mod header;
mod map;
mod memory;
mod plan;

use crate::crypto::random::Rng;
use crate::crypto::x25519::Secret;
use fingerprints::Path;
use map::Map;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use std::hash::Hasher as _;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use zeroize::Zeroizing;

pub use error::{Death, MemoryError};
pub use memory::{Memory, Tier};
pub use plan::{Options, Plan};

/// Share of the lanes in use when as many packets have passed as the table was planned for:
/// false positives are then 1e-4. A fuller table is worth a warning.
pub const FILL_PLANNED: f64 = 0.70;
/// From here on the node counts as degraded.
pub const FILL_DEGRADED: f64 = 0.85;
/// From here on the key must not be used any more.
pub const FILL_CLOSED: f64 = 0.90;

/// States of a key, in its memory, so far apart that damage makes neither of the other: packets
/// may be accepted under it.
const OPEN: u64 = u64::from_le_bytes(*b"key open");
/// Its table is full: it is never used again, nor after a restart.
const CLOSED: u64 = u64::from_le_bytes(*b"key shut");

/// What the filter says about a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Never seen before; it is recorded now, and no other caller gets this answer for it.
    New,
    /// Seen before, or (at 1e-4) taken for another that was.
    Seen,
    /// There is no room to record it: the packet must be dropped, not waved through.
    Full,
}

/// The tags seen under one mix key.
///
/// A tag is hashed under a secret of the table's own, so that no sender can aim packets at one
/// place and fill it up.
pub struct Table {
    hash_key: Zeroizing<[u8; 16]>,
    map: Map,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Table")
    }
}

impl Table {
    /// An empty table in this process's memory, touched here, page by page: not for a worker to
    /// do.
    ///
    /// # Errors
    /// When there is not as much memory.
    pub fn new(options: Options, rng: &mut Rng) -> io::Result<Self> {
        let map = Map::anonymous(fingerprints::lines_for(options.lanes()))?;
        map.state().store(OPEN, Relaxed);
        Ok(Table { hash_key: Zeroizing::new(rng.bytes()), map })
    }

    /// The place of `tag`: the only time that it is hashed.
    #[inline]
    pub fn place(&self, tag: &[u8; 32]) -> Place<'_> {
        let mut hasher = SipHasher24::new_with_key(&self.hash_key);
        hasher.write(tag);
        let hash = hasher.finish128();
        Place { table: self, path: Path::of([hash.h1, hash.h2], self.map.lines().len()) }
    }

    /// Records one `tag`, as [`Place::record`] does.
    pub fn insert(&self, tag: &[u8; 32]) -> Verdict {
        self.place(tag).record()
    }

    /// Share of the table in use, from 0 to 1, by a sample: for the control thread to compare
    /// with [`FILL_PLANNED`], [`FILL_DEGRADED`] and [`FILL_CLOSED`].
    pub fn fill_ratio(&self) -> f64 {
        fingerprints::fill_ratio(self.map.lines())
    }
}

/// Where a table looks for one tag. It knows its table, so no tag is ever looked for in another's.
#[derive(Debug)]
#[must_use = "nothing is recorded yet"]
pub struct Place<'t> {
    table: &'t Table,
    path: Path,
}

impl Place<'_> {
    /// Starts loading the memory that [`Place::record`] will need. Worth it for a whole batch
    /// whose places are known, one right behind the other: with the hashes in between, each of
    /// them would wait for the load before it.
    #[inline]
    pub fn prefetch(&self) {
        self.table.map.prefetch(self.path.home());
    }

    /// Test-and-set: records the tag and says whether it had been recorded before.
    ///
    /// Only for tags of packets whose MAC has been verified: junk must not fill the table.
    #[inline]
    pub fn record(self) -> Verdict {
        self.path.record(self.table.map.lines())
    }
}

/// A mix key together with the table of what has been seen under it.
pub struct EpochKey {
    secret: Secret,
    table: Table,
}

impl std::fmt::Debug for EpochKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("EpochKey")
    }
}

impl EpochKey {
    /// Binds `secret` to a new, empty table in this process's memory, for good.
    ///
    /// # Errors
    /// When there is not as much memory.
    pub fn new(secret: Secret, options: Options, rng: &mut Rng) -> io::Result<Self> {
        Ok(EpochKey { secret, table: Table::new(options, rng)? })
    }

    /// The x25519 secret of the epoch.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// What has been seen under it.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Whether no packet may be accepted under it any more.
    pub fn is_closed(&self) -> bool {
        self.table.map.state().load(Relaxed) == CLOSED
    }

    /// Ends its use, for good: its table is too full.
    pub fn close(&self) {
        self.table.map.state().store(CLOSED, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Barrier;

    fn rng(seed: u8) -> Rng {
        Rng::from_seed([seed; 32])
    }

    fn table(packets_max: u64) -> Table {
        Table::new(Options { packets_max }, &mut rng(1)).unwrap()
    }

    /// Tags with a fixed seed, all different.
    fn tags(count: usize, seed: u8) -> Vec<[u8; 32]> {
        let mut rng = rng(seed);
        (0..count).map(|_| rng.bytes()).collect()
    }

    #[test]
    fn a_replay_is_never_new_and_a_first_time_nearly_always() {
        let table = table(100_000);
        let mut chance = rng(2);
        let tags = tags(100_000, 3);
        let mut seen = HashSet::new();
        let mut false_positives = 0;
        for _ in 0..200_000 {
            let tag = &tags[chance.below(100_000) as usize];
            match (table.insert(tag), seen.insert(tag)) {
                (Verdict::New, true) | (Verdict::Seen, false) => {}
                (Verdict::Seen, true) => false_positives += 1,
                (verdict, _) => panic!("{verdict:?}"),
            }
        }
        assert!(false_positives < 20, "{false_positives}");
    }

    #[test]
    fn at_the_planned_fill_one_new_tag_in_ten_thousand_is_taken_for_seen() {
        let table = table(2_000_000);
        let tags = tags(2_000_000, 4);
        let seen = |tags: &[[u8; 32]]| {
            tags.iter().filter(|tag| table.insert(tag) == Verdict::Seen).count()
        };
        let before = seen(&tags[..1_800_000]);
        let last = seen(&tags[1_800_000..]);
        // 1.0e-4 at the end, 3.0e-5 on average over the epoch.
        assert!((8..=28).contains(&last), "{last} of 200 000");
        assert!((30..=90).contains(&(before + last)), "{} of 2 000 000", before + last);
        assert!((table.fill_ratio() - FILL_PLANNED).abs() < 0.01, "{}", table.fill_ratio());
    }

    /// Two threads insert the same tags in the same order; how often each was new.
    fn race(table: &Table, tags: &[[u8; 32]]) -> Vec<usize> {
        let start = Barrier::new(2);
        let insert_all = || {
            start.wait();
            tags.iter().map(|tag| usize::from(table.insert(tag) == Verdict::New)).collect()
        };
        let (mine, other): (Vec<usize>, Vec<usize>) = std::thread::scope(|scope| {
            let other = scope.spawn(insert_all);
            (insert_all(), other.join().unwrap())
        });
        mine.iter().zip(other).map(|(mine, other)| mine + other).collect()
    }

    #[test]
    fn of_two_cores_with_the_same_tag_one_wins_also_in_the_last_lanes_of_the_table() {
        for seed in 0..100 {
            let table = table(300);
            let tags = tags(2000, seed);
            let winners = race(&table, &tags);
            assert!(winners.iter().all(|&count| count <= 1));
            let lanes = table.fill_ratio() * 512.0;
            assert_eq!(winners.iter().sum::<usize>() as f64, lanes, "one lane a winner");
        }
    }

    #[test]
    fn what_one_epoch_has_seen_another_has_not() {
        let mut rng = rng(6);
        let options = Options { packets_max: 1000 };
        let [old, new] = [1, 2]
            .map(|byte| EpochKey::new(Secret::from_bytes([byte; 32]), options, &mut rng).unwrap());
        assert_eq!(old.table().insert(&[7; 32]), Verdict::New);
        assert_eq!(old.table().insert(&[7; 32]), Verdict::Seen);
        assert_eq!(new.table().insert(&[7; 32]), Verdict::New);
    }

    #[test]
    fn keys_are_not_printed() {
        let secret = Secret::random(&mut rng(7));
        let key = EpochKey::new(secret, Options { packets_max: 1 }, &mut rng(7)).unwrap();
        assert_eq!(format!("{key:?} {:?}", key.table()), "EpochKey Table");
    }
}
