//! The link protocol "mixlink/1": sessions between neighbours, over datagrams of one size with
//! nothing constant in them (`docs/link-protocol.md`).
//!
//! It stands in two halves that exchange small messages and do no I/O. The control side,
//! [`Links`], is one for the process: handshakes, timers, rekeying, liveness. The data side,
//! [`Sessions`], is one for each worker: opens and seals, looks a session up by its source
//! address, never allocates. [`Command`]s carry keys from the first to the second; shared counters
//! carry back what timers need.

pub mod datagram;
pub mod keys;
mod window;
mod noise;
pub mod handshake;
mod token;
mod admission;
mod command;
mod frame;
pub mod control;
mod gate;
mod slot;
mod sessions;
mod timers;
mod station;
mod state;
mod initiator;
mod responder;
mod links;
mod refusal;

pub use command::{Command, Life, PeerKind, ReceiveHalf, SendHalf};
pub use frame::{Close, Delivery, Frame, Malformed};
pub use links::Links;
pub use refusal::Refusal;
pub use sessions::{Opened, Sessions};
pub use station::{Action, Event, Local, Options, Peer};

/// A link's place in every worker's table: the nodes first, then the clients. In a client's own
/// process its gateways stand among the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

/// A session, by the order in which this process made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

/// How many links there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Links to nodes.
    pub nodes: u32,
    /// Links from clients.
    pub clients: u32,
}

/// What all members of a network agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The hash of the first directory keys: the network's name.
    pub genesis: [u8; 32],
    /// The hash of its Sphinx geometry; others cannot even shake hands.
    pub geometry_hash: [u8; 32],
    /// Bytes of every datagram.
    pub datagram_bytes: usize,
    /// Bytes of a frame that carries a packet: the packet, its key epoch and three zeros.
    pub sphinx_frame_bytes: usize,
}

impl Network {
    /// # Panics
    /// If a first flight or a packet does not fit a datagram: the geometry is wrong.
    fn sizes(&self) -> frame::Sizes {
        let body = self.datagram_bytes.saturating_sub(datagram::OVERHEAD_BYTES);
        assert!(body >= handshake::INIT_BYTES, "a first flight fits a datagram");
        assert!(body >= self.sphinx_frame_bytes, "a packet fits a datagram");
        assert!(u16::try_from(body).is_ok(), "a length fits its field");
        frame::Sizes { datagram: self.datagram_bytes, body, sphinx: self.sphinx_frame_bytes }
    }
}
