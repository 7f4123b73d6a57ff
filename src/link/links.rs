//! The control side: all links of a process, by index, address and identity.

use super::command::{Change, PeerKind};
use super::frame::Close;
use super::initiator::Initiator;
use super::responder::{Awaiting, Responder};
use super::sessions::canonical;
use super::state::{Fate, Link, Side};
use super::station::{Action, Event, Local, Options, Peer, Station};
use super::timers::Timers;
use super::{Capacity, Generation, LinkIndex, Network, Refusal};
use crate::clock::{Nanos, UnixMicros};
use crate::crypto::kem;
use crate::crypto::random::Rng;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// KEM keys in force at a time: of three epochs and of one invitation.
const KEM_KEYS_MAX: usize = 4;

/// All links of a process.
///
/// After every call take the actions by [`Links::poll`] until there is none; call
/// [`Links::tick`] at [`Links::next_deadline`].
#[derive(Debug)]
pub struct Links {
    pub(super) station: Station,
    pub(super) responder: Option<Responder>,
    /// Links with a session that waits for its confirmation.
    pub(super) half_open: usize,
    links: Vec<Option<Box<Link>>>,
    nodes: u32,
    /// Free places, the longest free first: commands about the link before are then long done.
    free_nodes: VecDeque<u32>,
    free_clients: VecDeque<u32>,
    by_address: HashMap<SocketAddr, LinkIndex>,
    by_id: BTreeMap<[u8; 32], LinkIndex>,
    timers: Timers,
}

impl Links {
    /// Without any link; `wall` is the time of the start.
    ///
    /// # Panics
    /// If the network's datagrams are too small for a first flight or a packet.
    pub fn new(
        options: Options,
        network: Network,
        capacity: Capacity,
        local: Local,
        mut rng: Rng,
        wall: UnixMicros,
    ) -> Self {
        let _checked = network.sizes();
        let responder = match &local {
            Local::Node { link, .. } => {
                Some(Responder::new(&link.public(), &network.genesis, &mut rng))
            }
            Local::Client => None,
        };
        let total = capacity.nodes.saturating_add(capacity.clients);
        let mut links = Links {
            station: Station::new(options, network, Local::Client, rng, wall),
            responder,
            half_open: 0,
            links: (0..total).map(|_| None).collect(),
            nodes: capacity.nodes,
            free_nodes: (0..capacity.nodes).collect(),
            free_clients: (capacity.nodes..total).collect(),
            by_address: HashMap::new(),
            by_id: BTreeMap::new(),
            timers: Timers::default(),
        };
        links.station.local = local;
        links
    }

    /// The nodes of the consensus: new ones get links, those that vanished or moved lose theirs.
    /// Says how many found no place (too many, or an address that another one has).
    pub fn set_peers(&mut self, peers: &[Peer], now: Nanos) -> usize {
        let Some(own) = self.station.id() else { return peers.len() };
        let listed: BTreeMap<_, _> =
            peers.iter().filter(|peer| peer.id != own).map(|peer| (peer.id, peer)).collect();
        let is_kept = |link: &Link, peer: &&Peer| {
            link.address == canonical(peer.address) && link.public == peer.link_public
        };
        let kept = |id: &[u8; 32], index: LinkIndex| {
            let link = self.link(index);
            link.zip(listed.get(id)).is_some_and(|(link, peer)| is_kept(link, peer))
        };
        let vanished: Vec<_> =
            self.by_id.iter().filter(|(id, index)| !kept(id, **index)).map(|at| *at.1).collect();
        vanished.into_iter().for_each(|index| self.erase(index));
        listed.values().filter(|peer| !self.keep_or_add(peer, own, now)).count()
    }

    /// Our KEM keys in force from now on; of more than four the first four.
    pub fn set_kem_keys(&mut self, mut keys: Vec<Arc<kem::Secret>>) {
        keys.truncate(KEM_KEYS_MAX);
        if let Local::Node { kem, .. } = &mut self.station.local {
            *kem = keys;
        }
    }

    /// From now on clients send with a mean gap of `up`, and their gateways with one of `down`.
    pub fn expect_gaps(&mut self, up: Nanos, down: Nanos) {
        self.station.options.expect_gaps(up, down);
    }

    /// A client's link to its gateway; `None` if there is no place, or a link to that
    /// gateway or address.
    pub fn dial(&mut self, peer: &Peer, now: Nanos) -> Option<LinkIndex> {
        if self.by_id.contains_key(&peer.id) {
            return None;
        }
        let side = Side::Initiator(Box::new(self.initiator(peer, now)));
        self.add_node(peer, PeerKind::Gateway, side)
    }

    /// Takes the keys of `peer` for the next handshakes of the link to it, if there is one: they
    /// change from epoch to epoch.
    pub fn renew(&mut self, peer: &Peer) {
        let genesis = self.station.network.genesis;
        let Some(index) = self.index_of(&peer.id) else { return };
        self.with(index, |link, _| {
            if let Side::Initiator(initiator) = &mut link.side {
                initiator.update(peer, &genesis);
            }
        });
    }

    /// Closes a link: says so three times, then erases it.
    pub fn hang_up(&mut self, link: LinkIndex, now: Nanos) {
        let close = Close { reason: Close::REMOVED, retry_after_s: 0 };
        self.with(link, |link, station| link.hang_up(close, station, now));
    }

    /// Closes all links: the process stops.
    pub fn close_all(&mut self, now: Nanos) {
        let close = Close { reason: Close::STOPPING, retry_after_s: 0 };
        for index in (0..).map(LinkIndex).take(self.links.len()) {
            self.with(index, |link, station| link.hang_up(close, station, now));
        }
    }

    /// Whether no link is left.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// The link to the node with this identity.
    pub fn index_of(&self, id: &[u8; 32]) -> Option<LinkIndex> {
        self.by_id.get(id).copied()
    }

    /// Whether a link carries packets.
    pub fn is_up(&self, link: LinkIndex) -> bool {
        self.link(link).is_some_and(|link| link.up)
    }

    /// The address of a link's other end.
    pub fn address_of(&self, link: LinkIndex) -> Option<SocketAddr> {
        self.link(link).map(|link| link.address)
    }

    /// The handshake hash of a link's current session.
    pub fn handshake_hash(&self, link: LinkIndex) -> Option<[u8; 32]> {
        self.link(link)?.current.as_ref().map(|session| session.hash)
    }

    /// Whether handshake datagrams pile up before this thread: then first flights without a valid
    /// token are answered by a retry.
    pub fn press(&mut self, pressed: bool) {
        if let Some(responder) = &mut self.responder {
            responder.pressed = pressed;
        }
    }

    /// A datagram that a worker's gate has let pass.
    ///
    /// # Errors
    /// Why it changed nothing. With [`Refusal::BadToken`] its source has been asked for a token.
    pub fn receive(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
        now: Nanos,
        wall: UnixMicros,
    ) -> Result<(), Refusal> {
        if datagram.len() != self.station.network.datagram_bytes {
            return Err(Refusal::BadLength);
        }
        let source = canonical(source);
        if let Some(&index) = self.by_address.get(&source) {
            let answer = |link: &mut Link, station: &mut Station| {
                link.receive_answer(datagram, station, now)
            };
            match self.with(index, answer) {
                None | Some(Err(Refusal::NotThisKey)) => {}
                Some(done) => return done,
            }
        }
        self.receive_init(source, datagram, now, wall)
    }

    /// A worker has opened a datagram of a session that waited for its confirmation.
    pub fn confirmed(&mut self, link: LinkIndex, generation: Generation, now: Nanos) {
        self.with(link, |link, station| {
            if !link.is_closing() {
                link.confirm(generation, station, now);
            }
        });
    }

    /// A worker has opened a close of the session `generation`.
    pub fn closed(&mut self, link: LinkIndex, generation: Generation, close: Close, now: Nanos) {
        self.with(link, |link, station| link.close_received(generation, close, station, now));
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Nanos, wall: UnixMicros) {
        while let Some(index) = self.timers.pop(now) {
            let index = LinkIndex(index);
            match self.with(index, |link, station| link.step(station, now, wall)) {
                None | Some(Fate::Stays) => {}
                Some(Fate::Gone) => self.erase(index),
                Some(Fate::Unreachable) => {
                    self.erase(index);
                    self.station.event(Event::Unreachable { link: index });
                }
            }
        }
    }

    /// When [`Links::tick`] has something to do.
    pub fn next_deadline(&self) -> Nanos {
        self.timers.next()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.station.pop()
    }

    /// Lets `change` work on a link and keeps the books that depend on it.
    pub(super) fn with<R>(
        &mut self,
        index: LinkIndex,
        change: impl FnOnce(&mut Link, &mut Station) -> R,
    ) -> Option<R> {
        let link = self.links.get_mut(index.0 as usize)?.as_mut()?;
        let before = link.is_half_open();
        let result = change(link, &mut self.station);
        self.half_open -= usize::from(before);
        self.half_open += usize::from(link.is_half_open());
        self.timers.set(index.0, link.due());
        Some(result)
    }

    fn link(&self, index: LinkIndex) -> Option<&Link> {
        self.links.get(index.0 as usize)?.as_deref()
    }

    pub(super) fn link_at(&self, address: SocketAddr) -> Option<&Link> {
        self.link(*self.by_address.get(&address)?)
    }

    pub(super) fn has_room_for_client(&self) -> bool {
        !self.free_clients.is_empty()
    }

    fn initiator(&self, peer: &Peer, now: Nanos) -> Initiator {
        Initiator::new(peer, &self.station.network.genesis, now)
    }

    /// Whether `peer` has a link now.
    fn keep_or_add(&mut self, peer: &Peer, own: [u8; 32], now: Nanos) -> bool {
        if self.by_id.contains_key(&peer.id) {
            self.renew(peer);
            return true;
        }
        let side = match own < peer.id {
            true => Side::Initiator(Box::new(self.initiator(peer, now))),
            false => Side::Responder(Awaiting::new()),
        };
        self.add_node(peer, PeerKind::Node, side).is_some()
    }

    fn add_node(&mut self, peer: &Peer, kind: PeerKind, side: Side) -> Option<LinkIndex> {
        let address = canonical(peer.address);
        if let Some(present) = self.link_at(address) {
            if present.peer != PeerKind::Client {
                return None;
            }
            self.erase(present.index);
        }
        let index = LinkIndex(self.free_nodes.pop_front()?);
        let mut link = Link::new(index, address, kind, peer.link_public, side);
        link.id = Some(peer.id);
        self.by_id.insert(peer.id, index);
        self.add(link);
        Some(index)
    }

    /// A place for a client at `address`, with no session yet.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`] if its source has enough of them, [`Refusal::TableFull`].
    pub(super) fn add_client(
        &mut self,
        address: SocketAddr,
        public: [u8; 32],
    ) -> Result<LinkIndex, Refusal> {
        let responder = self.responder.as_mut().ok_or(Refusal::NotThisKey)?;
        responder.sources.enter(address.ip())?;
        let index = LinkIndex(self.free_clients.pop_front().ok_or(Refusal::TableFull)?);
        let side = Side::Responder(Awaiting::new());
        self.add(Link::new(index, address, PeerKind::Client, public, side));
        Ok(index)
    }

    fn add(&mut self, link: Link) {
        let index = link.index;
        self.by_address.insert(link.address, index);
        self.timers.set(index.0, link.due());
        if let Some(place) = self.links.get_mut(index.0 as usize) {
            *place = Some(Box::new(link));
        }
    }

    /// Removes every trace of a link, here and at the workers.
    fn erase(&mut self, index: LinkIndex) {
        let place = self.links.get_mut(index.0 as usize);
        let Some(mut link) = place.and_then(Option::take) else { return };
        self.half_open -= usize::from(link.is_half_open());
        self.timers.set(index.0, Nanos::NEVER);
        self.by_address.remove(&link.address);
        if let Some(id) = link.id {
            self.by_id.remove(&id);
        } else if let Some(responder) = &mut self.responder {
            responder.sources.leave(link.address.ip());
        }
        link.set_up(false, &mut self.station);
        self.station.command(index, Change::Forget);
        let free = match index.0 < self.nodes {
            true => &mut self.free_nodes,
            false => &mut self.free_clients,
        };
        free.push_back(index.0);
    }
}
