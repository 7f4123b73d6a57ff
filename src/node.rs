//! Composition root: a node made of its keys, the consensus and its options, and run.
//!
//! [`assemble`] builds a whole node over any kind of port without starting a thread, so that tests
//! run many nodes in one process and in virtual time; [`run`] gives every part its thread.

mod assemble;
pub mod control;
mod custody;
mod door;
mod exposition;
mod faults;
mod fill;
mod load;
mod loops;
mod member;
mod monitor;
mod notify;
mod ports;
mod register;
mod rotation;
mod run;
mod service;
mod standing;
mod totals;
mod window;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Nanos;
use crate::config::{Membership, PortOptions, is_of_laboratory};
use crate::crypto::kem;
use crate::host;
use crate::host::privileges::DropError;
use crate::io::OpenError;
use crate::pki::{
    Consensus, EpochKeys, InvitationKey, KeyError, Node as ListedNode, NodeId, NodeKeys,
};
use crate::pool::{self, Strategy, StrategyError};
use crate::replay::{self, MemoryError, Plan};
use crate::sphinx::Geometry;
use crate::store::{self, StoreError};
use crate::worker::roles::Roles;
use crate::worker::tables::EPOCHS_MAX;

pub use assemble::{Node, Start, Wakers, assemble};
pub use control::Control;
pub use custody::Custody;
pub use exposition::{METRICS, Metric, Tier};
pub use fill::{FillWatch, Level};
pub use load::{LoadError, load_consensus};
pub use loops::OwnLoops;
pub use member::{JoinError, Member, Membering};
pub use ports::PortsError;
pub use run::{CONNECTED, Faces, Stop, run, try_start};
pub use standing::{InForce, Standing};
pub use totals::Totals;

/// What an operator may choose of a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// Threads for packets, one a core: workers and owners ([`Roles`]).
    pub workers: usize,
    /// Whether each worker stays on its core.
    pub pin: bool,
    /// How packets come in and go out.
    pub port: PortOptions,
    /// Packets that the node's memory holds: mixed, in flight between threads, being answered.
    pub slots: u32,
    /// Packets that one owner's pool holds.
    pub packets_max: u32,
    /// Who decides when they leave.
    pub strategy: Strategy,
    /// How large replay tables are.
    pub replay: Plan,
    /// Neighbours that the node has room for, where the network may grow while it runs; there is
    /// always room for those of the start.
    pub neighbours_max: u32,
    /// Clients that a gateway serves at once.
    pub clients_max: u32,
    /// Whether a gateway answers only those who hold its key.
    pub unlisted: bool,
    /// Limits of a gateway's mailboxes.
    pub mailboxes: store::Options,
    /// Where a gateway's mailboxes lie; without a folder, in memory.
    pub mailbox_folder: Option<PathBuf>,
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
            port: PortOptions::default(),
            slots: 65_536,
            packets_max: 49_152,
            strategy: Strategy::Poisson,
            replay: Plan::Packets(8_000_000),
            neighbours_max: 0,
            clients_max: 4096,
            unlisted: false,
            mailboxes: store::Options::default(),
            mailbox_folder: None,
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
    /// The key of those whom a gateway has invited.
    pub invitation: Option<InvitationKey>,
    /// Where its mix keys lie.
    pub custody: Custody,
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
    #[error(
        "the {kind} key in the key folder is not the one that the consensus lists for node {id}"
    )]
    OtherKey {
        /// The node.
        id: NodeId,
        /// Which key.
        kind: &'static str,
    },
    /// It listens elsewhere than the network believes.
    #[error(
        "node.listen is {listen}, but the consensus lists {listed} for node {id}: peers would \
         neither find it nor answer it; use the listed address"
    )]
    OtherAddress {
        /// The node.
        id: NodeId,
        /// What the configuration says.
        listen: SocketAddr,
        /// What the consensus says.
        listed: SocketAddr,
    },
    /// It listens elsewhere than it will tell its network.
    #[error(
        "node.listen is {listen}, but node.addresses begins with {announced}: peers would neither \
         find it nor answer it; use the same address"
    )]
    AnnouncedElsewhere {
        /// Where it listens.
        listen: SocketAddr,
        /// What it says.
        announced: SocketAddr,
    },
    /// No key for the epoch.
    #[error("no mix key for epoch {0} in the key folder: run `mixline keygen --epoch {0}`")]
    NoEpochKey(u64),
    /// A mix key and its replay table cannot be had.
    #[error(transparent)]
    Replay(#[from] MemoryError),
    /// A mix key cannot be erased from the key folder.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its sockets cannot be opened.
    #[error(transparent)]
    Port(#[from] OpenError),
    /// Its ports cannot be had.
    #[error(transparent)]
    Ports(#[from] PortsError),
    /// It could not give up its privileges.
    #[error(transparent)]
    Privileges(#[from] DropError),
    /// Its metrics cannot be asked for.
    #[error("cannot listen for metrics on {address}: {source}: use another metrics.listen")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Its memory plan does not hold.
    #[error(
        "{slots} slots of packet memory are too few for {pools} pools of {packets_max} packets \
         and what is in flight between threads: set memory.slots to {needed} or more, or lower \
         mix.packets_max or workers.count"
    )]
    Memory {
        /// Slots in all.
        slots: u32,
        /// Pools: one an owner.
        pools: usize,
        /// Packets of each.
        packets_max: u32,
        /// Slots that would be enough.
        needed: u64,
    },
    /// Its pools cannot follow their strategy.
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    /// The machine has less memory than the node would take.
    #[error("{plan}; this machine has {machine_mib} MiB: lower {key}")]
    MachineMemory {
        /// What takes most of it.
        key: &'static str,
        /// What the node would take.
        plan: String,
        /// What there is.
        machine_mib: u64,
    },
    /// Exact counters where strangers' packets pass.
    #[error(
        "metrics.detail = \"lab\" is refused: node {0} of the consensus is neither on loopback nor \
         in 198.18.0.0/15 or 2001:2::/48"
    )]
    NotALab(NodeId),
    /// Exact counters where the node itself can be reached by strangers.
    #[error(
        "metrics.detail = \"lab\" is refused: node.addresses has {0}, which is neither on loopback \
         nor in 198.18.0.0/15 or 2001:2::/48"
    )]
    NotLocal(SocketAddr),
    /// Mailboxes cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The service manager's socket.
    #[error("cannot reach the service manager at NOTIFY_SOCKET: {0}")]
    Notify(std::io::Error),
}

impl Identity {
    /// This node, as the network lists it.
    ///
    /// # Errors
    /// When it is not listed, or with other keys than these.
    pub fn listed(&self) -> Result<&ListedNode, NodeError> {
        let node = listed(&self.consensus, &self.keys)?;
        let (id, epoch) = (node.id(), self.consensus.epoch());
        let own = self.epochs.iter().find(|keys| keys.epoch == epoch);
        let own = own.ok_or(NodeError::NoEpochKey(epoch))?;
        if node.mix_public(epoch) != Some(&own.mix.public()) {
            return Err(NodeError::OtherKey { id, kind: "mix" });
        }
        Ok(node)
    }

    /// The keys that handshakes with this node may be made for.
    pub fn kem_keys(&self) -> Vec<Arc<kem::Secret>> {
        let epochs = self.epochs.iter().map(|epoch| &epoch.kem);
        epochs.chain(self.invitation.iter().map(|key| &key.kem)).cloned().collect()
    }

    /// Whether peers find the node where it listens.
    ///
    /// # Errors
    /// [`NodeError::OtherAddress`], or the node is not listed.
    pub fn check_address(&self, listen: SocketAddr) -> Result<(), NodeError> {
        let node = self.listed()?;
        let Some(&listed) = node.addresses().first() else { return Ok(()) };
        match is_reached(listen, listed) {
            true => Ok(()),
            false => Err(NodeError::OtherAddress { id: node.id(), listen, listed }),
        }
    }

    /// The nodes that this one exchanges packets with: the layers before and after its own, where
    /// the gateways stand both before the first layer and behind the last.
    pub fn neighbours(&self) -> Result<Vec<&ListedNode>, NodeError> {
        self.listed()?;
        neighbours(&self.consensus, self.keys.identity.id())
    }
}

/// The node with the long-lived `keys`, as `consensus` lists it.
///
/// # Errors
/// When it is not listed, or with another link key.
pub fn listed<'a>(consensus: &'a Consensus, keys: &NodeKeys) -> Result<&'a ListedNode, NodeError> {
    let id = keys.identity.id();
    let node = consensus.node(&id).ok_or(NodeError::NotListed(id))?;
    match *node.link_public() == keys.link.public() {
        true => Ok(node),
        false => Err(NodeError::OtherKey { id, kind: "link" }),
    }
}

/// Whether packets to the address `known` arrive where a node listens: there, or at any address
/// with that port.
fn is_reached(listen: SocketAddr, known: SocketAddr) -> bool {
    let is_there = listen.ip() == known.ip() || listen.ip().is_unspecified();
    is_there && listen.port() == known.port()
}

/// The nodes that `id` exchanges packets with by `consensus`.
fn neighbours(consensus: &Consensus, id: NodeId) -> Result<Vec<&ListedNode>, NodeError> {
    let layers = consensus.parameters().layers;
    // Layers count from 1; a gateway has none.
    let in_order = |layer: u8| Some(layer).filter(|layer| (1..=layers).contains(layer));
    let near = match consensus.node(&id).ok_or(NodeError::NotListed(id))?.layer() {
        None => [Some(1), Some(layers)],
        Some(own) => [in_order(own - 1), in_order(own + 1)],
    };
    Ok(consensus.nodes().filter(|node| near.contains(&node.layer())).collect())
}

impl Options {
    /// Quotas and what is in flight fit the slots, so that receiving never starves; and the pools
    /// have room for what their strategy keeps.
    ///
    /// # Errors
    /// [`NodeError::Memory`], [`NodeError::Strategy`].
    pub fn check_memory(&self) -> Result<(), NodeError> {
        self.strategy.check(self.packets_max)?;
        let Options { slots, packets_max, .. } = *self;
        let roles = Roles::of(self.workers);
        let (pools, in_flight) = (roles.owners().len(), assemble::slots_in_flight(roles) as u64);
        let needed = u64::from(packets_max) * pools as u64 + in_flight;
        if needed > u64::from(slots) {
            return Err(NodeError::Memory { slots, pools, packets_max, needed });
        }
        Ok(())
    }

    /// Exact counters only where no stranger's packets pass.
    ///
    /// # Errors
    /// [`NodeError::NotALab`].
    pub fn check_lab(&self, consensus: &Consensus) -> Result<(), NodeError> {
        let is_local =
            |node: &ListedNode| node.addresses().iter().all(|at| is_of_laboratory(at.ip()));
        match consensus.nodes().find(|node| self.lab && !is_local(node)) {
            Some(node) => Err(NodeError::NotALab(node.id())),
            None => Ok(()),
        }
    }

    /// What a member can know before its network lists it: that its replay tables fit the machine,
    /// that it is found where it listens, and that a laboratory stays among itself.
    ///
    /// # Errors
    /// When one of these does not hold.
    pub fn check_membership(
        &self,
        membership: &Membership,
        listen: SocketAddr,
    ) -> Result<(), NodeError> {
        let tables = self.table_bytes();
        if let Some(machine) = host::memory_bytes().filter(|machine| tables > *machine) {
            let (plan, key) = (self.table_plan(), self.replay.key());
            return Err(NodeError::MachineMemory { key, plan, machine_mib: machine >> 20 });
        }
        let addresses = &membership.addresses;
        if let Some(&announced) = addresses.first().filter(|known| !is_reached(listen, **known)) {
            return Err(NodeError::AnnouncedElsewhere { listen, announced });
        }
        match addresses.iter().find(|address| self.lab && !is_of_laboratory(address.ip())) {
            Some(address) => Err(NodeError::NotLocal(*address)),
            None => Ok(()),
        }
    }

    /// Bytes for packets, and for the replay tables of all epochs in force.
    pub fn memory_bytes(&self, geometry: Geometry) -> (u64, u64) {
        let packets = u64::from(self.slots) * geometry.datagram_bytes() as u64;
        (packets, self.table_bytes())
    }

    /// Bytes for the replay tables of all epochs in force.
    pub fn table_bytes(&self) -> u64 {
        self.replay().table_bytes().saturating_mul(EPOCHS_MAX as u64)
    }

    /// How an owner's pool is built where the mean delay is `delay_mean`.
    fn pool(&self, delay_mean: Nanos) -> pool::Options {
        pool::Options { packets_max: self.packets_max, delay_mean, strategy: self.strategy }
    }

    /// What an epoch's replay table is built from.
    fn replay(&self) -> replay::Options {
        self.replay.options()
    }

    /// The memory of the replay tables, term by term.
    fn table_plan(&self) -> String {
        let (one, all) = (self.replay().table_bytes(), self.table_bytes());
        format!(
            "replay tables {}, {:.1} MiB each, {EPOCHS_MAX} of them {:.0} MiB",
            self.replay,
            mebibytes(one),
            mebibytes(all),
        )
    }

    /// The memory that the node takes, term by term, for people.
    ///
    /// # Errors
    /// [`NodeError::MachineMemory`] when the machine has less.
    pub fn memory_plan(&self, geometry: Geometry) -> Result<String, NodeError> {
        let (packets, tables) = self.memory_bytes(geometry);
        let sum = packets.saturating_add(tables);
        let plan = format!(
            "packet memory {:.0} MiB ({} slots); {}; {:.0} MiB in all",
            mebibytes(packets),
            self.slots,
            self.table_plan(),
            mebibytes(sum),
        );
        match host::memory_bytes() {
            Some(machine) if sum > machine => {
                let key = if packets > tables { "memory.slots" } else { self.replay.key() };
                Err(NodeError::MachineMemory { key, plan, machine_mib: machine >> 20 })
            }
            _ => Ok(plan),
        }
    }

    /// That all replay tables fit where they are to lie.
    ///
    /// # Errors
    /// [`MemoryError::NoRoom`] when there is less.
    pub fn check_room(&self, custody: &Custody) -> Result<(), MemoryError> {
        custody.memory().check_room(self.table_bytes())
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
