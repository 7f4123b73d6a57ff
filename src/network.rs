//! Makes a whole network: the keys of its authorities and nodes, its consensus, and a
//! configuration for everyone. For tests, for demonstrations, and to see what the files look like.
//!
//! With a directory, the authority makes a consensus for every epoch of what the nodes publish. A
//! network without one has a single epoch, as long as its consensus is valid.

mod files;

use crate::clock::{Nanos, UnixMicros};
use crate::config::{ConfigError, PortMode};
use crate::crypto::random::Rng;
use crate::pki::{
    AnchorError, Consensus, ConsensusDraft, ConsensusError, Descriptor, DescriptorError,
    DescriptorFields, EpochKeys, EpochPublic, Epochs, EpochsError, KeyError, MailboxKeys, NodeId,
    NodeKeys, Parameters, ParametersError, PlacedMix, Rates, Role, SigningKey, TrustAnchor,
    is_reachable,
};
use crate::sphinx::{Geometry, GeometryError};
use files::Files;
pub use files::metrics_at;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The only epoch of a network made here.
const EPOCH: u64 = 1;
/// How long before it is made a consensus is valid: machines' clocks differ by this much.
const CLOCK_SKEW_S: u64 = 120;
/// More nodes of a kind than anybody starts at once.
const NODES_MAX: usize = 1000;

/// What the network shall be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its files go: a folder that is empty or does not exist.
    pub folder: PathBuf,
    /// Its name.
    pub network: String,
    /// Mixes, on all layers together.
    pub mixes: usize,
    /// Layers of mixes.
    pub layers: u8,
    /// Gateways.
    pub gateways: usize,
    /// Authorities, a majority of whom must sign.
    pub authorities: usize,
    /// Bytes of a packet's payload.
    pub payload_bytes: usize,
    /// Mean delay at a hop.
    pub delay_mean: Duration,
    /// How often clients and nodes send.
    pub rates: Rates,
    /// How long the consensus is valid, if there is no directory.
    pub valid: Duration,
    /// The directory; without one, the network has a single consensus.
    pub directory: Option<DirectoryPlan>,
    /// The address before that of the first node; each node has one of its own.
    pub addresses: Ipv4Addr,
    /// The UDP port of every node.
    pub port: u16,
    /// How packets come in and go out at every node.
    pub port_mode: PortMode,
    /// Threads of every node that process packets.
    pub workers: usize,
}

/// The directory of a network: one authority.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryPlan {
    /// The address of the authority's HTTP server.
    pub address: SocketAddr,
    /// The length of an epoch.
    pub epoch: Duration,
}

impl Options {
    /// A small test network on this machine's loopback addresses.
    pub fn new(folder: PathBuf) -> Self {
        Options {
            folder,
            network: "demo".into(),
            mixes: 6,
            layers: 3,
            gateways: 2,
            authorities: 1,
            payload_bytes: Geometry::DEFAULT.payload_bytes(),
            delay_mean: Duration::from_millis(100),
            rates: Rates::default(),
            valid: Duration::from_secs(24 * 3600),
            directory: None,
            addresses: Ipv4Addr::new(127, 77, 0, 0),
            port: 7700,
            port_mode: PortMode::Auto,
            workers: 1,
        }
    }
}

/// Why no network was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The folder has something in it.
    #[error("{}: the folder is not empty: name a new one", .0.display())]
    Occupied(PathBuf),
    /// Too few or too many nodes.
    #[error(
        "{mixes} mixes in {layers} layers and {gateways} gateways: use 1 to {NODES_MAX} of \
        each, and at least one mix a layer"
    )]
    Nodes {
        /// Mixes asked for.
        mixes: usize,
        /// Layers asked for.
        layers: u8,
        /// Gateways asked for.
        gateways: usize,
    },
    /// The validity is shorter than a second.
    #[error("a validity of {}: use at least 1s", humantime::format_duration(*.0))]
    Valid(Duration),
    /// Epochs cannot have that length.
    #[error(transparent)]
    Epochs(#[from] EpochsError),
    /// Several authorities would have to vote.
    #[error("{0} authorities: a directory has one; use --static for more")]
    Authorities(usize),
    /// The addresses run out, or no packet can be sent to one of them.
    #[error("not every node can have an address behind {base} and port {port}: use others")]
    Addresses {
        /// The address before the first node's.
        base: Ipv4Addr,
        /// The port of all.
        port: u16,
    },
    /// The payload has no possible size.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A parameter is impossible.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// The name or the number of authorities is impossible.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// A node cannot be described: an address that no packet can be sent to.
    #[error("node {name} cannot be described: {source}")]
    Descriptor {
        /// The node.
        name: String,
        /// Why.
        source: DescriptorError,
    },
    /// What was made is not what can be followed.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    /// A configuration that was made cannot be read back.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A key cannot be stored.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file or folder cannot be made.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl InitError {
    /// The exit status for this error: 2 for options that make no network.
    pub fn exit_code(&self) -> u8 {
        match self {
            InitError::Key(error) => error.exit_code(),
            InitError::Config(error) => error.exit_code(),
            InitError::Consensus(error) => error.exit_code(),
            InitError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => 77,
            InitError::Io { .. } | InitError::Occupied(_) => 1,
            _ => 2,
        }
    }
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The network's name.
    pub network: String,
    /// The trust anchor's file.
    pub anchor: PathBuf,
    /// The consensus' file; with a directory, where the client will keep it.
    pub consensus: PathBuf,
    /// The configuration of the authority, if there is a directory.
    pub authority: Option<PathBuf>,
    /// The client's configuration.
    pub client: PathBuf,
    /// The nodes, mixes first.
    pub nodes: Vec<NodeSummary>,
}

/// A node that was made.
#[derive(Clone, Debug)]
pub struct NodeSummary {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: NodeId,
    /// What it does.
    pub role: Role,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its configuration.
    pub config: PathBuf,
}

/// Makes a network and writes all its files.
///
/// # Errors
/// When the options make no network, the folder is not empty, or a file cannot be written. What
/// was written until then stays.
pub fn init(options: &Options, rng: &mut Rng, wall: UnixMicros) -> Result<Summary, InitError> {
    let parameters = parameters(options)?;
    let plan = plan(options)?;
    let authorities: Vec<_> = (0..options.authorities).map(|_| SigningKey::generate(rng)).collect();
    let public = authorities.iter().map(SigningKey::public).collect();
    let anchor = TrustAnchor::new(&options.network, public, None)?;
    let directory = options.directory.map(|directory| check(directory, options)).transpose()?;
    let files = Files::create(&options.folder, directory)?;
    files.write_anchor(&anchor)?;
    let keys: Vec<_> = plan.iter().map(|_| NodeKeys::generate(rng)).collect();
    for (seat, keys) in plan.iter().zip(&keys) {
        files.write_node(seat, options.port_mode, options.workers)?.create_node_keys(keys)?;
    }
    match directory {
        Some(_) => {
            let seats = plan.iter().zip(&keys).map(|(seat, keys)| (keys.identity.id(), seat.layer));
            files.write_authority(&authorities[0], &parameters, seats)?;
        }
        None => {
            files.write_authorities(&authorities)?;
            let consensus = Fixed { options, plan: &plan, keys: &keys, parameters, wall };
            files.write_consensus(&consensus.make(&anchor, &authorities, &files, rng)?)?;
        }
    }
    files.write_client(&MailboxKeys::generate(rng), "gateway-1")?;
    let summaries = plan.iter().zip(&keys);
    let summaries = summaries.map(|(seat, keys)| seat.summary(keys.identity.id(), &files));
    Ok(Summary {
        network: options.network.clone(),
        anchor: files.anchor(),
        consensus: files.consensus(),
        authority: directory.map(|_| files.authority_config()),
        client: files.client(),
        nodes: summaries.collect(),
    })
}

/// The directory's address and epochs, if it can be one.
fn check(plan: DirectoryPlan, options: &Options) -> Result<(SocketAddr, Epochs), InitError> {
    if options.authorities != 1 {
        return Err(InitError::Authorities(options.authorities));
    }
    let whole = plan.epoch.subsec_nanos() == 0;
    Ok((plan.address, Epochs::new(if whole { plan.epoch.as_secs() } else { 0 })?))
}

fn parameters(options: &Options) -> Result<Parameters, InitError> {
    let parameters = Parameters {
        layers: options.layers,
        delay_mean: Nanos::from(options.delay_mean),
        rates: options.rates,
        geometry: Geometry::new(options.payload_bytes)?,
    };
    parameters.check()?;
    if options.valid < Duration::from_secs(1) {
        return Err(InitError::Valid(options.valid));
    }
    Ok(parameters)
}

/// A node before it has keys. Gateways are in layer 0.
struct Seat {
    name: String,
    role: Role,
    layer: u8,
    address: SocketAddr,
}

impl Seat {
    fn summary(&self, id: NodeId, files: &Files) -> NodeSummary {
        let Seat { name, role, address, .. } = self;
        let config = files.node_config(name);
        NodeSummary { name: name.clone(), id, role: *role, address: *address, config }
    }
}

/// All nodes: mixes dealt out to the layers in turn, then the gateways.
fn plan(options: &Options) -> Result<Vec<Seat>, InitError> {
    let Options { mixes, layers, gateways, addresses: base, port, .. } = *options;
    let allowed = usize::from(layers)..=NODES_MAX;
    if !allowed.contains(&mixes) || !(1..=NODES_MAX).contains(&gateways) {
        return Err(InitError::Nodes { mixes, layers, gateways });
    }
    let mixes = (1..=layers).cycle().zip((0..mixes).map(|index| index / usize::from(layers) + 1));
    let mixes = mixes.map(|(layer, number)| (Role::Mix, layer, format!("mix-{layer}-{number}")));
    let gateways = (1..=gateways).map(|number| (Role::Gateway, 0, format!("gateway-{number}")));
    mixes
        .chain(gateways)
        .zip(1..)
        .map(|((role, layer, name), offset)| {
            let ip = u32::from(base).checked_add(offset).map(Ipv4Addr::from);
            let address = ip.map(|ip| SocketAddr::from((ip, port))).filter(is_reachable);
            let address = address.ok_or(InitError::Addresses { base, port })?;
            Ok(Seat { name, role, layer, address })
        })
        .collect()
}

/// A network that has one consensus for all its life.
struct Fixed<'a> {
    options: &'a Options,
    plan: &'a [Seat],
    keys: &'a [NodeKeys],
    parameters: Parameters,
    wall: UnixMicros,
}

impl Fixed<'_> {
    /// Makes the keys of the only epoch, and the consensus.
    fn make(
        &self,
        anchor: &TrustAnchor,
        authorities: &[SigningKey],
        files: &Files,
        rng: &mut Rng,
    ) -> Result<Vec<u8>, InitError> {
        let mut descriptors = Vec::new();
        for (seat, keys) in self.plan.iter().zip(self.keys) {
            let epoch = EpochKeys::generate(EPOCH, rng);
            descriptors.push(self.descriptor(seat, keys, &epoch)?);
            files.keys(&seat.name).create_epoch_keys(&epoch)?;
        }
        let consensus = self.draft(&descriptors).sign(anchor, authorities);
        Consensus::verify(&consensus, anchor, self.wall, None)?;
        Ok(consensus)
    }

    fn descriptor(
        &self,
        seat: &Seat,
        keys: &NodeKeys,
        epoch: &EpochKeys,
    ) -> Result<Descriptor, InitError> {
        let fields = DescriptorFields {
            network: self.options.network.clone(),
            name: seat.name.clone(),
            role: seat.role,
            addresses: vec![seat.address],
            epochs: vec![EpochPublic::of(epoch)],
            published: self.wall,
        };
        Descriptor::sign(&fields, keys)
            .map_err(|source| InitError::Descriptor { name: seat.name.clone(), source })
    }

    fn draft(&self, nodes: &[Descriptor]) -> ConsensusDraft {
        let now = self.wall.as_secs();
        let valid_from = UnixMicros::from_secs(now.saturating_sub(CLOCK_SKEW_S));
        let valid_until = now.saturating_add(self.options.valid.as_secs());
        let of_role = |role| self.plan.iter().zip(nodes).filter(move |(seat, _)| seat.role == role);
        let mixes = of_role(Role::Mix).map(|(seat, descriptor)| PlacedMix {
            layer: seat.layer,
            weight: 1,
            descriptor: descriptor.clone(),
        });
        ConsensusDraft {
            epoch: EPOCH,
            epoch_s: valid_until.saturating_sub(valid_from.as_secs()),
            valid_from,
            valid_until: UnixMicros::from_secs(valid_until),
            parameters: self.parameters,
            mixes: mixes.collect(),
            gateways: of_role(Role::Gateway).map(|(_, descriptor)| descriptor.clone()).collect(),
        }
    }
}
