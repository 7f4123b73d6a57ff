//! Where a node is measured: its network's files, its own process, the wire to it.
//!
//! As root the node is alone in a network namespace, and everybody else is in another one at the
//! far end of its wire: there is one real interface with real headers, by AF_XDP where the node
//! chooses that. Otherwise all are on loopback addresses. Nothing is left behind: namespaces end
//! with those who are in them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::AuditError;
use super::clients::loopback;
use super::process::Process;
use crate::clock;
use crate::config::{NodeFile, PortMode};
use crate::crypto::random::Rng;
use crate::host::namespace::Namespace;
use crate::network::{self, Summary};
use crate::node::load_consensus;
use crate::pki::{Consensus, Node as Listed, Rate, Rates, Role};

/// The interface at our end of the wire, and the one at the node's.
pub(super) const WIRE: &str = "wire";
const NODE_END: &str = "eth0";
/// Queues of each: so many workers of the node take packets in.
const QUEUES: usize = 2;
/// Workers of a node that we start.
const WORKERS: usize = 2;
/// The mean delay of a network that we make: a tick of the mix is a two-hundredth of it.
pub(super) const DELAY_MEAN: Duration = Duration::from_millis(53);
/// Who sends and who receives: so many flows that they spread over the node's workers.
const GATEWAYS: usize = 8;
const MIXES_A_LAYER: usize = 4;
const LAYERS: u8 = 3;
/// Of the range that is kept for benchmarks (RFC 2544), which no network routes.
const BASE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// The node that is measured in a network that we make.
const MEASURED: &str = "mix-1-1";

/// A node, its network, and what we know of both.
pub(super) struct Lab {
    /// The node under test.
    pub(super) node: Listed,
    pub(super) consensus: Arc<Consensus>,
    /// The files of the nodes before it and of those behind it, all of which we play.
    pub(super) before: Vec<NodeFile>,
    pub(super) behind: Vec<NodeFile>,
    /// Where the node says how it stands.
    pub(super) metrics: Option<SocketAddr>,
    /// The folder of the node's network, if somebody else runs the node.
    pub(super) network: Option<PathBuf>,
    /// What is not seen here, and why.
    pub(super) unseen: Vec<String>,
    process: Option<Process>,
    wire: Option<Wire>,
    _folder: Option<Scratch>,
}

/// Two machines and the wire between them.
struct Wire {
    ours: Namespace,
    node: Namespace,
}

impl Lab {
    /// A node of our own in a network made for it.
    pub(super) fn of_our_own() -> Result<Self, AuditError> {
        let folder = Scratch::new()?;
        let (wire, unseen) = match Wire::lay() {
            Ok(wire) => (Some(wire), vec![]),
            Err(why) => (None, vec![format!("the headers of packets on a wire: {why}")]),
        };
        let made = make(&folder, wire.is_some())?;
        if let Some(wire) = &wire {
            wire.give_addresses(&made)?;
        }
        let files = files_in(&folder.0.join("network"))?.into_iter().map(|(_, file)| file);
        let files = files.collect();
        let consensus = load_consensus(&made.anchor, &made.consensus)?;
        let mut lab = Self::around(MEASURED, consensus, files, unseen)?;
        let config = made.nodes.iter().find(|node| node.name == MEASURED).map(|node| &node.config);
        let config = config.map_or(Path::new(""), PathBuf::as_path);
        let place = wire.as_ref().map(|wire| &wire.node);
        lab.process = Some(Process::start(MEASURED, config, &folder.0, place)?);
        lab.wire = wire;
        lab._folder = Some(folder);
        Ok(lab)
    }

    /// The node at `address` that somebody else runs, of the network in `folder`.
    pub(super) fn of_another(address: SocketAddr, folder: &Path) -> Result<Self, AuditError> {
        let files: Vec<_> = files_in(folder)?.into_iter().map(|(_, file)| file).collect();
        let found = files.iter().find(|file| file.listen.contains(&address));
        let Some(node) = found else {
            let known = files.iter().flat_map(|file| &file.listen).map(SocketAddr::to_string);
            let known = known.collect::<Vec<_>>().join(", ");
            return Err(AuditError::UnknownNode { address, folder: folder.to_owned(), known });
        };
        if node.membership.is_some() {
            return Err(AuditError::NotFixed(folder.to_owned()));
        }
        let consensus = load_consensus(&node.network, &node.consensus)?;
        let name = consensus.nodes().find(|listed| listed.addresses().contains(&address));
        let name = name.map(|listed| listed.name().to_owned()).unwrap_or_default();
        let unseen = vec!["the headers of packets on a wire: they go by sockets here".into()];
        let lab = Self::around(&name, consensus, files, unseen)?;
        Ok(Lab { network: Some(folder.to_owned()), ..lab })
    }

    fn around(
        name: &str,
        consensus: Consensus,
        files: Vec<NodeFile>,
        unseen: Vec<String>,
    ) -> Result<Self, AuditError> {
        let node = consensus.node_named(name);
        let node = node.ok_or_else(|| AuditError::NotListed(name.to_owned()))?.clone();
        let own = node.layer().unwrap_or(0);
        // The gateways stand in a ring with the layers, as layer 0.
        let ring = consensus.parameters().layers + 1;
        let mut by_address: BTreeMap<_, _> =
            files.into_iter().filter_map(|file| Some((*file.listen.first()?, file))).collect();
        let mut layer = |layer: u8| {
            let members = consensus.nodes().filter(|node| node.layer().unwrap_or(0) == layer);
            let files = members.filter_map(|node| by_address.remove(node.addresses().first()?));
            files.collect::<Vec<_>>()
        };
        let (before, behind) = (layer((own + ring - 1) % ring), layer((own + 1) % ring));
        let file = node.addresses().first().and_then(|address| by_address.remove(address));
        let metrics = file.and_then(|file| Some(file.metrics?.listen));
        let (network, process, wire, _folder) = (None, None, None, None);
        let consensus = Arc::new(consensus);
        Ok(Lab {
            node,
            consensus,
            before,
            behind,
            metrics,
            network,
            unseen,
            process,
            wire,
            _folder,
        })
    }

    /// Whether there is a wire to look at.
    pub(super) fn has_wire(&self) -> bool {
        self.wire.is_some()
    }

    /// Does `work` on a thread that is at our end of the wire.
    pub(super) fn at_our_end<R: Send>(
        &self,
        work: impl FnOnce() -> Result<R, AuditError> + Send,
    ) -> Result<R, AuditError> {
        within(self.wire.as_ref().map(|wire| &wire.ours), work)
    }

    /// Does `work` on a thread that is on the node's machine.
    pub(super) fn at_the_node<R: Send>(
        &self,
        work: impl FnOnce() -> Result<R, AuditError> + Send,
    ) -> Result<R, AuditError> {
        within(self.wire.as_ref().map(|wire| &wire.node), work)
    }

    /// Whether the node still runs, if it is ours.
    pub(super) fn check(&mut self) -> Result<(), AuditError> {
        self.process.as_mut().map_or(Ok(()), Process::check)
    }

    /// Whether clients can be watched: at the node, or in a network made for them.
    pub(super) fn has_clients(&self) -> bool {
        self.network.is_none() || self.node.role() == Role::Gateway
    }

    /// The node, for people.
    pub(super) fn describe(&self) -> String {
        let Lab { node, consensus, .. } = self;
        let address = node.addresses().first().map_or_else(String::new, SocketAddr::to_string);
        let network = consensus.network();
        format!("{} {} of network {network}, on {address}", node.role(), node.name())
    }

    /// How packets come to the node, if it is ours: what it said when it started.
    pub(super) fn port(&self) -> Option<String> {
        let log = self.process.as_ref()?.log();
        let ports = |line: &str| Some(line.split_once(" INFO ")?.1.to_owned());
        let is_ports = |line: &String| line.starts_with("AF_XDP on") || line.starts_with("UDP ");
        log.lines().filter_map(ports).find(is_ports)
    }
}

fn within<R: Send>(
    place: Option<&Namespace>,
    work: impl FnOnce() -> Result<R, AuditError> + Send,
) -> Result<R, AuditError> {
    let Some(place) = place else { return work() };
    let inside = || {
        place.enter().map_err(AuditError::Namespace)?;
        work()
    };
    match thread::scope(|scope| scope.spawn(inside).join()) {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Wire {
    fn lay() -> Result<Self, AuditError> {
        let namespace = || Namespace::new().map_err(AuditError::Namespace);
        let wire = Wire { ours: namespace()?, node: namespace()? };
        let there = wire.node.path();
        let there = there.display();
        // Both ends need the queues: the kernel gives no end more than the other one asked for.
        let queues = format!("numrxqueues {QUEUES} numtxqueues {QUEUES}");
        let pair = format!("{queues} type veth peer name {NODE_END} {queues} netns {there}");
        wire.ours.ip("link set lo up")?;
        wire.ours.ip(&format!("link add {WIRE} {pair}"))?;
        wire.ours.ip(&format!("link set {WIRE} up"))?;
        wire.node.ip("link set lo up")?;
        wire.node.ip(&format!("link set {NODE_END} up"))?;
        Ok(wire)
    }

    /// The node has its address, our end those of all others.
    fn give_addresses(&self, made: &Summary) -> Result<(), AuditError> {
        for node in &made.nodes {
            let (place, interface) = match node.name == MEASURED {
                true => (&self.node, NODE_END),
                false => (&self.ours, WIRE),
            };
            place.ip(&format!("address add {}/24 dev {interface}", node.address.ip()))?;
        }
        Ok(())
    }
}

/// Makes the network's files. Its nodes send nothing of their own but what keeps links alive.
fn make(folder: &Scratch, is_wired: bool) -> Result<Summary, AuditError> {
    let mut rng = Rng::from_os();
    let rates = Rates {
        payload: Rate::per_second(1),
        mix_loop: Rate::default(),
        gateway_loop: Rate::default(),
        ..Rates::default()
    };
    let options = network::Options {
        network: "audit".into(),
        mixes: MIXES_A_LAYER * usize::from(LAYERS),
        layers: LAYERS,
        gateways: GATEWAYS,
        delay_mean: DELAY_MEAN,
        rates,
        addresses: match is_wired {
            true => BASE,
            // Another audit on this machine has others.
            false => loopback(&mut rng),
        },
        port_mode: PortMode::Auto,
        workers: WORKERS,
        ..network::Options::new(folder.0.join("network"))
    };
    Ok(network::init(&options, &mut rng, clock::wall())?)
}

/// The configurations of all nodes of the network in `folder`, and where they lie.
pub(super) fn files_in(folder: &Path) -> Result<Vec<(PathBuf, NodeFile)>, AuditError> {
    let failed = |source| AuditError::Folder { path: folder.join("nodes"), source };
    let nodes = fs::read_dir(folder.join("nodes")).map_err(failed)?;
    let mut configs = Vec::new();
    for node in nodes {
        configs.push(node.map_err(failed)?.path().join("mixline.toml"));
    }
    configs.sort();
    let load = |config: PathBuf| Ok(NodeFile::load(&config).map(|file| (config, file))?);
    configs.into_iter().map(load).collect()
}

/// A folder in memory, where replay tables can lie, removed at the end.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Result<Self, AuditError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let number = Rng::from_os().next_u64();
        let path = base.join(format!("mixline-audit-{}-{number:016x}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| AuditError::Folder { path: path.clone(), source })?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
