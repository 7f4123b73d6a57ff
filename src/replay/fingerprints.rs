//! A lock-free table of 16-bit fingerprints, four lanes to an atomic word.
//!
//! A hash names a path: the eight words of its home line (a cache line), then those of further
//! lines at a stride of its own, [`PATH_LINES`] in all. An insertion walks the path; in a word,
//! a lane with its fingerprint means *seen*, a free lane is taken by one compare-and-swap, and a
//! full word means *go on*. The end of the path means *full*.
//!
//! # Why no tag wins twice
//!
//! Take any number of concurrent insertions of one hash.
//! 1. They walk the same path, because it depends on the hash alone.
//! 2. A lane, once taken, never changes, and a word's lanes are taken from the low end: so a
//!    word that one of them saw full, without the fingerprint, stays so, and none of them ever
//!    claims a lane of it. They all claim in the first word of the path that had room, or in a
//!    later one that they reached because the earlier ones had become full of others.
//! 3. Suppose two won. If in the same word, the later swap compared with the whole word, so it
//!    had seen the earlier one's fingerprint, and would have said *seen*. If in different words,
//!    the one further along had passed the other's word when that was full, without the
//!    fingerprint; but a full word takes no more claims, so the other's claim was already in it,
//!    and would have been *seen*.
//!
//! So each word's own order of changes decides, and relaxed atomics are enough: a stale view
//! only makes the swap fail, and the same word is then looked at again. For the same reason a
//! tag that was once *full* stays so. This forbids freeing lanes, moving fingerprints (cuckoo),
//! a choice between two homes, and resizing the table while it is in use.

use super::Verdict;
use crate::sync::{AtomicU64, Ordering::Relaxed};

/// Words in a line.
pub(super) const LINE_WORDS: usize = 8;
/// Lines on a path: at the planned load nearly all paths end in the first.
pub(super) const PATH_LINES: usize = 16;
const WORD_LANES: u64 = 4;
const LINE_LANES: u64 = LINE_WORDS as u64 * WORD_LANES;
const LANE_BITS: u32 = 16;
/// A one in every lane.
const ONES: u64 = 0x0001_0001_0001_0001;
/// How many lines the sample for the fill ratio has: a standard error below 0.002.
const SAMPLE_LINES: usize = 4096;

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [AtomicU64; LINE_WORDS]);

/// Where a hash looks in a table of so many lines, and for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// The home line.
    home: usize,
    /// From one line to the next.
    stride: usize,
    /// The order of the words within a line: word `i` of the walk is word `i ^ order`.
    order: usize,
    /// Never 0: that is a free lane.
    fingerprint: u64,
}

impl Path {
    /// The path of a uniform 128-bit hash through `lines` lines, at least [`PATH_LINES`]: each
    /// part comes from bits of its own.
    #[inline]
    pub(super) fn of(hash: [u64; 2], lines: usize) -> Self {
        Path {
            home: scale(hash[0], lines),
            stride: 1 + scale(hash[1] << 32, lines - 1),
            order: (hash[1] >> 61) as usize,
            fingerprint: ((hash[1] >> 32) & 0xffff).max(1),
        }
    }

    /// The line where it begins, and nearly always ends.
    #[inline]
    pub(super) fn home(self) -> usize {
        self.home
    }

    /// Test-and-set in `lines`, of which there are as many as the path was made for.
    #[inline]
    pub(super) fn record(self, lines: &[Line]) -> Verdict {
        let mut line = self.home;
        for _ in 0..PATH_LINES {
            let words = &lines[line].0;
            for step in 0..LINE_WORDS {
                if let Some(verdict) = claim(&words[step ^ self.order], self.fingerprint) {
                    return verdict;
                }
            }
            line += self.stride;
            if line >= lines.len() {
                line -= lines.len();
            }
        }
        Verdict::Full
    }
}

/// The lines of a table with at least `lanes` lanes.
pub(super) fn lines_for(lanes: u64) -> u64 {
    lanes.div_ceil(LINE_LANES).max(PATH_LINES as u64)
}

/// Share of the lanes that are taken, from a sample of `lines`.
pub(super) fn fill_ratio(lines: &[Line]) -> f64 {
    let sample = lines.iter().step_by(lines.len().div_ceil(SAMPLE_LINES));
    let lanes = sample.len() as u64 * LINE_LANES;
    let taken: u64 = sample.flat_map(|line| &line.0).map(taken_lanes).sum();
    taken as f64 / lanes as f64
}

/// Looks for `fingerprint` in `word`, and takes a free lane if it is not there; nothing when
/// the word is full of others.
#[inline]
fn claim(word: &AtomicU64, fingerprint: u64) -> Option<Verdict> {
    let mut lanes = word.load(Relaxed);
    loop {
        if has_lane(lanes, fingerprint) {
            return Some(Verdict::Seen);
        }
        let taken_bits = (u64::BITS - lanes.leading_zeros()).next_multiple_of(LANE_BITS);
        if taken_bits == u64::BITS {
            return None;
        }
        let claimed = lanes | fingerprint << taken_bits;
        match word.compare_exchange_weak(lanes, claimed, Relaxed, Relaxed) {
            Ok(_) => return Some(Verdict::New),
            Err(changed) => lanes = changed,
        }
    }
}

/// Whether one of four lanes equals `fingerprint`: the difference then has a zero lane, which
/// is the only thing that borrows into its top bit (Warren, "Hacker's Delight", 6-1).
#[inline]
fn has_lane(lanes: u64, fingerprint: u64) -> bool {
    let difference = lanes ^ fingerprint.wrapping_mul(ONES);
    difference.wrapping_sub(ONES) & !difference & ONES << (LANE_BITS - 1) != 0
}

fn taken_lanes(word: &AtomicU64) -> u64 {
    u64::from((u64::BITS - word.load(Relaxed).leading_zeros()).div_ceil(LANE_BITS))
}

/// Maps a uniform 64-bit number to a uniform one below `bound`.
#[expect(clippy::cast_possible_truncation, reason = "the result is below a usize")]
#[inline]
fn scale(uniform: u64, bound: usize) -> usize {
    ((u128::from(uniform) * bound as u128) >> u64::BITS) as usize
}
