//! A client and a node, joined by two queues of datagrams in virtual time.

use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::random::Rng;
use mixline::crypto::{kem, x25519};
use mixline::link::{
    Action, Capacity, Event, Frame, LinkIndex, Links, Local, Network, Opened, Options, Peer,
    Refusal, Sessions,
};
use mixline::sphinx::Geometry;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

pub const GENESIS: [u8; 32] = [3; 32];
pub const DATAGRAM_BYTES: usize = Geometry::DEFAULT.datagram_bytes();
const BODY_BYTES: usize = DATAGRAM_BYTES - 32;
/// The node's link key.
pub const LINK_SECRET: [u8; 32] = [4; 32];
const CLIENT_PORT: u16 = 1000;
const NODE_PORT: u16 = 2000;

static KEM: LazyLock<Arc<kem::Secret>> = LazyLock::new(|| Arc::new(kem::Secret::generate()));

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// One end: both halves of the link protocol, and what it has sent.
pub struct End {
    pub links: Links,
    pub sessions: Sessions,
    pub address: SocketAddr,
    /// The link to the other end, while it is up.
    pub up: Option<LinkIndex>,
    sent: VecDeque<Vec<u8>>,
}

impl End {
    fn new(network: Network, local: Local, link_public: Option<[u8; 32]>, port: u16) -> Self {
        let capacity = Capacity { nodes: 1, clients: 2 };
        let rng = Rng::from_seed([port.to_le_bytes()[0]; 32]);
        let sessions = Sessions::new(&network, capacity, link_public.as_ref());
        let links = Links::new(Options::default(), network, capacity, local, rng, wall(START));
        End { links, sessions, address: address(port), up: None, sent: VecDeque::new() }
    }

    /// Does everything that the control side asks for.
    pub fn obey(&mut self, now: Nanos) {
        while let Some(action) = self.links.poll() {
            match action {
                Action::Send { datagram, .. } => self.sent.push_back(datagram),
                Action::Worker(command) => self.sessions.apply(command),
                Action::Dummy(link) => self.send(link, Frame::Dummy, &[], now),
                Action::Close(link, close) => self.send(link, Frame::Close, &close.encode(), now),
                Action::Event(Event::Up { link } | Event::ClientArrived { link }) => {
                    self.up = Some(link);
                }
                Action::Event(Event::Down { .. }) => self.up = None,
                Action::Event(_) => {}
            }
        }
    }

    /// A node of `network`.
    pub fn node(
        network: Network,
        id: [u8; 32],
        link: x25519::Secret,
        kem: Arc<kem::Secret>,
    ) -> Self {
        let (link_public, kem) = (link.public(), vec![kem]);
        Self::new(network, Local::Node { id, link, kem }, Some(link_public), NODE_PORT)
    }

    /// What it has sent and nobody has taken.
    pub fn sent(&mut self) -> Option<Vec<u8>> {
        self.sent.pop_front()
    }

    /// Sends a frame, unless the link is not there or the body none of its kind.
    pub fn send(&mut self, link: LinkIndex, frame: Frame, body: &[u8], now: Nanos) {
        let mut datagram = vec![0; DATAGRAM_BYTES];
        if self.sessions.seal(link, frame, body, &mut datagram, now).is_ok() {
            self.sent.push_back(datagram);
        }
    }

    /// Takes a datagram as a worker does: a session's, or one that the gate lets pass.
    pub fn receive(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
        now: Nanos,
    ) -> Result<(Opened, Vec<u8>), Refusal> {
        let mut body = vec![0; BODY_BYTES];
        let outcome = self.sessions.open(source, datagram, &mut body, now);
        match outcome {
            Ok(opened) if opened.unconfirmed => {
                self.links.confirmed(opened.link, opened.generation, now);
            }
            Err(Refusal::UnknownSource | Refusal::NotThisKey)
                if self.sessions.gate(source, datagram, now).is_ok() =>
            {
                // Refusals of the control side show in that nothing comes up.
                let _ = self.links.receive(source, datagram, now, wall(now));
            }
            _ => {}
        }
        self.obey(now);
        outcome.map(|opened| {
            body.truncate(opened.length);
            (opened, body)
        })
    }
}

fn network() -> Network {
    Network {
        genesis: GENESIS,
        geometry_hash: Geometry::DEFAULT.hash(),
        datagram_bytes: DATAGRAM_BYTES,
        sphinx_frame_bytes: Geometry::DEFAULT.frame_bytes(),
    }
}

pub const START: Nanos = Nanos::from_secs(1);

pub fn wall(now: Nanos) -> UnixMicros {
    UnixMicros(UnixMicros::from_secs(1_800_000_000).0 + now.0 / 1000)
}

/// Both ends; the client has just dialled.
pub struct Pair {
    pub client: End,
    pub node: End,
    pub now: Nanos,
}

impl Pair {
    pub fn dialling() -> Self {
        let link = x25519::Secret::from_bytes(LINK_SECRET);
        let link_public = link.public();
        let local = Local::Node { id: [5; 32], link, kem: vec![KEM.clone()] };
        let mut client = End::new(network(), Local::Client, None, CLIENT_PORT);
        let node = End::new(network(), local, Some(link_public), NODE_PORT);
        let kem_public = KEM.public().as_slice().into();
        let peer = Peer { id: [5; 32], address: node.address, link_public, kem_public };
        client.links.dial(&peer, START).expect("there is a place");
        client.obey(START);
        Pair { client, node, now: START }
    }

    /// Lets datagrams flow, each changed by `change` on its way, until both ends are up or
    /// `limit` has passed; says whether they are.
    pub fn run(&mut self, limit: Nanos, mut change: impl FnMut(&mut [u8])) -> bool {
        let end = self.now + limit;
        loop {
            while let Some((mut datagram, to_node)) = self.next_datagram() {
                change(&mut datagram);
                let now = self.now;
                let (to, from) = self.ends(to_node);
                // What is refused here is for the protocol to make good.
                let _ = to.receive(from, &datagram, now);
            }
            let next = self.client.links.next_deadline().min(self.node.links.next_deadline());
            if self.is_up() || next > end {
                return self.is_up();
            }
            self.now = self.now.max(next);
            for end in [&mut self.client, &mut self.node] {
                end.links.tick(self.now, wall(self.now));
                end.obey(self.now);
            }
        }
    }

    pub fn is_up(&self) -> bool {
        self.client.up.is_some() && self.node.up.is_some()
    }

    fn next_datagram(&mut self) -> Option<(Vec<u8>, bool)> {
        let from_client = self.client.sent.pop_front().map(|datagram| (datagram, true));
        from_client.or_else(|| Some((self.node.sent.pop_front()?, false)))
    }

    fn ends(&mut self, to_node: bool) -> (&mut End, SocketAddr) {
        if to_node {
            (&mut self.node, self.client.address)
        } else {
            (&mut self.client, self.node.address)
        }
    }
}
