//! A table as full as it is planned to be, and what it costs to insert into it.

use crate::usage::processor_time;
use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::host;
use mixline::replay::{FILL_PLANNED, Options, Place, Table, Verdict};
use std::io;
use std::sync::Barrier;
use std::thread;

/// Tags that are given their places together, as by a worker.
const GROUP: usize = 32;
/// Rounds of a measurement, of which the fastest counts.
const ROUNDS: u64 = 40;
/// A round has so many tags that all rounds together leave the table as full as it was.
const LANES_PER_ROUND_TAG: u64 = 8192;
/// And never so many that it is long: others want the core too.
const ROUND_TAGS_MAX: u64 = 1 << 15;
const LANE_BYTES: u64 = 2;

/// How tags are inserted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asking {
    /// A group's places first, so that their memory comes together.
    InGroups,
    /// One tag after the other.
    OneByOne,
}

/// What a measurement found.
pub(crate) struct Cost {
    /// Of one tag, for one thread.
    pub(crate) ns: f64,
}

/// The table, and which tags are in it: those below `next`.
pub(crate) struct Filled {
    table: Table,
    options: Options,
    table_bytes: u64,
    next: u64,
    /// Of the new tags of all measurements.
    asked: u64,
    seen: u64,
}

fn tag(number: u64) -> [u8; 32] {
    let mut tag = [0; 32];
    tag[..8].copy_from_slice(&number.to_le_bytes());
    tag
}

/// How many of `tags` the table has seen.
fn insert(table: &Table, tags: &[[u8; 32]], asking: Asking) -> u64 {
    let is_seen = |verdict| u64::from(verdict == Verdict::Seen);
    if asking == Asking::OneByOne {
        return tags.iter().map(|tag| is_seen(table.insert(tag))).sum();
    }
    let mut seen = 0;
    for group in tags.chunks(GROUP) {
        let places: arrayvec::ArrayVec<_, GROUP> =
            group.iter().map(|tag| table.place(tag)).collect();
        places.iter().for_each(Place::prefetch);
        seen += places.into_iter().map(|place| is_seen(place.record())).sum::<u64>();
    }
    seen
}

impl Filled {
    /// A table of `table_bytes`, filled as planned by all cores.
    ///
    /// # Errors
    /// When there is not as much memory.
    pub(crate) fn of(table_bytes: u64) -> io::Result<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "a positive whole number")]
        let packets_max = (FILL_PLANNED * (table_bytes / LANE_BYTES) as f64) as u64;
        let options = Options { packets_max };
        let table = Table::new(options, &mut Rng::from_seed([11; 32]))?;
        let threads = host::cores().len() as u64;
        let share = packets_max.div_ceil(threads);
        thread::scope(|scope| {
            for first in (0..threads).map(|thread| thread * share) {
                let (table, end) = (&table, packets_max.min(first + share));
                scope.spawn(move || {
                    for first in (first..end).step_by(GROUP) {
                        let numbers = first..end.min(first + GROUP as u64);
                        let tags: arrayvec::ArrayVec<_, GROUP> = numbers.map(tag).collect();
                        insert(table, &tags, Asking::InGroups);
                    }
                });
            }
        });
        Ok(Filled { table, options, table_bytes, next: packets_max, asked: 0, seen: 0 })
    }

    /// Tags that it was planned for, and has in it.
    pub(crate) fn tags(&self) -> u64 {
        self.options.packets_max
    }

    pub(crate) fn fill_ratio(&self) -> f64 {
        self.table.fill_ratio()
    }

    pub(crate) fn bits_per_packet(&self) -> f64 {
        8.0 * self.table_bytes as f64 / self.tags() as f64
    }

    /// Share of the new tags so far that were taken for others.
    pub(crate) fn false_positives(&self) -> f64 {
        self.seen as f64 / self.asked as f64
    }

    /// What a new tag costs each of `threads` threads that insert at the same time.
    pub(crate) fn cost(&mut self, asking: Asking, threads: usize) -> Cost {
        let round_tags = (self.table_bytes / LANE_BYTES / LANES_PER_ROUND_TAG).min(ROUND_TAGS_MAX);
        let mut ns = f64::INFINITY;
        for _ in 0..ROUNDS {
            let start = Barrier::new(threads);
            let rounds: Vec<(Nanos, u64)> = thread::scope(|scope| {
                let spawn = |number: usize| {
                    let first = self.next + number as u64 * round_tags;
                    let tags: Vec<_> = (first..first + round_tags).map(tag).collect();
                    let (table, start) = (&self.table, &start);
                    scope.spawn(move || {
                        host::pin(host::cores().into_iter().rev().nth(number).unwrap_or_default());
                        start.wait();
                        let before = processor_time();
                        let seen = insert(table, &tags, asking);
                        (processor_time() - before, seen)
                    })
                };
                let all: Vec<_> = (0..threads).map(spawn).collect();
                all.into_iter().map(|one| one.join().expect("it ends")).collect()
            });
            let asked = round_tags * threads as u64;
            self.next += asked;
            self.asked += asked;
            self.seen += rounds.iter().map(|(_, seen)| seen).sum::<u64>();
            let time: u64 = rounds.iter().map(|(time, _)| time.0).sum();
            ns = ns.min(time as f64 / asked as f64);
        }
        Cost { ns }
    }
}
