//! A gateway's users: mailboxes opened, letters stored, delivered, acknowledged.
//!
//! It takes the frames of client links and the packets that end here, and says which frames and
//! replies to send; no I/O: what must be durable is ordered from a [`Store`], whose completions
//! are taken at the next [`Gateway::tick`]. What leaves for a client leaves by a schedule
//! ([`pacing`]) that knows nothing of its mailbox.

mod counts;
mod downlink;
mod letters;
mod openings;
mod orders;
pub mod pacing;
mod requests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::clock::{Nanos, UnixMicros};
use crate::crypto::random::Rng;
use crate::link::{Frame, LinkIndex};
use crate::pki::Rates;
use crate::route::content::{Content, DISCARD, Receipt, ReplyBlock};
use crate::sphinx::{Destination, Identifier, payload};
use crate::store::{Mailbox, Request, Store, StoreError};

pub use counts::Counts;
use downlink::Downlink;
use letters::Letters;
use orders::Pending;
use pacing::Schedule;

/// How often what is too old is looked for.
const SWEEP_EVERY: Nanos = Nanos::from_secs(10);
/// Objects that clients may ask for, at most.
const OBJECTS_MAX: usize = 64;

/// What a gateway must know of its network.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How often clients and nodes send.
    pub rates: Rates,
    /// Bytes that a frame's body has at most.
    pub body_bytes_max: usize,
}

/// Something to send.
#[derive(Debug)]
pub enum Outgoing {
    /// A frame to a client.
    Frame {
        /// The client's link.
        link: LinkIndex,
        /// What it is.
        frame: Frame,
        /// Its body.
        body: Vec<u8>,
    },
    /// An empty frame to a client: its turn came, and nothing waited.
    Dummy(LinkIndex),
    /// A reply block to release, with what its reply says.
    Reply(Box<ReplyBlock>, Receipt),
}

/// The part of a node that serves users.
#[derive(Debug)]
pub struct Gateway {
    options: Options,
    store: Box<dyn Store>,
    rng: Rng,
    clients: BTreeMap<LinkIndex, Downlink>,
    links: HashMap<Mailbox, LinkIndex>,
    schedule: Schedule,
    pending: HashMap<u64, Pending>,
    /// Names orders, clients and readings: a link's next client is another one, and a mailbox
    /// that is opened again is read from its beginning.
    serial: u64,
    objects: HashMap<[u8; 32], Arc<[u8]>>,
    /// The time of the last tick, which is not long ago while there are clients.
    now: Nanos,
    sweep_at: Nanos,
    /// Where the store, too busy when it was asked, may forget mailboxes up to.
    unforgotten: BTreeMap<Mailbox, u64>,
    outgoing: VecDeque<Outgoing>,
    counts: Arc<Counts>,
}

impl Gateway {
    /// A gateway over `store`.
    pub fn new(options: Options, store: Box<dyn Store>, rng: Rng) -> Self {
        Gateway {
            options,
            store,
            rng,
            clients: BTreeMap::new(),
            links: HashMap::new(),
            schedule: Schedule::new(options.rates.client_down().gap_mean()),
            pending: HashMap::new(),
            serial: 0,
            objects: HashMap::new(),
            now: Nanos::ZERO,
            sweep_at: Nanos::ZERO,
            unforgotten: BTreeMap::new(),
            outgoing: VecDeque::new(),
            counts: Arc::default(),
        }
    }

    /// Keeps to other rates from now on: a new epoch's.
    pub fn set_rates(&mut self, rates: Rates) {
        self.options.rates = rates;
        self.schedule.set_gap(rates.client_down().gap_mean());
    }

    /// Clients may ask for `bytes` by `hash` from now on; of too many objects the surplus is
    /// not offered.
    pub fn offer(&mut self, hash: [u8; 32], bytes: Arc<[u8]>) {
        if self.objects.len() < OBJECTS_MAX || self.objects.contains_key(&hash) {
            self.objects.insert(hash, bytes);
        }
    }

    /// Takes an object back.
    pub fn withdraw(&mut self, hash: &[u8; 32]) {
        self.objects.remove(hash);
    }

    /// Takes a packet's payload: a reply goes to its client if that is here, anything else
    /// into the mailbox, and when it is safe there its reply block is released.
    pub fn deliver(
        &mut self,
        destination: &Destination,
        identifier: Identifier,
        payload: &[u8],
        wall: UnixMicros,
    ) {
        if identifier != Identifier::default() {
            return self.hand_over(destination, identifier, payload);
        }
        // What is no reply and does not open was changed on its way.
        let Some(Content { reply, body }) = payload::open(payload).and_then(Content::decode) else {
            return self.counts.garbled.add(1);
        };
        let (mailbox, reply) = (*destination, reply.map(Box::new));
        let request = match mailbox {
            DISCARD => Request::Discard,
            mailbox => Request::Put { mailbox, body: body.into() },
        };
        self.order(request, Some(Pending::Body { mailbox, reply }), wall);
    }

    /// A client has arrived on `link`: its schedule begins.
    pub fn client_arrived(&mut self, link: LinkIndex, now: Nanos) {
        self.client_gone(link);
        self.now = now;
        self.serial += 1;
        self.clients.insert(link, Downlink::new(self.serial));
        self.schedule.add(link, now, &mut self.rng);
    }

    /// Forgets a client whose session has ended; its mailbox stays.
    pub fn client_gone(&mut self, link: LinkIndex) {
        self.schedule.remove(link);
        if let Some(letters) = self.clients.remove(&link).and_then(|client| client.letters)
            && self.links.get(letters.mailbox()) == Some(&link)
        {
            self.links.remove(letters.mailbox());
        }
    }

    /// Takes what the store has done, and lets leave what is due.
    pub fn tick(&mut self, now: Nanos, wall: UnixMicros) {
        self.now = now;
        if now >= self.sweep_at {
            self.sweep_at = now + SWEEP_EVERY;
            self.order(Request::Sweep, None, wall);
        }
        let mut has_room = false;
        while let Some(completion) = self.store.completed() {
            has_room = true;
            self.complete(completion, now, wall);
        }
        if has_room {
            self.forget_again(wall);
        }
        while let Some(link) = self.schedule.pop(now, &mut self.rng) {
            self.read_ahead(link, now, wall);
            self.send_next(link, now);
        }
    }

    /// When [`Gateway::tick`] has something to do, if the store does not call before.
    pub fn next_deadline(&self) -> Nanos {
        self.schedule.next().min(self.sweep_at)
    }

    /// The next thing to send.
    pub fn poll(&mut self) -> Option<Outgoing> {
        self.outgoing.pop_front()
    }

    /// Why mailboxes cannot be kept any more, once.
    pub fn failure(&mut self) -> Option<StoreError> {
        self.store.failure()
    }

    /// What was stored and what was not.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// A reply goes straight to the client; its layers are the client's to undo.
    fn hand_over(&mut self, mailbox: &Mailbox, identifier: Identifier, payload: &[u8]) {
        let client = self.links.get(mailbox).and_then(|link| self.clients.get_mut(link));
        match client.is_some_and(|client| client.push_reply(identifier, payload)) {
            true => self.counts.replies.add(1),
            false => self.counts.replies_lost.add(1),
        }
    }

    /// A client's turn: whatever waits first, or a dummy.
    fn send_next(&mut self, link: LinkIndex, now: Nanos) {
        let Some(client) = self.clients.get_mut(&link) else { return };
        self.counts.frames.add(1);
        let next = client.next(&self.objects, self.options.body_bytes_max, now);
        self.outgoing.push_back(match next {
            None => Outgoing::Dummy(link),
            Some(downlink::Next { frame, body, is_letter }) => {
                self.counts.letters_sent.add(u64::from(is_letter));
                Outgoing::Frame { link, frame, body }
            }
        });
    }

    fn letters(&mut self, link: LinkIndex) -> Option<&mut Letters> {
        self.clients.get_mut(&link)?.letters.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Delivery;
    use crate::link::control::{Item, Items, MailboxOpen};
    use crate::pki::{MailboxKeys, Rate};
    use crate::sphinx::Surb;
    use crate::sphinx::surb::SURB_BYTES;
    use crate::store::{self, InlineStore};

    pub(super) const WALL: UnixMicros = UnixMicros::from_secs(1000);
    pub(super) const SESSION: [u8; 32] = [8; 32];
    pub(super) const CLIENT: LinkIndex = LinkIndex(5);

    pub(super) fn gateway(letters_max: u64) -> Gateway {
        let rates = Rates { payload: Rate::per_second(20), ..Rates::default() };
        let limits = store::Options { letters_max, ..store::Options::default() };
        let store = InlineStore::new(limits).unwrap();
        let options = Options { rates, body_bytes_max: 1376 };
        Gateway::new(options, Box::new(store), Rng::from_seed([9; 32]))
    }

    fn keys() -> MailboxKeys {
        MailboxKeys::generate(&mut Rng::from_seed([1; 32]))
    }

    pub(super) fn mailbox() -> Mailbox {
        keys().signing.public()
    }

    /// A payload as it comes out of its last layer.
    fn payload(content: &Content<'_>) -> Vec<u8> {
        let mut payload = [&[0; 16][..], &content.encode(), &[1]].concat();
        payload.resize(1024, 0);
        payload
    }

    /// The payload of `body` with a reply block of `epoch`.
    pub(super) fn letter(epoch: u8, body: &[u8]) -> Vec<u8> {
        let surb = Surb::decode(&[7; SURB_BYTES]).unwrap();
        payload(&Content { reply: Some(ReplyBlock { epoch, surb }), body })
    }

    pub(super) fn deliver(gateway: &mut Gateway, to: Mailbox, payload: &[u8]) {
        gateway.deliver(&to, Identifier::default(), payload, WALL);
    }

    pub(super) fn open(gateway: &mut Gateway, session: &[u8; 32]) {
        gateway.control(CLIENT, session, &opening(&keys()), WALL);
    }

    /// A request to open the mailbox of `keys`, with proof.
    pub(super) fn opening(keys: &MailboxKeys) -> Vec<u8> {
        let mailbox = keys.signing.public();
        let mut request = MailboxOpen { request: 3, mailbox, expiry_s: 2000, signature: [0; 64] };
        request.signature = keys.signing.sign(b"", &request.statement(&SESSION));
        Item::MailboxOpen(request).to_body()
    }

    /// What leaves until `until`, and when.
    pub(super) fn run(
        gateway: &mut Gateway,
        now: &mut Nanos,
        until: Nanos,
    ) -> Vec<(Nanos, Outgoing)> {
        let mut left = vec![];
        while *now < until {
            gateway.tick(*now, WALL);
            left.extend(std::iter::from_fn(|| gateway.poll()).map(|outgoing| (*now, outgoing)));
            *now = gateway.next_deadline().max(*now + Nanos(1)).min(until);
        }
        left
    }

    /// The frames that `body` picks, from a run of a minute.
    fn frames<T>(gateway: &mut Gateway, pick: impl Fn(Frame, &[u8]) -> Option<T>) -> Vec<T> {
        let of = |outgoing: &Outgoing| match outgoing {
            Outgoing::Frame { frame, body, .. } => pick(*frame, body),
            _ => None,
        };
        let left = run(gateway, &mut Nanos(0), Nanos::from_secs(60));
        left.iter().filter_map(|(_, outgoing)| of(outgoing)).collect()
    }

    pub(super) fn results(gateway: &mut Gateway) -> Vec<u8> {
        frames(gateway, |frame, body| match Items::of(body).next() {
            Some(Ok(Item::Result { code, .. })) if frame == Frame::Control => Some(code),
            _ => None,
        })
    }

    #[test]
    fn a_reply_block_is_released_whatever_became_of_the_body() {
        let mut gateway = gateway(2);
        gateway.client_arrived(CLIENT, Nanos::ZERO);
        open(&mut gateway, &SESSION);
        for (epoch, body) in [(0, b"a"), (1, b"a"), (2, b"b"), (3, b"c")] {
            deliver(&mut gateway, mailbox(), &letter(epoch, body));
        }
        deliver(&mut gateway, [6; 32], &letter(4, b"d"));
        deliver(&mut gateway, DISCARD, &letter(5, b"e"));
        deliver(&mut gateway, mailbox(), &payload(&Content { reply: None, body: b"f" }));
        let left = run(&mut gateway, &mut Nanos(0), Nanos(1));
        let replies: Vec<_> = left
            .iter()
            .filter_map(|(_, outgoing)| match outgoing {
                Outgoing::Reply(block, receipt) => Some((block.epoch, *receipt)),
                _ => None,
            })
            .collect();
        let expected = [
            Receipt::Stored,
            Receipt::Duplicate,
            Receipt::Stored,
            Receipt::MailboxFull,
            Receipt::UnknownMailbox,
            Receipt::Discarded,
        ];
        assert_eq!(replies, (0..).zip(expected).collect::<Vec<_>>());
        assert_eq!(gateway.counts().acknowledged.value(), 6);
    }

    #[test]
    fn what_was_changed_on_its_way_or_has_no_form_is_counted_and_gone() {
        let mut gateway = gateway(2);
        deliver(&mut gateway, mailbox(), &[9; 1024]);
        let mut formless = letter(0, b"a");
        formless[16] = 77;
        deliver(&mut gateway, mailbox(), &formless);
        assert_eq!(gateway.counts().garbled.value(), 2);
        assert!(run(&mut gateway, &mut Nanos(0), Nanos(1)).is_empty());
    }

    #[test]
    fn letters_and_replies_reach_the_owner_and_a_reply_only_while_it_is_there() {
        let mut gateway = gateway(10);
        gateway.client_arrived(CLIENT, Nanos::ZERO);
        open(&mut gateway, &SESSION);
        run(&mut gateway, &mut Nanos(0), Nanos(1));
        deliver(&mut gateway, mailbox(), &letter(0, b"a"));
        gateway.deliver(&mailbox(), [4; 16], &[5; 1024], WALL);
        let deliveries = frames(&mut gateway, |frame, body| {
            let delivery = Delivery::decode(body).ok().filter(|_| frame == Frame::Deliver)?;
            Some((delivery.number, delivery.surb, delivery.payload.len()))
        });
        assert_eq!(deliveries[..2], [(0, [4; 16], 1024), (1, [0; 16], 1)]);
        gateway.client_gone(CLIENT);
        gateway.deliver(&mailbox(), [4; 16], &[5; 1024], WALL);
        assert_eq!(gateway.counts().replies.value(), 1);
        assert_eq!(gateway.counts().replies_lost.value(), 1);
    }

    #[test]
    fn a_letter_of_a_larger_payload_than_todays_is_dropped_and_holds_up_nothing() {
        let mut gateway = gateway(10);
        gateway.options.body_bytes_max = Delivery::HEADER_BYTES + 10;
        gateway.client_arrived(CLIENT, Nanos::ZERO);
        open(&mut gateway, &SESSION);
        run(&mut gateway, &mut Nanos(0), Nanos(1));
        for body in [&[1; 11][..], &[2; 10]] {
            deliver(&mut gateway, mailbox(), &letter(0, body));
        }
        let delivered = frames(&mut gateway, |frame, body| {
            let delivery = Delivery::decode(body).ok().filter(|_| frame == Frame::Deliver)?;
            Some((delivery.number, delivery.behind))
        });
        assert_eq!(delivered[0], (2, 0));
        assert!(delivered.iter().all(|(number, _)| *number == 2));
        assert_eq!(gateway.counts().letters_too_long.value(), 1);
    }

    #[test]
    fn the_next_client_of_a_link_gets_nothing_of_the_one_before() {
        let mut gateway = gateway(10);
        gateway.client_arrived(CLIENT, Nanos::ZERO);
        open(&mut gateway, &SESSION);
        gateway.client_gone(CLIENT);
        gateway.client_arrived(CLIENT, Nanos::ZERO);
        deliver(&mut gateway, mailbox(), &letter(0, b"a"));
        assert_eq!(frames(&mut gateway, |frame, _| Some(frame)), []);
    }

    #[test]
    fn when_frames_leave_does_not_depend_on_what_waits() {
        let times = |letters: u64| {
            let mut gateway = gateway(5000);
            gateway.client_arrived(CLIENT, Nanos::ZERO);
            gateway.client_arrived(LinkIndex(6), Nanos::ZERO);
            open(&mut gateway, &SESSION);
            let mut now = Nanos::ZERO;
            let mut left = run(&mut gateway, &mut now, Nanos::from_secs(5));
            for number in 0..letters {
                deliver(&mut gateway, mailbox(), &letter(0, &number.to_le_bytes()));
                gateway.deliver(&mailbox(), [4; 16], &[5; 1024], WALL);
            }
            left.extend(run(&mut gateway, &mut now, Nanos::from_secs(60)));
            let real = left.iter().filter(|(_, out)| matches!(out, Outgoing::Frame { .. })).count();
            let times: Vec<_> = left
                .iter()
                .filter_map(|(at, outgoing)| match outgoing {
                    Outgoing::Frame { link, .. } | Outgoing::Dummy(link) => Some((*at, *link)),
                    Outgoing::Reply(..) => None,
                })
                .collect();
            (real, times)
        };
        let (idle, busy) = (times(0), times(600));
        assert!(idle.0 == 1 && busy.0 > 1000, "{} and {} frames", idle.0, busy.0);
        assert_eq!(idle.1, busy.1);
    }
}
