//! A gateway's users: mailboxes opened, letters stored, delivered, acknowledged.
//!
//! It takes the frames of client links and the packets that end here, and says which frames to
//! send; no I/O. A mailbox is opened by proof of possession of its key, bound to the session.

use std::collections::{BTreeMap, VecDeque};

use ed25519_dalek::{Signature, VerifyingKey};

use crate::clock::{Nanos, UnixMicros};
use crate::link::control::{Item, Items, MailboxOpen, Outcome};
use crate::link::{Delivery, Frame, LinkIndex};
use crate::sphinx::{Destination, Identifier, payload};
use crate::store::{Mailbox, Store, StoreError};

/// Letters on their way to a client that it has not yet acknowledged, at most.
const WINDOW_LETTERS: usize = 256;
/// How long a delivery waits for its acknowledgement before it is sent again.
const RESEND_AFTER: Nanos = Nanos::from_secs(1);

/// Frames that wait to be sent, at most; letters beyond wait in their mailboxes.
const OUTGOING_FRAMES_MAX: usize = 4096;
/// Items of one control frame that are looked at: more than any client has to say at once.
const ITEMS_A_FRAME_MAX: usize = 4;

/// A frame to send to a client.
#[derive(Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The client's link.
    pub link: LinkIndex,
    /// What it is.
    pub frame: Frame,
    /// Its body.
    pub body: Vec<u8>,
}

/// What the gateway counted of packets that ended here and could not be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stored in a mailbox.
    pub stored: u64,
    /// Changed on its way.
    pub garbled: u64,
    /// For a mailbox that nobody opened here.
    pub unknown_mailbox: u64,
    /// For a mailbox that is full.
    pub mailbox_full: u64,
    /// Control frames that made no sense.
    pub bad_control: u64,
}

#[derive(Debug)]
struct Reader {
    mailbox: Mailbox,
    /// The last letter sent in this window.
    sent: u64,
    /// The last letter acknowledged.
    acknowledged: u64,
    resend_at: Nanos,
}

/// The part of a node that serves users.
#[derive(Debug)]
pub struct Gateway {
    store: Store,
    readers: BTreeMap<LinkIndex, Reader>,
    links: BTreeMap<Mailbox, LinkIndex>,
    outgoing: VecDeque<Outgoing>,
    counts: Counts,
}

impl Gateway {
    /// A gateway over `store`.
    pub fn new(store: Store) -> Self {
        Gateway {
            store,
            readers: BTreeMap::new(),
            links: BTreeMap::new(),
            outgoing: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Stores a packet's payload in the mailbox it is for, and sends it on if its owner is there.
    pub fn deliver(
        &mut self,
        mailbox: &Destination,
        identifier: Identifier,
        payload: &[u8],
        now: Nanos,
    ) {
        // A reply's layers are the recipient's to undo. What is no reply and does not open was
        // changed on its way.
        let reply = identifier != Identifier::default();
        if !reply && payload::open(payload).is_none() {
            return self.counts.garbled += 1;
        }
        match self.store.put(mailbox, identifier, payload) {
            Ok(_) => {
                self.counts.stored += 1;
                if let Some(&link) = self.links.get(mailbox) {
                    self.send_letters(link, now);
                }
            }
            Err(StoreError::MailboxFull) => self.counts.mailbox_full += 1,
            Err(_) => self.counts.unknown_mailbox += 1,
        }
    }

    /// Takes a control frame of the session whose handshake hash is `session`.
    pub fn control(
        &mut self,
        link: LinkIndex,
        session: &[u8; 32],
        body: &[u8],
        now: Nanos,
        wall: UnixMicros,
    ) {
        for item in Items::of(body).take(ITEMS_A_FRAME_MAX) {
            match item {
                Ok(Item::MailboxOpen(request)) => {
                    let outcome = self.open_mailbox(link, session, &request, now, wall);
                    let (request, code) = (request.request, outcome.code());
                    self.reply(link, &Item::Result { request, code });
                    self.send_letters(link, now);
                }
                Ok(Item::MailboxAck(cursor)) => self.acknowledge(link, cursor, now),
                Ok(Item::Echo(nonce)) => self.reply(link, &Item::EchoReply(nonce)),
                Ok(_) => {}
                Err(_) => return self.counts.bad_control += 1,
            }
        }
    }

    /// Forgets a client whose session has ended; its mailbox stays.
    pub fn client_gone(&mut self, link: LinkIndex) {
        if let Some(reader) = self.readers.remove(&link)
            && self.links.get(&reader.mailbox) == Some(&link)
        {
            self.links.remove(&reader.mailbox);
        }
    }

    /// Sends again what was not acknowledged in time.
    pub fn tick(&mut self, now: Nanos) {
        let late: Vec<LinkIndex> = self
            .readers
            .iter()
            .filter(|(_, reader)| reader.sent > reader.acknowledged && reader.resend_at <= now)
            .map(|(&link, _)| link)
            .collect();
        for link in late {
            if let Some(reader) = self.readers.get_mut(&link) {
                reader.sent = reader.acknowledged;
            }
            self.send_letters(link, now);
        }
    }

    /// When `tick` has something to do.
    pub fn next_deadline(&self) -> Nanos {
        self.readers
            .values()
            .filter(|reader| reader.sent > reader.acknowledged)
            .map(|reader| reader.resend_at)
            .min()
            .unwrap_or(Nanos::NEVER)
    }

    /// The next frame to send.
    pub fn poll(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// What was stored and what was not.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn open_mailbox(
        &mut self,
        link: LinkIndex,
        session: &[u8; 32],
        request: &MailboxOpen,
        now: Nanos,
        wall: UnixMicros,
    ) -> Outcome {
        if request.expiry_s <= wall.as_secs() || !is_proven(request, session) {
            return Outcome::Refused;
        }
        // Asked again because our answer got lost: what is on its way stays on its way.
        if self.readers.get(&link).is_some_and(|reader| reader.mailbox == request.mailbox) {
            return Outcome::Done;
        }
        if self.store.open(request.mailbox).is_err() {
            return Outcome::Full;
        }
        self.client_gone(link);
        // The newest session of a mailbox gets its letters: an older one lost its address.
        if let Some(older) = self.links.insert(request.mailbox, link) {
            self.readers.remove(&older);
        }
        let mailbox = request.mailbox;
        let acknowledged = self.store.acknowledged(&mailbox);
        let reader = Reader { mailbox, sent: acknowledged, acknowledged, resend_at: now };
        self.readers.insert(link, reader);
        Outcome::Done
    }

    fn acknowledge(&mut self, link: LinkIndex, cursor: u64, now: Nanos) {
        let Some(reader) = self.readers.get_mut(&link) else { return };
        // A cursor ahead of what was sent would delete letters that nobody has seen.
        let cursor = cursor.min(reader.sent);
        if cursor <= reader.acknowledged {
            return;
        }
        reader.acknowledged = cursor;
        reader.resend_at = now + RESEND_AFTER;
        self.store.acknowledge(&reader.mailbox, cursor);
        self.send_letters(link, now);
    }

    fn send_letters(&mut self, link: LinkIndex, now: Nanos) {
        let Some(reader) = self.readers.get_mut(&link) else { return };
        let oldest = reader.acknowledged + 1;
        let end = reader.acknowledged + WINDOW_LETTERS as u64;
        if reader.sent == reader.acknowledged {
            reader.resend_at = now + RESEND_AFTER;
        }
        for letter in self.store.waiting(&reader.mailbox, reader.sent) {
            if letter.sequence > end || self.outgoing.len() >= OUTGOING_FRAMES_MAX {
                break;
            }
            reader.sent = letter.sequence;
            let delivery = Delivery {
                number: letter.sequence,
                behind: u16::try_from(letter.sequence - oldest).unwrap_or(u16::MAX),
                flags: 0,
                surb: letter.identifier,
                payload: &letter.payload,
            };
            let mut body = vec![0; Delivery::HEADER_BYTES + letter.payload.len()];
            if delivery.encode(&mut body).is_ok() {
                self.outgoing.push_back(Outgoing { link, frame: Frame::Deliver, body });
            }
        }
    }

    fn reply(&mut self, link: LinkIndex, item: &Item<'_>) {
        if self.outgoing.len() >= OUTGOING_FRAMES_MAX {
            return;
        }
        let body = item.to_body();
        self.outgoing.push_back(Outgoing { link, frame: Frame::Control, body });
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
    use crate::crypto::random::Rng;
    use crate::pki::MailboxKeys;
    use crate::store::Options;

    const LINK: LinkIndex = LinkIndex(7);
    const SESSION: [u8; 32] = [5; 32];
    const WALL: UnixMicros = UnixMicros::from_secs(1_000);

    fn keys() -> MailboxKeys {
        MailboxKeys::generate(&mut Rng::from_seed([1; 32]))
    }

    fn open_request(keys: &MailboxKeys, session: &[u8; 32], expiry_s: u64) -> Vec<u8> {
        let mailbox = keys.signing.public();
        let mut open = MailboxOpen { request: 3, mailbox, expiry_s, signature: [0; 64] };
        open.signature = keys.signing.sign(b"", &open.statement(session));
        Item::MailboxOpen(open).to_body()
    }

    /// A payload as the last hop leaves it.
    fn payload(number: u8) -> [u8; 64] {
        let mut payload = [0; 64];
        (payload[16], payload[17]) = (number, 1);
        payload
    }

    /// The codes of the results and the numbers of the letters that wait to be sent.
    fn sent(gateway: &mut Gateway) -> (Vec<u8>, Vec<u64>) {
        let (mut codes, mut letters) = (vec![], vec![]);
        while let Some(Outgoing { frame, body, .. }) = gateway.poll() {
            match frame {
                Frame::Deliver => letters.push(Delivery::decode(&body).unwrap().number),
                _ => codes.extend(Items::of(&body).map(|item| match item {
                    Ok(Item::Result { code, .. }) => code,
                    other => panic!("{other:?}"),
                })),
            }
        }
        (codes, letters)
    }

    /// A gateway whose client at [`LINK`] has its mailbox open.
    fn opened() -> (Gateway, MailboxKeys) {
        let (mut gateway, keys) = (Gateway::new(Store::new(Options::default())), keys());
        gateway.control(LINK, &SESSION, &open_request(&keys, &SESSION, 2_000), Nanos::ZERO, WALL);
        assert_eq!(sent(&mut gateway), (vec![Outcome::Done.code()], vec![]));
        (gateway, keys)
    }

    #[test]
    fn a_proof_of_another_session_or_from_the_past_opens_nothing() {
        let (mut gateway, keys) = (Gateway::new(Store::new(Options::default())), keys());
        for request in [open_request(&keys, &[6; 32], 2_000), open_request(&keys, &SESSION, 1_000)]
        {
            gateway.control(LINK, &SESSION, &request, Nanos::ZERO, WALL);
            assert_eq!(sent(&mut gateway), (vec![Outcome::Refused.code()], vec![]));
        }
        gateway.deliver(&keys.signing.public(), Identifier::default(), &payload(1), Nanos::ZERO);
        assert_eq!((gateway.counts().stored, gateway.counts().unknown_mailbox), (0, 1));
    }

    #[test]
    fn letters_go_out_once_and_again_when_nobody_acknowledges_them() {
        let (mut gateway, keys) = opened();
        for number in 1..=3 {
            let mailbox = keys.signing.public();
            gateway.deliver(&mailbox, Identifier::default(), &payload(number), Nanos::ZERO);
        }
        assert_eq!(sent(&mut gateway).1, [1, 2, 3]);
        gateway.control(LINK, &SESSION, &Item::MailboxAck(2).to_body(), Nanos::ZERO, WALL);
        gateway.tick(RESEND_AFTER - Nanos(1));
        assert_eq!(sent(&mut gateway).1, [0; 0]);
        gateway.tick(RESEND_AFTER);
        assert_eq!(sent(&mut gateway).1, [3]);
    }

    #[test]
    fn opening_an_open_mailbox_again_sends_no_letter_twice() {
        let (mut gateway, keys) = opened();
        let mailbox = keys.signing.public();
        gateway.deliver(&mailbox, Identifier::default(), &payload(1), Nanos::ZERO);
        assert_eq!(sent(&mut gateway).1, [1]);
        let request = open_request(&keys, &SESSION, 2_000).repeat(12);
        gateway.control(LINK, &SESSION, &request, Nanos::ZERO, WALL);
        let (codes, letters) = sent(&mut gateway);
        assert!(codes.len() <= ITEMS_A_FRAME_MAX && letters.is_empty());
    }

    #[test]
    fn the_newest_session_of_a_mailbox_gets_its_letters() {
        let (mut gateway, keys) = opened();
        let newer = LinkIndex(8);
        gateway.control(newer, &[9; 32], &open_request(&keys, &[9; 32], 2_000), Nanos::ZERO, WALL);
        sent(&mut gateway);
        gateway.client_gone(LINK);
        let mailbox = keys.signing.public();
        gateway.deliver(&mailbox, Identifier::default(), &payload(1), Nanos::ZERO);
        let links: Vec<_> = std::iter::from_fn(|| gateway.poll()).map(|frame| frame.link).collect();
        assert_eq!(links, [newer]);
    }

    #[test]
    fn a_garbled_payload_is_not_stored() {
        let (mut gateway, keys) = opened();
        let mut garbled = payload(1);
        garbled[3] = 1;
        gateway.deliver(&keys.signing.public(), Identifier::default(), &garbled, Nanos::ZERO);
        assert_eq!((gateway.counts().stored, gateway.counts().garbled), (0, 1));
    }
}
