//! A node's parts, made from its identity and connected; no thread is started here.

use std::sync::Arc;

use crate::client::network_of;
use crate::clock::{Nanos, UnixMicros};
use crate::crypto::random::Rng;
use crate::gateway::{self, Gateway};
use crate::io::Port;
use crate::io::wake::Waker;
use crate::link::datagram::OVERHEAD_BYTES as DATAGRAM_OVERHEAD_BYTES;
use crate::link::{self, Capacity, Links, Local, Peer, Sessions};
use crate::pki::{EpochKeys, Node as ListedNode, Rate, Rates, Role};
use crate::pool::{self, Pool};
use crate::route;
use crate::sphinx::Destination;
use crate::store::{InlineStore, Store, ThreadStore};
use crate::worker::policing::Policer;
use crate::worker::rings::{Command, HAND_OFFS_MAX, HandOffs, Handshake, Inbox, Upcall};
use crate::worker::roles::Roles;
use crate::worker::slab::{CACHE_SLOTS_MAX, Slab, SlotCache};
use crate::worker::spill::Spills;
use crate::worker::tables::Tables;
use crate::worker::{self, Egress, Ingress, Rings, Ways, Worker};

use super::control::{self, Control};
use super::{FillWatch, Identity, NodeError, Options, OwnLoops};

/// Messages that a ring between two threads holds.
const RING_MESSAGES: usize = 1024;
/// Handshake datagrams that wait for the control thread: 14 ms of its work at 4.6k a second.
const RING_HANDSHAKES: usize = 64;

const _: () = assert!(pool::DELAY_CAP_MEANS == route::DELAY_MEANS_MAX);

/// Slots that may be elsewhere than in a pool: in rings, in caches, in a batch.
pub(super) fn slots_in_flight(roles: Roles) -> usize {
    let of_thread = RING_MESSAGES + worker::WAITING_MAX + worker::BATCH + CACHE_SLOTS_MAX;
    let handed_off =
        roles.workers() * roles.owners().len() * HAND_OFFS_MAX as usize + Spills::slots(roles);
    let of_control = RING_MESSAGES + RING_HANDSHAKES + CACHE_SLOTS_MAX;
    roles.threads() * of_thread + handed_off + of_control
}

/// A node, ready to take turns.
#[derive(Debug)]
pub struct Node<P> {
    /// Its control side.
    pub control: Control,
    /// Its workers.
    pub workers: Vec<Worker<P>>,
    /// Its replay tables, watched.
    pub fill: FillWatch,
}

/// Who wakes whom: the threads' wakers, made before the rings that use them.
#[derive(Clone, Debug)]
pub struct Wakers {
    /// The control thread's.
    pub control: Waker,
    /// The workers', by number.
    pub workers: Vec<Waker>,
}

/// Now, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Monotonic.
    pub now: Nanos,
    /// Between machines.
    pub wall: UnixMicros,
}

/// Builds a node over `ports`, one a worker ([`Roles::ports`]).
///
/// # Errors
/// When the identity is not that of a listed node, or the memory plan does not hold.
pub fn assemble<P: Port>(
    identity: &Identity,
    options: &Options,
    ports: Vec<P>,
    wakers: &Wakers,
    start: Start,
    rng: &mut Rng,
) -> Result<Node<P>, NodeError> {
    options.check_memory()?;
    let consensus = &identity.consensus;
    let neighbours = identity.neighbours()?;
    let capacity = capacity(identity, options, neighbours.len())?;
    let links = links(identity, options, capacity, &neighbours, start, rng)?;
    let loops = OwnLoops::new(consensus.clone(), identity.listed()?, start.now, rng.fork());
    let own_loops = loops.destination();
    let tables = Arc::new(tables(identity, options, &links, &neighbours, own_loops, rng)?);
    let epochs = identity.epochs.iter().map(|keys| keys.epoch);
    let keys: Vec<_> = epochs.zip(tables.keys.iter().map(|(_, key)| key.clone())).collect();
    let mut fill = FillWatch::default();
    fill.follow(&keys);
    let slab = Slab::new(options.slots, consensus.geometry().datagram_bytes());
    let upcalls = Inbox::new(RING_MESSAGES, wakers.control.clone());
    let handshakes = Inbox::new(RING_HANDSHAKES, wakers.control.clone());
    let commands = wakers.workers.iter().map(|waker| Inbox::new(RING_MESSAGES, waker.clone()));
    let commands: Vec<_> = commands.collect();

    let roles = Roles::of(ports.len());
    let crew = Crew {
        network: network_of(consensus),
        capacity,
        link_public: identity.keys.link.public(),
        pool: options.pool(consensus.parameters().delay_mean),
        slab: &slab,
        tables: &tables,
        commands: &commands,
        upcalls: &upcalls,
        handshakes: &handshakes,
    };
    let workers = crew.workers(ports, roles, &wakers.workers, rng);
    let gateway = match tables.delivers {
        true => Some(gateway(identity, options, &wakers.control, rng)?),
        false => None,
    };
    let control = Control::new(control::Parts {
        id: identity.keys.identity.id().0,
        links,
        gateway,
        roles,
        workers: commands,
        upcalls,
        handshakes,
        slots: SlotCache::new(slab),
        geometry: consensus.geometry(),
        neighbours: capacity.nodes,
        loops,
        peers: neighbours.len(),
        tables,
        keys,
    });
    Ok(Node { control, workers, fill })
}

/// What all workers are made from.
struct Crew<'a> {
    network: link::Network,
    capacity: Capacity,
    link_public: [u8; 32],
    pool: pool::Options,
    slab: &'a Arc<Slab>,
    tables: &'a Arc<Tables>,
    commands: &'a [Arc<Inbox<Command>>],
    upcalls: &'a Arc<Inbox<Upcall>>,
    handshakes: &'a Arc<Inbox<Handshake>>,
}

impl Crew<'_> {
    /// One a port, each with what its role needs, and the rings between them.
    fn workers<P: Port>(
        &self,
        ports: Vec<P>,
        roles: Roles,
        wakers: &[Waker],
        rng: &mut Rng,
    ) -> Vec<Worker<P>> {
        let hand_offs = HandOffs::between(roles, wakers);
        let mut spills = Spills::between(roles, wakers).into_iter();
        let ends = hand_offs.into_iter().enumerate();
        let worker = |(port, (number, HandOffs { to_owners, from_workers }))| {
            // As many as there are workers that take packets in, and those come first.
            let ingress = spills.next().map(|spills| {
                let policer = Policer::new(self.capacity.nodes, self.capacity.clients);
                let ways = Ways { roles, owners: to_owners, spills };
                Ingress::new(self.tables.geometry, policer, ways, rng.fork())
            });
            let is_owner = roles.owners().contains(&number);
            let egress =
                is_owner.then(|| Egress::new(Pool::new(self.pool, rng.fork()), from_workers));
            Worker::new(worker::Parts {
                port,
                sessions: Sessions::new(&self.network, self.capacity, Some(&self.link_public)),
                slots: SlotCache::new(self.slab.clone()),
                tables: self.tables.clone(),
                rings: Rings {
                    commands: self.commands[number].clone(),
                    control: self.upcalls.clone(),
                    handshakes: self.handshakes.clone(),
                },
                ingress,
                egress,
            })
        };
        ports.into_iter().zip(ends).map(worker).collect()
    }
}

/// The users' side, over mailboxes on disk, or in memory for networks that live as long as a test.
fn gateway(
    identity: &Identity,
    options: &Options,
    waker: &Waker,
    rng: &mut Rng,
) -> Result<Gateway, NodeError> {
    let store: Box<dyn Store> = match &options.mailbox_folder {
        Some(folder) => {
            let waker = waker.clone();
            Box::new(ThreadStore::open(folder, options.mailboxes.clone(), move || waker.wake())?)
        }
        None => Box::new(InlineStore::new(options.mailboxes.clone())?),
    };
    let consensus = &identity.consensus;
    let options = gateway::Options {
        rates: consensus.parameters().rates,
        body_bytes_max: consensus.geometry().datagram_bytes() - DATAGRAM_OVERHEAD_BYTES,
    };
    Ok(Gateway::new(options, store, rng.fork()))
}

/// The mean gap between frames of a client that sends a fifth more than it should.
pub(super) fn client_gap(rates: &Rates) -> Nanos {
    let up = rates.client_up();
    Rate { milli: up.milli.saturating_add(up.milli / 5) }.gap_mean()
}

fn capacity(identity: &Identity, options: &Options, nodes: usize) -> Result<Capacity, NodeError> {
    let clients = match identity.listed()?.role() {
        Role::Gateway => options.clients_max,
        Role::Mix => 0,
    };
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX).max(options.neighbours_max);
    Ok(Capacity { nodes, clients })
}

fn links(
    identity: &Identity,
    options: &Options,
    capacity: Capacity,
    neighbours: &[&ListedNode],
    start: Start,
    rng: &mut Rng,
) -> Result<Links, NodeError> {
    let keys = &identity.keys;
    let local =
        Local::Node { id: keys.identity.id().0, link: keys.link.clone(), kem: identity.kem_keys() };
    let options = link::Options { unlisted: options.unlisted, ..link::Options::default() };
    let network = network_of(&identity.consensus);
    let mut links = Links::new(options, network, capacity, local, rng.fork(), start.wall);
    let rates = &identity.consensus.parameters().rates;
    links.expect_gaps(rates.client_up().gap_mean(), rates.client_down().gap_mean());
    let epoch = identity.consensus.epoch();
    let peers: Vec<Peer> = neighbours.iter().filter_map(|node| peer(node, epoch)).collect();
    let without_place = links.set_peers(&peers, start.now);
    assert!(without_place == 0, "the capacity is made for these neighbours");
    Ok(links)
}

/// A neighbour as the link protocol knows it; none if it has no address or no key of the epoch.
pub(super) fn peer(node: &ListedNode, epoch: u64) -> Option<Peer> {
    Some(Peer {
        id: node.id().0,
        address: *node.addresses().first()?,
        link_public: *node.link_public(),
        kem_public: Arc::from(&node.kem_public(epoch)?[..]),
    })
}

fn tables(
    identity: &Identity,
    options: &Options,
    links: &Links,
    neighbours: &[&ListedNode],
    loops: Destination,
    rng: &mut Rng,
) -> Result<Tables, NodeError> {
    let mut take = |keys: &EpochKeys| {
        let key = identity.custody.take(keys, options.replay(), rng)?;
        Ok::<_, NodeError>((route::epoch_byte(keys.epoch), Arc::new(key)))
    };
    let parameters = identity.consensus.parameters();
    Ok(Tables {
        geometry: identity.consensus.geometry(),
        keys: identity.epochs.iter().map(&mut take).collect::<Result<_, _>>()?,
        links: neighbours
            .iter()
            .filter_map(|node| Some((node.id().0, links.index_of(&node.id().0)?)))
            .collect(),
        delay_max: route::delay_max(parameters.delay_mean),
        client_gap: client_gap(&parameters.rates),
        delivers: identity.listed()?.role() == Role::Gateway,
        loops,
    })
}
