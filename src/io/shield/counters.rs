//! What became of the frames.

use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use super::ShieldError;
use super::program::types::shield_reason;

/// What became of a frame, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Left to the kernel: not a datagram to the node.
    Foreign,
    /// Let in: from the address of a peer.
    Peer,
    /// Let in: from the address of a client with a session.
    Client,
    /// Let in: from anybody else, within the budgets.
    Stranger,
    /// Dropped: the first part of a packet; nodes send none in parts.
    Fragment,
    /// Dropped: behind IPv4 options or IPv6 extension headers, which nodes do not send.
    Options,
    /// Dropped: the lengths of the frame, of IP and of UDP contradict each other.
    Lengths,
    /// Dropped: the datagram is too short.
    Short,
    /// Dropped: the datagram is too long.
    Long,
    /// Dropped: from an address that no other machine can have.
    Martian,
    /// Dropped: all strangers together send too much.
    StrangersBudget,
    /// Dropped: this stranger sends too much.
    SourceBudget,
    /// Let in, but to the kernel's socket, because none of ours serves the queue; counted beside
    /// who sent it.
    Unserved,
}

impl Reason {
    /// All of them, in the order of their counters.
    pub const ALL: [Reason; 13] = [
        Reason::Foreign,
        Reason::Peer,
        Reason::Client,
        Reason::Stranger,
        Reason::Fragment,
        Reason::Options,
        Reason::Lengths,
        Reason::Short,
        Reason::Long,
        Reason::Martian,
        Reason::StrangersBudget,
        Reason::SourceBudget,
        Reason::Unserved,
    ];

    /// The reason's name in tables and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Foreign => "foreign",
            Reason::Peer => "peer",
            Reason::Client => "client",
            Reason::Stranger => "stranger",
            Reason::Fragment => "fragment",
            Reason::Options => "options",
            Reason::Lengths => "lengths",
            Reason::Short => "short",
            Reason::Long => "long",
            Reason::Martian => "martian",
            Reason::StrangersBudget => "strangers_budget",
            Reason::SourceBudget => "source_budget",
            Reason::Unserved => "unserved",
        }
    }

    /// Whether the frame was dropped.
    pub const fn is_drop(self) -> bool {
        use Reason::{Client, Foreign, Peer, Stranger, Unserved};
        !matches!(self, Foreign | Peer | Client | Stranger | Unserved)
    }

    /// Its number in the program, which is its place in [`Reason::ALL`].
    const fn number(self) -> u32 {
        let number = match self {
            Reason::Foreign => shield_reason::SHIELD_FOREIGN,
            Reason::Peer => shield_reason::SHIELD_PEER,
            Reason::Client => shield_reason::SHIELD_CLIENT,
            Reason::Stranger => shield_reason::SHIELD_STRANGER,
            Reason::Fragment => shield_reason::SHIELD_FRAGMENT,
            Reason::Options => shield_reason::SHIELD_OPTIONS,
            Reason::Lengths => shield_reason::SHIELD_LENGTHS,
            Reason::Short => shield_reason::SHIELD_SHORT,
            Reason::Long => shield_reason::SHIELD_LONG,
            Reason::Martian => shield_reason::SHIELD_MARTIAN,
            Reason::StrangersBudget => shield_reason::SHIELD_STRANGERS_BUDGET,
            Reason::SourceBudget => shield_reason::SHIELD_SOURCE_BUDGET,
            Reason::Unserved => shield_reason::SHIELD_UNSERVED,
        };
        number.0
    }
}

const _: () = {
    assert!(Reason::ALL.len() == shield_reason::SHIELD_REASONS.0 as usize, "a reason has no name");
    let mut place = 0;
    while place < Reason::ALL.len() {
        assert!(Reason::ALL[place].number() as usize == place, "a reason has another number");
        place += 1;
    }
};

/// How many frames met each reason since the program was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShieldCounters([u64; Reason::ALL.len()]);

impl ShieldCounters {
    /// How many met this one.
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason.number() as usize]
    }

    /// All counters, in their order.
    pub fn rows(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.0)
    }

    /// What was let in.
    pub fn admitted(&self) -> u64 {
        [Reason::Peer, Reason::Client, Reason::Stranger].map(|reason| self.of(reason)).iter().sum()
    }
}

/// The counters in the kernel, of all cores together. They are read one after the other, while
/// frames go on coming.
pub(super) fn read(map: &MapHandle) -> Result<ShieldCounters, ShieldError> {
    let mut counters = ShieldCounters::default();
    for (reason, counter) in Reason::ALL.into_iter().zip(&mut counters.0) {
        let each = map
            .lookup_percpu(&reason.number().to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| ShieldError::refused("read the counters of the shield", error))?;
        let counts = each.iter().flatten().filter_map(|bytes| bytes.first_chunk());
        *counter = counts.map(|bytes| u64::from_ne_bytes(*bytes)).sum();
    }
    Ok(counters)
}
