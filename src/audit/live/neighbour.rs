//! A node next to the one under test, played by the audit: its keys, its address, one link.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;

use socket2::Socket;

use super::AuditError;
use crate::client::network_of;
use crate::clock::{self, Nanos};
use crate::config::NodeFile;
use crate::crypto::random::Rng;
use crate::crypto::x25519;
use crate::host::stamped::{self, Stamped};
use crate::link::{self, Action, Capacity, Close, Frame, LinkIndex, Links, Local, Peer, Sessions};
use crate::node::Identity;
use crate::pki::{Consensus, Node as Listed};

/// Bytes at the beginning of a datagram by which it is told from all others: they are noise.
pub(super) const NAME_BYTES: usize = 8;
/// What names a datagram on the wire.
pub(super) type Name = [u8; NAME_BYTES];

/// One node of the network, linked to the node under test alone.
pub(super) struct Neighbour {
    links: Links,
    sessions: Sessions,
    socket: Socket,
    link: LinkIndex,
    buffer: Vec<u8>,
    body: Vec<u8>,
    out: Vec<u8>,
    /// What packets for it are wrapped for.
    pub(super) mix: x25519::Secret,
    /// Who it is.
    pub(super) address: [u8; 32],
    /// Datagrams that its socket has lost.
    pub(super) dropped: u32,
}

/// A datagram that has left, and between which times of the wall clock.
pub(super) struct Sent {
    pub(super) name: Name,
    pub(super) from: Nanos,
    pub(super) until: Nanos,
}

/// A datagram that has come.
pub(super) struct Came<'a> {
    pub(super) name: Name,
    pub(super) at: Nanos,
    pub(super) source: SocketAddr,
    /// What it carried, if that was a packet.
    pub(super) packet: Option<&'a [u8]>,
}

impl Neighbour {
    /// The node that `file` describes.
    pub(super) fn start(file: &NodeFile, node: &Listed) -> Result<Self, AuditError> {
        let identity = Identity::load(file)?;
        let consensus = &identity.consensus;
        let network = network_of(consensus);
        let (now, wall) = (clock::now(), clock::wall());
        let keys = &identity.keys;
        let local = Local::Node {
            id: keys.identity.id().0,
            link: keys.link.clone(),
            kem: identity.epochs.iter().map(|epoch| epoch.kem.clone()).collect(),
        };
        let capacity = Capacity { nodes: 1, clients: 0 };
        let sessions = Sessions::new(&network, capacity, Some(&keys.link.public()));
        let options = link::Options::default();
        let mut links = Links::new(options, network, capacity, local, Rng::from_os(), wall);
        let stranger = || AuditError::NotListed(node.name().to_owned());
        let peer = peer(node, consensus).ok_or_else(stranger)?;
        links.set_peers(&[peer], now);
        let link = links.index_of(&node.id().0).ok_or_else(stranger)?;
        let address = file.listen.first().copied().ok_or_else(stranger)?;
        let socket = stamped::bind(address);
        let socket = socket.map_err(|source| AuditError::Neighbour { address, source })?;
        let bytes = consensus.geometry().datagram_bytes();
        let epoch = identity.epochs.first().ok_or_else(stranger)?;
        Ok(Neighbour {
            link,
            links,
            sessions,
            socket,
            // One byte more shows a datagram that is too long.
            buffer: vec![0; bytes + 1],
            body: vec![0; bytes],
            out: vec![0; bytes],
            mix: epoch.mix.clone(),
            address: keys.identity.id().0,
            dropped: 0,
        })
    }

    /// Whether there is a session.
    pub(super) fn is_up(&self) -> bool {
        self.links.is_up(self.link)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Hands in a packet with its tail; nothing if it found no session or no room.
    pub(super) fn send(&mut self, frame: &[u8]) -> Option<Sent> {
        self.seal(Frame::Sphinx, frame)
    }

    /// Takes what has come, answers it, and does what the link's timers ask for.
    pub(super) fn turn(&mut self, mut take: impl FnMut(Came<'_>)) {
        while let Some(stamped) = self.receive() {
            self.open(&stamped, &mut take);
        }
        self.links.tick(clock::now(), clock::wall());
        self.carry_out();
    }

    /// Says that the node goes.
    pub(super) fn close(&mut self) {
        self.links.close_all(clock::now());
        self.carry_out();
    }

    fn receive(&mut self) -> Option<Stamped> {
        // An error is of one datagram that was sent before: that one is lost.
        let stamped = stamped::receive(self.fd(), &mut self.buffer).ok().flatten()?;
        self.dropped = self.dropped.max(stamped.dropped);
        Some(stamped)
    }

    fn open(&mut self, stamped: &Stamped, take: &mut impl FnMut(Came<'_>)) {
        let (now, wall) = (clock::now(), clock::wall());
        let Neighbour { links, sessions, buffer, body, .. } = self;
        let Some(datagram) = buffer.get(..stamped.bytes) else { return };
        let (Some(source), Some(name)) = (stamped.source(), datagram.first_chunk()) else { return };
        let mut came = Came { name: *name, at: Nanos(stamped.unix_ns), source, packet: None };
        match sessions.open(source, datagram, body, now) {
            Ok(opened) => {
                if opened.unconfirmed {
                    links.confirmed(opened.link, opened.generation, now);
                }
                let body = &body[..opened.length];
                match opened.frame {
                    Frame::Sphinx => came.packet = Some(body),
                    Frame::Close => {
                        if let Ok(close) = Close::decode(body) {
                            links.closed(opened.link, opened.generation, close, now);
                        }
                    }
                    _ => {}
                }
            }
            Err(refusal) => {
                if refusal.may_be_handshake() && sessions.gate(source, datagram, now).is_ok() {
                    // What it does not take changes nothing.
                    let _ = links.receive(source, datagram, now, wall);
                }
            }
        }
        take(came);
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.links.poll() {
            match action {
                Action::Send { to, datagram } => {
                    // What finds no room is lost, as on the wire.
                    let _ = self.socket.send_to(&datagram, &to.into());
                }
                Action::Worker(command) => self.sessions.apply(command),
                Action::Dummy(_) => drop(self.seal(Frame::Dummy, &[])),
                Action::Close(_, close) => drop(self.seal(Frame::Close, &close.encode())),
                Action::Event(_) => {}
            }
        }
    }

    fn seal(&mut self, frame: Frame, body: &[u8]) -> Option<Sent> {
        let Neighbour { socket, sessions, link, out, .. } = self;
        let to = sessions.seal(*link, frame, body, out, clock::now()).ok()?;
        let name = *out.first_chunk()?;
        let from = wall_nanos();
        socket.send_to(out, &to.into()).ok()?;
        Some(Sent { name, from, until: wall_nanos() })
    }
}

/// The wall clock, as kernel timestamps have it, to the microsecond.
pub(super) fn wall_nanos() -> Nanos {
    Nanos::from_micros(clock::wall().0)
}

fn peer(node: &Listed, consensus: &Consensus) -> Option<Peer> {
    let kem_public = node.kem_public(consensus.epoch())?;
    Some(Peer {
        id: node.id().0,
        address: *node.addresses().first()?,
        link_public: *node.link_public(),
        kem_public: Arc::from(&kem_public[..]),
    })
}
