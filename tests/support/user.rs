//! A user made by hand from the product's link, packets and reply blocks: it counts what a
//! gateway acknowledges and what it delivers.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use mixline::client::Connection;
use mixline::clock;
use mixline::crypto::random::Rng;
use mixline::io::udp::{self, UdpPort};
use mixline::link::control::{Ahead, Item, Items, MailboxOpen, Outcome};
use mixline::link::{Delivery, Frame};
use mixline::pki::{Consensus, MailboxKeys, Node, NodeId};
use mixline::route::content::{Content, Receipt, ReplyBlock};
use mixline::route::{delay_max, epoch_byte};
use mixline::sphinx::{self, Identifier, Itinerary, Recovery, RouteHop, Surb, Version};

/// A user with a session.
pub(crate) struct User {
    pub(crate) connection: Connection<UdpPort>,
    consensus: Arc<Consensus>,
    gateway: NodeId,
    keys: MailboxKeys,
    open: bool,
    awaited: HashMap<Identifier, (u64, Recovery)>,
    /// What was acknowledged and how, by the number that it was sent under.
    pub(crate) receipts: Vec<(u64, Receipt)>,
    /// The bodies that came.
    pub(crate) bodies: Vec<Vec<u8>>,
    /// The packets that were sent.
    pub(crate) sent: Vec<Vec<u8>>,
    cursor: u64,
    ahead: BTreeSet<u64>,
    pub(crate) rng: Rng,
}

/// A port of this machine.
pub(crate) fn port(consensus: &Consensus) -> UdpPort {
    let address = (Ipv4Addr::UNSPECIFIED, 0).into();
    let bytes = consensus.geometry().datagram_bytes();
    UdpPort::open(&udp::Options::new(address, bytes)).expect("a port is free")
}

impl User {
    /// A client of `gateway`, connecting.
    pub(crate) fn new(consensus: &Arc<Consensus>, gateway: NodeId, keys: MailboxKeys) -> Self {
        let mut rng = Rng::from_os();
        let node = consensus.node(&gateway).expect("the gateway is listed");
        let (now, wall) = (clock::now(), clock::wall());
        let connection = Connection::new(consensus, node, port(consensus), now, wall, &mut rng)
            .expect("the gateway has an address");
        Self::over(connection, consensus, gateway, keys)
    }

    /// The same over a connection that is there.
    pub(crate) fn over(
        connection: Connection<UdpPort>,
        consensus: &Arc<Consensus>,
        gateway: NodeId,
        keys: MailboxKeys,
    ) -> Self {
        User {
            connection,
            consensus: consensus.clone(),
            gateway,
            keys,
            open: false,
            awaited: HashMap::new(),
            receipts: vec![],
            bodies: vec![],
            sent: vec![],
            cursor: 0,
            ahead: BTreeSet::new(),
            rng: Rng::from_os(),
        }
    }

    /// Whether the mailbox is open within `patience`.
    pub(crate) fn open_mailbox(&mut self, patience: Duration) -> bool {
        let end = clock::now() + patience.into();
        let mut ask_at = clock::now();
        while clock::now() < end && !self.open {
            self.turn();
            if let Some(session) = self.connection.session()
                && clock::now() >= ask_at
            {
                ask_at = clock::now() + Duration::from_millis(300).into();
                let mut request = MailboxOpen {
                    request: 1,
                    mailbox: self.keys.signing.public(),
                    expiry_s: clock::wall().as_secs() + 600,
                    signature: [0; 64],
                };
                request.signature = self.keys.signing.sign(b"", &request.statement(&session));
                self.send(Frame::Control, &Item::MailboxOpen(request).to_body());
            }
        }
        self.open
    }

    /// Sends `body` to `mailbox` at the same gateway, with a reply block under `number`.
    pub(crate) fn submit(&mut self, number: u64, body: &[u8], mailbox: [u8; 32]) {
        let identifier = self.rng.bytes();
        let route = self.route();
        let back = Itinerary {
            route: &route,
            destination: self.keys.signing.public(),
            identifier,
            version: Version::SingleSeed,
        };
        let (surb, recovery) = Surb::create(&back, &mut self.rng).expect("the route is good");
        let epoch = epoch_byte(self.consensus.epoch());
        let content = Content { reply: Some(ReplyBlock { epoch, surb }), body }.encode();
        let there = Itinerary { destination: mailbox, identifier: Identifier::default(), ..back };
        let mut frame = vec![0; self.consensus.geometry().frame_bytes()];
        let packet_bytes = self.consensus.geometry().packet_bytes();
        sphinx::build(&content, &there, &mut self.rng, &mut frame[..packet_bytes])
            .expect("the body fits");
        frame[packet_bytes] = epoch;
        self.awaited.insert(identifier, (number, recovery));
        self.send(Frame::Sphinx, &frame);
        self.sent.push(frame);
    }

    /// Sends packets that somebody sent before.
    pub(crate) fn send_again(&mut self, packet: &[u8]) {
        self.send(Frame::Sphinx, packet);
    }

    /// Takes what is there; sleeps a moment if that is nothing.
    pub(crate) fn turn(&mut self) {
        let work = self.connection.turn(clock::now(), clock::wall());
        let mut letters = false;
        while let Some((frame, body)) = self.connection.received() {
            match frame {
                Frame::Control => self.control(&body),
                _ => letters |= self.delivery(&body),
            }
        }
        if letters {
            let ahead = Ahead::of(self.cursor, self.ahead.iter().copied());
            let ack = Item::MailboxAck(self.cursor).to_body();
            self.send(Frame::Control, &[ack, Item::MailboxAhead(ahead).to_body()].concat());
        }
        self.connection.flush();
        if work == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Turns while `waiting`, for `patience` at most.
    pub(crate) fn turn_while(&mut self, patience: Duration, waiting: impl Fn(&Self) -> bool) {
        let end = clock::now() + patience.into();
        while waiting(self) && clock::now() < end {
            self.turn();
        }
    }

    fn send(&mut self, frame: Frame, body: &[u8]) {
        self.connection.send(frame, body, clock::now());
        self.connection.flush();
    }

    fn control(&mut self, body: &[u8]) {
        for item in Items::of(body) {
            if let Ok(Item::Result { code, .. }) = item {
                self.open = Outcome::of(code) == Outcome::Done;
            }
        }
    }

    /// Takes a reply or a letter; whether it was a letter.
    fn delivery(&mut self, body: &[u8]) -> bool {
        let delivery = Delivery::decode(body).expect("the gateway speaks the protocol");
        if let Some((number, recovery)) = self.awaited.remove(&delivery.surb) {
            let mut payload = delivery.payload.to_vec();
            let message = recovery.open(&mut payload).expect("the reply is whole");
            let receipt = Receipt::decode(message).expect("it is an acknowledgement");
            self.receipts.push((number, receipt));
        }
        if delivery.surb != Identifier::default() {
            return false;
        }
        let oldest = delivery.number - u64::from(delivery.behind);
        self.cursor = self.cursor.max(oldest - 1);
        if delivery.number > self.cursor && self.ahead.insert(delivery.number) {
            self.bodies.push(delivery.payload.to_vec());
        }
        while self.ahead.remove(&(self.cursor + 1)) {
            self.cursor += 1;
        }
        true
    }

    /// From the gateway over a mix of every layer back to it.
    fn route(&mut self) -> Vec<RouteHop> {
        let consensus = self.consensus.clone();
        let gateway = consensus.node(&self.gateway).expect("the gateway is listed");
        let layers = 1..=consensus.parameters().layers;
        let mixes: Vec<&Node> = layers.map(|layer| &consensus.layer(layer)[0]).collect();
        let nodes = [&[gateway][..], &mixes, &[gateway]].concat();
        let mean = consensus.parameters().delay_mean;
        let hop = |node: &&Node| RouteHop {
            address: node.id().0,
            public_key: *node.mix_public(consensus.epoch()).expect("it has a key"),
            delay_ns: self.rng.exponential(mean).min(delay_max(mean)).0,
        };
        nodes.iter().map(hop).collect()
    }
}
