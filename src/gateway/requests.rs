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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Nanos;
    use crate::crypto::random::Rng;
    use crate::gateway::tests::{
        CLIENT, SESSION, WALL, deliver, gateway, letter, mailbox, open, opening, results, run,
    };
    use crate::pki::MailboxKeys;
    use crate::store::{Completion, InlineStore, Options, Order, Store, StoreError};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_mailbox_opens_by_a_proof_for_this_session_only() {
        let mut gateway = gateway(2);
        gateway.client_arrived(CLIENT, Nanos::ZERO);
        open(&mut gateway, &[0; 32]);
        assert_eq!(results(&mut gateway), [Outcome::Refused.code()]);
        gateway.client_arrived(CLIENT, Nanos::ZERO);
        open(&mut gateway, &SESSION);
        assert_eq!(results(&mut gateway), [Outcome::Done.code()]);
    }

    #[test]
    fn one_client_makes_two_mailboxes_however_often_it_asks() {
        let mut gateway = gateway(2);
        gateway.client_arrived(CLIENT, Nanos::ZERO);
        let keys = |seed| MailboxKeys::generate(&mut Rng::from_seed([seed; 32]));
        let body: Vec<u8> = (0..12).flat_map(|seed| opening(&keys(seed))).collect();
        let mut now = Nanos::ZERO;
        for second in 1..=5 {
            gateway.control(CLIENT, &SESSION, &body, WALL);
            run(&mut gateway, &mut now, Nanos::from_secs(second));
            // The next frame begins with another mailbox.
            gateway.control(CLIENT, &SESSION, &body[body.len() / 12..], WALL);
            run(&mut gateway, &mut now, Nanos::from_secs(second) + Nanos::from_millis(500));
        }
        assert!(gateway.counts().openings_ignored.value() >= 100);
        for seed in 0..12 {
            deliver(&mut gateway, keys(seed).signing.public(), &letter(seed, b"a"));
        }
        run(&mut gateway, &mut now, Nanos::from_secs(6));
        assert!((1..=2).contains(&gateway.counts().stored.value()));
        assert!(gateway.counts().unknown_mailbox.value() >= 10);
    }

    /// A store that takes nothing while it is busy.
    #[derive(Debug)]
    struct Narrow {
        store: InlineStore,
        is_busy: Arc<AtomicBool>,
    }

    impl Store for Narrow {
        fn submit(&mut self, order: Order) -> Result<(), Order> {
            match self.is_busy.load(Ordering::Relaxed) {
                true => Err(order),
                false => self.store.submit(order),
            }
        }

        fn completed(&mut self) -> Option<Completion> {
            self.store.completed()
        }

        fn failure(&mut self) -> Option<StoreError> {
            self.store.failure()
        }
    }

    #[test]
    fn an_acknowledgement_that_finds_the_store_busy_is_not_lost() {
        let mut gateway = gateway(1);
        let is_busy = Arc::new(AtomicBool::new(false));
        let limits = Options { letters_max: 1, ..Options::default() };
        let store = InlineStore::new(limits).unwrap();
        gateway.store = Box::new(Narrow { store, is_busy: is_busy.clone() });
        gateway.client_arrived(CLIENT, Nanos::ZERO);
        open(&mut gateway, &SESSION);
        let mut now = Nanos::ZERO;
        run(&mut gateway, &mut now, Nanos(1));
        deliver(&mut gateway, mailbox(), &letter(0, b"a"));
        run(&mut gateway, &mut now, Nanos::from_secs(1));
        is_busy.store(true, Ordering::Relaxed);
        gateway.control(CLIENT, &SESSION, &Item::MailboxAck(1).to_body(), WALL);
        is_busy.store(false, Ordering::Relaxed);
        run(&mut gateway, &mut now, Nanos::from_secs(20));
        deliver(&mut gateway, mailbox(), &letter(0, b"b"));
        run(&mut gateway, &mut now, Nanos::from_secs(21));
        assert_eq!(gateway.counts().mailbox_full.value(), 0, "the first letter made room");
        assert_eq!(gateway.counts().stored.value(), 2);
    }
}
