//! A node or client of the link layer with two workers and no socket.

use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::kem;
use mixline::crypto::random::Rng;
use mixline::crypto::x25519;
use mixline::link::{
    Action, Capacity, Close, Event, Frame, LinkIndex, Links, Local, Network, Opened, Options, Peer,
    Refusal, Sessions,
};
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) const DATAGRAM_BYTES: usize = 1408;
pub(crate) const SPHINX_BYTES: usize = 1376;

/// A datagram that a node wants to send.
pub(crate) type Sent = (SocketAddr, Vec<u8>);

pub(crate) fn network() -> Network {
    Network {
        genesis: [7; 32],
        geometry_hash: [9; 32],
        datagram_bytes: DATAGRAM_BYTES,
        sphinx_frame_bytes: SPHINX_BYTES,
    }
}

/// The lasting part of a node: what survives a restart.
pub(crate) struct Identity {
    pub(crate) id: [u8; 32],
    pub(crate) link: [u8; 32],
    pub(crate) kem: Arc<kem::Secret>,
    pub(crate) address: SocketAddr,
}

impl Identity {
    pub(crate) fn new(number: u8) -> Self {
        Identity {
            id: [number; 32],
            link: [0x40 + number; 32],
            kem: Arc::new(kem::Secret::generate()),
            address: SocketAddr::from(([192, 0, 2, number], 9000)),
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer {
            id: self.id,
            address: self.address,
            link_public: x25519::Secret::from_bytes(self.link).public(),
            kem_public: Arc::from(&self.kem.public()[..]),
        }
    }

    pub(crate) fn local(&self) -> Local {
        let link = x25519::Secret::from_bytes(self.link);
        Local::Node { id: self.id, link, kem: vec![Arc::clone(&self.kem)] }
    }
}

/// A running process.
pub(crate) struct Node {
    pub(crate) links: Links,
    /// The first owns all links.
    workers: [Sessions; 2],
    /// Which of the two gets what arrives.
    receiver: usize,
    pub(crate) events: Vec<Event>,
}

impl Node {
    pub(crate) fn start(local: Local, options: Options, seed: u64) -> Self {
        let capacity = Capacity { nodes: 4, clients: 3 };
        let public = match &local {
            Local::Node { link, .. } => Some(link.public()),
            Local::Client => None,
        };
        let worker = || Sessions::new(&network(), capacity, public.as_ref());
        let mut bytes = [0x5e; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let (rng, wall) = (Rng::from_seed(bytes), UnixMicros::from_secs(1_700_000_000));
        let links = Links::new(options, network(), capacity, local, rng, wall);
        let receiver = usize::from(seed % 2 == 1);
        Node { links, workers: [worker(), worker()], receiver, events: vec![] }
    }

    pub(crate) fn of(identity: &Identity, seed: u64) -> Self {
        Self::start(identity.local(), Options::default(), seed)
    }

    /// Carries out what is to be done and returns what is to be sent.
    pub(crate) fn pump(&mut self, now: Nanos) -> Vec<Sent> {
        let mut sent = vec![];
        while let Some(action) = self.links.poll() {
            match action {
                Action::Send { to, datagram } => sent.push((to, datagram)),
                Action::Worker(command) => {
                    self.workers[1].apply(command.for_others());
                    self.workers[0].apply(command);
                }
                Action::Dummy(link) => sent.extend(self.seal(link, Frame::Dummy, &[], now)),
                Action::Close(link, close) => {
                    sent.extend(self.seal(link, Frame::Close, &close.encode(), now));
                }
                Action::Event(event) => self.events.push(event),
            }
        }
        sent
    }

    /// Seals a frame with the link's owner.
    pub(crate) fn seal(
        &mut self,
        link: LinkIndex,
        frame: Frame,
        body: &[u8],
        now: Nanos,
    ) -> Result<Sent, Refusal> {
        let mut datagram = vec![0; DATAGRAM_BYTES];
        assert!(self.workers[1].seal(link, frame, body, &mut datagram, now).is_err());
        let to = self.workers[0].seal(link, frame, body, &mut datagram, now)?;
        Ok((to, datagram))
    }

    /// What a worker and, if it comes to that, the control thread do with a datagram. Gives the
    /// frame and its body if it is a session's.
    pub(crate) fn receive(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
        now: Nanos,
        wall: UnixMicros,
    ) -> Result<Option<(Opened, Vec<u8>)>, Refusal> {
        let worker = &mut self.workers[self.receiver];
        let mut body = vec![0xee; DATAGRAM_BYTES];
        match worker.open(source, datagram, &mut body, now) {
            Ok(opened) => {
                if opened.unconfirmed {
                    self.links.confirmed(opened.link, opened.generation, now);
                }
                body.truncate(opened.length);
                if let (Frame::Close, Ok(close)) = (opened.frame, Close::decode(&body)) {
                    self.links.closed(opened.link, opened.generation, close, now);
                }
                Ok(Some((opened, body)))
            }
            Err(Refusal::UnknownSource | Refusal::NotThisKey) => {
                worker.gate(source, datagram, now)?;
                self.links.receive(source, datagram, now, wall).map(|()| None)
            }
            Err(refusal) => Err(refusal),
        }
    }
}
