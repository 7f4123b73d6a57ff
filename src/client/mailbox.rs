//! Reading a mailbox: opened by proof of possession, letters taken in, kept, and then acknowledged.
//!
//! A letter is gone from the gateway once it is acknowledged. So it is not, before the caller has
//! it where it outlasts this process: as a letter while its message is not complete, then as that
//! message.

use std::collections::{BTreeSet, VecDeque};

use crate::clock::{Nanos, UnixMicros};
use crate::link::Delivery;
use crate::link::control::{Ahead, Item, Items, MailboxOpen, Outcome};
use crate::message::inbox::{self, Inbox, Received};
use crate::pki::{MailboxAddress, MailboxKeys, NodeId, SigningKey};

use super::ConnectionError;

/// How long a request waits for its result before it is sent again.
const RETRY_AFTER: Nanos = Nanos::from_secs(1);
/// How long a proof of possession holds, in seconds.
const PROOF_SECS: u64 = 600;
/// Letters ahead of the first missing one, at most: the gateway's window.
const AHEAD_LETTERS_MAX: usize = 256;

/// Something that came in, to be kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Record {
    /// A letter that is a part of a message of which others are missing.
    Letter {
        /// The record's number: they ascend.
        number: u64,
        /// The letter: an envelope.
        body: Vec<u8>,
    },
    /// A message that is whole. The letters that it was in need not be kept any longer.
    Message {
        /// The record's number.
        number: u64,
        /// The message.
        received: Received,
    },
}

impl std::fmt::Debug for Record {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (kind, bytes) = match self {
            Record::Letter { body, .. } => ("Letter", body.len()),
            Record::Message { received, .. } => ("Message", received.bytes.len()),
        };
        out.debug_struct(kind).field("number", &self.number()).field("bytes", &bytes).finish()
    }
}

impl Record {
    /// The record's number.
    pub fn number(&self) -> u64 {
        match self {
            Record::Letter { number, .. } | Record::Message { number, .. } => *number,
        }
    }
}

/// One mailbox and what has been read of it.
#[derive(Debug)]
pub(super) struct Mailbox {
    address: MailboxAddress,
    signing: SigningKey,
    /// The session in which the mailbox is open, or being opened.
    session: Option<[u8; 32]>,
    open: bool,
    refusal: Option<ConnectionError>,
    request: u32,
    retry_at: Nanos,
    arrivals: Arrivals,
    inbox: Inbox,
    records: VecDeque<Record>,
    /// The number of the last record made, and of the last that is kept.
    last_record: u64,
    last_kept: u64,
}

impl Mailbox {
    pub(super) fn new(gateway: NodeId, keys: MailboxKeys) -> Self {
        let address = keys.address(gateway);
        Mailbox {
            address,
            signing: keys.signing,
            session: None,
            open: false,
            refusal: None,
            request: 0,
            retry_at: Nanos::ZERO,
            arrivals: Arrivals::default(),
            inbox: Inbox::new(keys.sealing),
            records: VecDeque::new(),
            last_record: 0,
            last_kept: 0,
        }
    }

    pub(super) fn address(&self) -> MailboxAddress {
        self.address
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn refusal(&self) -> Option<ConnectionError> {
        self.refusal
    }

    pub(super) fn counts(&self) -> inbox::Counts {
        self.inbox.counts()
    }

    pub(super) fn record(&mut self) -> Option<Record> {
        self.records.pop_front()
    }

    /// All records up to `last` are kept.
    pub(super) fn kept(&mut self, last: u64) {
        self.last_kept = self.last_kept.max(last.min(self.last_record));
        self.inbox.stored(self.last_kept);
        self.arrivals.kept(self.last_kept);
    }

    /// Takes in the letters that were kept by their records' numbers; new ones begin behind
    /// `last`.
    pub(super) fn restore(&mut self, letters: Vec<(u64, Vec<u8>)>, last: u64, now: Nanos) {
        (self.last_record, self.last_kept) = (last, last);
        for (number, body) in letters {
            if let Some(received) = self.inbox.take(number, &body, now) {
                self.keep(|number| Record::Message { number, received });
            }
        }
        self.inbox.stored(last);
    }

    pub(super) fn tick(&mut self, now: Nanos) {
        self.inbox.tick(now);
    }

    pub(super) fn next_deadline(&self) -> Nanos {
        self.inbox.next_deadline()
    }

    /// The control frame to send now, in the session with handshake hash `session`, if any.
    pub(super) fn request(
        &mut self,
        session: &[u8; 32],
        now: Nanos,
        wall: UnixMicros,
    ) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        if self.session != Some(*session) {
            self.session = Some(*session);
            (self.open, self.retry_at) = (false, now);
            // A new session may be with a gateway that has forgotten: its letters say where it is.
            self.arrivals = Arrivals::default();
        }
        if !self.open && self.retry_at <= now {
            self.retry_at = now + RETRY_AFTER;
            body.extend(self.open_request(session, wall));
        }
        if std::mem::take(&mut self.arrivals.acknowledge) {
            let Arrivals { cursor, ahead, .. } = &self.arrivals;
            body.extend(Item::MailboxAck(*cursor).to_body());
            let ahead = Ahead::of(*cursor, ahead.iter().copied());
            body.extend(Item::MailboxAhead(ahead).to_body());
        }
        Some(body).filter(|body| !body.is_empty())
    }

    /// Takes a control frame from the gateway.
    pub(super) fn control(&mut self, body: &[u8]) {
        for item in Items::of(body).map_while(Result::ok) {
            if let Item::Result { request, code } = item
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
    }

    /// Takes a letter from the gateway.
    pub(super) fn letter(&mut self, delivery: &Delivery<'_>, now: Nanos) {
        if !self.arrivals.is_new(delivery) {
            return;
        }
        let (body, parts) = (delivery.payload, self.inbox.counts().parts);
        match self.inbox.take(self.last_record + 1, body, now) {
            Some(received) => self.keep(|number| Record::Message { number, received }),
            None if self.inbox.counts().parts > parts => {
                self.keep(|number| Record::Letter { number, body: body.to_vec() });
            }
            // Not needed; but what it is a copy of may not be kept yet.
            None => {}
        }
        self.arrivals.take(delivery.number, self.last_record);
        self.arrivals.kept(self.last_kept);
    }

    fn keep(&mut self, record: impl FnOnce(u64) -> Record) {
        self.last_record += 1;
        self.records.push_back(record(self.last_record));
    }

    fn open_request(&mut self, session: &[u8; 32], wall: UnixMicros) -> Vec<u8> {
        self.request = self.request.wrapping_add(1);
        let mut request = MailboxOpen {
            request: self.request,
            mailbox: self.signing.public(),
            expiry_s: wall.as_secs() + PROOF_SECS,
            signature: [0; 64],
        };
        request.signature = self.signing.sign(b"", &request.statement(session));
        Item::MailboxOpen(request).to_body()
    }
}

/// Which letters of the gateway's are here.
#[derive(Debug, Default)]
struct Arrivals {
    /// Every letter up to this one is here and kept.
    cursor: u64,
    /// Those behind it that are here and kept.
    ahead: BTreeSet<u64>,
    /// Those that are here and not kept yet: by the record that must be, then their number.
    unkept: BTreeSet<(u64, u64)>,
    /// Whether the gateway is to be told.
    acknowledge: bool,
}

impl Arrivals {
    /// Whether a letter is not here yet and there is room for it.
    fn is_new(&mut self, delivery: &Delivery<'_>) -> bool {
        let number = delivery.number;
        let oldest = number.saturating_sub(delivery.behind.into());
        // Also of one that is known: then the gateway has not heard of it.
        self.acknowledge = true;
        self.advance(oldest.saturating_sub(1));
        let is_unkept = || self.unkept.iter().any(|(_, unkept)| *unkept == number);
        let known = number <= self.cursor || self.ahead.contains(&number) || is_unkept();
        !known && self.ahead.len() + self.unkept.len() < AHEAD_LETTERS_MAX
    }

    /// The letter is here; it is kept when the record is.
    fn take(&mut self, number: u64, record: u64) {
        self.unkept.insert((record, number));
    }

    /// All records up to `last` are kept.
    fn kept(&mut self, last: u64) {
        while let Some(&(record, number)) = self.unkept.first()
            && record <= last
        {
            self.unkept.pop_first();
            self.ahead.insert(number);
            self.acknowledge = true;
        }
        self.advance(self.cursor);
    }

    /// Every letter up to `cursor` is here, and those that follow it without a gap.
    fn advance(&mut self, cursor: u64) {
        self.cursor = self.cursor.max(cursor);
        while let Some(&next) = self.ahead.first()
            && next <= self.cursor + 1
        {
            self.cursor = self.cursor.max(next);
            self.ahead.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;
    use crate::message::envelope::{self, Part};
    use crate::message::fragment::Cut;
    use crate::pki::MailboxKeys;
    use crate::sphinx::Identifier;

    struct Letters {
        mailbox: Mailbox,
        rng: Rng,
        sealing: [u8; 32],
    }

    impl Letters {
        fn new() -> Self {
            let mut rng = Rng::from_seed([1; 32]);
            let keys = MailboxKeys::generate(&mut rng);
            let sealing = keys.sealing.public();
            Letters { mailbox: Mailbox::new(NodeId([2; 32]), keys), rng, sealing }
        }

        /// Delivers part `part` of two of message `id` as letter `number` of which `behind` before
        /// it wait.
        fn deliver(&mut self, number: u64, behind: u16, (id, part): (u8, u32)) {
            let cut = Cut::new(6, 3).unwrap();
            let part = Part { id: [id; 16], number: part, cut, content: vec![id; 3] };
            let body = envelope::seal(&part, &self.sealing, &mut self.rng).unwrap();
            let surb = Identifier::default();
            let delivery = Delivery { number, flags: 0, behind, surb, payload: &body };
            self.mailbox.letter(&delivery, Nanos::ZERO);
        }

        /// The acknowledged cursor and how many letters ahead of it, if there is news.
        fn acknowledged(&mut self) -> Option<(u64, usize)> {
            self.mailbox.open = true;
            let session = self.mailbox.session.unwrap_or_default();
            self.mailbox.session = Some(session);
            let body = self.mailbox.request(&session, Nanos::ZERO, UnixMicros(0))?;
            let mut news = (0, 0);
            for item in Items::of(&body).map(Result::unwrap) {
                match item {
                    Item::MailboxAck(cursor) => news.0 = cursor,
                    Item::MailboxAhead(ahead) => {
                        news.1 = (1..=300).filter(|number| ahead.holds(*number)).count();
                    }
                    _ => {}
                }
            }
            Some(news)
        }
    }

    #[test]
    fn a_letter_is_acknowledged_when_it_is_kept_and_not_before() {
        let mut letters = Letters::new();
        letters.deliver(1, 0, (7, 0));
        assert_eq!(letters.acknowledged(), Some((0, 0)));
        let Some(Record::Letter { number, .. }) = letters.mailbox.record() else { panic!() };
        letters.mailbox.kept(number);
        assert_eq!(letters.acknowledged(), Some((1, 0)));
        assert_eq!(letters.acknowledged(), None);
    }

    #[test]
    fn a_letter_behind_a_gap_is_acknowledged_apart() {
        let mut letters = Letters::new();
        letters.deliver(1, 0, (7, 0));
        letters.deliver(3, 2, (8, 0));
        letters.mailbox.kept(2);
        assert_eq!(letters.acknowledged(), Some((1, 1)));
        letters.deliver(2, 1, (9, 0));
        letters.mailbox.kept(3);
        assert_eq!(letters.acknowledged(), Some((3, 0)));
    }

    #[test]
    fn a_copy_in_a_new_session_waits_for_the_first_one_to_be_kept() {
        let mut letters = Letters::new();
        letters.deliver(1, 0, (7, 0));
        letters.mailbox.session = None;
        letters.mailbox.request(&[5; 32], Nanos::ZERO, UnixMicros(0));
        letters.deliver(1, 0, (7, 0));
        assert_eq!(letters.acknowledged(), Some((0, 0)));
        letters.mailbox.kept(1);
        assert_eq!(letters.acknowledged(), Some((1, 0)));
    }

    #[test]
    fn a_message_names_the_records_of_its_letters_also_of_those_restored() {
        let mut letters = Letters::new();
        letters.deliver(1, 0, (7, 0));
        let Some(Record::Letter { number, body }) = letters.mailbox.record() else { panic!() };
        let Letters { rng, sealing, .. } = Letters::new();
        let keys = MailboxKeys::generate(&mut Rng::from_seed([1; 32]));
        let mut again = Letters { mailbox: Mailbox::new(NodeId([2; 32]), keys), rng, sealing };
        again.mailbox.restore(vec![(number, body)], 5, Nanos::ZERO);
        again.deliver(2, 0, (7, 1));
        let Some(Record::Message { number, received }) = again.mailbox.record() else { panic!() };
        assert_eq!((number, received.bytes), (6, vec![7; 6]));
        assert_eq!(received.letters, [1, 6]);
    }

    #[test]
    fn more_letters_than_the_window_are_not_taken() {
        let mut letters = Letters::new();
        for number in 1..=300 {
            letters.deliver(number, u16::try_from(number - 1).unwrap(), (7, 0));
        }
        assert_eq!(letters.mailbox.arrivals.unkept.len(), AHEAD_LETTERS_MAX);
    }
}
