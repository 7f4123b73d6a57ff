//! Threads that insert the same ten million tags at the same time.

use mixline::crypto::random::Rng;
use mixline::replay::{Options, Place, Table, Verdict};
use std::sync::Barrier;
use std::thread;

const TAGS: usize = 10_000_000;
/// Tags that all threads are through with before any of them goes on: so they meet.
const STRETCH: usize = 1 << 14;
/// Tags whose memory is fetched together, as a worker does.
const BATCH: usize = 32;
/// Of all tags, those that may be taken for others at the planned load.
const FALSE_POSITIVES_MAX: usize = TAGS / 10_000;

/// Tag `index`: tables hash them under a key of their own, so they need not look random.
fn tag(index: usize) -> [u8; 32] {
    let mut tag = [0; 32];
    tag[..8].copy_from_slice(&index.to_le_bytes());
    tag
}

/// Which tags one thread has found new, a bit for each.
struct Wins(Vec<u64>);

impl Wins {
    fn of(table: &Table, meet: &Barrier) -> Self {
        let mut wins = vec![0; TAGS.div_ceil(64)];
        let batches = (0..TAGS).step_by(BATCH);
        for first in batches {
            if first % STRETCH == 0 {
                meet.wait();
            }
            let tags = first..TAGS.min(first + BATCH);
            let places: Vec<_> = tags.clone().map(|index| table.place(&tag(index))).collect();
            places.iter().for_each(Place::prefetch);
            for (index, place) in tags.zip(places) {
                match place.record() {
                    Verdict::New => wins[index / 64] |= 1 << (index % 64),
                    Verdict::Seen => {}
                    Verdict::Full => panic!("the table was planned for all tags"),
                }
            }
        }
        Wins(wins)
    }
}

fn race(threads: usize) {
    let options = Options { packets_max: TAGS as u64 };
    let table = Table::new(options, &mut Rng::from_seed([7; 32])).expect("29 MB");
    let meet = Barrier::new(threads);
    let wins: Vec<Wins> = thread::scope(|scope| {
        let spawn = |_| scope.spawn(|| Wins::of(&table, &meet));
        let all: Vec<_> = (0..threads).map(spawn).collect();
        all.into_iter().map(|one| one.join().expect("it ends")).collect()
    });
    let (mut won, mut won_twice) = (0, 0);
    for word in 0..TAGS.div_ceil(64) {
        let (any, twice) = wins
            .iter()
            .fold((0, 0), |(any, twice), wins| (any | wins.0[word], twice | any & wins.0[word]));
        won += any.count_ones() as usize;
        won_twice += twice.count_ones();
    }
    let none = TAGS - won;
    let each: Vec<_> =
        wins.iter().map(|wins| wins.0.iter().map(|w| w.count_ones()).sum()).collect();
    let (each, fill): (Vec<u32>, _) = (each, table.fill_ratio());
    eprintln!(
        "{threads} threads, {TAGS} tags: {won} with one winner ({each:?} by thread), {won_twice} \
         with two, {none} with none ({:.1e}, bar 1.0e-4), the table {fill:.3} full",
        none as f64 / TAGS as f64
    );
    assert_eq!(won_twice, 0);
    assert!(none <= FALSE_POSITIVES_MAX, "{none} of {TAGS} taken for others");
    // Each of them was ahead now and then: they did race.
    assert!(each.iter().all(|&won| won > 0), "{each:?}");
}

#[test]
fn of_two_threads_with_the_same_ten_million_tags_never_both_win() {
    race(2);
}

#[test]
fn of_four_threads_with_the_same_ten_million_tags_never_two_win() {
    race(4);
}
