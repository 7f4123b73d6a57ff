//! Reading a mailbox: opened by proof of possession, letters opened, each message given once.

use std::collections::{BTreeSet, HashSet, VecDeque};

use crate::clock::{Nanos, UnixMicros};
use crate::link::control::{Item, Items, MailboxOpen, Outcome};
use crate::link::{Delivery, Frame};
use crate::message::envelope::{self, MessageId};
use crate::pki::{MailboxAddress, MailboxKeys, NodeId};
use crate::sphinx::{Identifier, payload};

use super::ConnectionError;

/// How long a request waits for its result before it is sent again.
const RETRY_AFTER: Nanos = Nanos::from_secs(1);
/// How long a proof of possession holds, in seconds.
const PROOF_SECS: u64 = 600;
/// Messages remembered so that a copy is known for one.
const REMEMBERED_MESSAGES_MAX: usize = 65_536;
/// Letters ahead of the first missing one, at most: the gateway's window.
const AHEAD_LETTERS_MAX: usize = 256;

/// One mailbox and what has been read of it.
#[derive(Debug)]
pub(super) struct MailboxReader {
    gateway: NodeId,
    keys: MailboxKeys,
    /// The session in which the mailbox is open, or being opened.
    session: Option<[u8; 32]>,
    open: bool,
    refusal: Option<ConnectionError>,
    request: u32,
    retry_at: Nanos,
    /// Every letter up to this one is here.
    cursor: u64,
    ahead: BTreeSet<u64>,
    acknowledge: bool,
    seen: HashSet<MessageId>,
    seen_in_order: VecDeque<MessageId>,
    /// Messages that nobody has taken yet, each with the number of its letter.
    messages: VecDeque<(u64, Vec<u8>)>,
}

impl MailboxReader {
    pub(super) fn new(gateway: NodeId, keys: MailboxKeys) -> Self {
        MailboxReader {
            gateway,
            keys,
            session: None,
            open: false,
            refusal: None,
            request: 0,
            retry_at: Nanos::ZERO,
            cursor: 0,
            ahead: BTreeSet::new(),
            acknowledge: false,
            seen: HashSet::new(),
            seen_in_order: VecDeque::new(),
            messages: VecDeque::new(),
        }
    }

    pub(super) fn address(&self) -> MailboxAddress {
        self.keys.address(self.gateway)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn refusal(&self) -> Option<ConnectionError> {
        self.refusal
    }

    /// The next message; from now on its letter is the caller's to keep.
    pub(super) fn received(&mut self) -> Option<Vec<u8>> {
        let (_, message) = self.messages.pop_front()?;
        self.acknowledge = true;
        Some(message)
    }

    pub(super) fn next_due(&self) -> Nanos {
        if self.open { Nanos::NEVER } else { self.retry_at }
    }

    /// The control frames to send now, in the session with handshake hash `session`.
    pub(super) fn requests(
        &mut self,
        session: &[u8; 32],
        now: Nanos,
        wall: UnixMicros,
    ) -> Vec<Vec<u8>> {
        let mut bodies = Vec::new();
        if self.session != Some(*session) {
            self.session = Some(*session);
            (self.open, self.retry_at) = (false, now);
            // A new session may be with a gateway that has forgotten: its letters say where it is.
            (self.cursor, self.ahead) = (0, BTreeSet::new());
        }
        if !self.open && self.retry_at <= now {
            self.retry_at = now + RETRY_AFTER;
            bodies.push(self.open_request(session, wall));
        }
        if std::mem::take(&mut self.acknowledge) {
            bodies.push(Item::MailboxAck(self.acknowledged()).to_body());
        }
        bodies
    }

    /// Takes a frame from the gateway.
    pub(super) fn take(&mut self, frame: Frame, body: &[u8]) {
        match frame {
            Frame::Control => {
                Items::of(body).map_while(Result::ok).for_each(|item| self.control(&item));
            }
            Frame::Deliver => {
                if let Ok(delivery) = Delivery::decode(body) {
                    self.letter(&delivery);
                }
            }
            _ => {}
        }
    }

    /// The letters that the gateway may delete: all that are here, up to the first whose message
    /// nobody has taken.
    fn acknowledged(&self) -> u64 {
        let untaken = self.messages.iter().map(|(number, _)| number.saturating_sub(1)).min();
        untaken.map_or(self.cursor, |before| before.min(self.cursor))
    }

    fn open_request(&mut self, session: &[u8; 32], wall: UnixMicros) -> Vec<u8> {
        self.request = self.request.wrapping_add(1);
        let mut request = MailboxOpen {
            request: self.request,
            mailbox: self.keys.signing.public(),
            expiry_s: wall.as_secs() + PROOF_SECS,
            signature: [0; 64],
        };
        request.signature = self.keys.signing.sign(b"", &request.statement(session));
        Item::MailboxOpen(request).to_body()
    }

    fn control(&mut self, item: &Item<'_>) {
        if let Item::Result { request, code } = *item
            && request == self.request
        {
            let outcome = Outcome::of(code);
            self.open = outcome == Outcome::Done;
            self.refusal = match outcome {
                Outcome::Done => None,
                Outcome::Full => Some(ConnectionError::GatewayFull),
                Outcome::Refused => Some(ConnectionError::MailboxRefused),
            };
        }
    }

    fn letter(&mut self, delivery: &Delivery<'_>) {
        let number = delivery.number;
        let oldest = number.saturating_sub(delivery.behind.into());
        self.acknowledge = true;
        self.cursor = self.cursor.max(oldest.saturating_sub(1));
        let known = number <= self.cursor || self.ahead.contains(&number);
        if known || self.ahead.len() >= AHEAD_LETTERS_MAX {
            return;
        }
        self.ahead.insert(number);
        while self.ahead.remove(&(self.cursor + 1)) {
            self.cursor += 1;
        }
        // What carries the identifier of a reply block answers none of ours.
        if delivery.surb != Identifier::default() {
            return;
        }
        if let Some(sealed) = payload::open(delivery.payload)
            && let Ok(part) = envelope::open(sealed, &self.keys.sealing)
            && (part.number, part.count) == (0, 1)
            && self.remember(part.id)
        {
            self.messages.push_back((number, part.content));
        }
    }

    /// Whether the message is new.
    fn remember(&mut self, id: MessageId) -> bool {
        if !self.seen.insert(id) {
            return false;
        }
        self.seen_in_order.push_back(id);
        if self.seen_in_order.len() > REMEMBERED_MESSAGES_MAX
            && let Some(oldest) = self.seen_in_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}
