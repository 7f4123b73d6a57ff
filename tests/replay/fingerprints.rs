//! Models of the filter's test-and-set, over the lines of `src/replay/fingerprints.rs`.

#[expect(dead_code, reason = "the library needs more of it than its models")]
#[path = "../../src/replay/fingerprints.rs"]
mod product;

use crate::sync::{AtomicU64, outcomes, together};
use mixline::replay::Verdict;
use product::{LINE_WORDS, Line, PATH_LINES, Path};

/// Four lanes that others have taken, and three.
const FULL: u64 = 0x1111_2222_3333_4444;
const LAST_LANE_FREE: u64 = 0x0000_2222_3333_4444;
/// Words of the smallest table, and of every path.
const WORDS: usize = PATH_LINES * LINE_WORDS;

/// The smallest table there is.
type Table = [Line; PATH_LINES];

/// A table whose paths begin with so many full words, behind them one with the lanes `next`.
fn table(full: usize, next: u64) -> Table {
    let lanes = |word| match word {
        word if word < full => FULL,
        word if word == full => next,
        _ => 0,
    };
    let line = |line| std::array::from_fn(|word| AtomicU64::new(lanes(line * LINE_WORDS + word)));
    std::array::from_fn(|number| Line(line(number)))
}

/// Inserts the tag of that number, on the path of all others: line after line, word after word.
/// Once more, it must be seen, or still have no room.
fn insert(table: &Table, tag: u64) -> Verdict {
    let path = Path::of([0, (7 + tag) << 32], PATH_LINES);
    let verdict = path.record(table);
    let expected = if verdict == Verdict::Full { Verdict::Full } else { Verdict::Seen };
    assert_eq!(path.record(table), expected);
    verdict
}

/// Two threads insert the same tag, and a third one another.
fn two_and_another(table: &Table, thread: usize) -> Verdict {
    insert(table, if thread == 2 { 1 } else { 0 })
}

/// Each thread inserts a tag of its own.
fn different(table: &Table, thread: usize) -> Verdict {
    insert(table, thread as u64)
}

#[track_caller]
fn assert_outcomes(
    (full, next): (usize, u64),
    threads: usize,
    insert: fn(&Table, usize) -> Verdict,
    expected: &[&str],
) {
    let found = outcomes(move || together(table(full, next), threads, insert));
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

const ONE_OF_TWO: &[&str] = &["[New, Seen]", "[Seen, New]"];

#[test]
fn in_an_empty_table_one_of_three_wins() {
    let one_of_three = ["[New, Seen, Seen]", "[Seen, New, Seen]", "[Seen, Seen, New]"];
    assert_outcomes((0, 0), 3, |table, _| insert(table, 0), &one_of_three);
}

#[test]
fn at_the_last_lane_of_a_word_one_of_two_wins_whatever_takes_the_lane() {
    let one_and_the_other = ["[New, Seen, New]", "[Seen, New, New]"];
    assert_outcomes((0, LAST_LANE_FREE), 3, two_and_another, &one_and_the_other);
}

#[test]
fn at_the_last_lane_of_a_line_one_of_two_wins_whatever_takes_the_lane() {
    let one_and_the_other = ["[New, Seen, New]", "[Seen, New, New]"];
    let last_word = LINE_WORDS - 1;
    assert_outcomes((last_word, LAST_LANE_FREE), 3, two_and_another, &one_and_the_other);
}

#[test]
fn at_the_last_lane_of_the_last_line_one_of_two_wins() {
    assert_outcomes((WORDS - 1, LAST_LANE_FREE), 2, two_and_another, ONE_OF_TWO);
}

#[test]
fn the_last_lane_of_all_is_for_one_tag_and_full_never_becomes_new() {
    let last = (WORDS - 1, LAST_LANE_FREE);
    assert_outcomes(last, 2, different, &["[Full, New]", "[New, Full]"]);
    let either = ["[Full, Full, New]", "[New, Seen, Full]", "[Seen, New, Full]"];
    assert_outcomes(last, 3, two_and_another, &either);
}

#[test]
fn a_full_table_takes_nothing() {
    assert_outcomes((WORDS, 0), 2, two_and_another, &["[Full, Full]"]);
}
