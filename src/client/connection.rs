//! The link to the gateway: both halves of the link protocol and a port, on one thread.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::{Nanos, UnixMicros};
use crate::crypto::random::Rng;
use crate::io::{BATCH, Port};
use crate::link::{
    self, Action, Capacity, Close, Event, Frame, LinkIndex, Links, Local, Network, Peer, Refusal,
    Sessions,
};
use crate::pki::{Consensus, Invitation, Node, NodeId};
use crate::sphinx::Geometry;

/// Frames that wait for the caller, at most.
const RECEIVED_FRAMES_MAX: usize = 4096;

/// Why a client has no use of its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// The consensus lists no address or no KEM key for it.
    #[error("the consensus lists no address, or no link key for its epoch")]
    NotReachable,
    /// It keeps as many mailboxes as it may.
    #[error("it is full: try later or use another gateway")]
    GatewayFull,
    /// It does not accept the proof of possession.
    #[error("it refuses this mailbox: is this machine's clock right?")]
    MailboxRefused,
    /// The network has another packet size or mean delay than the client was started with.
    #[error("the network's packets or delays changed: restart this client")]
    NetworkChanged,
}

/// What the link protocol must know of a network.
pub fn network_of(consensus: &Consensus) -> Network {
    network_with(consensus.genesis(), consensus.geometry())
}

fn network_with(genesis: [u8; 32], geometry: Geometry) -> Network {
    Network {
        genesis,
        geometry_hash: geometry.hash(),
        datagram_bytes: geometry.datagram_bytes(),
        sphinx_frame_bytes: geometry.frame_bytes(),
    }
}

/// A gateway as the link protocol knows it; nothing if it has no address or no key of the epoch.
fn peer(consensus: &Consensus, gateway: &Node) -> Option<Peer> {
    Some(Peer {
        id: gateway.id().0,
        address: *gateway.addresses().first()?,
        link_public: *gateway.link_public(),
        kem_public: Arc::from(&gateway.kem_public(consensus.epoch())?[..]),
    })
}

/// A link to one gateway.
#[derive(Debug)]
pub struct Connection<P> {
    links: Links,
    sessions: Sessions,
    port: P,
    link: LinkIndex,
    peer: Peer,
    invited: bool,
    body: Box<[u8]>,
    received: VecDeque<(Frame, Vec<u8>)>,
    refused: u64,
    packets_out: u64,
}

impl<P: Port> Connection<P> {
    /// A link to `gateway` over `port`, under a key of its own that is thrown away afterwards.
    ///
    /// # Errors
    /// [`ConnectionError::NotReachable`].
    pub fn new(
        consensus: &Consensus,
        gateway: &Node,
        port: P,
        now: Nanos,
        wall: UnixMicros,
        rng: &mut Rng,
    ) -> Result<Self, ConnectionError> {
        let peer = peer(consensus, gateway).ok_or(ConnectionError::NotReachable)?;
        let mut connection = Self::dial(network_of(consensus), peer, port, (now, wall), rng)?;
        connection.expect_gaps(consensus);
        Ok(connection)
    }

    /// A link to the gateway that `invitation` is for: no document is needed, however long this
    /// client was away.
    ///
    /// # Errors
    /// [`ConnectionError::NotReachable`].
    pub fn invited(
        invitation: &Invitation,
        port: P,
        now: Nanos,
        wall: UnixMicros,
        rng: &mut Rng,
    ) -> Result<Self, ConnectionError> {
        let peer = Peer {
            id: invitation.gateway.0,
            address: invitation.address,
            link_public: invitation.link_public,
            kem_public: Arc::from(&invitation.kem_public[..]),
        };
        let network = network_with(invitation.genesis, invitation.geometry);
        let connection = Self::dial(network, peer, port, (now, wall), rng)?;
        Ok(Connection { invited: true, ..connection })
    }

    fn dial(
        network: Network,
        peer: Peer,
        port: P,
        (now, wall): (Nanos, UnixMicros),
        rng: &mut Rng,
    ) -> Result<Self, ConnectionError> {
        let body = vec![0; network.datagram_bytes].into();
        let capacity = Capacity { nodes: 1, clients: 0 };
        let sessions = Sessions::new(&network, capacity, None);
        let options = link::Options::default();
        let mut links = Links::new(options, network, capacity, Local::Client, rng.fork(), wall);
        let link = links.dial(&peer, now).ok_or(ConnectionError::NotReachable)?;
        Ok(Connection {
            links,
            sessions,
            body,
            port,
            link,
            peer,
            invited: false,
            received: VecDeque::new(),
            refused: 0,
            packets_out: 0,
        })
    }

    /// Takes the gateway's keys from another consensus, if it is listed there and was not entered
    /// by invitation.
    pub fn follow(&mut self, consensus: &Consensus) {
        self.expect_gaps(consensus);
        let gateway = consensus.node(&NodeId(self.peer.id)).filter(|_| !self.invited);
        if let Some(peer) = gateway.and_then(|gateway| peer(consensus, gateway)) {
            // A gateway that has moved is found at its new place once the link to the old one is
            // given up.
            self.links.renew(&peer);
            self.peer = peer;
        }
    }

    fn expect_gaps(&mut self, consensus: &Consensus) {
        let rates = &consensus.parameters().rates;
        self.links.expect_gaps(rates.client_up().gap_mean(), rates.client_down().gap_mean());
    }

    /// Receives what is there and does what the link's timers ask for. Returns how much that was.
    pub fn turn(&mut self, now: Nanos, wall: UnixMicros) -> usize {
        let mut work = self.receive(now, wall);
        self.links.tick(now, wall);
        work += self.carry_out(now);
        work
    }

    /// The next frame from the gateway.
    pub fn received(&mut self) -> Option<(Frame, Vec<u8>)> {
        self.received.pop_front()
    }

    /// Seals a frame and queues it. What finds no session or no room is lost, as on the wire.
    pub fn send(&mut self, frame: Frame, body: &[u8], now: Nanos) {
        let Connection { port, sessions, link, .. } = self;
        let sent = port.send(|out| sessions.seal(*link, frame, body, out, now));
        match sent {
            Ok(()) => self.packets_out += u64::from(frame == Frame::Sphinx),
            Err(_) => self.refused += 1,
        }
    }

    /// Hands what is queued to the port's kernel.
    pub fn flush(&mut self) {
        self.port.flush();
    }

    /// Whether there is a session.
    pub fn is_up(&self) -> bool {
        self.links.is_up(self.link)
    }

    /// The hash of the session's handshake, to which proofs are bound.
    pub fn session(&self) -> Option<[u8; 32]> {
        self.links.handshake_hash(self.link)
    }

    /// When the next turn has something to do, if nothing arrives before.
    pub fn next_due(&self) -> Nanos {
        self.links.next_deadline()
    }

    /// The port.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// Sphinx packets that were sealed and queued.
    pub fn packets_out(&self) -> u64 {
        self.packets_out
    }

    /// Datagrams that were no use, and frames that could not be sent.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Tells the gateway that this client goes; some turns later the link
    /// [`Connection::is_closed`].
    pub fn close(&mut self, now: Nanos) {
        self.links.close_all(now);
    }

    /// Whether there is no link any more.
    pub fn is_closed(&self) -> bool {
        self.links.is_empty()
    }

    fn receive(&mut self, now: Nanos, wall: UnixMicros) -> usize {
        let Connection { links, sessions, port, body, received, refused, .. } = self;
        port.receive(BATCH, |source, datagram| {
            let opened = match sessions.open(source, datagram, body, now) {
                Ok(opened) => opened,
                Err(refusal) => {
                    let answered = match refusal.may_be_handshake() {
                        true => sessions.gate(source, datagram, now),
                        false => Err(refusal),
                    };
                    let answered =
                        answered.and_then(|()| links.receive(source, datagram, now, wall));
                    *refused += u64::from(answered.is_err());
                    return;
                }
            };
            let body = &body[..opened.length];
            match opened.frame {
                Frame::Control | Frame::Deliver if received.len() < RECEIVED_FRAMES_MAX => {
                    received.push_back((opened.frame, body.to_vec()));
                }
                Frame::Close => {
                    if let Ok(close) = Close::decode(body) {
                        links.closed(opened.link, opened.generation, close, now);
                    }
                }
                Frame::Dummy => {}
                _ => *refused += 1,
            }
        })
    }

    fn carry_out(&mut self, now: Nanos) -> usize {
        let mut work = 0;
        while let Some(action) = self.links.poll() {
            work += 1;
            match action {
                Action::Send { to, datagram } => {
                    let filled = self.port.send(|out| {
                        out.copy_from_slice(&datagram);
                        Ok::<_, Refusal>(to)
                    });
                    self.refused += u64::from(filled.is_err());
                }
                Action::Worker(command) => self.sessions.apply(command),
                // The schedule has dummies of its own, and nothing else may add to it.
                Action::Dummy(_) => {}
                Action::Close(_, close) => self.send(Frame::Close, &close.encode(), now),
                // A gateway that cannot be reached is dialled again: there is no other.
                Action::Event(Event::Unreachable { .. }) => {
                    if let Some(link) = self.links.dial(&self.peer, now) {
                        self.link = link;
                    }
                }
                Action::Event(_) => {}
            }
        }
        work
    }
}
