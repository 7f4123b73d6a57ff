//! A mix network without links: real packets from node to node in virtual time, lost, repeated and
//! out of order on their way; gateways with mailboxes, and users who write to each other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::crypto::x25519::Secret;
use mixline::message::{Event, Inbox, MessageId, Outbox, Received};
use mixline::pki::{Consensus, MailboxAddress, MailboxKeys, NodeId};
use mixline::route::content::{Content, DISCARD, Receipt};
use mixline::route::{Recipient, epoch_byte};
use mixline::sphinx::geometry::HEADER_BYTES;
use mixline::sphinx::{
    Destination, Hop, Identifier, NodeAddress, Packet, Refusal, ReplayTag, Unwrapper, payload,
};

use crate::testnet::{self, Shape, WALL};

/// What the network does to a datagram between any two.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conditions {
    /// The share that is lost.
    pub(crate) loss: f64,
    /// The share that arrives twice.
    pub(crate) duplication: f64,
}

/// Who sees a packet, in order: the hops that it goes by, and where it ends.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) hops: Vec<NodeAddress>,
    pub(crate) destination: Destination,
    pub(crate) identifier: Identifier,
    /// The payload as the last hop sees it.
    pub(crate) payload: Vec<u8>,
}

struct Node {
    secret: Secret,
    seen: HashSet<ReplayTag>,
    is_dead: bool,
}

#[derive(Default)]
struct Mailbox {
    last: u64,
    /// Letters that it still takes.
    room: Option<usize>,
    is_read: bool,
    unread: Vec<(u64, Vec<u8>)>,
}

enum Arrival {
    /// A packet at a node.
    Packet(NodeAddress, Vec<u8>),
    /// An answer at a user.
    Reply(Destination, Identifier, Vec<u8>),
    /// A letter at a user.
    Letter(Destination, u64, Vec<u8>),
}

/// One who writes and reads.
pub(crate) struct User {
    pub(crate) address: MailboxAddress,
    pub(crate) outbox: Outbox,
    pub(crate) inbox: Inbox,
    pub(crate) received: Vec<Received>,
    pub(crate) events: Vec<Event>,
    /// Whether decoys go where nothing waits.
    pub(crate) sends_decoys: bool,
    next_packet: Nanos,
}

/// All of it.
pub(crate) struct Mixnet {
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) users: Vec<User>,
    pub(crate) now: Nanos,
    nodes: HashMap<NodeAddress, Node>,
    mailboxes: HashMap<Destination, Mailbox>,
    unwrapper: Unwrapper,
    arrivals: BTreeMap<(Nanos, u64), Arrival>,
    arrivals_ever: u64,
    conditions: Conditions,
    rng: Rng,
}

impl Mixnet {
    pub(crate) fn new(shape: &Shape, conditions: Conditions, seed: u8) -> Self {
        let mut rng = Rng::from_seed([seed; 32]);
        let identities = testnet::identities(shape, WALL, &mut rng);
        let consensus = identities[0].consensus.clone();
        let node = |identity: &mixline::node::Identity| {
            let secret = identity.epochs[0].mix.clone();
            let node = Node { secret, seen: HashSet::new(), is_dead: false };
            (identity.keys.identity.public(), node)
        };
        Mixnet {
            nodes: identities.iter().map(node).collect(),
            unwrapper: Unwrapper::new(Tier::chosen(), consensus.geometry(), 1),
            consensus,
            users: vec![],
            now: Nanos::ZERO,
            mailboxes: HashMap::new(),
            arrivals: BTreeMap::new(),
            arrivals_ever: 0,
            conditions,
            rng,
        }
    }

    /// Adds a user of the gateway `gateway`; its number.
    pub(crate) fn add_user(&mut self, gateway: usize) -> usize {
        let gateway = self.consensus.gateways()[gateway].id();
        let keys = MailboxKeys::generate(&mut self.rng);
        let address = keys.address(gateway);
        let home = Recipient { gateway, mailbox: address.signing };
        let outbox = Outbox::new(self.consensus.geometry(), home, self.rng.fork());
        let mailbox = Mailbox { is_read: true, ..Mailbox::default() };
        self.mailboxes.insert(address.signing, mailbox);
        self.users.push(User {
            address,
            outbox,
            inbox: Inbox::new(keys.sealing),
            received: vec![],
            events: vec![],
            sends_decoys: false,
            next_packet: self.now,
        });
        self.users.len() - 1
    }

    /// From now on the node answers nobody.
    pub(crate) fn kill(&mut self, node: &NodeId) {
        self.nodes.get_mut(&node.0).expect("a node of the network").is_dead = true;
    }

    /// Lets the user's mailbox hold so many letters, and nobody read it.
    pub(crate) fn leave_unread(&mut self, user: usize, room: usize) {
        let mailbox = self.mailbox_of(user);
        (mailbox.is_read, mailbox.room) = (false, Some(room));
    }

    /// The user reads everything, now and from now on.
    pub(crate) fn read(&mut self, user: usize) {
        let owner = self.users[user].address.signing;
        let mailbox = self.mailbox_of(user);
        (mailbox.is_read, mailbox.room) = (true, None);
        for (number, body) in std::mem::take(&mut mailbox.unread) {
            self.arrive(self.now, Arrival::Letter(owner, number, body));
        }
    }

    /// Submits a message from one user to another.
    pub(crate) fn submit(
        &mut self,
        from: usize,
        to: usize,
        message: &[u8],
        patience: Nanos,
    ) -> MessageId {
        let (address, deadline) = (self.users[to].address, self.now + patience);
        let submitted = self.users[from].outbox.submit(message.to_vec(), &address, deadline);
        submitted.expect("the outbox has room")
    }

    /// Runs until `done` says so, at most until `end`; whether it did.
    pub(crate) fn run_until(&mut self, end: Nanos, done: impl Fn(&Self) -> bool) -> bool {
        while self.now < end && !done(self) {
            let packet = self.users.iter().map(|user| user.next_packet).min();
            let arrival = self.arrivals.first_key_value().map(|((at, _), _)| *at);
            let next = packet.into_iter().chain(arrival).min().unwrap_or(end);
            self.now = self.now.max(next);
            for user in 0..self.users.len() {
                self.turn(user);
            }
            while let Some(entry) = self.arrivals.first_entry()
                && entry.key().0 <= self.now
            {
                match entry.remove() {
                    Arrival::Packet(node, frame) => self.packet(&node, frame),
                    Arrival::Reply(owner, identifier, payload) => {
                        self.reply(&owner, identifier, payload);
                    }
                    Arrival::Letter(owner, number, body) => self.letter(&owner, number, &body),
                }
            }
            for user in &mut self.users {
                user.events.extend(std::iter::from_fn(|| user.outbox.poll()));
            }
        }
        done(self)
    }

    /// The way of a packet from `first`, without losses or delays.
    pub(crate) fn trace(&mut self, first: &NodeAddress, frame: &[u8]) -> Trace {
        let packet_bytes = self.consensus.geometry().packet_bytes();
        let mut packet = frame[..packet_bytes].to_vec();
        let mut hops = vec![*first];
        loop {
            let node = hops[hops.len() - 1];
            match self.unwrap(&node, &mut packet).expect("a sound packet") {
                Hop::Forward { next, .. } => hops.push(next),
                Hop::Final { destination, identifier } => {
                    let payload = packet[HEADER_BYTES..].to_vec();
                    return Trace { hops, destination, identifier, payload };
                }
            }
        }
    }

    fn mailbox_of(&mut self, user: usize) -> &mut Mailbox {
        let owner = self.users[user].address.signing;
        self.mailboxes.get_mut(&owner).expect("a user of the network")
    }

    fn turn(&mut self, index: usize) {
        let user = &mut self.users[index];
        if user.next_packet > self.now {
            return;
        }
        let mean = self.consensus.parameters().rates.payload.gap_mean();
        user.next_packet = self.now + self.rng.exponential(mean);
        let mut frame = vec![0; self.consensus.geometry().frame_bytes()];
        let is_real = user.outbox.next_packet(&self.consensus, self.now, &mut frame);
        if !is_real && user.sends_decoys {
            user.outbox.decoy(&self.consensus, self.now, &mut frame).expect("a path");
        }
        if is_real || user.sends_decoys {
            let gateway = user.address.gateway.0;
            self.transmit(self.now, || Arrival::Packet(gateway, frame.clone()));
        }
    }

    /// Sends what `make` gives over a link at the time `at`.
    fn transmit(&mut self, at: Nanos, make: impl Fn() -> Arrival) {
        let copies = 1 + usize::from(self.rng.unit() < self.conditions.duplication);
        for _ in 0..copies {
            let (low, high) = (Nanos::from_millis(1), Nanos::from_millis(30));
            let latency = self.rng.between(low, high);
            if self.rng.unit() >= self.conditions.loss {
                self.arrive(at + latency, make());
            }
        }
    }

    fn arrive(&mut self, at: Nanos, arrival: Arrival) {
        self.arrivals_ever += 1;
        self.arrivals.insert((at, self.arrivals_ever), arrival);
    }

    fn unwrap(&mut self, at: &NodeAddress, packet: &mut [u8]) -> Result<Hop, Refusal> {
        let Node { secret, seen, is_dead } = self.nodes.get_mut(at).expect("a node");
        if *is_dead {
            return Err(Refusal::Authentication);
        }
        let mut batch = [Packet { bytes: packet, secret }];
        let mut checked = self.unwrapper.check(&mut batch);
        checked.screen(|_, tag| if seen.insert(*tag) { Ok(()) } else { Err(Refusal::Replay) });
        checked.finish()[0]
    }

    fn packet(&mut self, at: &NodeAddress, mut frame: Vec<u8>) {
        let packet_bytes = self.consensus.geometry().packet_bytes();
        assert_eq!(frame[packet_bytes..], [epoch_byte(self.consensus.epoch()), 0, 0, 0]);
        match self.unwrap(at, &mut frame[..packet_bytes]) {
            Ok(Hop::Forward { next, delay_ns }) => {
                let leaves = self.now + Nanos(delay_ns);
                self.transmit(leaves, || Arrival::Packet(next, frame.clone()));
            }
            Ok(Hop::Final { destination, identifier }) => {
                let payload = &frame[HEADER_BYTES..packet_bytes];
                if identifier == Identifier::default() {
                    self.deliver(at, &destination, payload);
                } else {
                    let reply = || Arrival::Reply(destination, identifier, payload.to_vec());
                    self.transmit(self.now, reply);
                }
            }
            Err(_) => {}
        }
    }

    /// The gateway's part: the body into the mailbox, the reply block on its way.
    fn deliver(&mut self, at: &NodeAddress, destination: &Destination, payload: &[u8]) {
        let message = payload::open(payload).expect("an unchanged payload");
        let content = Content::decode(message).expect("a content");
        let receipt = self.store(destination, content.body);
        let reply = content.reply.expect("a reply block");
        let packet_bytes = self.consensus.geometry().packet_bytes();
        let mut frame = vec![0; self.consensus.geometry().frame_bytes()];
        frame[packet_bytes] = reply.epoch;
        let first = reply.surb.reply(&receipt.encode(), &mut frame[..packet_bytes]);
        assert_eq!(first.as_ref(), Ok(at), "the block begins where it is used");
        self.packet(at, frame);
    }

    fn store(&mut self, destination: &Destination, body: &[u8]) -> Receipt {
        if *destination == DISCARD {
            return Receipt::Discarded;
        }
        let Some(mailbox) = self.mailboxes.get_mut(destination) else {
            return Receipt::UnknownMailbox;
        };
        if let Some(room) = &mut mailbox.room {
            match room.checked_sub(1) {
                Some(left) => *room = left,
                None => return Receipt::MailboxFull,
            }
        }
        mailbox.last += 1;
        let number = mailbox.last;
        if mailbox.is_read {
            let latency = self.rng.between(Nanos::ZERO, Nanos::from_millis(50));
            let letter = Arrival::Letter(*destination, number, body.to_vec());
            self.arrive(self.now + latency, letter);
        } else {
            mailbox.unread.push((number, body.to_vec()));
        }
        Receipt::Stored
    }

    fn user(&mut self, owner: &Destination) -> &mut User {
        let user = self.users.iter_mut().find(|user| user.address.signing == *owner);
        user.expect("a user of the network")
    }

    fn reply(&mut self, owner: &Destination, identifier: Identifier, mut payload: Vec<u8>) {
        let now = self.now;
        self.user(owner).outbox.reply(&identifier, &mut payload, now);
    }

    fn letter(&mut self, owner: &Destination, number: u64, body: &[u8]) {
        let now = self.now;
        let user = self.user(owner);
        user.received.extend(user.inbox.take(number, body, now));
    }
}
