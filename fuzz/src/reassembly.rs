//! Parts of messages in any order, twice, contradicting each other: an inbox beside a slow model.

use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::crypto::x25519::Secret;
use mixline::message::envelope::{self, Part};
use mixline::message::fragment::Cut;
use mixline::message::inbox::PARTIAL_SPAN_MAX;
use mixline::message::{Inbox, MessageId};
use std::collections::{BTreeMap, BTreeSet};

const PART_BYTES: usize = 4;
/// Opening an envelope takes most of the time.
const LETTERS_MAX: usize = 64;
/// What a letter of a small part takes in memory, at most.
const LETTER_COST_MAX: usize = 1024;

/// What an inbox must do, said in the plainest way.
#[derive(Default)]
struct Model {
    unfinished: BTreeMap<MessageId, Unfinished>,
    finished: BTreeSet<MessageId>,
    stored: u64,
}

struct Unfinished {
    cut: Cut,
    /// When its last new part came.
    last: Nanos,
    /// The parts that are here and the letters that brought them.
    parts: BTreeMap<u32, (Vec<u8>, u64)>,
}

impl Model {
    fn forget(&mut self, now: Nanos) {
        self.unfinished.retain(|_, message| message.last + PARTIAL_SPAN_MAX > now);
    }

    fn take(&mut self, part: &Part, letter: u64, now: Nanos) -> Option<Vec<u8>> {
        if self.finished.contains(&part.id) {
            return None;
        }
        let new = || Unfinished { cut: part.cut, last: now, parts: BTreeMap::new() };
        let unfinished = self.unfinished.entry(part.id).or_insert_with(new);
        if unfinished.cut != part.cut {
            return None;
        }
        unfinished.parts.entry(part.number).or_insert_with(|| {
            unfinished.last = now;
            (part.content.clone(), letter)
        });
        if (0..part.cut.parts()).any(|number| !unfinished.parts.contains_key(&number)) {
            return None;
        }
        self.finished.insert(part.id);
        let parts = self.unfinished.remove(&part.id)?.parts;
        Some(parts.into_values().flat_map(|(content, _)| content).collect())
    }

    fn first_held(&self) -> Option<u64> {
        let held = self.unfinished.values().flat_map(|message| message.parts.values());
        held.map(|(_, letter)| *letter).filter(|letter| *letter > self.stored).min()
    }
}

/// Letters of four bytes: message, part, length, and what else is to happen. Accepted when a
/// message becomes whole.
pub fn run(input: &[u8]) -> bool {
    let secret = Secret::from_bytes([7; 32]);
    let (public, mut rng) = (secret.public(), Rng::from_seed([1; 32]));
    let (mut inbox, mut model) = (Inbox::new(secret), Model::default());
    let (mut given, mut now) = (0, Nanos::ZERO);
    for (letter, &bytes) in (1..).zip(input.as_chunks::<4>().0).take(LETTERS_MAX) {
        let [message, number, length, event] = bytes;
        let Some(part) = part(message % 8, number % 8, length % 32) else { continue };
        let mut sealed = envelope::seal(&part, &public, &mut rng).expect("a usable key");
        let is_damaged = event % 8 == 1;
        if is_damaged {
            let place = usize::from(event) % sealed.len();
            sealed[place] ^= 1;
        }
        // Hours pass, up to more than a day.
        now = now + Nanos::from_secs(if event % 8 == 3 { 3600 * u64::from(event / 8) } else { 1 });
        model.forget(now);
        let expected = if is_damaged { None } else { model.take(&part, letter, now) };
        let received = inbox.take(letter, &sealed, now);
        assert_eq!(received.as_ref().map(|received| &received.bytes), expected.as_ref());
        assert!(received.is_none_or(|received| received.id == part.id));
        if event % 16 == 2 {
            model.stored = letter;
            inbox.stored(letter);
        }
        assert_eq!(inbox.first_held(), model.first_held());
        given += u64::from(expected.is_some());
    }
    let counts = inbox.counts();
    assert_eq!((counts.messages, counts.evicted), (given, 0));
    assert_eq!(inbox.held_bytes() == 0, model.unfinished.is_empty());
    assert!(inbox.held_bytes() <= LETTER_COST_MAX * LETTERS_MAX);
    inbox.tick(now + PARTIAL_SPAN_MAX);
    assert_eq!((inbox.held_bytes(), inbox.first_held()), (0, None));
    given > 0
}

/// What a part of a message holds follows from its place, so that a wrong one shows.
pub(super) fn part(message: u8, number: u8, length: u8) -> Option<Part> {
    let cut = Cut::new(length.into(), PART_BYTES)?;
    let range = cut.range(number.into())?;
    let content = range.map(|place| message ^ length.wrapping_mul(7) ^ place.to_le_bytes()[0]);
    Some(Part { id: [message; 16], number: number.into(), cut, content: content.collect() })
}

/// Two messages in turns with copies and damage, one that is never whole, one that contradicts
/// itself, one of which no more comes for a day.
pub fn seeds() -> Vec<Vec<u8>> {
    let letters: [&[[u8; 4]]; 5] = [
        &[[1, 2, 10, 0], [2, 0, 5, 0], [1, 0, 10, 0], [1, 0, 10, 0], [1, 1, 10, 1], [2, 1, 5, 2]],
        &[[1, 1, 10, 1], [1, 1, 10, 0], [1, 0, 10, 0], [1, 2, 10, 0], [1, 2, 10, 0], [3, 0, 1, 0]],
        &[[1, 0, 31, 0], [1, 3, 31, 2], [1, 4, 31, 0], [2, 0, 4, 0]],
        &[[1, 0, 8, 0], [1, 1, 7, 0], [1, 0, 7, 0], [1, 1, 8, 0]],
        &[[1, 0, 8, 0], [2, 0, 7, 163], [1, 1, 8, 43], [1, 0, 8, 0], [2, 1, 7, 11]],
    ];
    letters.iter().map(|letters| letters.as_flattened().to_vec()).collect()
}
