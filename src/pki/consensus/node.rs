//! A node as the consensus places it.

use crate::crypto::kem;
use crate::pki::{Descriptor, EpochPublic, NodeId, Role};
use std::net::SocketAddr;

/// A node of the network: its descriptor, and the place that the authorities gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub(super) descriptor: Descriptor,
    pub(super) layer: Option<u8>,
    pub(super) weight: u32,
}

impl Node {
    /// Its identity.
    pub fn id(&self) -> NodeId {
        self.descriptor.id()
    }

    /// Its name, which no other node of the consensus has.
    pub fn name(&self) -> &str {
        &self.descriptor.fields().name
    }

    /// What it does.
    pub fn role(&self) -> Role {
        self.descriptor.fields().role
    }

    /// The layer of a mix, the first being 1.
    pub fn layer(&self) -> Option<u8> {
        self.layer
    }

    /// How often paths lead through it, relative to the others of its layer; never 0.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// Where it is reached, never nowhere.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.descriptor.fields().addresses
    }

    /// X25519: authenticates its links.
    pub fn link_public(&self) -> &[u8; 32] {
        self.descriptor.link_public()
    }

    /// X25519: packets of `epoch` are wrapped for it. There is one for the consensus' own epoch.
    pub fn mix_public(&self, epoch: u64) -> Option<&[u8; 32]> {
        self.descriptor.epoch(epoch).map(|keys| &keys.mix)
    }

    /// ML-KEM-768: handshakes of `epoch` are encapsulated to it, as [`Node::mix_public`].
    pub fn kem_public(&self, epoch: u64) -> Option<&[u8; kem::PUBLIC_BYTES]> {
        self.descriptor.epoch(epoch).map(|keys| &keys.kem)
    }

    /// All epochs for which it has published keys, in ascending order.
    pub fn epochs(&self) -> &[EpochPublic] {
        &self.descriptor.fields().epochs
    }

    /// What it signed.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
}
