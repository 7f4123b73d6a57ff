//! Paths through the consensus, delays drawn for them, packets built for them.
//!
//! A path is gateway, one mix of every layer, gateway. Which mixes and which delays is the
//! sender's choice alone, drawn afresh for every packet.

pub mod content;

use crate::clock::Nanos;
use crate::crypto::random::Rng;
use crate::pki::{Consensus, Node, NodeId, Role};
use crate::sphinx::{
    self, BuildError, Destination, Identifier, Itinerary, Recovery, RouteHop, Surb, Version,
};
use content::ReplyBlock;

/// The longest delay that a sender draws and a node accepts, in means: the 1 - 1e-12 quantile of
/// the exponential, so that cutting it off tells nothing.
pub const DELAY_MEANS_MAX: u64 = 28;

/// Why no packet could be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// A gateway of the path is not in the consensus.
    #[error("gateway {0} is not in the consensus: fetch a newer one or use another gateway")]
    UnknownGateway(NodeId),
    /// A layer has no node to choose.
    #[error("layer {0} of the consensus has no mix")]
    EmptyLayer(u8),
    /// A node has no key for the epoch.
    #[error("node {0} has published no mix key for epoch {1}")]
    NoKey(NodeId, u64),
    /// The message does not fit, or a key on the path is no good.
    #[error("the packet cannot be built: {0}")]
    Build(#[from] BuildError),
}

/// Where a message goes: which gateway delivers it, to which mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The gateway that keeps the mailbox.
    pub gateway: NodeId,
    /// The mailbox.
    pub mailbox: Destination,
}

/// Builds a packet from `first`, the sender's gateway, over random mixes to `recipient`, into
/// `frame`: the packet, then the tail with the epoch of its keys.
///
/// `frame` has the geometry's frame bytes.
///
/// # Errors
/// When the consensus has no such path, or the message is longer than the geometry carries.
pub fn build_frame(
    consensus: &Consensus,
    first: &NodeId,
    recipient: &Recipient,
    message: &[u8],
    rng: &mut Rng,
    frame: &mut [u8],
) -> Result<(), RouteError> {
    let hops = random_path(consensus, first, &recipient.gateway, rng)?;
    let itinerary = Itinerary {
        route: &hops,
        destination: recipient.mailbox,
        identifier: Identifier::default(),
        version: Version::SingleSeed,
    };
    sphinx::build(message, &itinerary, rng, packet_of(consensus, frame))?;
    Ok(())
}

/// The packet's place in `frame`, which has the geometry's frame bytes; the tail behind it is
/// written: the epoch of the keys.
///
/// # Panics
/// If the frame is shorter.
pub fn packet_of<'f>(consensus: &Consensus, frame: &'f mut [u8]) -> &'f mut [u8] {
    let (packet, tail) = frame.split_at_mut(consensus.geometry().packet_bytes());
    tail.fill(0);
    tail[0] = epoch_byte(consensus.epoch());
    packet
}

/// A reply block over random mixes from the gateway `first`, which will use it, to `home`, and
/// what opens the reply.
///
/// # Errors
/// When the consensus has no such path, or `identifier` is zero.
pub fn reply_block(
    consensus: &Consensus,
    first: &NodeId,
    home: &Recipient,
    identifier: Identifier,
    rng: &mut Rng,
) -> Result<(ReplyBlock, Recovery), RouteError> {
    let hops = random_path(consensus, first, &home.gateway, rng)?;
    let itinerary = Itinerary {
        route: &hops,
        destination: home.mailbox,
        identifier,
        version: Version::SingleSeed,
    };
    let (surb, recovery) = Surb::create(&itinerary, rng)?;
    Ok((ReplyBlock { epoch: epoch_byte(consensus.epoch()), surb }, recovery))
}

/// How an epoch is named in a packet's tail: its number modulo 256.
pub const fn epoch_byte(epoch: u64) -> u8 {
    epoch.to_le_bytes()[0]
}

/// The longest delay in a network whose mean delay is `mean`.
pub fn delay_max(mean: Nanos) -> Nanos {
    Nanos(mean.0.saturating_mul(DELAY_MEANS_MAX))
}

/// A path from the gateway `first` over a mix of every layer to the gateway `last`.
///
/// # Errors
/// When the consensus has none.
pub fn random_path(
    consensus: &Consensus,
    first: &NodeId,
    last: &NodeId,
    rng: &mut Rng,
) -> Result<Vec<RouteHop>, RouteError> {
    let gateway = |id: &NodeId| {
        consensus
            .node(id)
            .filter(|node| node.role() == Role::Gateway)
            .ok_or(RouteError::UnknownGateway(*id))
    };
    let mut nodes = vec![gateway(first)?];
    for layer in 1..=consensus.parameters().layers {
        nodes.push(random_of(consensus, layer, rng)?);
    }
    nodes.push(gateway(last)?);
    nodes.into_iter().map(|node| hop(consensus, node, rng)).collect()
}

/// A path from the node `own` once around: through the layers behind it, a gateway, the layers
/// before it, and to itself. It starts at the node's next one.
///
/// # Errors
/// When the consensus has none.
pub fn round_trip(
    consensus: &Consensus,
    own: &Node,
    rng: &mut Rng,
) -> Result<Vec<RouteHop>, RouteError> {
    // The gateways stand in a ring with the layers, as layer 0.
    let ring = consensus.parameters().layers + 1;
    let start = own.layer().unwrap_or(0);
    let mut nodes = Vec::with_capacity(usize::from(ring));
    for step in 1..ring {
        nodes.push(random_of(consensus, (start + step) % ring, rng)?);
    }
    nodes.push(own);
    nodes.into_iter().map(|node| hop(consensus, node, rng)).collect()
}

/// One of `nodes`, drawn by weight.
pub fn random_node<'a>(nodes: &'a [Node], rng: &mut Rng) -> Option<&'a Node> {
    let total: u64 = nodes.iter().map(|node| u64::from(node.weight())).sum();
    let mut left = rng.below(u32::try_from(total).ok()?);
    nodes.iter().find(|node| {
        let chosen = left < node.weight();
        left = left.wrapping_sub(node.weight());
        chosen
    })
}

/// A delay as senders draw it: exponential, drawn again in the one case of 10^12 in which it is
/// over the longest.
pub fn random_delay(mean: Nanos, rng: &mut Rng) -> Nanos {
    loop {
        let delay = rng.exponential(mean);
        if delay <= delay_max(mean) {
            return delay;
        }
    }
}

/// A mix of `layer`; of layer 0, a gateway.
fn random_of<'a>(
    consensus: &'a Consensus,
    layer: u8,
    rng: &mut Rng,
) -> Result<&'a Node, RouteError> {
    let nodes = if layer == 0 { consensus.gateways() } else { consensus.layer(layer) };
    random_node(nodes, rng).ok_or(RouteError::EmptyLayer(layer))
}

fn hop(consensus: &Consensus, node: &Node, rng: &mut Rng) -> Result<RouteHop, RouteError> {
    let epoch = consensus.epoch();
    let public_key = *node.mix_public(epoch).ok_or(RouteError::NoKey(node.id(), epoch))?;
    let mean = consensus.parameters().delay_mean;
    let delay_ns = random_delay(mean, rng).0;
    Ok(RouteHop { address: node.id().0, public_key, delay_ns })
}
