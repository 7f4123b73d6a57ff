//! What the network agrees on: keys, descriptors, the consensus, and who may sign it.
//!
//! A document is believed because enough authorities of the [`TrustAnchor`] signed its exact
//! bytes, never because of where it came from. Every refusal has a reason of its own, so that an
//! operator knows what to do. The types here are the result of a check: a [`Consensus`] or a
//! [`Descriptor`] that exists has been verified.

mod anchor;
mod codec;
mod consensus;
mod descriptor;
mod keys;
mod mailbox;
mod parameters;

pub use anchor::{AnchorError, TrustAnchor};
pub use codec::CodecError;
pub use consensus::{Consensus, ConsensusDraft, ConsensusError, Node, PlacedMix};
pub use descriptor::{Descriptor, DescriptorError, DescriptorFields, EpochPublic, is_reachable};
pub use keys::EpochKeys;
pub use keys::{KeyError, KeyFolder, NodeKeys, SigningKey};
pub use mailbox::{MailboxAddress, MailboxAddressError, MailboxKeys};
pub use parameters::{Parameters, ParametersError, Rate, Rates};

use data_encoding::HEXLOWER_PERMISSIVE;
use std::fmt;
use std::str::FromStr;

/// Longest name of a network or a node, in characters.
const NAME_CHARS_MAX: usize = 63;

/// A node, by its identity: an Ed25519 public key. It is also its address inside Sphinx.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NodeId({self})")
    }
}

/// Why a text is no node identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node identity has 64 hexadecimal digits")]
pub struct NodeIdError;

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        key_from_hex(text).map(NodeId).ok_or(NodeIdError)
    }
}

/// What a node does in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// One of the layers: unwraps, delays, forwards.
    Mix,
    /// First and last hop: accepts clients, keeps mailboxes.
    Gateway,
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Role::Mix => "mix",
            Role::Gateway => "gateway",
        })
    }
}

/// A 32-byte public key from its 64 hexadecimal digits.
pub fn key_from_hex(text: &str) -> Option<[u8; 32]> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

/// Whether `name` may name a network or a node: it is shown on terminals and used in file names,
/// so it is short and made of lowercase letters, digits and inner hyphens.
pub fn is_name(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_identity_is_the_same_after_text_and_back() {
        let id = NodeId([0xa7; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("a7".parse::<NodeId>(), Err(NodeIdError));
        assert_eq!(format!("{}é", "a".repeat(62)).parse::<NodeId>(), Err(NodeIdError));
    }

    #[test]
    fn names_are_short_and_lowercase_and_never_look_like_an_option_or_a_path() {
        assert!(is_name("gateway-1") && is_name("a"));
        for bad in ["", "-x", "x-", "Mix", "a/b", "..", "a b", "a\u{1b}[0m", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
