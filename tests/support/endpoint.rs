//! One end of one link: the product's link protocol over one of its ports, and nothing behind
//! them. A client of a gateway, or a node's neighbour that mixes nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use mixline::client::network_of;
use mixline::crypto::random::Rng;
use mixline::crypto::x25519;
use mixline::io::udp::{self, UdpPort};
use mixline::io::{BATCH, Port};
use mixline::link::handshake::{Remote, open_retry};
use mixline::link::{
    self, Action, Capacity, Frame, LinkIndex, Links, Local, Network, Peer, Refusal, Sessions,
};
use mixline::node::{Identity, Start};
use mixline::pki::{Consensus, Node as ListedNode, Rates};

const CAPACITY: Capacity = Capacity { nodes: 1, clients: 0 };
/// Kernel memory for a burst of a thousand datagrams.
const BUFFER_BYTES: usize = 4 << 20;

/// What a datagram that arrived was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// The answer of a loaded responder to a first flight.
    Retry,
    /// The answer to a first flight (at a node also a first flight).
    Response,
    /// A session's.
    Session(Frame),
}

/// One end of one link, on a real socket if nothing else is said.
pub(crate) struct Endpoint<P = UdpPort> {
    links: Links,
    sessions: Sessions,
    port: P,
    link: LinkIndex,
    peer: Peer,
    network: Network,
    rates: Rates,
    remote: Remote,
    body: Box<[u8]>,
    /// Control and delivery frames that nobody has looked at.
    pub(crate) frames: VecDeque<(Frame, Vec<u8>)>,
    /// Sphinx frames that came.
    pub(crate) packets: u64,
}

/// A node as its neighbours and clients know it.
fn peer(consensus: &Consensus, node: &ListedNode) -> Peer {
    Peer {
        id: node.id().0,
        address: node.addresses()[0],
        link_public: *node.link_public(),
        kem_public: Arc::from(&node.kem_public(consensus.epoch()).unwrap()[..]),
    }
}

/// A port at `address`, with little memory in this process, because hundreds may be open.
fn open_port(address: SocketAddr, datagram_bytes: usize) -> UdpPort {
    let options = udp::Options {
        coalesce: false,
        receive_buffer_bytes: BUFFER_BYTES,
        send_buffer_bytes: BUFFER_BYTES,
        ..udp::Options::new(address, datagram_bytes)
    };
    UdpPort::open(&options).unwrap()
}

impl Endpoint {
    /// A client of `gateway` that sends from `address` and begins its handshake now.
    pub(crate) fn client(
        consensus: &Consensus,
        gateway: &ListedNode,
        address: SocketAddr,
        at: Start,
        rng: &mut Rng,
    ) -> Self {
        let (network, peer) = (network_of(consensus), peer(consensus, gateway));
        let rates = consensus.parameters().rates;
        let mut links = client_links(&network, rates, at, rng);
        let link = links.dial(&peer, at.now).unwrap();
        let port = open_port(address, network.datagram_bytes);
        let sessions = Sessions::new(&network, CAPACITY, None);
        Self::new((links, sessions, link), port, peer, network, rates)
    }

    /// The listed node with this identity, at its own address, with `neighbour` for its only one.
    pub(crate) fn node(
        identity: &Identity,
        neighbour: &ListedNode,
        at: Start,
        rng: &mut Rng,
    ) -> Self {
        let address = identity.listed().unwrap().addresses()[0];
        let port = open_port(address, identity.consensus.geometry().datagram_bytes());
        Self::node_on(port, identity, neighbour, at, rng)
    }

    /// Forgets everything, as a client that starts again on the same socket.
    pub(crate) fn restart(&mut self, at: Start, rng: &mut Rng) {
        self.links = client_links(&self.network, self.rates, at, rng);
        self.sessions = Sessions::new(&self.network, CAPACITY, None);
        self.link = self.links.dial(&self.peer, at.now).unwrap();
    }
}

impl<P: Port> Endpoint<P> {
    /// The listed node with this identity, on `port`, with `neighbour` for its only one.
    pub(crate) fn node_on(
        port: P,
        identity: &Identity,
        neighbour: &ListedNode,
        at: Start,
        rng: &mut Rng,
    ) -> Self {
        let consensus = &identity.consensus;
        let (network, peer) = (network_of(consensus), peer(consensus, neighbour));
        let local = Local::Node {
            id: identity.keys.identity.id().0,
            link: x25519::Secret::from_bytes(*identity.keys.link.as_bytes()),
            kem: vec![identity.epochs[0].kem.clone()],
        };
        let options = link::Options::default();
        let rates = consensus.parameters().rates;
        let mut links = Links::new(options, network.clone(), CAPACITY, local, rng.fork(), at.wall);
        assert_eq!(links.set_peers(std::slice::from_ref(&peer), at.now), 0);
        let link = links.index_of(&peer.id).unwrap();
        let public = identity.keys.link.public();
        let sessions = Sessions::new(&network, CAPACITY, Some(&public));
        Self::new((links, sessions, link), port, peer, network, rates)
    }

    fn new(
        (links, sessions, link): (Links, Sessions, LinkIndex),
        port: P,
        peer: Peer,
        network: Network,
        rates: Rates,
    ) -> Self {
        let remote = Remote::new(peer.link_public, &peer.kem_public, &network.genesis);
        let body = vec![0; network.datagram_bytes].into();
        let frames = VecDeque::new();
        let packets = 0;
        Endpoint {
            links,
            sessions,
            port,
            link,
            peer,
            network,
            rates,
            remote,
            body,
            frames,
            packets,
        }
    }

    /// Receives what is there, telling `seen` of everything that was of use, and does what the
    /// timers ask for. Returns how much that was.
    pub(crate) fn turn(&mut self, at: Start, mut seen: impl FnMut(Arrived, &[u8])) -> usize {
        self.turn_and_open(at, |arrived, datagram, _| seen(arrived, datagram))
    }

    /// As [`Endpoint::turn`], telling `seen` also what was sealed in a session's datagrams.
    pub(crate) fn turn_and_open(
        &mut self,
        at: Start,
        mut seen: impl FnMut(Arrived, &[u8], &[u8]),
    ) -> usize {
        let Endpoint { links, sessions, port, remote, body, frames, packets, .. } = self;
        let mut work = port.receive(BATCH, |source, datagram| {
            let Ok(opened) = sessions.open(source, datagram, body, at.now) else {
                if links.receive(source, datagram, at.now, at.wall).is_ok() {
                    let is_retry = open_retry(remote.retry_key(), datagram).is_ok();
                    seen(if is_retry { Arrived::Retry } else { Arrived::Response }, datagram, &[]);
                }
                return;
            };
            seen(Arrived::Session(opened.frame), datagram, &body[..opened.length]);
            if opened.unconfirmed {
                links.confirmed(opened.link, opened.generation, at.now);
            }
            match opened.frame {
                Frame::Sphinx => *packets += 1,
                Frame::Control | Frame::Deliver => {
                    frames.push_back((opened.frame, body[..opened.length].to_vec()));
                }
                _ => {}
            }
        });
        self.links.tick(at.now, at.wall);
        work += self.carry_out(at);
        self.port.flush();
        work
    }

    /// Seals a frame and queues it for the next flush.
    pub(crate) fn send(&mut self, frame: Frame, body: &[u8], at: Start) {
        let Endpoint { port, sessions, link, .. } = self;
        port.send(|out| sessions.seal(*link, frame, body, out, at.now)).unwrap();
        self.flush_if_full();
    }

    /// Sends what is queued.
    pub(crate) fn flush(&mut self) {
        self.port.flush();
    }

    /// Seals a frame and gives it to the caller, to be sent late, twice, or changed.
    pub(crate) fn seal(&mut self, frame: Frame, body: &[u8], at: Start) -> Vec<u8> {
        let mut out = vec![0; self.network.datagram_bytes];
        self.sessions.seal(self.link, frame, body, &mut out, at.now).unwrap();
        out
    }

    /// Queues any bytes for the next flush.
    pub(crate) fn send_raw(&mut self, datagram: &[u8]) {
        let to = self.peer.address;
        self.port
            .send(|out| {
                out.copy_from_slice(datagram);
                Ok::<_, Refusal>(to)
            })
            .unwrap();
        self.flush_if_full();
    }

    /// Tells the peer that this end goes.
    pub(crate) fn close(&mut self, at: Start) {
        self.links.close_all(at.now);
    }

    /// Whether the link carries packets.
    pub(crate) fn is_up(&self) -> bool {
        self.links.is_up(self.link)
    }

    /// The hash of the session's handshake.
    pub(crate) fn session(&self) -> Option<[u8; 32]> {
        self.links.handshake_hash(self.link)
    }

    /// Its port.
    pub(crate) fn port(&self) -> &P {
        &self.port
    }

    fn flush_if_full(&mut self) {
        if self.port.queued() >= BATCH {
            self.port.flush();
        }
    }

    fn carry_out(&mut self, at: Start) -> usize {
        let mut work = 0;
        while let Some(action) = self.links.poll() {
            work += 1;
            match action {
                Action::Send { datagram, .. } => self.send_raw(&datagram),
                Action::Worker(command) => self.sessions.apply(command),
                Action::Dummy(_) => self.send(Frame::Dummy, &[], at),
                Action::Close(_, close) => self.send(Frame::Close, &close.encode(), at),
                Action::Event(_) => {}
            }
        }
        work
    }
}

/// A client knows how seldom its gateway sends; else it would often take it for dead.
fn client_links(network: &Network, rates: Rates, at: Start, rng: &mut Rng) -> Links {
    let options = link::Options::default();
    let mut links =
        Links::new(options, network.clone(), CAPACITY, Local::Client, rng.fork(), at.wall);
    links.expect_gaps(rates.client_up().gap_mean(), rates.client_down().gap_mean());
    links
}
