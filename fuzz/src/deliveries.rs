//! What a gateway sends its client, which must believe nothing of it.

use super::consensus;
use super::control_frames::Steps;
use super::pair::{End, START, wall};
use super::reassembly::part;
use mixline::client::{Client, Connection, Record, network_of};
use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::io::memory::{Conditions, MemoryPort, Network};
use mixline::io::{BATCH, Port};
use mixline::link::control::{Item, Items};
use mixline::link::{Close, Delivery, Frame, LinkIndex};
use mixline::message::{MessageId, envelope};
use mixline::pki::{Consensus, EpochKeys, MailboxKeys, NodeKeys};
use mixline::sphinx::Identifier;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

const STEPS_MAX: usize = 128;
/// What an input may take of virtual time: less than the age at which a session gets new keys, so
/// there is one session.
const SPAN_MAX: Nanos = Nanos::from_secs(15);
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), 1000);

static NETWORK: LazyLock<(Arc<Consensus>, NodeKeys, EpochKeys)> = LazyLock::new(|| {
    let (consensus, keys, epoch) = consensus::small();
    (Arc::new(consensus), keys, epoch)
});

fn keys() -> MailboxKeys {
    MailboxKeys::generate(&mut Rng::from_seed([1; 32]))
}

/// A client of the small network in `network`.
pub(super) fn client(network: &Network) -> Client<MemoryPort> {
    let consensus = &NETWORK.0;
    let (node, bytes) = (&consensus.gateways()[0], consensus.geometry().datagram_bytes());
    let port = network.port(CLIENT, bytes).expect("a free address");
    let mut rng = Rng::from_seed([2; 32]);
    let connection = Connection::new(consensus, node, port, START, wall(START), &mut rng);
    let connection = connection.expect("a gateway that can be reached");
    Client::new(connection, consensus.clone(), node.id(), keys(), rng)
}

/// The input as what a gateway does once its client's link is up. Accepted when the client has
/// a message.
pub fn run(input: &[u8]) -> bool {
    let mut world = World::new();
    world.advance(Nanos::from_millis(500));
    assert!(world.gateway.up.is_some(), "an undisturbed handshake succeeds");
    let mut steps = Steps(input);
    for _ in 0..STEPS_MAX {
        if world.step(&mut steps).is_none() {
            break;
        }
    }
    world.advance(Nanos::from_secs(1));
    !world.messages.is_empty()
}

/// A client and the gateway's end of its link, by hand.
struct World {
    network: Network,
    client: Client<MemoryPort>,
    gateway: End,
    port: MemoryPort,
    link: LinkIndex,
    now: Nanos,
    rng: Rng,
    sealing: [u8; 32],
    /// Messages that the client gave out.
    messages: BTreeSet<MessageId>,
    /// The client's last record, and up to where they are kept.
    last_record: u64,
    kept: u64,
    /// Letters that were sent, and the last record when each was taken in for the first time.
    letters: BTreeMap<u64, u64>,
    /// Up to here the gateway has said that all is acknowledged.
    declared: u64,
    /// Whether there may be another session than the first.
    is_closed: bool,
}

impl World {
    fn new() -> Self {
        let (consensus, keys_of_gateway, epoch) = &*NETWORK;
        let (node, bytes) = (&consensus.gateways()[0], consensus.geometry().datagram_bytes());
        let network = Network::new(Rng::from_seed([1; 32]), Conditions::default());
        let port = network.port(node.addresses()[0], bytes).expect("a free address");
        let link = keys_of_gateway.link.clone();
        let gateway = End::node(network_of(consensus), node.id().0, link, Arc::clone(&epoch.kem));
        World {
            client: client(&network),
            gateway,
            port,
            network,
            link: LinkIndex(0),
            now: START,
            rng: Rng::from_seed([3; 32]),
            sealing: keys().sealing.public(),
            messages: BTreeSet::new(),
            last_record: 0,
            kept: 0,
            letters: BTreeMap::new(),
            declared: 0,
            is_closed: false,
        }
    }

    fn step(&mut self, steps: &mut Steps<'_>) -> Option<()> {
        match steps.byte()? % 10 {
            0 | 1 => {
                let (number, behind) = (steps.number()?, steps.byte()?);
                let part = part(steps.byte()? % 8, steps.byte()? % 8, steps.byte()? % 32);
                let sealed =
                    part.and_then(|part| envelope::seal(&part, &self.sealing, &mut self.rng).ok());
                self.letter(number, behind, &sealed.unwrap_or_default());
            }
            2 => self.letter(steps.number()?, steps.byte()?, steps.bytes()?),
            3 => {
                let (surb, payload) = ([steps.byte()?; 16], steps.bytes()?);
                self.deliver(&Delivery { number: 0, flags: 0, behind: 0, surb, payload });
            }
            4 => self.send(Frame::Control, steps.bytes()?),
            5 => {
                let (request, code) = (steps.byte()?.into(), steps.byte()?);
                self.send(Frame::Control, &Item::Result { request, code }.to_body());
            }
            6 => self.advance(Nanos::from_millis(10 * u64::from(steps.byte()?))),
            7 => {
                self.kept = self.kept.max(self.last_record.saturating_sub(steps.byte()?.into()));
                self.client.kept(self.kept);
            }
            8 => {
                let close = Close { reason: steps.byte()?, retry_after_s: steps.byte()?.into() };
                self.is_closed = true;
                self.send(Frame::Close, &close.encode());
            }
            _ => {
                // A number in there may be any.
                self.is_closed = true;
                self.send(Frame::Deliver, steps.bytes()?);
            }
        }
        Some(())
    }

    fn letter(&mut self, number: u64, behind: u8, payload: &[u8]) {
        let (flags, surb, behind) = (0, Identifier::default(), behind.into());
        self.deliver(&Delivery { number, flags, behind, surb, payload });
        self.turn();
        self.letters.entry(number).or_insert(self.last_record);
        let oldest = number.saturating_sub(behind.into());
        self.declared = self.declared.max(oldest.saturating_sub(1));
    }

    fn deliver(&mut self, delivery: &Delivery<'_>) {
        let mut body = vec![0; Delivery::HEADER_BYTES + delivery.payload.len()];
        delivery.encode(&mut body).expect("the body has its length");
        self.send(Frame::Deliver, &body);
    }

    fn send(&mut self, frame: Frame, body: &[u8]) {
        self.gateway.send(self.link, frame, body, self.now);
    }

    fn advance(&mut self, span: Nanos) {
        let end = (self.now + span).min(START + SPAN_MAX);
        loop {
            self.turn();
            let next = self.client.next_due().min(self.gateway.links.next_deadline());
            if next >= end {
                self.now = self.now.max(end);
                return;
            }
            self.now = next.max(self.now + Nanos(1));
        }
    }

    /// What is sent at this instant arrives at it.
    fn turn(&mut self) {
        let now = self.now;
        self.gateway.links.tick(now, wall(now));
        self.gateway.obey(now);
        loop {
            while let Some(datagram) = self.gateway.sent() {
                let sent = self.port.send(|out| {
                    out.copy_from_slice(&datagram);
                    Ok::<_, ()>(CLIENT)
                });
                sent.expect("the port is flushed often enough");
                self.port.flush();
            }
            self.network.advance(now);
            let work = self.client.turn(now, wall(now));
            self.take_records();
            self.network.advance(now);
            if work + self.receive() == 0 {
                return;
            }
        }
    }

    fn receive(&mut self) -> usize {
        let mut datagrams = vec![];
        let work = self.port.receive(BATCH, |source, datagram| {
            datagrams.push((source, datagram.to_vec()));
        });
        for (source, datagram) in datagrams {
            if let Ok((opened, body)) = self.gateway.receive(source, &datagram, self.now) {
                self.link = opened.link;
                if opened.frame == Frame::Control {
                    self.check_control(&body);
                }
            }
        }
        work
    }

    /// Each message comes once, and as it was sent.
    fn take_records(&mut self) {
        while let Some(record) = self.client.record() {
            self.last_record += 1;
            assert_eq!(record.number(), self.last_record);
            if let Record::Message { received, .. } = record {
                assert!(self.messages.insert(received.id), "given out twice");
                let length = u8::try_from(received.bytes.len()).expect("a short message");
                let parts = (0..8).map_while(|number| part(received.id[0], number, length));
                let expected: Vec<u8> = parts.flat_map(|part| part.content).collect();
                assert_eq!(received.bytes, expected);
                assert!(received.letters.iter().all(|letter| *letter <= self.last_record));
            }
        }
    }

    /// Nothing is acknowledged that is not kept, unless the gateway itself has said that it was.
    fn check_control(&self, body: &[u8]) {
        for item in Items::of(body) {
            let item = item.expect("a client sends none that is malformed");
            let is_meant = |number: u64| match &item {
                Item::MailboxAck(cursor) => number <= *cursor,
                Item::MailboxAhead(ahead) => ahead.holds(number),
                Item::MailboxOpen(_) => false,
                item => panic!("a client sends no {item:?}"),
            };
            let mut letters = self.letters.iter().filter(|letter| *letter.0 > self.declared);
            let is_safe =
                letters.all(|(number, record)| !is_meant(*number) || *record <= self.kept);
            assert!(is_safe || self.is_closed, "acknowledged and not kept: {item:?}");
        }
    }
}

/// Two messages in turns, kept and acknowledged; letters twice, out of order, from the end of all
/// numbers; answers of every kind; a session that ends.
pub fn seeds() -> Vec<Vec<u8>> {
    let seeds: [&[u8]; 5] = [
        &[
            5, 1, 0, 0, 1, 0, 1, 0, 5, 0, 2, 1, 2, 0, 4, 6, 50, 7, 0, 0, 3, 2, 1, 1, 5, 6, 50, 7,
            0, 6, 50,
        ],
        &[
            0, 3, 2, 1, 0, 5, 0, 1, 0, 1, 1, 5, 7, 0, 6, 30, 0, 3, 2, 1, 0, 5, 0, 2, 1, 1, 1, 5, 6,
            30,
        ],
        &[0, 1, 0, 1, 0, 8, 0, 255, 0, 1, 1, 8, 7, 0, 6, 60, 0, 254, 0, 2, 0, 3, 7, 0, 6, 60],
        &[
            5, 1, 1, 5, 1, 2, 5, 1, 0, 3, 7, 4, 1, 2, 3, 4, 4, 3, 1, 8, 0, 2, 9, 0, 3, 9, 9, 9, 6,
            50,
        ],
        &[0, 1, 0, 1, 0, 8, 6, 30, 8, 0, 0, 6, 200, 0, 1, 0, 1, 0, 8, 0, 2, 1, 1, 1, 8, 6, 90],
    ];
    seeds.map(<[u8]>::to_vec).to_vec()
}
