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
    let packet_bytes = consensus.geometry().packet_bytes();
    let (packet, tail) = frame.split_at_mut(packet_bytes);
    let itinerary = Itinerary {
        route: &hops,
        destination: recipient.mailbox,
        identifier: Identifier::default(),
        version: Version::SingleSeed,
    };
    sphinx::build(message, &itinerary, rng, packet)?;
    tail.fill(0);
    tail[0] = epoch_byte(consensus.epoch());
    Ok(())
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

fn random_path(
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
        nodes.push(random_mix(consensus.layer(layer), rng).ok_or(RouteError::EmptyLayer(layer))?);
    }
    nodes.push(gateway(last)?);
    nodes.into_iter().map(|node| hop(consensus, node, rng)).collect()
}

/// A mix of `layer`, drawn by weight.
fn random_mix<'a>(layer: &'a [Node], rng: &mut Rng) -> Option<&'a Node> {
    let total: u64 = layer.iter().map(|node| u64::from(node.weight())).sum();
    let mut left = rng.below(u32::try_from(total).ok()?);
    layer.iter().find(|node| {
        let chosen = left < node.weight();
        left = left.wrapping_sub(node.weight());
        chosen
    })
}

fn hop(consensus: &Consensus, node: &Node, rng: &mut Rng) -> Result<RouteHop, RouteError> {
    let epoch = consensus.epoch();
    let public_key = *node.mix_public(epoch).ok_or(RouteError::NoKey(node.id(), epoch))?;
    let mean = consensus.parameters().delay_mean;
    let delay_ns = random_delay(mean, rng).0;
    Ok(RouteHop { address: node.id().0, public_key, delay_ns })
}

/// An exponential delay, drawn again in the one case of 10^12 in which it is over the longest.
fn random_delay(mean: Nanos, rng: &mut Rng) -> Nanos {
    loop {
        let delay = rng.exponential(mean);
        if delay <= delay_max(mean) {
            return delay;
        }
    }
}
