//! What was seen of a node while packets went through it.

use arrayvec::ArrayVec;

use crate::clock::Nanos;

/// Bytes of a datagram that a [`Mark`] has room for: ethernet 14, IPv6 40, UDP 8, and the 16 of the
/// link header.
pub const HEADER_BYTES_MAX: usize = 78;

/// A packet on its way into the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it was on the wire.
    pub at: Nanos,
    /// Which core took it in, as far as its maker knows: the core's number, or that of the flow,
    /// where all packets of a flow go to one core.
    pub ingress: u16,
}

/// A datagram on its way out of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// When it was on the wire.
    pub at: Nanos,
    /// What else the wire shows of it.
    pub mark: Mark,
}

/// What the wire shows of a departure besides its time and its place among the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The port it was sent from.
    pub source_port: u16,
    /// The bytes before the encrypted body, of all layers that were seen; each at the same place
    /// in every mark of an observation.
    pub header: ArrayVec<u8, HEADER_BYTES_MAX>,
}

/// A packet's way through the node, as its maker knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its place in [`Observation::arrivals`].
    pub arrival: usize,
    /// Its place in [`Observation::departures`].
    pub departure: usize,
    /// The delay that its sender asked for.
    pub delay: Nanos,
}

/// A time in which the machine stood still, or was behind from having stood still: its first and
/// its last moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first moment.
    pub from: Nanos,
    /// The last.
    pub until: Nanos,
}

/// A run: what went in, what came out, which was which, and what does not count.
///
/// All times are of one clock. Arrivals of one rate, from the first to the last: the tests take
/// them for a Poisson process.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The mean delay that senders drew from.
    pub delay_mean: Nanos,
    /// The time between two releases of the node's pool.
    pub tick: Nanos,
    /// Packets that went in, in the order of the wire, also those that never came out. What the
    /// maker knows to be no packet (dummies, handshakes) is left out: that only helps the observer.
    pub arrivals: Vec<Arrival>,
    /// Datagrams that came out, in the order of the wire, also those that are no packet of ours.
    pub departures: Vec<Departure>,
    /// Which arrival became which departure, in any order.
    pub passages: Vec<Passage>,
    /// Stalls, in order, none overlapping another.
    pub cuts: Vec<Cut>,
}
