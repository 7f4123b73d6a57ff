//! What the gateway orders from its store, and what follows when the store has done it.

use super::letters::{self, Letters, Limits};
use super::{Gateway, Outgoing};
use crate::clock::{Nanos, UnixMicros};
use crate::link::control::{Item, Outcome};
use crate::link::{Delivery, LinkIndex};
use crate::route::content::{Receipt, ReplyBlock};
use crate::store::{self, Mailbox, Order, Placed, Request};

/// The least time that a delivery waits for its acknowledgement before it is sent again.
const RESEND_MIN: Nanos = Nanos::from_secs(1);
/// The same in mean gaps of the client's control stream, which carries acknowledgements.
const RESEND_CONTROL_GAPS: u64 = 4;

/// What waits for the store.
#[derive(Debug)]
pub(super) enum Pending {
    Body {
        mailbox: Mailbox,
        reply: Option<Box<ReplyBlock>>,
    },
    Open {
        link: LinkIndex,
        serial: u64,
        request: u32,
        mailbox: Mailbox,
    },
    /// Of the letters that `serial` names.
    Page {
        link: LinkIndex,
        serial: u64,
    },
}

impl Gateway {
    /// Orders something from the store; what finds it too busy is dropped, as on the wire.
    pub(super) fn order(
        &mut self,
        request: Request,
        pending: Option<Pending>,
        wall: UnixMicros,
    ) -> bool {
        self.serial += 1;
        let ticket = self.serial;
        if self.store.submit(Order { ticket, wall, request }).is_err() {
            self.counts.overloaded.add(1);
            return false;
        }
        if let Some(pending) = pending {
            self.pending.insert(ticket, pending);
        }
        true
    }

    pub(super) fn complete(&mut self, completion: store::Completion, now: Nanos, wall: UnixMicros) {
        use store::Outcome::{Letters, Opened, Placed, StoreFull};
        let Some(pending) = self.pending.remove(&completion.ticket) else { return };
        match (pending, completion.outcome) {
            (Pending::Body { mailbox, reply }, Placed(placed)) => {
                self.placed(&mailbox, reply, placed);
            }
            (Pending::Open { link, serial, request, mailbox }, outcome) => {
                let client = self.clients.get_mut(&link);
                let Some(client) = client.filter(|client| client.serial() == serial) else {
                    return;
                };
                client.openings.end();
                let code = match outcome {
                    Opened { acknowledged } => {
                        self.opened(link, mailbox, acknowledged);
                        Outcome::Done.code()
                    }
                    StoreFull => Outcome::Full.code(),
                    _ => Outcome::Refused.code(),
                };
                self.answer(link, &Item::Result { request, code });
            }
            (Pending::Page { link, serial }, Letters { acknowledged, letters }) => {
                if let Some(reader) = self.letters(link).filter(|it| it.serial() == serial) {
                    let too_long = reader.take_page(acknowledged, letters, now);
                    self.counts.letters_too_long.add(too_long);
                    self.acknowledge_arrived(link, wall);
                }
            }
            _ => {}
        }
    }

    /// A body's way has ended: the reply block is released in every case.
    fn placed(&mut self, mailbox: &Mailbox, reply: Option<Box<ReplyBlock>>, placed: Placed) {
        let (counter, receipt) = match placed {
            Placed::Stored => (&self.counts.stored, Receipt::Stored),
            Placed::Duplicate => (&self.counts.duplicates, Receipt::Duplicate),
            Placed::MailboxFull => (&self.counts.mailbox_full, Receipt::MailboxFull),
            Placed::UnknownMailbox => (&self.counts.unknown_mailbox, Receipt::UnknownMailbox),
            Placed::Discarded => (&self.counts.discarded, Receipt::Discarded),
        };
        counter.add(1);
        if let Some(reply) = reply {
            self.counts.acknowledged.add(1);
            self.outgoing.push_back(Outgoing::Reply(reply, receipt));
        }
        if placed == Placed::Stored
            && let Some(&link) = self.links.get(mailbox)
            && let Some(letters) = self.letters(link)
        {
            letters.more_arrived();
        }
    }

    /// The newest session of a mailbox gets its letters: an older one lost its address.
    fn opened(&mut self, link: LinkIndex, mailbox: Mailbox, acknowledged: u64) {
        let replaced = self.links.insert(mailbox, link).filter(|older| *older != link);
        if let Some(older) = replaced.and_then(|older| self.clients.get_mut(&older)) {
            older.letters = None;
        }
        self.serial += 1;
        let limits = Limits {
            resend_after: self.resend_after(),
            letter_bytes_max: self.options.body_bytes_max.saturating_sub(Delivery::HEADER_BYTES),
        };
        let letters = Letters::new(self.serial, mailbox, acknowledged, limits);
        let Some(client) = self.clients.get_mut(&link) else { return };
        let before = client.letters.replace(letters);
        if let Some(before) = before.filter(|before| *before.mailbox() != mailbox) {
            self.links.remove(before.mailbox());
        }
    }

    /// Long enough that most acknowledgements are back, at the rate at which clients send them.
    fn resend_after(&self) -> Nanos {
        let gap = self.options.rates.client_control().gap_mean();
        RESEND_MIN.max(Nanos(gap.0.saturating_mul(RESEND_CONTROL_GAPS)))
    }

    /// Reads letters before their turn comes, so that no turn waits for the disk.
    pub(super) fn read_ahead(&mut self, link: LinkIndex, now: Nanos, wall: UnixMicros) {
        let Some(letters) = self.letters(link) else { return };
        let (serial, mailbox) = (letters.serial(), *letters.mailbox());
        let Some(after) = letters.wanted(now) else { return };
        let request = Request::Read { mailbox, after, letters_max: letters::PAGE_LETTERS };
        if !self.order(request, Some(Pending::Page { link, serial }), wall)
            && let Some(letters) = self.letters(link)
        {
            letters.page_refused();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::tests::{
        CLIENT, SESSION, WALL, deliver, gateway, letter, mailbox, open, run,
    };
    use crate::link::Frame;

    #[test]
    fn a_page_that_was_ordered_before_the_mailbox_was_opened_again_is_not_taken_for_a_newer_one() {
        let mut gateway = gateway(300);
        gateway.client_arrived(CLIENT, Nanos::ZERO);
        open(&mut gateway, &SESSION);
        let mut now = Nanos::ZERO;
        run(&mut gateway, &mut now, Nanos(1));
        for number in 0..200_u64 {
            deliver(&mut gateway, mailbox(), &letter(0, &number.to_le_bytes()));
        }
        run(&mut gateway, &mut now, Nanos::from_secs(2));
        open(&mut gateway, &SESSION);
        let is_page = |pending: &Pending| matches!(pending, Pending::Page { .. });
        while !gateway.pending.values().any(is_page) {
            gateway.send_next(CLIENT, now);
            gateway.read_ahead(CLIENT, now, WALL);
        }
        std::iter::from_fn(|| gateway.poll()).for_each(drop);
        let left = run(&mut gateway, &mut now, Nanos::from_secs(3));
        let numbers = left.iter().filter_map(|(_, outgoing)| match outgoing {
            Outgoing::Frame { frame: Frame::Deliver, body, .. } => {
                Some(Delivery::decode(body).unwrap().number)
            }
            _ => None,
        });
        assert_eq!(numbers.take(3).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
