//! The Sphinx packet format (Danezis, Goldberg 2009), byte for byte that of `sphinx-packet` 0.8
//! (`docs/packet-format.md`).
//!
//! The paper's letters are kept: alpha is the group element, beta the encrypted routing
//! information, gamma the MAC over beta, delta the payload. `unwrap` is the node's side, by
//! batches; `build` and `surb` are the sender's and the replier's.

pub mod build;
mod draft;
pub mod geometry;
pub mod header;
pub mod payload;
pub mod surb;
pub mod unwrap;

pub use build::{BuildError, Itinerary, Order, RouteHop, build, build_each};
pub use geometry::{Geometry, GeometryError};
pub use header::{Hop, Version};
pub use surb::{Recovery, Surb};
pub use unwrap::{Checked, Packet, Refusal, Unwrapper};

/// Names a node inside a packet: its identity key.
pub type NodeAddress = [u8; 32];
/// Names the recipient to the last node.
pub type Destination = [u8; 32];
/// Names a reply block to its creator; all zero when the packet is no reply.
pub type Identifier = [u8; 16];
/// Comes out the same each time a node sees the same header under the same key, and only then.
pub type ReplayTag = [u8; 32];
