//! Control frames between neighbours, and a gateway that clients and packets do what they like to.

use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::random::Rng;
use mixline::gateway::{Gateway, Options, Outgoing};
use mixline::link::control::{Ahead, Item, Items, MailboxOpen, ObjectData, ObjectGet, Outcome};
use mixline::link::{Close, Delivery, Frame, LinkIndex};
use mixline::pki::{MailboxKeys, Rates};
use mixline::route::content::{Content, DISCARD, Receipt, ReplyBlock};
use mixline::sphinx::surb::SURB_BYTES;
use mixline::sphinx::{Geometry, Identifier, Surb, payload};
use mixline::store::{self, InlineStore, Mailbox};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

const WALL: UnixMicros = UnixMicros::from_secs(1_800_000_000);
const BODY_BYTES_MAX: usize = Geometry::DEFAULT.datagram_bytes() - 32;
const OBJECT: [u8; 3000] = [6; 3000];
const OBJECT_HASH: [u8; 32] = [5; 32];
const LINKS: u8 = 3;
const STEPS_MAX: usize = 256;
/// Fewer than a client's queue at the gateway holds: then nothing of it is dropped.
const AWAITED_MAX: usize = 200;
/// What an input may take of virtual time, and what is then long enough for all that waits to
/// leave, at 50 frames a second.
const SPAN_MAX: Nanos = Nanos::from_secs(15);
const REST: Nanos = Nanos::from_secs(20);

/// Three mailboxes, of which the gateway has room for two.
static MAILBOXES: LazyLock<Vec<MailboxKeys>> = LazyLock::new(|| {
    (1..=3).map(|seed| MailboxKeys::generate(&mut Rng::from_seed([seed; 32]))).collect()
});
const MAILBOXES_MAX: usize = 2;

/// The input as a body of each kind, then as what happens at a gateway. Accepted when it holds a
/// frame, or makes the gateway send one that is no dummy.
pub fn run(input: &[u8]) -> bool {
    let read = read_bodies(input);
    let mut world = World::new();
    let mut steps = Steps(input);
    for _ in 0..STEPS_MAX {
        if world.step(&mut steps).is_none() {
            break;
        }
    }
    world.rest();
    read || world.frames > 0
}

/// What is understood is what is written, byte for byte.
fn read_bodies(input: &[u8]) -> bool {
    let (mut rest, mut items) = (input, Items::of(input));
    let mut known = 0;
    while let Some(&[kind, low, high]) = rest.first_chunk() {
        let length = 3 + usize::from(u16::from_le_bytes([low, high]));
        let Some((item, after)) = rest.split_at_checked(length) else { break };
        if matches!(kind, 1..=4 | 7 | 0x81 | 0x82 | 0x84) {
            let Some(Ok(read)) = items.next() else { break };
            assert_eq!(read.to_body(), item);
            known += 1;
        }
        rest = after;
    }
    assert!(items.all(|item| item.is_err()), "more items than there are");

    let delivery = Delivery::decode(input);
    if let Ok(delivery) = delivery {
        let mut again = vec![0xff; input.len()];
        assert_eq!(delivery.encode(&mut again), Ok(input.len()));
        assert_eq!(again, input);
    }
    let close = Close::decode(input);
    assert!(close.is_err() || close.is_ok_and(|close| close.encode() == input));
    known > 0 || delivery.is_ok() || close.is_ok()
}

/// Bytes that say what happens.
pub(super) struct Steps<'a>(pub(super) &'a [u8]);

impl<'a> Steps<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// As many bytes as the next one says, or as there are.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(bytes)
    }

    fn link(&mut self) -> Option<LinkIndex> {
        Some(LinkIndex(u32::from(self.byte()? % LINKS)))
    }

    /// One of the three mailboxes.
    fn keys(&mut self) -> Option<&'static MailboxKeys> {
        MAILBOXES.get(usize::from(self.byte()? % 3))
    }

    /// A small number, or one of the largest.
    pub(super) fn number(&mut self) -> Option<u64> {
        let byte = self.byte()?;
        Some(if byte < 240 { byte.into() } else { u64::MAX - u64::from(255 - byte) })
    }
}

/// What a client may get.
#[derive(Default)]
struct Client {
    /// Answers that it must get.
    answers: Vec<Vec<u8>>,
    /// Replies that it may get, by identifier.
    replies: Vec<Identifier>,
    /// Mailboxes that it has proven to be its own.
    proven: BTreeSet<Mailbox>,
    /// Requests for pieces of the object, and how many pieces each may bring.
    pieces: Vec<(u32, u32)>,
    /// The last letter that it was sent, and up to where it has acknowledged, since it knows that
    /// a mailbox is open.
    sent: u64,
    acknowledged: u64,
}

/// A gateway, and what must be true of it.
struct World {
    gateway: Gateway,
    now: Nanos,
    clients: BTreeMap<LinkIndex, Client>,
    /// Mailboxes that the gateway keeps.
    kept: BTreeSet<Mailbox>,
    /// Letters, by number: their mailbox, and what their reply block must say.
    letters: Vec<(Mailbox, Expected)>,
    /// How many of their reply blocks are out.
    receipts: usize,
    frames: usize,
}

/// What becomes of a letter.
#[derive(Clone, Copy, PartialEq)]
enum Expected {
    NoReply,
    Discarded,
    Unknown,
    /// Into its mailbox, if there is room.
    Known,
}

impl World {
    fn new() -> Self {
        let limits = store::Options {
            mailboxes_max: MAILBOXES_MAX,
            letters_max: 8,
            bytes_max: 8192,
            ..store::Options::default()
        };
        let store = InlineStore::new(limits).expect("memory is no disk");
        let options = Options { rates: Rates::default(), body_bytes_max: BODY_BYTES_MAX };
        let mut gateway = Gateway::new(options, Box::new(store), Rng::from_seed([9; 32]));
        gateway.offer(OBJECT_HASH, Arc::from(&OBJECT[..]));
        World {
            gateway,
            now: Nanos::ZERO,
            clients: BTreeMap::new(),
            kept: BTreeSet::new(),
            letters: vec![],
            receipts: 0,
            frames: 0,
        }
    }

    fn step(&mut self, steps: &mut Steps<'_>) -> Option<()> {
        match steps.byte()? % 12 {
            0 => self.arrive(steps.link()?),
            1 => self.leave(steps.link()?),
            2 => self.control(steps.link()?, steps.bytes()?),
            3 => self.open(steps.link()?, steps.keys()?, steps.byte()?),
            4 => self.control(steps.link()?, &Item::MailboxAck(steps.number()?).to_body()),
            5 => {
                let (link, after) = (steps.link()?, steps.number()?);
                let numbers = steps.bytes()?.iter().map(|&ahead| after.wrapping_add(ahead.into()));
                self.control(link, &Item::MailboxAhead(Ahead::of(after, numbers)).to_body());
            }
            6 => {
                let (link, request, offset) = (steps.link()?, steps.byte()?, steps.number()?);
                let offset = u32::try_from(offset % (1 << 32)).unwrap_or(0).wrapping_mul(50);
                let (request, hash, count) = (request.into(), OBJECT_HASH, steps.byte()?);
                let get = ObjectGet { request, hash, offset, count };
                self.control(link, &Item::ObjectGet(get).to_body());
            }
            7 => self.control(steps.link()?, &Item::Echo([steps.byte()?; 8]).to_body()),
            8 => self.letter(steps.byte()?, steps.bytes()?),
            9 => self.reply(steps.keys()?.signing.public(), [steps.byte()?; 16]),
            10 => {
                let span = Nanos::from_millis(10 * u64::from(steps.byte()?));
                self.advance((self.now + span).min(SPAN_MAX));
            }
            _ => self.garbled(steps.bytes()?),
        }
        Some(())
    }

    fn arrive(&mut self, link: LinkIndex) {
        self.gateway.client_arrived(link, self.now);
        self.clients.insert(link, Client::default());
    }

    fn leave(&mut self, link: LinkIndex) {
        self.gateway.client_gone(link);
        self.clients.remove(&link);
    }

    /// A request with a proof that holds if `how` is a multiple of four.
    fn open(&mut self, link: LinkIndex, keys: &MailboxKeys, how: u8) {
        let (session, mut expiry_s) = (session(link), WALL.as_secs() + 600);
        if how % 4 == 1 {
            expiry_s = WALL.as_secs();
        }
        let (mailbox, signature) = (keys.signing.public(), [0; 64]);
        let mut open = MailboxOpen { request: how.into(), mailbox, expiry_s, signature };
        let signed = if how % 4 == 2 { [0; 32] } else { session };
        open.signature = keys.signing.sign(b"", &open.statement(&signed));
        open.signature[40] ^= u8::from(how % 4 == 3);
        self.control(link, &Item::MailboxOpen(open).to_body());
    }

    /// What a client sends: the gateway takes it, and so does the model.
    fn control(&mut self, link: LinkIndex, body: &[u8]) {
        if self.clients.get(&link).is_some_and(|client| client.answers.len() > AWAITED_MAX) {
            return;
        }
        let items: Vec<_> = Items::of(body).map_while(Result::ok).collect();
        let opens = items.iter().any(|item| matches!(item, Item::MailboxOpen(_)));
        if !opens {
            self.gateway.control(link, &session(link), body, WALL);
        }
        for item in items {
            // One by one, because those that come too soon have no answer.
            if opens {
                let before = self.gateway.counts().openings_ignored.value();
                self.gateway.control(link, &session(link), &item.to_body(), WALL);
                if self.gateway.counts().openings_ignored.value() > before {
                    continue;
                }
            }
            let code = if let Item::MailboxOpen(open) = &item { self.code(link, open) } else { 0 };
            let Some(client) = self.clients.get_mut(&link) else { return };
            match item {
                Item::MailboxOpen(MailboxOpen { request, mailbox, .. }) => {
                    client.answers.push(Item::Result { request, code }.to_body());
                    if code == Outcome::Done.code() {
                        client.proven.insert(mailbox);
                    }
                }
                Item::MailboxAck(cursor) => {
                    client.acknowledged = client.acknowledged.max(cursor.min(client.sent));
                }
                Item::Echo(nonce) => client.answers.push(Item::EchoReply(nonce).to_body()),
                Item::ObjectGet(get) => client.pieces.push((get.request, get.count.into())),
                _ => {}
            }
        }
    }

    /// How a request for a mailbox must go.
    fn code(&mut self, link: LinkIndex, open: &MailboxOpen) -> u8 {
        let keys = MAILBOXES.iter().find(|keys| keys.signing.public() == open.mailbox);
        // Signatures by Ed25519 are what they are: one of each statement.
        let is_signed = keys.is_some_and(|keys| {
            keys.signing.sign(b"", &open.statement(&session(link))) == open.signature
        });
        if !is_signed || open.expiry_s <= WALL.as_secs() {
            return Outcome::Refused.code();
        }
        if !self.clients.contains_key(&link) {
            return 0;
        }
        if self.kept.len() < MAILBOXES_MAX || self.kept.contains(&open.mailbox) {
            self.kept.insert(open.mailbox);
            return Outcome::Done.code();
        }
        Outcome::Full.code()
    }

    /// A letter with its number in it, and with a reply block if `how` is even.
    fn letter(&mut self, how: u8, body: &[u8]) {
        let mailbox = match usize::from(how / 2 % 5) {
            3 => DISCARD,
            4 => [0xee; 32],
            known => MAILBOXES[known].signing.public(),
        };
        let number = u32::try_from(self.letters.len()).unwrap_or(0);
        let expected = match mailbox {
            _ if how % 2 == 1 => Expected::NoReply,
            DISCARD => Expected::Discarded,
            mailbox if self.kept.contains(&mailbox) => Expected::Known,
            _ => Expected::Unknown,
        };
        let surb = Surb::decode(&[7; SURB_BYTES]).expect("one of the right length");
        let reply = ReplyBlock { epoch: number.to_le_bytes()[0], surb };
        let reply = how.is_multiple_of(2).then_some(reply);
        let body = [&number.to_le_bytes()[..], body].concat();
        let payload = payload_of(&Content { reply, body: &body }.encode());
        self.gateway.deliver(&mailbox, Identifier::default(), &payload, WALL);
        self.letters.push((mailbox, expected));
    }

    fn reply(&mut self, mailbox: Mailbox, identifier: Identifier) {
        let before = self.gateway.counts().replies.value();
        self.gateway.deliver(&mailbox, identifier, &[3; 1024], WALL);
        let is_reply = identifier != Identifier::default();
        if is_reply && self.gateway.counts().replies.value() > before {
            let owner = self.clients.values_mut().filter(|client| client.proven.contains(&mailbox));
            owner.for_each(|client| client.replies.push(identifier));
        }
    }

    fn garbled(&mut self, bytes: &[u8]) {
        if payload::open(bytes).and_then(Content::decode).is_some() {
            return;
        }
        let before = self.gateway.counts().garbled.value();
        let mailbox = MAILBOXES[0].signing.public();
        self.gateway.deliver(&mailbox, Identifier::default(), bytes, WALL);
        assert_eq!(self.gateway.counts().garbled.value(), before + 1);
    }

    fn advance(&mut self, end: Nanos) {
        loop {
            self.gateway.tick(self.now, WALL);
            while let Some(outgoing) = self.gateway.poll() {
                self.check(outgoing);
            }
            let next = self.gateway.next_deadline();
            assert!(next > self.now, "a tick leaves something undone");
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
        }
    }

    /// In the end every reply block is out, and every answer.
    fn rest(&mut self) {
        let blocks = self.letters.iter().filter(|letter| letter.1 != Expected::NoReply).count();
        let end = self.now + REST;
        while self.receipts < blocks
            || self.clients.values().any(|client| !client.answers.is_empty())
        {
            assert!(self.now < end, "answers or reply blocks that never leave");
            self.advance(self.now + Nanos::from_millis(100));
        }
    }

    fn check(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Dummy(link) => assert!(self.clients.contains_key(&link)),
            Outgoing::Reply(block, receipt) => self.check_receipt(&block, receipt),
            Outgoing::Frame { link, frame, body } => {
                self.frames += 1;
                assert!(body.len() <= BODY_BYTES_MAX);
                let client = self.clients.get_mut(&link).expect("a client that is there");
                match frame {
                    Frame::Control => check_control(client, &body),
                    Frame::Deliver => check_delivery(client, &self.letters, &body),
                    _ => panic!("a gateway sends no {frame:?}"),
                }
            }
        }
    }

    /// Reply blocks leave in the order in which they came.
    fn check_receipt(&mut self, block: &ReplyBlock, receipt: Receipt) {
        let with_reply = |(number, letter): (usize, &(Mailbox, Expected))| {
            (letter.1 != Expected::NoReply).then_some((number, letter.1))
        };
        let mut letters = self.letters.iter().enumerate().filter_map(with_reply);
        let (number, expected) = letters.nth(self.receipts).expect("a block that came");
        self.receipts += 1;
        assert_eq!(usize::from(block.epoch), number % 256);
        let is_right = match expected {
            Expected::NoReply => false,
            Expected::Discarded => receipt == Receipt::Discarded,
            Expected::Unknown => receipt == Receipt::UnknownMailbox,
            Expected::Known => matches!(receipt, Receipt::Stored | Receipt::MailboxFull),
        };
        assert!(is_right, "{receipt:?}");
    }
}

/// One frame: an answer that is awaited, or a piece of an object.
fn check_control(client: &mut Client, body: &[u8]) {
    if let Some(Ok(Item::ObjectData(piece))) = Items::of(body).next() {
        let ObjectData { request, offset, total, bytes } = piece;
        let end = offset as usize + bytes.len();
        assert_eq!((total as usize, bytes), (OBJECT.len(), &OBJECT[offset as usize..end]));
        let asked = |(number, left): &&mut (u32, u32)| *number == request && *left > 0;
        let asked = client.pieces.iter_mut().find(asked).expect("a request for it");
        asked.1 -= 1;
        return;
    }
    let place = client.answers.iter().position(|answer| answer == body).expect("an answer to it");
    client.answers.remove(place);
    if let Some(Ok(Item::Result { code, .. })) = Items::of(body).next()
        && code == Outcome::Done.code()
    {
        (client.sent, client.acknowledged) = (0, 0);
    }
}

/// A reply that came for the client, or a letter of a mailbox of its own that it has not
/// acknowledged.
fn check_delivery(client: &mut Client, letters: &[(Mailbox, Expected)], body: &[u8]) {
    let delivery = Delivery::decode(body).expect("a gateway sends none that is malformed");
    if delivery.surb != Identifier::default() {
        let place = client.replies.iter().position(|reply| *reply == delivery.surb);
        client.replies.remove(place.expect("a reply that came for it"));
        return assert_eq!((delivery.number, delivery.payload), (0, &[3; 1024][..]));
    }
    let number = delivery.payload.first_chunk().map_or(0, |number| u32::from_le_bytes(*number));
    let mailbox = letters[number as usize].0;
    assert!(client.proven.contains(&mailbox), "a letter of somebody else's");
    assert!(delivery.number > client.acknowledged, "a letter that was acknowledged");
    assert!(u64::from(delivery.behind) < delivery.number);
    client.sent = client.sent.max(delivery.number);
}

/// The handshake hash of a link's session.
fn session(link: LinkIndex) -> [u8; 32] {
    [link.0.to_le_bytes()[0] + 1; 32]
}

/// A payload as it comes out of its last layer.
fn payload_of(content: &[u8]) -> Vec<u8> {
    let mut payload = [&[0; 16][..], content, &[1]].concat();
    payload.resize(1024, 0);
    payload
}

/// One body of each kind, all items in one, and a few days at a gateway.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut delivery = vec![0; Delivery::HEADER_BYTES + 100];
    delivery[0] = 1;
    let open = MailboxOpen { request: 7, mailbox: [3; 32], expiry_s: 1 << 40, signature: [4; 64] };
    let items = [
        Item::Echo([1; 8]),
        Item::EchoReply([2; 8]),
        Item::MailboxOpen(open),
        Item::MailboxAck(9),
        Item::MailboxAhead(Ahead::of(7, [8, 9, 263])),
        Item::Result { request: 7, code: 2 },
        Item::ObjectGet(ObjectGet { request: 9, hash: OBJECT_HASH, offset: 1361, count: 8 }),
        Item::ObjectData(ObjectData { request: 9, offset: 0, total: 40, bytes: &[6; 20] }),
    ];
    let bodies: Vec<_> = items.iter().map(Item::to_body).collect();
    let close = Close { reason: Close::STOPPING, retry_after_s: 7 }.encode().to_vec();
    let days: [&[u8]; 5] = [
        // A mailbox is opened, letters come and are acknowledged, one ahead of another.
        &[
            0, 0, 3, 0, 0, 0, 10, 9, 8, 0, 1, 1, 8, 0, 1, 2, 8, 0, 0, 10, 20, 5, 0, 0, 1, 3, 10,
            200, 4, 0, 1, 10, 200, 4, 0, 255, 10, 200,
        ],
        // Requests that are refused; a third mailbox, for which there is no room.
        &[0, 0, 3, 0, 0, 1, 3, 0, 0, 2, 3, 0, 0, 3, 3, 0, 0, 4, 3, 0, 1, 0, 3, 0, 2, 0, 10, 90],
        // A mailbox moves to another client; replies, decoys, a letter for nobody.
        &[
            0, 0, 0, 1, 3, 0, 0, 0, 10, 50, 8, 0, 1, 1, 3, 1, 0, 0, 10, 50, 9, 0, 4, 9, 1, 4, 8, 6,
            0, 8, 8, 0, 8, 1, 0, 1, 0, 10, 90, 1, 1, 9, 0, 5,
        ],
        // More letters than a mailbox holds; an object; an echo; what is no payload.
        &[
            0, 0, 3, 0, 0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 0, 8, 0, 0, 8, 0,
            0, 8, 0, 0, 8, 0, 0, 10, 90, 6, 0, 1, 0, 3, 6, 0, 2, 59, 3, 7, 0, 1, 11, 3, 1, 2, 3,
            10, 90,
        ],
        // A client is gone, and another there, before the store has answered.
        &[
            0, 0, 3, 0, 0, 0, 0, 0, 10, 90, 3, 0, 0, 0, 1, 0, 10, 90, 0, 0, 2, 0, 11, 1, 8, 0, 1,
            2, 3, 4, 5, 6, 7, 8, 10, 90,
        ],
    ];
    let days = days.map(<[u8]>::to_vec);
    [vec![delivery, close, bodies.concat()], bodies, days.to_vec()].concat()
}
