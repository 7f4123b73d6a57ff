//! Every reason a packet is dropped, and its counter.
//!
//! A reason is counted, never logged, and never told to the sender: no drop may be told from
//! another from outside (`docs/threat-model.md`).

use crate::metrics::Counter;
use crate::{link, sphinx};

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The link refused the datagram.
    Link(link::Refusal),
    /// The Sphinx packet was refused.
    Sphinx(sphinx::Refusal),
    /// The worker's own.
    Worker(Refusal),
}

/// What the worker itself refuses, between link and pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The three reserved bytes behind the packet are not zero.
    BadTail,
    /// No key for the epoch that the sender chose is in force or in grace.
    UnknownEpoch,
    /// The epoch's replay table is too full to tell replays from others.
    KeyClosed,
    /// The next hop is no neighbour of this node.
    UnknownNextHop,
    /// The sender's delay is longer than 28 means.
    DelayTooLong,
    /// A final packet at a node that delivers nothing.
    NotDelivering,
    /// The link to the next hop has no session.
    LinkDown,
    /// Thrown out of a full pool, at random.
    Evicted,
    /// The ring to the worker that owns the next link is full.
    HandOffFull,
    /// The ring to the control thread is full: a packet for delivery.
    ControlFull,
    /// The ring to the control thread is full: a frame.
    FrameControlFull,
    /// More comes than can be unwrapped: turned away at random.
    Overload,
    /// All packet memory is in use.
    SlotsExhausted,
    /// The port takes no more for now: a packet.
    SendFull,
    /// The port or the pool takes no more for now: a frame or a dummy.
    FrameUnsent,
    /// A client sends faster than its network's clients do.
    TooFast,
    /// Given back at the end of a drain that took too long.
    Drained,
}

impl Refusal {
    /// All of them, in the order of their counters.
    pub const ALL: [Refusal; 17] = [
        Refusal::BadTail,
        Refusal::UnknownEpoch,
        Refusal::KeyClosed,
        Refusal::UnknownNextHop,
        Refusal::DelayTooLong,
        Refusal::NotDelivering,
        Refusal::LinkDown,
        Refusal::Evicted,
        Refusal::HandOffFull,
        Refusal::ControlFull,
        Refusal::FrameControlFull,
        Refusal::Overload,
        Refusal::SlotsExhausted,
        Refusal::SendFull,
        Refusal::FrameUnsent,
        Refusal::TooFast,
        Refusal::Drained,
    ];

    /// The reason's name in tables and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::BadTail => "bad_tail",
            Refusal::UnknownEpoch => "unknown_epoch",
            Refusal::KeyClosed => "key_closed",
            Refusal::UnknownNextHop => "unknown_next_hop",
            Refusal::DelayTooLong => "delay_too_long",
            Refusal::NotDelivering => "not_delivering",
            Refusal::LinkDown => "link_down",
            Refusal::Evicted => "evicted",
            Refusal::HandOffFull => "hand_off_full",
            Refusal::ControlFull => "control_full",
            Refusal::FrameControlFull => "frame_control_full",
            Refusal::Overload => "overload",
            Refusal::SlotsExhausted => "slots_exhausted",
            Refusal::SendFull => "send_full",
            Refusal::FrameUnsent => "frame_unsent",
            Refusal::TooFast => "too_fast",
            Refusal::Drained => "drained",
        }
    }
}

const LINK_REASONS: usize = link::Refusal::ALL.len();
const SPHINX_REASONS: usize = sphinx::Refusal::ALL.len();
const REASONS: usize = LINK_REASONS + SPHINX_REASONS + Refusal::ALL.len();

impl Reason {
    /// All reasons, in the order of their counters: the order a packet meets them.
    pub fn all() -> impl Iterator<Item = Reason> {
        let link = link::Refusal::ALL.into_iter().map(Reason::Link);
        let sphinx = sphinx::Refusal::ALL.into_iter().map(Reason::Sphinx);
        link.chain(sphinx).chain(Refusal::ALL.into_iter().map(Reason::Worker))
    }

    /// The stage that refused and why, as `stage` and `name`.
    pub const fn name(self) -> (&'static str, &'static str) {
        match self {
            Reason::Link(refusal) => ("link", refusal.name()),
            Reason::Sphinx(refusal) => ("sphinx", refusal.name()),
            Reason::Worker(refusal) => ("worker", refusal.name()),
        }
    }

    /// Whether what was dropped had been opened as a Sphinx packet before; other reasons count
    /// datagrams, and frames that could not be sent.
    pub const fn is_of_packet(self) -> bool {
        match self {
            Reason::Link(_) => false,
            Reason::Sphinx(_) => true,
            Reason::Worker(refusal) => !matches!(
                refusal,
                Refusal::Overload
                    | Refusal::SlotsExhausted
                    | Refusal::FrameControlFull
                    | Refusal::FrameUnsent
                    | Refusal::TooFast
            ),
        }
    }

    /// Whether it says that something came a second time: who repeats a packet must not learn
    /// where its copy went.
    pub const fn is_replay(self) -> bool {
        matches!(
            self,
            Reason::Link(link::Refusal::Replay) | Reason::Sphinx(sphinx::Refusal::Replay)
        )
    }

    fn index(self) -> usize {
        match self {
            Reason::Link(refusal) => refusal.index(),
            Reason::Sphinx(refusal) => LINK_REASONS + refusal.index(),
            Reason::Worker(refusal) => LINK_REASONS + SPHINX_REASONS + refusal as usize,
        }
    }
}

impl From<link::Refusal> for Reason {
    fn from(refusal: link::Refusal) -> Self {
        Reason::Link(refusal)
    }
}

impl From<sphinx::Refusal> for Reason {
    fn from(refusal: sphinx::Refusal) -> Self {
        Reason::Sphinx(refusal)
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        Reason::Worker(refusal)
    }
}

/// One counter a reason, written by one worker.
#[derive(Debug)]
pub struct Drops([Counter; REASONS]);

impl Default for Drops {
    fn default() -> Self {
        Drops(std::array::from_fn(|_| Counter::default()))
    }
}

impl Drops {
    /// Counts one packet dropped for `reason`.
    pub fn count(&self, reason: impl Into<Reason>) {
        self.0[reason.into().index()].add(1);
    }

    /// How many packets were dropped for `reason`.
    pub fn of(&self, reason: impl Into<Reason>) -> u64 {
        self.0[reason.into().index()].value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let drops = Drops::default();
        for reason in Reason::all() {
            drops.count(reason);
        }
        assert_eq!(Reason::all().count(), REASONS);
        assert!(Reason::all().all(|reason| drops.of(reason) == 1));
    }

    #[test]
    fn no_two_reasons_share_a_name() {
        let mut names: Vec<_> = Reason::all().map(Reason::name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REASONS);
    }
}
