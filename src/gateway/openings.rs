//! How often a client may open mailboxes: each proof costs the control thread a signature's
//! verification, and each mailbox a place among those that all clients share.

use crate::clock::Nanos;
use crate::store::Mailbox;

/// Mailboxes that one client may open: its own, and one that it changes to.
const MAILBOXES_MAX: usize = 2;
/// How often a proof is looked at; clients ask again after that long.
const VERIFIED_EVERY: Nanos = Nanos::from_secs(1);

/// What one client has opened.
#[derive(Debug, Default)]
pub(super) struct Openings {
    mailboxes: [Option<Mailbox>; MAILBOXES_MAX],
    verify_at: Nanos,
    /// Whether the store has yet to say what came of one.
    is_pending: bool,
}

impl Openings {
    /// Whether the proof for `mailbox` is to be verified now; if so, the next one later.
    pub(super) fn admits(&mut self, mailbox: &Mailbox, now: Nanos) -> bool {
        let has_place =
            self.mailboxes.iter().any(|place| place.is_none_or(|opened| opened == *mailbox));
        let admitted = has_place && !self.is_pending && self.verify_at <= now;
        if admitted {
            self.verify_at = now + VERIFIED_EVERY;
        }
        admitted
    }

    /// The proof held, and the store was asked to open the mailbox.
    pub(super) fn begin(&mut self, mailbox: Mailbox) {
        self.is_pending = true;
        if !self.mailboxes.contains(&Some(mailbox))
            && let Some(place) = self.mailboxes.iter_mut().find(|place| place.is_none())
        {
            *place = Some(mailbox);
        }
    }

    /// The store has answered.
    pub(super) fn end(&mut self) {
        self.is_pending = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_proof_a_second_is_verified_and_none_while_another_is_pending() {
        let (mut openings, mailbox) = (Openings::default(), [1; 32]);
        assert!(openings.admits(&mailbox, Nanos::ZERO));
        assert!(!openings.admits(&mailbox, Nanos::from_millis(999)));
        openings.begin(mailbox);
        assert!(!openings.admits(&mailbox, Nanos::from_secs(1)));
        openings.end();
        assert!(openings.admits(&mailbox, Nanos::from_secs(1)));
    }

    #[test]
    fn two_mailboxes_may_be_opened_as_often_as_need_be_and_a_third_never() {
        let mut openings = Openings::default();
        for second in 0..10 {
            let mailbox = [u8::from(second % 2 == 0); 32];
            assert!(openings.admits(&mailbox, Nanos::from_secs(second)));
            openings.begin(mailbox);
            openings.end();
        }
        assert!(!openings.admits(&[2; 32], Nanos::from_secs(20)));
    }
}
