//! Two nodes that know each other, and who pretends to be another one.

use crate::world::{DATAGRAM_BYTES, Identity, Node, Sent, network};
use mixline::clock::{Nanos, UnixMicros};
use mixline::crypto::random::Rng;
use mixline::crypto::x25519;
use mixline::link::datagram::Head;
use mixline::link::handshake::{self, Draw, Hello, Remote, Role};
use mixline::link::keys::Obfuscation;
use mixline::link::{Frame, LinkIndex, Network, Options, Peer};
use std::net::SocketAddr;

/// When handshakes happen, on the two clocks.
pub(crate) const NOW: Nanos = Nanos::from_secs(10);
pub(crate) const WALL: UnixMicros = UnixMicros::from_secs(1_700_000_000);

/// Two nodes that know each other; the first has the smaller identity and so begins.
pub(crate) struct Pair {
    pub(crate) identities: [Identity; 2],
    pub(crate) a: Node,
    pub(crate) b: Node,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    /// The responder has `options`.
    pub(crate) fn with(options: Options) -> Self {
        let identities = [Identity::new(1), Identity::new(2)];
        let peers = identities.each_ref().map(Identity::peer);
        let mut a = Node::of(&identities[0], 2);
        let mut b = Node::start(identities[1].local(), options, 4);
        assert_eq!(a.links.set_peers(&peers, NOW), 0);
        assert_eq!(b.links.set_peers(&peers, NOW), 0);
        Pair { identities, a, b }
    }

    /// The initiator's first flight.
    pub(crate) fn init(&mut self) -> Vec<u8> {
        self.a.links.tick(NOW, WALL);
        one(self.a.pump(NOW)).1
    }

    /// Both ends with an established session.
    pub(crate) fn connected() -> Self {
        let mut pair = Self::new();
        let init = pair.init();
        pair.answer(&init);
        pair
    }

    /// The rest of a handshake whose first flight is `init`.
    pub(crate) fn answer(&mut self, init: &[u8]) {
        let [at_a, at_b] = self.addresses();
        self.b.receive(at_a, init, NOW, WALL).unwrap();
        let response = one(self.b.pump(NOW)).1;
        self.a.receive(at_b, &response, NOW, WALL).unwrap();
        let dummy = one(self.a.pump(NOW)).1;
        let (opened, _) = self.b.receive(at_a, &dummy, NOW, WALL).unwrap().unwrap();
        assert!(opened.unconfirmed && opened.frame == Frame::Dummy);
        assert!(self.b.pump(NOW).is_empty());
    }

    pub(crate) fn addresses(&self) -> [SocketAddr; 2] {
        self.identities.each_ref().map(|identity| identity.address)
    }

    pub(crate) fn link_at_a(&self) -> LinkIndex {
        self.a.links.index_of(&self.identities[1].id).unwrap()
    }

    pub(crate) fn link_at_b(&self) -> LinkIndex {
        self.b.links.index_of(&self.identities[0].id).unwrap()
    }
}

/// The one datagram among what is to be sent.
pub(crate) fn one(mut sent: Vec<Sent>) -> Sent {
    assert_eq!(sent.len(), 1, "one datagram");
    sent.pop().unwrap()
}

/// What a forger of first flights has: the responder's public keys and a key pair of its own.
pub(crate) struct Forger {
    rng: Rng,
    pub(crate) network: Network,
    local: x25519::Secret,
    pub(crate) target: Peer,
    pub(crate) hello: Hello,
}

impl Forger {
    pub(crate) fn new(target: &Identity) -> Self {
        let mut rng = Rng::from_seed([0xf0; 32]);
        let hello = Hello {
            time: WALL,
            capabilities: 0,
            role: Role::Client,
            rate_class: 0,
            admission: [0; 24],
        };
        let local = x25519::Secret::random(&mut rng);
        Forger { rng, network: network(), local, target: target.peer(), hello }
    }

    /// In the name of a node that has lost its key to us.
    pub(crate) fn named(mut self, node: &Identity) -> Self {
        self.local = x25519::Secret::from_bytes(node.link);
        self.hello.role = Role::Node;
        self
    }

    pub(crate) fn init(&mut self) -> Vec<u8> {
        let Peer { link_public, kem_public, .. } = &self.target;
        let remote = Remote::new(*link_public, kem_public, &self.network.genesis);
        let draw = Draw::fresh(kem_public, &mut self.rng).unwrap();
        let hello = &self.hello;
        handshake::initiate(&self.network, &self.local, &remote, &[0; 16], hello, &draw).unwrap().0
    }

    /// A first flight whose body `change` has changed before it was sealed.
    pub(crate) fn changed(&mut self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let obfuscation = Obfuscation::of(&self.target.link_public, &self.network.genesis);
        let init = self.init();
        let (opener, mut body) = (obfuscation.init.opener(), vec![0; DATAGRAM_BYTES - 32]);
        let head = opener.head(&init).unwrap();
        opener.open(head, &init, &mut body).unwrap();
        change(&mut body);
        self.sealed(head, &body)
    }

    pub(crate) fn sealed(&self, head: Head, body: &[u8]) -> Vec<u8> {
        let obfuscation = Obfuscation::of(&self.target.link_public, &self.network.genesis);
        let mut out = vec![0; DATAGRAM_BYTES];
        obfuscation.init.sealer().seal(head, body, &mut out);
        out
    }
}
