//! What time does to the mailboxes: letters that waited too long, bodies that need not be
//! remembered, mailboxes that nobody opens.
//!
//! A clock that is more than a day ahead of the last commit has jumped, or the node was away. Then
//! nothing expires until it has gone on for a day without such a step: time to put it right, for
//! what expired does not come back.

use redb::ReadableTable as _;

use super::{Group, HASH_BYTES, REMEMBERED_S, Shelf};
use crate::store::Mailbox;

/// Bodies without a letter that are remembered at most, behind a sweep.
const REMEMBERED_BODIES_MAX: usize = 1 << 19;
/// The clock has jumped if it is so far ahead of the last commit; so long nothing then expires.
const JUMP_S: u64 = 86_400;
/// How long a mailbox that never held a letter stays without being opened: whoever makes many
/// does not take their places from others for long.
const UNUSED_EXPIRY_S: u64 = 86_400;
/// Letters that one sweep forgets, of all mailboxes, so that no commit waits long.
const SWEPT_LETTERS_MAX: u64 = 4096;

impl Group<'_> {
    /// Notes the time, and whether it has jumped.
    pub(super) fn set_clock(&mut self, now_s: u64) -> Result<(), redb::Error> {
        let before_s = self.clock.insert((), now_s)?.map(|second| second.value());
        if before_s.is_some_and(|before_s| now_s > before_s.saturating_add(JUMP_S)) {
            self.patience.insert((), now_s + JUMP_S)?;
        }
        Ok(())
    }

    /// Forgets what is too old.
    pub(super) fn sweep(&mut self, now_s: u64) -> Result<(), redb::Error> {
        self.forget_bodies(now_s)?;
        if !self.may_expire(now_s)? {
            return Ok(());
        }
        let oldest_s = now_s.saturating_sub(self.options.expiry.as_secs());
        let unused_oldest_s = oldest_s.max(now_s.saturating_sub(UNUSED_EXPIRY_S));
        let mut budget = SWEPT_LETTERS_MAX;
        let all: Vec<(Mailbox, Shelf)> =
            self.shelves.iter().map(|(mailbox, shelf)| (*mailbox, *shelf)).collect();
        for (mailbox, shelf) in all {
            let empty_oldest_s = if shelf.last == 0 { unused_oldest_s } else { oldest_s };
            if shelf.letters() > 0 {
                let cursor = self.expired(&mailbox, shelf, oldest_s, budget)?;
                if cursor > shelf.acknowledged {
                    budget -= cursor - shelf.acknowledged;
                    self.forget_letters(&mailbox, cursor, now_s)?;
                }
            } else if shelf.opened_s < empty_oldest_s {
                self.shelves.remove(&mailbox);
                self.mailboxes.remove(&mailbox)?;
            }
        }
        Ok(())
    }

    /// Whether the clock may be believed when it says that something is too old.
    fn may_expire(&mut self, now_s: u64) -> Result<bool, redb::Error> {
        let Some(until_s) = self.patience.get(())?.map(|second| second.value()) else {
            return Ok(true);
        };
        if until_s <= now_s {
            self.patience.remove(())?;
            return Ok(true);
        }
        // The clock was put right: it would be long until it is there again.
        if until_s > now_s + JUMP_S {
            self.patience.insert((), now_s + JUMP_S)?;
        }
        Ok(false)
    }

    /// Forgets the bodies whose time has come.
    fn forget_bodies(&mut self, now_s: u64) -> Result<(), redb::Error> {
        // A clock that was ahead for a while must not keep bodies until it is there again.
        let latest_s = now_s + REMEMBERED_S;
        if self.gone.front().is_some_and(|(at, _, _)| *at > latest_s) {
            self.gone.iter_mut().for_each(|(at, _, _)| *at = latest_s.min(*at));
        }
        while let Some(&(at, mailbox, hash)) = self.gone.front()
            && (at <= now_s || self.gone.len() > REMEMBERED_BODIES_MAX)
        {
            self.gone.pop_front();
            self.bodies.remove((&mailbox, &hash))?;
        }
        Ok(())
    }

    /// Up to which place letters have waited since before `oldest_s`: `budget` of them at most.
    fn expired(
        &self,
        mailbox: &Mailbox,
        shelf: Shelf,
        oldest_s: u64,
        budget: u64,
    ) -> Result<u64, redb::Error> {
        let mut cursor = shelf.acknowledged;
        let end = shelf.last.min(cursor.saturating_add(budget));
        while cursor < end && self.arrival_s((mailbox, cursor + 1))? < oldest_s {
            cursor += 1;
        }
        Ok(cursor)
    }

    fn arrival_s(&self, letter: (&Mailbox, u64)) -> Result<u64, redb::Error> {
        let row = self.letters.get(letter)?;
        let second = row.and_then(|row| row.value().get(HASH_BYTES..)?.first_chunk().copied());
        Ok(second.map_or(0, u64::from_le_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::Database;
    use crate::store::database::tests::{
        BOX, LIMITS, acknowledge, commit, database, placed, put, waiting,
    };
    use crate::store::{Options, Placed, Request};
    use std::time::Duration;

    #[test]
    fn what_waited_too_long_is_forgotten_and_then_the_mailbox() {
        let mut database = database();
        commit(&mut database, 100, vec![Request::Open(BOX), put(b"a")]);
        commit(&mut database, 200, vec![put(b"b"), Request::Sweep]);
        assert_eq!(waiting(&mut database), (0, vec![1, 2]));
        commit(&mut database, 3701, vec![Request::Sweep]);
        assert_eq!(waiting(&mut database), (1, vec![2]));
        commit(&mut database, 3801, vec![Request::Sweep]);
        assert_eq!(waiting(&mut database), (2, vec![]));
        commit(&mut database, 3802, vec![Request::Sweep]);
        assert_eq!(placed(&commit(&mut database, 3802, vec![put(b"c")])), [Placed::UnknownMailbox]);
    }

    #[test]
    fn a_mailbox_that_is_opened_now_and_then_stays() {
        let mut database = database();
        for hour in 0..5 {
            commit(&mut database, hour * 3000, vec![Request::Sweep, Request::Open(BOX)]);
        }
        assert_eq!(placed(&commit(&mut database, 12_001, vec![put(b"a")])), [Placed::Stored]);
    }

    #[test]
    fn a_mailbox_without_a_letter_ever_goes_after_a_day() {
        let options = Options { expiry: Duration::from_secs(30 * UNUSED_EXPIRY_S), ..LIMITS };
        let mut database = Database::in_memory(options).unwrap();
        let other = [2; 32];
        let requests = vec![Request::Open(BOX), Request::Open(other), put(b"a"), acknowledge(1)];
        commit(&mut database, 0, requests);
        let put_other = || Request::Put { mailbox: other, body: (*b"b").into() };
        commit(&mut database, UNUSED_EXPIRY_S / 2, vec![Request::Sweep]);
        commit(&mut database, UNUSED_EXPIRY_S + 1, vec![Request::Sweep]);
        let outcomes = commit(&mut database, UNUSED_EXPIRY_S + 1, vec![put(b"c"), put_other()]);
        assert_eq!(placed(&outcomes), [Placed::Stored, Placed::UnknownMailbox]);
    }

    #[test]
    fn a_clock_that_was_ahead_and_came_back_lets_no_bodies_pile_up() {
        let (mut database, year_s) = (database(), 365 * 86_400);
        commit(&mut database, 0, vec![Request::Open(BOX), put(b"a"), put(b"b")]);
        commit(&mut database, year_s, vec![acknowledge(1)]);
        commit(&mut database, 10, vec![acknowledge(2), Request::Sweep]);
        assert_eq!(database.gone.len(), 2);
        commit(&mut database, 10 + REMEMBERED_S, vec![Request::Sweep]);
        assert_eq!(database.gone.len(), 0);
    }

    #[test]
    fn a_clock_that_jumps_ahead_expires_nothing_before_a_day_has_passed() {
        let mut database = database();
        commit(&mut database, 0, vec![Request::Open(BOX), put(b"a")]);
        let jumped_s = 40 * 86_400;
        for hour in 0..24 {
            let sweep_s = jumped_s + hour * 3600;
            // Not even when something else has told the time before.
            commit(&mut database, sweep_s, vec![Request::Discard]);
            commit(&mut database, sweep_s, vec![Request::Sweep]);
            assert_eq!(waiting(&mut database).1, [1], "hour {hour}");
        }
        commit(&mut database, jumped_s + 86_400, vec![Request::Sweep]);
        assert_eq!(waiting(&mut database).1, [0; 0]);
    }

    #[test]
    fn when_the_clock_is_put_right_letters_expire_again_a_day_later() {
        let mut database = database();
        commit(&mut database, 0, vec![Request::Open(BOX), put(b"a")]);
        commit(&mut database, 1000 * 86_400, vec![Request::Sweep]);
        for (hour, left) in [(2, 1), (14, 1), (25, 1), (26, 0)] {
            commit(&mut database, hour * 3600, vec![Request::Sweep]);
            assert_eq!(waiting(&mut database).1.len(), left, "hour {hour}");
        }
    }

    #[test]
    fn one_sweep_forgets_no_more_letters_than_a_commit_should_hold() {
        let options = Options { letters_max: 3000, bytes_max: 1 << 20, ..LIMITS };
        let mut database = Database::in_memory(options).unwrap();
        for mailbox in [[1; 32], [2; 32]] {
            let put = |number: u64| Request::Put { mailbox, body: number.to_le_bytes().into() };
            let requests = std::iter::once(Request::Open(mailbox)).chain((0..3000).map(put));
            commit(&mut database, 0, requests.collect());
        }
        let left = |database: &Database| database.shelves.values().map(Shelf::letters).sum::<u64>();
        commit(&mut database, 3601, vec![Request::Sweep]);
        assert_eq!(left(&database), 6000 - SWEPT_LETTERS_MAX);
        commit(&mut database, 3611, vec![Request::Sweep]);
        assert_eq!(left(&database), 0);
    }
}
