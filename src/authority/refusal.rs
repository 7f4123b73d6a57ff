//! Why a descriptor is not taken, in words for its node's operator and as an HTTP status.

use crate::pki::{DescriptorError, Role};

/// Why a descriptor is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is none, or not signed, or of another network.
    #[error("the descriptor is not valid: {0}")]
    Descriptor(#[from] DescriptorError),
    /// The authority's list does not have the node.
    #[error("this identity has no seat in the network: ask the authority's operator for one")]
    NoSeat,
    /// The seat is for another kind of node.
    #[error("the seat of this identity is that of a {0}")]
    OtherRole(Role),
    /// One that was signed later is here already.
    #[error("a descriptor that was published later is here already")]
    Older,
    /// It was signed in the future.
    #[error("it was published in the future: check the node's clock")]
    Future,
    /// No packet could be made for the node.
    #[error("it has no keys for epoch {0} or the next: check the node's clock and epoch length")]
    NoKeys(u64),
    /// It would stay for longer than a node that registers every epoch.
    #[error("it has keys for epoch {0}, far ahead: check the node's clock and epoch length")]
    KeysAhead(u64),
    /// Another node has what must be its own.
    #[error("another node has the same {0}")]
    Taken(&'static str),
    /// No room for another node.
    #[error("the network is full")]
    Full,
}

impl Refusal {
    /// The HTTP status that goes with it.
    pub const fn status(self) -> u16 {
        match self {
            Refusal::Descriptor(_)
            | Refusal::Future
            | Refusal::NoKeys(_)
            | Refusal::KeysAhead(_) => 400,
            Refusal::NoSeat | Refusal::OtherRole(_) => 403,
            Refusal::Older | Refusal::Taken(_) => 409,
            Refusal::Full => 503,
        }
    }
}
