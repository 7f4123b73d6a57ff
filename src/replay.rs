//! The replay filter of one mix-key epoch: which tags have been seen. All cores share it.
//!
//! A packet may come a second time on another core, so the filter is keyed by the tag alone. A
//! key may be used only with its own table: they are one object, the [`EpochKey`].

mod fingerprints;

use crate::crypto::random::Rng;
use fingerprints::{Fingerprints, Place};
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use std::hash::Hasher as _;
use zeroize::Zeroizing;

/// Share of the lanes in use when as many packets have passed as the table was planned for:
/// false positives are then 1e-4. A fuller table is worth a warning.
pub const FILL_PLANNED: f64 = 0.70;
/// From here on the node counts as degraded.
pub const FILL_DEGRADED: f64 = 0.85;
/// From here on the key must not be used any more.
pub const FILL_CLOSED: f64 = 0.90;

/// What a table is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many packets the epoch may bring: the highest admitted rate times the time for which
    /// the key is accepted. A packet costs 2.9 bytes.
    pub packets_max: u64,
}

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
    fingerprints: Fingerprints,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Table")
    }
}

impl Table {
    /// An empty table. Its memory is touched here, page by page: not for a worker to do.
    pub fn new(options: Options, rng: &mut Rng) -> Self {
        let lanes = options.packets_max as f64 / FILL_PLANNED;
        Table {
            hash_key: Zeroizing::new(rng.bytes()),
            fingerprints: Fingerprints::new(lanes.ceil() as u64),
        }
    }

    /// Test-and-set: records `tag` and says whether it had been recorded before.
    ///
    /// Only for tags of packets whose MAC has been verified: junk must not fill the table.
    pub fn insert(&self, tag: &[u8; 32]) -> Verdict {
        self.fingerprints.insert(self.place(tag))
    }

    /// Starts loading the memory that [`Table::insert`] will need for `tag`: worth calling for
    /// a whole batch as soon as the tags are known.
    pub fn prefetch(&self, tag: &[u8; 32]) {
        self.fingerprints.touch(self.place(tag));
    }

    /// Share of the table in use, from 0 to 1, by a sample: for the control thread to compare
    /// with [`FILL_PLANNED`], [`FILL_DEGRADED`] and [`FILL_CLOSED`].
    pub fn fill_ratio(&self) -> f64 {
        self.fingerprints.fill_ratio()
    }

    fn place(&self, tag: &[u8; 32]) -> Place {
        let mut hasher = SipHasher24::new_with_key(&self.hash_key);
        hasher.write(tag);
        let hash = hasher.finish128();
        Place::from_hash(hash.h1, hash.h2)
    }
}

/// A mix key together with the table of what has been seen under it.
pub struct EpochKey {
    secret: Zeroizing<[u8; 32]>,
    table: Table,
}

impl std::fmt::Debug for EpochKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("EpochKey")
    }
}

impl EpochKey {
    /// Binds `secret` to a new, empty table, for good.
    pub fn new(secret: [u8; 32], options: Options, rng: &mut Rng) -> Self {
        EpochKey { secret: Zeroizing::new(secret), table: Table::new(options, rng) }
    }

    /// The x25519 secret of the epoch.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// What has been seen under it.
    pub fn table(&self) -> &Table {
        &self.table
    }
}
