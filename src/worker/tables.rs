//! A worker's read-only view of the world, swapped whole between two turns.

use std::collections::HashMap;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::clock::Nanos;
use crate::link::LinkIndex;
use crate::replay::EpochKey;
use crate::sphinx::{Destination, Geometry, NodeAddress};

/// Epochs whose keys may be in force at once: previous (in grace), current, next.
pub const EPOCHS_MAX: usize = 3;

/// What a worker may know of the network: keys, neighbours, parameters.
#[derive(Debug)]
pub struct Tables {
    /// All sizes.
    pub geometry: Geometry,
    /// The keys in force, each with its own replay table, by the last byte of the epoch's number.
    pub keys: ArrayVec<(u8, Arc<EpochKey>), EPOCHS_MAX>,
    /// The links to the neighbours, by the address inside the packet.
    pub links: HashMap<NodeAddress, LinkIndex>,
    /// The longest delay a sender may ask for.
    pub delay_max: Nanos,
    /// The mean gap between two frames of a client, at the highest rate that it may send at.
    pub client_gap: Nanos,
    /// Whether final packets are delivered here: a gateway.
    pub delivers: bool,
    /// The destination of this node's own loops; nobody else knows it.
    pub loops: Destination,
}
