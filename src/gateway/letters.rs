//! The letters of one mailbox on their way to its owner: read ahead, sent, sent again.
//!
//! Letters are read from the store in pages and go through in order of their numbers. Whatever has
//! waited too long for its acknowledgement is read again, from the oldest such letter on; what is
//! then still on its way, or has arrived ahead of a missing one, is passed over.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::Nanos;
use crate::link::control::Ahead;
use crate::store::{Letter, Mailbox};

/// Letters behind the last acknowledged one that may be on their way.
const WINDOW_LETTERS: u64 = 256;
/// Letters that one read brings.
pub(super) const PAGE_LETTERS: usize = 32;
/// With fewer letters at hand the next page is read.
const AT_HAND_MIN: usize = 16;

/// What all readings keep to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a delivery waits for its acknowledgement before it is sent again.
    pub(super) resend_after: Nanos,
    /// Bytes of the longest letter that can be delivered: the mailbox may be older than the
    /// network's payload size.
    pub(super) letter_bytes_max: usize,
}

/// One mailbox's letters.
#[derive(Debug)]
pub(super) struct Letters {
    serial: u64,
    mailbox: Mailbox,
    limits: Limits,
    /// Everything up to this letter has arrived.
    acknowledged: u64,
    /// Everything up to this letter was read once.
    read: u64,
    /// Whether there may be letters behind what was read.
    more: bool,
    /// Whether a page is on its way from the store.
    reading: bool,
    at_hand: VecDeque<Letter>,
    /// What was sent, and when it is to be sent again: never, if it has arrived ahead.
    sent: BTreeMap<u64, Nanos>,
}

impl Letters {
    /// The letters behind `acknowledged`, in the reading that `serial` names.
    pub(super) fn new(serial: u64, mailbox: Mailbox, acknowledged: u64, limits: Limits) -> Self {
        Letters {
            serial,
            mailbox,
            limits,
            acknowledged,
            read: acknowledged,
            more: true,
            reading: false,
            at_hand: VecDeque::new(),
            sent: BTreeMap::new(),
        }
    }

    /// Which reading of a mailbox this is: a page that another one wanted says nothing here.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// Whose they are.
    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// A letter was put into the mailbox.
    pub(super) fn more_arrived(&mut self) {
        self.more = true;
    }

    /// The letter behind which a page is to be read now, if one is.
    pub(super) fn wanted(&mut self, now: Nanos) -> Option<u64> {
        if self.reading || self.at_hand.len() >= AT_HAND_MIN {
            return None;
        }
        if self.at_hand.is_empty()
            && let Some((overdue, _)) = self.sent.iter().find(|(_, again_at)| **again_at <= now)
        {
            self.reading = true;
            return Some(overdue - 1);
        }
        let in_window = self.read < self.acknowledged + WINDOW_LETTERS;
        self.reading = self.more && in_window;
        self.reading.then_some(self.read)
    }

    /// The page that was wanted will not come.
    pub(super) fn page_refused(&mut self) {
        self.reading = false;
    }

    /// Takes the page that was wanted; everything up to `acknowledged` is gone from the store.
    /// Returns how many letters are too long: they count as arrived.
    pub(super) fn take_page(&mut self, acknowledged: u64, page: Vec<Letter>, now: Nanos) -> u64 {
        let mut too_long = 0;
        self.reading = false;
        if page.len() < PAGE_LETTERS {
            self.more = false;
        } else if page.last().is_some_and(|letter| letter.number >= self.read) {
            self.more = true;
        }
        self.forget(acknowledged);
        for letter in page {
            if letter.number > self.acknowledged + WINDOW_LETTERS {
                self.more = true;
                break;
            }
            self.read = self.read.max(letter.number);
            if letter.number > self.acknowledged && letter.body.len() > self.limits.letter_bytes_max
            {
                let before = self.sent.insert(letter.number, Nanos::NEVER);
                too_long += u64::from(before != Some(Nanos::NEVER));
                continue;
            }
            let is_under_way =
                self.sent.get(&letter.number).is_some_and(|again_at| *again_at > now);
            if letter.number > self.acknowledged && !is_under_way {
                self.at_hand.push_back(letter);
            }
        }
        too_long
    }

    /// What has arrived behind the acknowledged letters without a hole, if that is news: where
    /// the store may forget up to. The owner cannot say so when a letter among them is too long.
    pub(super) fn acknowledge_arrived(&mut self) -> Option<u64> {
        let arrived = self.sent.iter().zip(self.acknowledged + 1..);
        let cursor = arrived
            .take_while(|((number, again_at), next)| *number == next && **again_at == Nanos::NEVER)
            .last()
            .map(|(_, cursor)| cursor)?;
        self.forget(cursor);
        Some(cursor)
    }

    /// The next letter to send, and how many numbers before it the oldest waiting one has.
    pub(super) fn next(&mut self, now: Nanos) -> Option<(Letter, u16)> {
        let oldest = self.acknowledged + 1;
        loop {
            let letter = self.at_hand.pop_front()?;
            let has_arrived = self.sent.get(&letter.number) == Some(&Nanos::NEVER);
            if letter.number >= oldest && !has_arrived {
                self.sent.insert(letter.number, now + self.limits.resend_after);
                let behind = u16::try_from(letter.number - oldest).unwrap_or(u16::MAX);
                return Some((letter, behind));
            }
        }
    }

    /// Everything up to `cursor` has arrived; where the store may forget up to, if that is news.
    pub(super) fn acknowledge(&mut self, cursor: u64) -> Option<u64> {
        // A cursor ahead of what was sent would delete letters that nobody has seen.
        let cursor = cursor.min(self.sent.last_key_value().map_or(0, |(number, _)| *number));
        if cursor <= self.acknowledged {
            return None;
        }
        self.forget(cursor);
        Some(cursor)
    }

    /// Some have arrived ahead of a missing one: they need not be sent again.
    pub(super) fn arrived_ahead(&mut self, ahead: &Ahead) {
        for (number, again_at) in self.sent.iter_mut() {
            if ahead.holds(*number) {
                *again_at = Nanos::NEVER;
            }
        }
    }

    fn forget(&mut self, cursor: u64) {
        if cursor > self.acknowledged {
            self.acknowledged = cursor;
            self.read = self.read.max(cursor);
            self.sent = self.sent.split_off(&(cursor + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESEND: Nanos = Nanos::from_secs(1);
    const LIMITS: Limits = Limits { resend_after: RESEND, letter_bytes_max: 3 };

    /// A mailbox with `count` letters, as the store would answer.
    struct Shelf {
        count: u64,
        acknowledged: u64,
    }

    impl Shelf {
        fn serve(&self, letters: &mut Letters, now: Nanos) {
            while let Some(after) = letters.wanted(now) {
                let numbers = (after + 1).max(self.acknowledged + 1)..=self.count;
                let page = numbers.take(PAGE_LETTERS);
                let page = page.map(|number| Letter { number, body: [1].into() });
                letters.take_page(self.acknowledged, page.collect(), now);
            }
        }

        fn send(&self, letters: &mut Letters, now: Nanos) -> Vec<u64> {
            let mut sent = vec![];
            loop {
                self.serve(letters, now);
                let Some((letter, behind)) = letters.next(now) else { return sent };
                assert_eq!(u64::from(behind), letter.number - 1 - letters.acknowledged);
                sent.push(letter.number);
            }
        }
    }

    #[test]
    fn no_more_than_a_window_is_on_its_way() {
        let shelf = Shelf { count: 1000, acknowledged: 0 };
        let mut letters = Letters::new(1, [1; 32], 0, LIMITS);
        let sent = shelf.send(&mut letters, Nanos::ZERO);
        assert_eq!(sent, (1..=256).collect::<Vec<_>>());
        assert_eq!(letters.acknowledge(100), Some(100));
        assert_eq!(letters.acknowledge(100), None);
        let sent = shelf.send(&mut letters, Nanos::ZERO);
        assert_eq!(sent, (257..=356).collect::<Vec<_>>());
    }

    #[test]
    fn only_what_has_not_arrived_is_sent_again() {
        let shelf = Shelf { count: 10, acknowledged: 0 };
        let mut letters = Letters::new(1, [1; 32], 0, LIMITS);
        assert_eq!(shelf.send(&mut letters, Nanos::ZERO).len(), 10);
        letters.acknowledge(3);
        letters.arrived_ahead(&Ahead::of(3, [5, 6, 9]));
        assert_eq!(shelf.send(&mut letters, Nanos::from_millis(999)), [0; 0]);
        assert_eq!(shelf.send(&mut letters, Nanos::from_millis(1000)), [4, 7, 8, 10]);
    }

    #[test]
    fn holes_far_apart_cost_a_page_each_and_nothing_is_read_between_them() {
        let shelf = Shelf { count: 250, acknowledged: 0 };
        let mut letters = Letters::new(1, [1; 32], 0, LIMITS);
        assert_eq!(shelf.send(&mut letters, Nanos::ZERO).len(), 250);
        let holes = [2, 3, 90, 200];
        let ahead = (1..=250).filter(|number| !holes.contains(number));
        letters.acknowledge(1);
        letters.arrived_ahead(&Ahead::of(0, ahead));
        let now = Nanos::from_secs(1);
        let (mut reads, mut sent) = (vec![], vec![]);
        for _ in 0..10 {
            if let Some(after) = letters.wanted(now) {
                reads.push(after);
                let page = (after + 1..=shelf.count).take(PAGE_LETTERS);
                let page = page.map(|number| Letter { number, body: [1].into() });
                letters.take_page(0, page.collect(), now);
            }
            sent.extend(letters.next(now).map(|(letter, _)| letter.number));
        }
        assert_eq!(sent, holes);
        assert_eq!(reads, [1, 89, 199]);
    }

    #[test]
    fn a_new_letter_is_sent_when_it_comes_and_one_that_expired_is_passed_over() {
        let mut shelf = Shelf { count: 2, acknowledged: 0 };
        let mut letters = Letters::new(1, [1; 32], 0, LIMITS);
        assert_eq!(shelf.send(&mut letters, Nanos::ZERO), [1, 2]);
        shelf.count = 3;
        assert_eq!(shelf.send(&mut letters, Nanos::ZERO), [0; 0]);
        letters.more_arrived();
        assert_eq!(shelf.send(&mut letters, Nanos::ZERO), [3]);
        shelf.acknowledged = 2;
        assert_eq!(shelf.send(&mut letters, Nanos::from_secs(2)), [3]);
    }

    #[test]
    fn a_letter_that_is_too_long_counts_as_arrived() {
        let mut letters = Letters::new(1, [1; 32], 0, LIMITS);
        assert_eq!(letters.wanted(Nanos::ZERO), Some(0));
        let letter = |(number, bytes)| Letter { number, body: vec![1; bytes].into() };
        let page: Vec<_> = (1..).zip([4, 3, 4, 1]).map(letter).collect();
        assert_eq!(letters.take_page(0, page.clone(), Nanos::ZERO), 2);
        assert_eq!(letters.acknowledge_arrived(), Some(1));
        assert_eq!(letters.acknowledge_arrived(), None);
        let mut sent = || Some(letters.next(Nanos::ZERO)?.0.number);
        assert_eq!([sent(), sent(), sent()], [Some(2), Some(4), None]);
        assert_eq!(letters.acknowledge(2), Some(2));
        assert_eq!(letters.acknowledge_arrived(), Some(3));
        assert_eq!(letters.wanted(Nanos::from_secs(2)), Some(3));
        assert_eq!(letters.take_page(3, page[3..].to_vec(), Nanos::from_secs(2)), 0);
        assert_eq!(letters.next(Nanos::from_secs(2)).map(|(_, behind)| behind), Some(0));
    }

    #[test]
    fn a_cursor_ahead_of_what_was_sent_forgets_nothing_unseen() {
        let shelf = Shelf { count: 5, acknowledged: 0 };
        let mut letters = Letters::new(1, [1; 32], 0, LIMITS);
        assert_eq!(letters.acknowledge(5), None);
        assert_eq!(shelf.send(&mut letters, Nanos::ZERO).len(), 5);
        assert_eq!(letters.acknowledge(u64::MAX), Some(5));
    }
}
