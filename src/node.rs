//! Composition root: a node made of its keys, the consensus and its options, and run.
//!
//! [`assemble`] builds a whole node over any kind of port without starting a thread, so that tests
//! run many nodes in one process and in virtual time; [`run`] gives every part its thread.

pub mod control;
mod notify;
mod run;
mod totals;

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::clock::Nanos;
use crate::crypto::random::Rng;
use crate::gateway::Gateway;
use crate::io::wake::Waker;
use crate::io::{OpenError, Port};
use crate::link::{self, Links, Peer, Sessions};
use crate::pki::{Consensus, EpochKeys, KeyError, Node as ListedNode, NodeId, NodeKeys};
use crate::pool::{self, Pool};
use crate::replay::{self, EpochKey};
use crate::route;
use crate::store::{self, Store};
use crate::worker::rings::{Inbox, Rings};
use crate::worker::slab::{Slab, SlotCache};
use crate::worker::tables::{EPOCHS_MAX, Tables};
use crate::worker::{self, Worker};

pub use control::Control;
pub use run::{CONNECTED, Stop, run};
pub use totals::Totals;

const _: () = assert!(pool::DELAY_CAP_MEANS == route::DELAY_MEANS_MAX);

/// Messages that a ring between two threads holds.
const RING_MESSAGES: usize = 4096;

/// What an operator may choose of a node.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Workers: one a core.
    pub workers: usize,
    /// Whether each worker stays on its core.
    pub pin: bool,
    /// Packets that the node's memory holds: mixed, in flight between threads, being answered.
    pub slots: u32,
    /// Packets that one worker's pool holds.
    pub packets_max: u32,
    /// Packets that one epoch's replay table is planned for.
    pub replay_packets_max: u64,
    /// Clients that a gateway serves at once.
    pub clients_max: u32,
    /// How long a stopping node lets its packets leave at their time.
    pub drain_max: Nanos,
    /// Whether totals are printed at the end: only where no stranger's packets pass.
    pub lab: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            workers: 1,
            pin: false,
            slots: 65_536,
            packets_max: 49_152,
            replay_packets_max: 8_000_000,
            clients_max: 4096,
            drain_max: Nanos::from_secs(5),
            lab: false,
        }
    }
}

/// Everything that makes a node this node.
#[derive(Debug)]
pub struct Identity {
    /// Its long-lived keys.
    pub keys: NodeKeys,
    /// Its keys of the epochs in force.
    pub epochs: Vec<EpochKeys>,
    /// The network it belongs to.
    pub consensus: Arc<Consensus>,
}

/// Why a node does not start or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Its keys are not in the consensus.
    #[error("node {0} is not in the consensus: use the keys that its descriptor was made from")]
    NotListed(NodeId),
    /// Its keys are not those that the consensus lists.
    #[error("the {kind} key in the key folder is not the one that the consensus lists for node {id}")]
    OtherKey {
        /// The node.
        id: NodeId,
        /// Which key.
        kind: &'static str,
    },
    /// No key for the epoch.
    #[error("no mix key for epoch {0} in the key folder: run `mixline keygen --epoch {0}`")]
    NoEpochKey(u64),
    /// Its port cannot be opened.
    #[error(transparent)]
    Port(#[from] OpenError),
    /// Its memory plan does not hold.
    #[error("{slots} slots of packet memory cannot hold {workers} pools of {packets_max} packets: \
             raise memory.slots or lower mix.packets_max")]
    Memory {
        /// Slots in all.
        slots: u32,
        /// Workers.
        workers: usize,
        /// Packets of each.
        packets_max: u32,
    },
    /// Exact counters where strangers' packets pass.
    #[error("metrics.detail = \"lab\" is refused: node {0} of the consensus is not on loopback")]
    NotALab(NodeId),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The service manager's socket.
    #[error("cannot reach the service manager at NOTIFY_SOCKET: {0}")]
    Notify(std::io::Error),
}

/// A node, ready to take turns.
#[derive(Debug)]
pub struct Node<P> {
    /// Its control side.
    pub control: Control,
    /// Its workers.
    pub workers: Vec<Worker<P>>,
}

/// Who wakes whom: the threads' wakers, made before the rings that use them.
#[derive(Clone, Debug)]
pub struct Wakers {
    /// The control thread's.
    pub control: Waker,
    /// The workers', by number.
    pub workers: Vec<Waker>,
}

impl Identity {
    /// This node, as the network lists it.
    ///
    /// # Errors
    /// When it is not listed, or with other keys than these.
    pub fn listed(&self) -> Result<&ListedNode, NodeError> {
        let id = self.keys.identity.id();
        let node = self.consensus.node(&id).ok_or(NodeError::NotListed(id))?;
        if node.link_public() != &self.keys.link.public() {
            return Err(NodeError::OtherKey { id, kind: "link" });
        }
        let epoch = self.consensus.epoch();
        let own = self.epochs.iter().find(|keys| keys.epoch == epoch);
        let own = own.ok_or(NodeError::NoEpochKey(epoch))?;
        if node.mix_public(epoch) != Some(&own.mix.public()) {
            return Err(NodeError::OtherKey { id, kind: "mix" });
        }
        Ok(node)
    }

    /// The nodes that this one exchanges packets with: the layers before and after its own, where
    /// the gateways stand both before the first layer and behind the last.
    pub fn neighbours(&self) -> Result<Vec<&ListedNode>, NodeError> {
        let layers = self.consensus.parameters().layers;
        let near: Vec<Option<u8>> = match self.listed()?.layer() {
            None => vec![Some(0), layers.checked_sub(1)],
            Some(own) => vec![own.checked_sub(1), Some(own + 1).filter(|&next| next < layers)],
        };
        Ok(self.consensus.nodes().filter(|node| near.contains(&node.layer())).collect())
    }
}

/// Builds a node over `ports`, one a worker.
///
/// # Errors
/// When the identity is not that of a listed node, or the memory plan does not hold.
pub fn assemble<P: Port>(
    identity: &Identity,
    options: &Options,
    ports: Vec<P>,
    wakers: &Wakers,
    now: Nanos,
    rng: &mut Rng,
) -> Result<Node<P>, NodeError> {
    check_memory(options)?;
    let geometry = identity.consensus.geometry();
    let slab = Slab::new(options.slots, geometry.datagram_bytes());
    let links = links(identity, options, now, rng)?;
    let tables = Arc::new(tables(identity, options, &links, rng)?);
    let upcalls = Inbox::new(RING_MESSAGES, wakers.control.clone());
    let new_inboxes = |waker: &Waker| Inbox::new(RING_MESSAGES, waker.clone());
    let handed: Arc<[_]> =
        wakers.workers.iter().map(|waker| Inbox::new(RING_MESSAGES, waker.clone())).collect();
    let commands: Vec<_> = wakers.workers.iter().map(new_inboxes).collect();
    let workers = ports
        .into_iter()
        .enumerate()
        .map(|(number, port)| {
            Worker::new(worker::Parts {
                number,
                port,
                sessions: Sessions::new(links.gate(), options.links_max(&identity.consensus)),
                pool: Pool::new(pool_options(identity, options), rng.fork()),
                slots: SlotCache::new(slab.clone()),
                tables: tables.clone(),
                rings: Rings {
                    commands: commands[number].clone(),
                    control: upcalls.clone(),
                    workers: handed.clone(),
                },
            })
        })
        .collect();
    let gateway = tables.delivers.then(|| Gateway::new(Store::new(store::Options::default())));
    let control = Control::new(control::Parts {
        links,
        gateway,
        workers: commands,
        upcalls,
        slots: SlotCache::new(slab),
        geometry,
    });
    Ok(Node { control, workers })
}

fn pool_options(identity: &Identity, options: &Options) -> pool::Options {
    let delay_mean = identity.consensus.parameters().delay_mean;
    pool::Options { packets_max: options.packets_max, delay_mean }
}

/// Quotas and what is in flight fit the slots, so that receiving never starves.
fn check_memory(options: &Options) -> Result<(), NodeError> {
    let Options { slots, workers, packets_max, .. } = *options;
    let in_flight = workers as u64 * worker::BATCH as u64 * 4;
    if u64::from(packets_max) * workers as u64 + in_flight > u64::from(slots) {
        return Err(NodeError::Memory { slots, workers, packets_max });
    }
    Ok(())
}
