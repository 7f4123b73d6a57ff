//! The consensus: what the authorities say the network is in one epoch.
//!
//! Verification goes from cheap to dear and from outside to inside: is it of our network, did
//! enough authorities sign exactly these bytes, is it in force, does it make sense. Nothing but
//! its head is parsed before the signatures hold.

mod document;
mod draft;
mod node;

pub use draft::{ConsensusDraft, PlacedMix};
pub use node::Node;

use super::codec::{self, CodecError, Head};
use super::{
    DescriptorError, NodeId, Parameters, ParametersError, Role, TrustAnchor, is_name, keys,
};
use crate::clock::{Nanos, UnixMicros};
use crate::sphinx::Geometry;
use data_encoding::HEXLOWER;
use document::{Body, Signature, Signed};

pub use document::SIGNED_BYTES_MAX as CONSENSUS_BYTES_MAX;
use std::collections::HashMap;

/// Version of the format.
const VERSION: u32 = 1;
/// What is signed begins with this, so that the signature means nothing elsewhere.
const DOMAIN: &[u8] = b"mixline consensus v1\0";

/// Why a document is not the consensus to follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsensusError {
    /// The encoding is wrong: cut off, changed, or something else altogether.
    #[error("the consensus is malformed: {0}: fetch it again")]
    Malformed(#[from] CodecError),
    /// Of a version that this program does not know.
    #[error("the consensus has format version {0}, which is not supported: use a newer mixline")]
    UnsupportedVersion(u32),
    /// Of another network.
    #[error("the consensus is of network {found:?}, not of {expected:?}")]
    ForeignNetwork {
        /// The network it names.
        found: String,
        /// The network of the trust anchor.
        expected: String,
    },
    /// Of a network of the same name, but with other authorities.
    #[error("the consensus is of another network that is also named {0:?}: its authorities differ")]
    ForeignAuthorities(String),
    /// One of our authorities signed something else.
    #[error("the signature of authority {} does not match: the consensus was changed",
        HEXLOWER.encode(.authority))]
    Changed {
        /// The authority.
        authority: [u8; 32],
    },
    /// Too few of our authorities signed.
    #[error("{valid} of {authorities} authorities signed the consensus, {threshold} must")]
    UnderSigned {
        /// How many authorities signed.
        valid: usize,
        /// How many must.
        threshold: usize,
        /// How many there are.
        authorities: usize,
    },
    /// No longer in force.
    #[error("the consensus of epoch {epoch} expired {seconds} s ago: fetch the current one")]
    Expired {
        /// Its epoch.
        epoch: u64,
        /// Seconds since.
        seconds: u64,
    },
    /// Not in force yet.
    #[error("the consensus of epoch {epoch} is valid in {seconds} s: check this machine's clock")]
    NotYetValid {
        /// Its epoch.
        epoch: u64,
        /// Seconds until then.
        seconds: u64,
    },
    /// Older than one that was followed already.
    #[error("the consensus is of epoch {epoch}, that of epoch {newest} is at hand already")]
    Older {
        /// Its epoch.
        epoch: u64,
        /// The newest epoch known.
        newest: u64,
    },
    /// The validity ends before it begins, or epochs have no length.
    #[error("the consensus has no time in which it is valid")]
    Times,
    /// A parameter that no network can have.
    #[error("the consensus has a bad parameter: {0}")]
    Parameters(#[from] ParametersError),
    /// Its packets have other sizes or formats than ours of the same payload.
    #[error("the consensus has packets of another geometry or format: use the network's mixline")]
    Geometry,
    /// A node's descriptor is not valid.
    #[error("the consensus holds a bad descriptor, that of {role} {number}: {source}")]
    Descriptor {
        /// In which of its lists.
        role: Role,
        /// Its place there, the first being 1.
        number: usize,
        /// What is wrong with it.
        source: DescriptorError,
    },
    /// Two nodes share what belongs to one, or one stands there twice.
    #[error("node {node} stands twice in the consensus, or shares its {shared} with another")]
    DuplicateNode {
        /// The second one.
        node: NodeId,
        /// What they share.
        shared: &'static str,
    },
    /// A node without keys for this epoch: no packet could be made for it.
    #[error("node {node} has no keys for epoch {epoch}")]
    MissingKeys {
        /// The node.
        node: NodeId,
        /// The epoch.
        epoch: u64,
    },
    /// A gateway among the mixes, or a mix among the gateways.
    #[error("node {node} has another role than its place in the consensus")]
    Role {
        /// The node.
        node: NodeId,
    },
    /// The nodes are not in the one order allowed, or in a layer that does not exist.
    #[error("node {node} has a wrong place in the consensus")]
    Place {
        /// The node.
        node: NodeId,
    },
    /// A layer without a mix: no path leads through it.
    #[error("layer {0} of the network has no mix")]
    EmptyLayer(u8),
    /// No gateway: nobody can enter.
    #[error("the network has no gateway")]
    NoGateway,
}

impl ConsensusError {
    /// The exit status for this error (sysexits: 75 try again, 78 configuration).
    pub const fn exit_code(&self) -> u8 {
        match self {
            ConsensusError::Expired { .. }
            | ConsensusError::NotYetValid { .. }
            | ConsensusError::Older { .. } => 75,
            _ => 78,
        }
    }
}

/// A consensus that was verified.
#[derive(Clone, Debug)]
pub struct Consensus {
    network: String,
    genesis: [u8; 32],
    epoch: u64,
    epoch_length: Nanos,
    valid_from: UnixMicros,
    valid_until: UnixMicros,
    parameters: Parameters,
    /// One list a layer.
    layers: Vec<Vec<Node>>,
    gateways: Vec<Node>,
    /// The list of each node, counting layers first and gateways last, and its place there.
    places: HashMap<NodeId, (usize, usize)>,
}

impl Consensus {
    /// The consensus in `bytes`, if it is one to follow at the time `wall`: of the network of
    /// `anchor`, signed by its threshold, in force, and not older than `newest_epoch_known`.
    ///
    /// # Errors
    /// A reason, when it is not.
    pub fn verify(
        bytes: &[u8],
        anchor: &TrustAnchor,
        wall: UnixMicros,
        newest_epoch_known: Option<u64>,
    ) -> Result<Self, ConsensusError> {
        let signed: Signed<'_> = codec::decode(bytes, CONSENSUS_BYTES_MAX)?;
        check_network(signed.body, anchor)?;
        check_signatures(&signed, anchor)?;
        let body: Body<'_> = codec::decode(signed.body, CONSENSUS_BYTES_MAX)?;
        check_time(&body, wall, newest_epoch_known)?;
        body.consensus()
    }

    /// The network's name.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// [`TrustAnchor::genesis`] of the network.
    pub fn genesis(&self) -> [u8; 32] {
        self.genesis
    }

    /// The epoch that it is for.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The span of an epoch.
    pub fn epoch_length(&self) -> Nanos {
        self.epoch_length
    }

    /// The first moment at which it is in force.
    pub fn valid_from(&self) -> UnixMicros {
        self.valid_from
    }

    /// The first moment at which it no longer is.
    pub fn valid_until(&self) -> UnixMicros {
        self.valid_until
    }

    /// What the whole network agrees on.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The sizes of the network's packets.
    pub fn geometry(&self) -> Geometry {
        self.parameters.geometry
    }

    /// The mixes of `layer`, never none; the first layer behind the gateways is 1. Empty for a
    /// layer that does not exist.
    pub fn layer(&self, layer: u8) -> &[Node] {
        let index = usize::from(layer).checked_sub(1);
        index.and_then(|index| self.layers.get(index)).map_or(&[], Vec::as_slice)
    }

    /// The gateways, never none.
    pub fn gateways(&self) -> &[Node] {
        &self.gateways
    }

    /// All nodes, layer by layer, then the gateways.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.layers.iter().flatten().chain(&self.gateways)
    }

    /// The node with this identity.
    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        let (list, place) = *self.places.get(id)?;
        self.layers.get(list).unwrap_or(&self.gateways).get(place)
    }

    /// The node of this name, which no other one has.
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        self.nodes().find(|node| node.name() == name)
    }
}

/// Reads no more than the head, which nobody vouches for yet.
fn check_network(body: &[u8], anchor: &TrustAnchor) -> Result<(), ConsensusError> {
    let head = Head::read(body)?;
    if head.version != VERSION {
        return Err(ConsensusError::UnsupportedVersion(head.version));
    }
    let expected = anchor.network();
    if head.network != expected {
        // The name may be shown only if it is one: it comes from anywhere.
        let found = if is_name(head.network) { head.network } else { "?" }.into();
        return Err(ConsensusError::ForeignNetwork { found, expected: expected.into() });
    }
    if head.key_2()? == anchor.genesis() {
        Ok(())
    } else {
        Err(ConsensusError::ForeignAuthorities(expected.into()))
    }
}

/// Counts each authority of `anchor` that signed once; signatures of others do not count.
fn check_signatures(signed: &Signed<'_>, anchor: &TrustAnchor) -> Result<(), ConsensusError> {
    let mut valid = 0;
    for authority in anchor.authorities() {
        let mut by_authority =
            signed.signatures.iter().filter(|signature| signature.authority == *authority);
        let Some(Signature { signature, .. }) = by_authority.next() else { continue };
        if !keys::is_signed(authority, DOMAIN, signed.body, signature) {
            return Err(ConsensusError::Changed { authority: *authority });
        }
        valid += 1;
    }
    let (threshold, authorities) = (anchor.threshold(), anchor.authorities().len());
    if valid >= threshold {
        Ok(())
    } else {
        Err(ConsensusError::UnderSigned { valid, threshold, authorities })
    }
}

fn check_time(
    body: &Body<'_>,
    wall: UnixMicros,
    newest_epoch_known: Option<u64>,
) -> Result<(), ConsensusError> {
    let (epoch, now) = (body.epoch, wall.as_secs());
    if body.valid_from_s >= body.valid_until_s || body.epoch_s == 0 {
        return Err(ConsensusError::Times);
    }
    if let Some(newest) = newest_epoch_known.filter(|newest| epoch < *newest) {
        return Err(ConsensusError::Older { epoch, newest });
    }
    if now >= body.valid_until_s {
        return Err(ConsensusError::Expired { epoch, seconds: now - body.valid_until_s });
    }
    if now < body.valid_from_s {
        return Err(ConsensusError::NotYetValid { epoch, seconds: body.valid_from_s - now });
    }
    Ok(())
}
