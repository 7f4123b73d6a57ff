//! What clients ask of their gateway in control frames: to open a mailbox, to let go what has
//! arrived, for objects, for an echo.

use ed25519_dalek::{Signature, VerifyingKey};

use super::Gateway;
use super::orders::Pending;
use crate::clock::UnixMicros;
use crate::link::LinkIndex;
use crate::link::control::{Item, Items, MailboxOpen, Outcome};
use crate::route::content::DISCARD;
use crate::store::{Mailbox, Request};

impl Gateway {
    /// Takes a control frame of the session whose handshake hash is `session`.
    pub fn control(&mut self, link: LinkIndex, session: &[u8; 32], body: &[u8], wall: UnixMicros) {
        for item in Items::of(body) {
            match item {
                Ok(Item::MailboxOpen(request)) => {
                    self.open_mailbox(link, session, &request, wall);
                }
                Ok(Item::MailboxAck(cursor)) => self.acknowledge(link, cursor, wall),
                Ok(Item::MailboxAhead(numbers)) => {
                    if let Some(letters) = self.letters(link) {
                        letters.arrived_ahead(&numbers);
                    }
                    self.acknowledge_arrived(link, wall);
                }
                Ok(Item::ObjectGet(request)) => {
                    if let Some(client) = self.clients.get_mut(&link) {
                        client.ask(request);
                    }
                }
                Ok(Item::Echo(nonce)) => self.answer(link, &Item::EchoReply(nonce)),
                Ok(_) => {}
                Err(_) => return self.counts.bad_control.add(1),
            }
        }
    }

    fn open_mailbox(
        &mut self,
        link: LinkIndex,
        session: &[u8; 32],
        open: &MailboxOpen,
        wall: UnixMicros,
    ) {
        let Some(client) = self.clients.get_mut(&link) else { return };
        let MailboxOpen { request, mailbox, expiry_s, .. } = *open;
        if !client.openings.admits(&mailbox, self.now) {
            return self.counts.openings_ignored.add(1);
        }
        let serial = client.serial();
        if expiry_s <= wall.as_secs() || mailbox == DISCARD || !is_proven(open, session) {
            let code = Outcome::Refused.code();
            return self.answer(link, &Item::Result { request, code });
        }
        let pending = Pending::Open { link, serial, request, mailbox };
        if self.order(Request::Open(mailbox), Some(pending), wall)
            && let Some(client) = self.clients.get_mut(&link)
        {
            client.openings.begin(mailbox);
        }
    }

    fn acknowledge(&mut self, link: LinkIndex, cursor: u64, wall: UnixMicros) {
        let Some(letters) = self.letters(link) else { return };
        if let Some(cursor) = letters.acknowledge(cursor) {
            let mailbox = *letters.mailbox();
            self.forget(mailbox, cursor, wall);
        }
        self.acknowledge_arrived(link, wall);
    }

    /// Lets go what need not be acknowledged by its owner.
    pub(super) fn acknowledge_arrived(&mut self, link: LinkIndex, wall: UnixMicros) {
        let Some(letters) = self.letters(link) else { return };
        if let Some(cursor) = letters.acknowledge_arrived() {
            let mailbox = *letters.mailbox();
            self.forget(mailbox, cursor, wall);
        }
    }

    /// Has the store forget a mailbox's letters up to `cursor`, later if it is too busy: clients
    /// do not say twice what was acknowledged.
    fn forget(&mut self, mailbox: Mailbox, cursor: u64, wall: UnixMicros) {
        if !self.order(Request::Acknowledge { mailbox, cursor }, None, wall) {
            let latest = self.unforgotten.entry(mailbox).or_default();
            *latest = cursor.max(*latest);
        }
    }

    /// Asks the store again that was too busy, and by now has done something.
    pub(super) fn forget_again(&mut self, wall: UnixMicros) {
        while let Some((mailbox, cursor)) = self.unforgotten.pop_first() {
            self.forget(mailbox, cursor, wall);
            if self.unforgotten.contains_key(&mailbox) {
                return;
            }
        }
    }

    pub(super) fn answer(&mut self, link: LinkIndex, item: &Item<'_>) {
        if let Some(client) = self.clients.get_mut(&link) {
            client.push_answer(item.to_body());
        }
    }
}

/// Whether the request is signed by the mailbox's key, for this session.
fn is_proven(request: &MailboxOpen, session: &[u8; 32]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(&request.mailbox) else { return false };
    let signature = Signature::from_bytes(&request.signature);
    key.verify_strict(&request.statement(session), &signature).is_ok()
}
