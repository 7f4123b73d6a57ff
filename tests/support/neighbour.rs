//! A neighbour of a real node, played by the test: its keys, its address, its links, and the
//! packets that it hands in and gets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mixline::client::network_of;
use mixline::clock;
use mixline::config::NodeFile;
use mixline::crypto::random::Rng;
use mixline::io::udp::{self, UdpPort};
use mixline::io::{OpenError, Port as _};
use mixline::link::{
    self, Action, Capacity, Close, Frame, LinkIndex, Links, Local, Peer, Refusal, Sessions,
};
use mixline::node::Identity;
use mixline::pki::{Consensus, Node as Listed};

/// One node of the network, with one link.
pub(crate) struct Neighbour {
    links: Links,
    sessions: Sessions,
    port: UdpPort,
    link: LinkIndex,
    body: Vec<u8>,
    packet_bytes: usize,
    /// Packets that came, whole.
    pub(crate) received: Vec<Vec<u8>>,
}

impl Neighbour {
    /// The node that `file` describes, linked to `node` alone.
    pub(crate) fn start(file: &NodeFile, node: &Listed) -> Self {
        let identity = Identity::load(file).expect("its files are whole");
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
        assert_eq!(links.set_peers(&[peer(node, consensus)], now), 0);
        let bytes = consensus.geometry().datagram_bytes();
        let port = open_port(&udp::Options::new(file.listen[0], bytes));
        Neighbour {
            link: links.index_of(&node.id().0).expect("it was just given"),
            links,
            sessions,
            port,
            body: vec![0; bytes],
            packet_bytes: consensus.geometry().packet_bytes(),
            received: vec![],
        }
    }

    /// Whether there is a session.
    pub(crate) fn is_up(&self) -> bool {
        self.links.is_up(self.link)
    }

    /// Hands in a packet with its tail.
    pub(crate) fn send(&mut self, frame: &[u8]) {
        self.seal(Frame::Sphinx, frame);
        if self.port.queued() >= mixline::io::BATCH {
            self.port.flush();
        }
    }

    /// Takes what has come and answers it.
    pub(crate) fn turn(&mut self) {
        let (now, wall) = (clock::now(), clock::wall());
        let Neighbour { links, sessions, port, body, packet_bytes, received, .. } = self;
        let take = |source: SocketAddr, datagram: &[u8]| {
            let opened = match sessions.open(source, datagram, body, now) {
                Ok(opened) => opened,
                Err(refusal) => {
                    if refusal.may_be_handshake() && sessions.gate(source, datagram, now).is_ok() {
                        let _ = links.receive(source, datagram, now, wall);
                    }
                    return;
                }
            };
            if opened.unconfirmed {
                links.confirmed(opened.link, opened.generation, now);
            }
            match opened.frame {
                Frame::Sphinx => received.push(body[..*packet_bytes].to_vec()),
                Frame::Close => {
                    if let Ok(close) = Close::decode(&body[..opened.length]) {
                        links.closed(opened.link, opened.generation, close, now);
                    }
                }
                _ => {}
            }
        };
        port.receive(64, take);
        self.links.tick(now, wall);
        self.carry_out();
        self.port.flush();
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.links.poll() {
            match action {
                Action::Send { to, datagram } => {
                    let _ = self.port.send(|out| {
                        out.copy_from_slice(&datagram);
                        Ok::<_, Refusal>(to)
                    });
                }
                Action::Worker(command) => self.sessions.apply(command),
                Action::Dummy(_) => self.seal(Frame::Dummy, &[]),
                Action::Close(_, close) => self.seal(Frame::Close, &close.encode()),
                Action::Event(_) => {}
            }
        }
    }

    fn seal(&mut self, frame: Frame, body: &[u8]) {
        let Neighbour { port, sessions, link, .. } = self;
        // What finds no session is lost, as on the wire.
        let _ = port.send(|out| sessions.seal(*link, frame, body, out, clock::now()));
    }
}

/// A process that another test starts just now holds, until it has become that program, also
/// sockets that have been closed here meanwhile.
fn open_port(options: &udp::Options) -> UdpPort {
    for _ in 0..1000 {
        match UdpPort::open(options) {
            Err(OpenError::InUse(_)) => std::thread::sleep(Duration::from_millis(5)),
            port => return port.expect("its address is free"),
        }
    }
    panic!("its address is never free");
}

fn peer(node: &Listed, consensus: &Consensus) -> Peer {
    let kem_public = node.kem_public(consensus.epoch()).expect("it has a key of the epoch");
    Peer {
        id: node.id().0,
        address: node.addresses()[0],
        link_public: *node.link_public(),
        kem_public: Arc::from(&kem_public[..]),
    }
}
