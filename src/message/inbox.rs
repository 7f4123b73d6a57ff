//! The recipient's end: envelopes opened, messages put together, each given out once.
//!
//! Whoever knows the address can send junk. What does not open is dropped. What opens, but is
//! never completed, takes memory only for the parts that came; when all memory is taken, the
//! message goes whose last part came the longest ago. A message of which parts keep coming is
//! therefore lost only if [`HELD_BYTES_MAX`] of junk comes between two of them, and no junk that
//! came first keeps a message out. Nobody else can touch a message: its id is sealed.

mod finished;
mod partial;

pub use finished::FINISHED_MESSAGES_MAX;

use std::collections::{BTreeMap, BTreeSet};

use super::envelope::{self, Part};
use super::{DEADLINE_MAX, MESSAGE_BYTES_MAX, MessageId, part_bytes};
use crate::clock::Nanos;
use crate::crypto::x25519;
use crate::sphinx::Geometry;
use finished::Finished;
use partial::{Addition, MESSAGE_OVERHEAD_BYTES, Partial};

/// Bytes of all parts of unfinished messages at most, with what keeping them takes.
pub const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a message is kept of which no more parts come: a day more than its sender may go on,
/// so that no part is dropped of one that is yet reported as delivered.
pub const PARTIAL_SPAN_MAX: Nanos = Nanos(DEADLINE_MAX.0 + 24 * 60 * 60 * 1_000_000_000);

/// Bytes of a part's content in the default geometry.
const CONTENT_BYTES: usize = part_bytes(Geometry::DEFAULT);
/// What the longest message takes, and what the smallest letter of junk does that is kept.
const LONGEST_BYTES: usize = MESSAGE_OVERHEAD_BYTES
    + MESSAGE_BYTES_MAX.div_ceil(CONTENT_BYTES) * partial::cost(CONTENT_BYTES);
const JUNK_BYTES: usize = MESSAGE_OVERHEAD_BYTES + partial::cost(CONTENT_BYTES);

/// Letters of junk between two parts of a message that push it out, at least.
pub const JUNK_LETTERS_MIN: usize = (HELD_BYTES_MAX - LONGEST_BYTES) / JUNK_BYTES;

/// A message, whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    /// Its id: the sender's for it.
    pub id: MessageId,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The letters that brought its parts, in the order of the parts.
    pub letters: Vec<u64>,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Received").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// What came in and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Parts that were new.
    pub parts: u64,
    /// Messages given out.
    pub messages: u64,
    /// Envelopes that did not open.
    pub unopened: u64,
    /// Parts that were here before, or whose message was.
    pub duplicates: u64,
    /// Parts that do not belong to the rest of their message.
    pub contradictory: u64,
    /// Messages dropped, with all their parts, for want of room.
    pub evicted: u64,
    /// Messages dropped because no more of them came.
    pub expired: u64,
}

/// A mailbox's messages on their way in.
#[derive(Debug)]
pub struct Inbox {
    secret: x25519::Secret,
    partial: BTreeMap<MessageId, Partial>,
    held_bytes: usize,
    /// Unfinished messages by the turn of their last part: the first is the next to go.
    by_turn: BTreeMap<u64, MessageId>,
    turn: u64,
    /// Letters whose part is kept nowhere but here.
    letters: BTreeSet<u64>,
    finished: Finished,
    counts: Counts,
}

impl Inbox {
    /// For envelopes sealed to the holder of `secret`.
    pub fn new(secret: x25519::Secret) -> Self {
        Inbox {
            secret,
            partial: BTreeMap::new(),
            held_bytes: 0,
            by_turn: BTreeMap::new(),
            turn: 0,
            letters: BTreeSet::new(),
            finished: Finished::default(),
            counts: Counts::default(),
        }
    }

    /// Takes what a letter holds, an envelope; gives the message that it completes.
    pub fn take(&mut self, letter: u64, body: &[u8], now: Nanos) -> Option<Received> {
        self.tick(now);
        let Ok(part) = envelope::open(body, &self.secret) else {
            self.counts.unopened += 1;
            return None;
        };
        if self.finished.contains(&part.id) {
            self.counts.duplicates += 1;
            return None;
        }
        let id = part.id;
        if !self.hold(part, letter, now) {
            return None;
        }
        if self.partial.get(&id).is_some_and(Partial::is_whole) {
            return self.finish(id);
        }
        self.evict();
        None
    }

    /// The oldest letter with a part of an unfinished message that is nowhere but here. This one
    /// and all later ones must not be acknowledged to the gateway, or the message is lost if this
    /// process ends; all earlier ones that were taken may be.
    pub fn first_held(&self) -> Option<u64> {
        self.letters.first().copied()
    }

    /// The caller keeps all letters up to `letter` where they outlast this process, and will
    /// take them in again after a restart: they may be acknowledged. Messages that are longer
    /// than the gateway's window of letters need this.
    pub fn stored(&mut self, letter: u64) {
        self.letters = match letter.checked_add(1) {
            Some(next) => self.letters.split_off(&next),
            None => BTreeSet::new(),
        };
    }

    /// Drops messages of which no more came for too long.
    pub fn tick(&mut self, now: Nanos) {
        while self.next_deadline() <= now {
            self.counts.expired += u64::from(self.drop_first());
        }
    }

    /// When [`Inbox::tick`] has something to do.
    pub fn next_deadline(&self) -> Nanos {
        let first = self.by_turn.first_key_value().and_then(|(_, id)| self.partial.get(id));
        first.map_or(Nanos::NEVER, |partial| partial.last + PARTIAL_SPAN_MAX)
    }

    /// What came in and what became of it.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes of the parts of unfinished messages, with what keeping them takes.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Keeps a part if it is new.
    fn hold(&mut self, part: Part, letter: u64, now: Nanos) -> bool {
        let id = part.id;
        let partial = self.partial.entry(id).or_insert_with(|| {
            self.held_bytes += MESSAGE_OVERHEAD_BYTES;
            Partial::new(part.cut)
        });
        let before = partial.bytes();
        match partial.add(part, letter) {
            Addition::New => {}
            Addition::Duplicate => {
                self.counts.duplicates += 1;
                return false;
            }
            Addition::Contradiction => {
                self.counts.contradictory += 1;
                return false;
            }
        }
        self.counts.parts += 1;
        self.held_bytes += partial.bytes() - before;
        self.letters.insert(letter);
        self.by_turn.remove(&partial.turn);
        self.turn += 1;
        (partial.turn, partial.last) = (self.turn, now);
        self.by_turn.insert(self.turn, id);
        true
    }

    fn finish(&mut self, id: MessageId) -> Option<Received> {
        let partial = self.release(&id)?;
        let letters = partial.letters().collect();
        let bytes = partial.into_bytes();
        self.finished.insert(id);
        self.counts.messages += 1;
        Some(Received { id, bytes, letters })
    }

    /// Makes room, if more is held than may be.
    fn evict(&mut self) {
        while self.held_bytes > HELD_BYTES_MAX && self.drop_first() {
            self.counts.evicted += 1;
        }
    }

    /// Drops the unfinished message whose last part came the longest ago.
    fn drop_first(&mut self) -> bool {
        let first = self.by_turn.first_key_value().map(|(_, id)| *id);
        first.and_then(|id| self.release(&id)).is_some()
    }

    fn release(&mut self, id: &MessageId) -> Option<Partial> {
        let partial = self.partial.remove(id)?;
        self.held_bytes -= partial.bytes();
        self.by_turn.remove(&partial.turn);
        for letter in partial.letters() {
            self.letters.remove(&letter);
        }
        Some(partial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;
    use crate::message::fragment::Cut;

    const NOW: Nanos = Nanos::from_secs(1);

    struct Sender {
        secret: x25519::Secret,
        rng: Rng,
    }

    impl Sender {
        fn new(seed: u8) -> Self {
            let mut rng = Rng::from_seed([seed; 32]);
            Sender { secret: x25519::Secret::random(&mut rng), rng }
        }

        fn inbox(&self) -> Inbox {
            Inbox::new(self.secret.clone())
        }

        /// The envelope of one part of `message`, cut into parts of ten bytes.
        fn seal(&mut self, id: MessageId, message: &[u8], number: u32) -> Vec<u8> {
            let cut = Cut::new(message.len(), 10).unwrap();
            let content = message[cut.range(number).unwrap()].to_vec();
            let part = Part { id, number, cut, content };
            envelope::seal(&part, &self.secret.public(), &mut self.rng).unwrap()
        }
    }

    #[test]
    fn a_message_is_given_once_in_whatever_order_and_how_often_its_parts_come() {
        let mut sender = Sender::new(1);
        let mut inbox = sender.inbox();
        let message: Vec<u8> = (0..35).collect();
        let parts: Vec<_> = (0..4).map(|number| sender.seal([1; 16], &message, number)).collect();
        for (letter, number) in [(1, 3), (2, 1), (3, 1), (4, 0)] {
            assert_eq!(inbox.take(letter, &parts[number], NOW), None);
        }
        let received = inbox.take(5, &parts[2], NOW);
        let letters = vec![4, 2, 5, 1];
        assert_eq!(received, Some(Received { id: [1; 16], bytes: message, letters }));
        for (letter, part) in (6..).zip(&parts) {
            assert_eq!(inbox.take(letter, part, NOW), None);
        }
        let counts = Counts { parts: 4, messages: 1, duplicates: 5, ..Counts::default() };
        assert_eq!((inbox.counts(), inbox.held_bytes()), (counts, 0));
    }

    #[test]
    fn letters_are_held_until_their_message_is_whole_or_stored_elsewhere() {
        let mut sender = Sender::new(2);
        let mut inbox = sender.inbox();
        let (long, short) = ([1; 100], [2; 20]);
        assert_eq!(inbox.first_held(), None);
        inbox.take(3, &sender.seal([1; 16], &long, 0), NOW);
        inbox.take(4, &sender.seal([2; 16], &short, 0), NOW);
        inbox.take(5, &sender.seal([1; 16], &long, 1), NOW);
        inbox.take(6, &[0; 200], NOW);
        assert_eq!(inbox.first_held(), Some(3));
        inbox.stored(3);
        assert_eq!(inbox.first_held(), Some(4));
        assert!(inbox.take(7, &sender.seal([2; 16], &short, 1), NOW).is_some());
        assert_eq!(inbox.first_held(), Some(5));
        // A copy of a part in another letter may be acknowledged; the same letter still may not.
        inbox.take(8, &sender.seal([1; 16], &long, 1), NOW);
        inbox.take(5, &sender.seal([1; 16], &long, 1), NOW);
        assert_eq!((inbox.first_held(), inbox.letters.len()), (Some(5), 1));
        inbox.stored(u64::MAX);
        assert_eq!(inbox.first_held(), None);
    }

    #[test]
    fn a_part_that_contradicts_the_others_changes_nothing() {
        let mut sender = Sender::new(3);
        let mut inbox = sender.inbox();
        inbox.take(1, &sender.seal([1; 16], &[1; 20], 0), NOW);
        inbox.take(2, &sender.seal([1; 16], &[9; 35], 1), NOW);
        assert_eq!(inbox.counts().contradictory, 1);
        let received = inbox.take(3, &sender.seal([1; 16], &[1; 20], 1), NOW);
        assert_eq!(received.map(|received| received.bytes), Some(vec![1; 20]));
    }

    #[test]
    fn a_part_waits_for_the_last_one_as_long_as_any_sender_goes_on() {
        let mut sender = Sender::new(7);
        let mut inbox = sender.inbox();
        inbox.take(1, &sender.seal([1; 16], &[1; 20], 0), NOW);
        inbox.tick(NOW + DEADLINE_MAX);
        let received = inbox.take(2, &sender.seal([1; 16], &[1; 20], 1), NOW + DEADLINE_MAX);
        assert!(received.is_some());
    }

    #[test]
    fn a_message_of_which_no_more_comes_is_dropped_in_the_end() {
        let mut sender = Sender::new(4);
        let mut inbox = sender.inbox();
        inbox.take(1, &sender.seal([1; 16], &[1; 30], 0), NOW);
        inbox.take(2, &sender.seal([2; 16], &[1; 30], 0), NOW + NOW);
        inbox.take(3, &sender.seal([1; 16], &[1; 30], 1), NOW + NOW + NOW);
        assert_eq!(inbox.next_deadline(), NOW + NOW + PARTIAL_SPAN_MAX);
        inbox.tick(NOW + NOW + PARTIAL_SPAN_MAX);
        assert_eq!((inbox.counts().expired, inbox.first_held()), (1, Some(1)));
        let received = inbox.take(4, &sender.seal([1; 16], &[1; 30], 2), PARTIAL_SPAN_MAX);
        assert!(received.is_some() && inbox.held_bytes() == 0);
        assert_eq!(inbox.next_deadline(), Nanos::NEVER);
    }

    /// Without envelopes: opening so many takes minutes.
    fn junk(inbox: &mut Inbox, number: u64) {
        let mut id = [0xff; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        let cut = Cut::new(MESSAGE_BYTES_MAX, CONTENT_BYTES).unwrap();
        let part = Part { id, number: 0, cut, content: vec![0; CONTENT_BYTES] };
        assert!(inbox.hold(part, number, NOW));
        inbox.evict();
    }

    #[test]
    fn junk_does_not_push_out_a_message_of_which_parts_keep_coming() {
        let mut sender = Sender::new(5);
        let mut inbox = sender.inbox();
        let message = [7; 40];
        let mut letters = 1_000_000..;
        for number in 0..3 {
            inbox.take(0, &sender.seal([1; 16], &message, number), NOW);
            for _ in 0..JUNK_LETTERS_MIN {
                junk(&mut inbox, letters.next().unwrap());
                assert!(inbox.held_bytes() <= HELD_BYTES_MAX);
            }
        }
        assert!(inbox.counts().evicted > 0);
        let received = inbox.take(0, &sender.seal([1; 16], &message, 3), NOW);
        assert_eq!(received.map(|received| received.bytes), Some(message.to_vec()));
    }

    #[test]
    fn junk_that_came_first_keeps_no_message_out() {
        let mut sender = Sender::new(6);
        let mut inbox = sender.inbox();
        for number in 0..2 * JUNK_LETTERS_MIN as u64 {
            junk(&mut inbox, number);
        }
        assert_eq!(inbox.take(0, &sender.seal([1; 16], &[7; 20], 0), NOW), None);
        assert!(inbox.take(0, &sender.seal([1; 16], &[7; 20], 1), NOW).is_some());
    }
}
