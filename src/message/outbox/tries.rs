//! Packets whose acknowledgement may still come, and what opens it.
//!
//! Decoys are remembered like all others: what this takes of memory and time says nothing of how
//! much is sent. A part's earlier tries stay when it is sent again: their acknowledgements count.

use std::collections::{HashMap, VecDeque};

use crate::clock::Nanos;
use crate::message::MessageId;
use crate::sphinx::{Identifier, Recovery};

/// Packets remembered at most: those of 80 seconds at 200 a second, of 14 minutes at 20.
pub const TRIES_MAX: usize = 16_384;
/// How long a packet is remembered: longer than the slowest path keeps any that arrives, in
/// networks whose hops take up to a second on average.
pub const TRY_SPAN_MAX: Nanos = Nanos::from_secs(300);

/// What a packet was sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A part of a message.
    Part(MessageId, u32),
    /// To look like one.
    Decoy,
}

/// A packet on its way, or its acknowledgement.
#[derive(Debug)]
pub(super) struct Try {
    pub(super) purpose: Purpose,
    pub(super) recovery: Recovery,
}

/// All of them, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Tries {
    open: HashMap<Identifier, Try>,
    /// In the order in which they were sent, also those that were answered since.
    sent: VecDeque<(Nanos, Identifier)>,
}

impl Tries {
    /// Remembers a packet sent at `now`.
    pub(super) fn insert(&mut self, purpose: Purpose, recovery: Recovery, now: Nanos) {
        if self.sent.len() >= TRIES_MAX {
            self.forget_oldest();
        }
        self.sent.push_back((now, *recovery.identifier()));
        self.open.insert(*recovery.identifier(), Try { purpose, recovery });
    }

    /// The packet that `identifier` answers, once.
    pub(super) fn take(&mut self, identifier: &Identifier) -> Option<Try> {
        self.open.remove(identifier)
    }

    /// Forgets what was sent too long ago.
    pub(super) fn expire(&mut self, now: Nanos) {
        while self.sent.front().is_some_and(|(sent, _)| *sent + TRY_SPAN_MAX <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, identifier)) = self.sent.pop_front() {
            self.open.remove(&identifier);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;
    use crate::crypto::x25519::Secret;
    use crate::sphinx::{Itinerary, RouteHop, Surb, Version};

    fn recovery(rng: &mut Rng) -> Recovery {
        let public_key = Secret::random(rng).public();
        let route = [RouteHop { address: [1; 32], public_key, delay_ns: 0 }];
        let (destination, identifier) = ([2; 32], rng.bytes());
        let itinerary =
            Itinerary { route: &route, destination, identifier, version: Version::SingleSeed };
        Surb::create(&itinerary, rng).unwrap().1
    }

    #[test]
    fn a_packet_is_answered_once() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut tries = Tries::default();
        let recovery = recovery(&mut rng);
        let identifier = *recovery.identifier();
        tries.insert(Purpose::Decoy, recovery, Nanos::ZERO);
        assert_eq!(tries.take(&identifier).map(|one| one.purpose), Some(Purpose::Decoy));
        assert!(tries.take(&identifier).is_none());
        assert!(tries.take(&[9; 16]).is_none());
    }

    #[test]
    fn the_oldest_is_forgotten_for_want_of_room_or_with_time() {
        let mut rng = Rng::from_seed([2; 32]);
        let mut tries = Tries::default();
        let mut identifiers = vec![];
        for _ in 0..TRIES_MAX + 10 {
            let recovery = recovery(&mut rng);
            identifiers.push(*recovery.identifier());
            tries.insert(Purpose::Decoy, recovery, Nanos::from_secs(1));
        }
        assert_eq!((tries.open.len(), tries.sent.len()), (TRIES_MAX, TRIES_MAX));
        assert!(tries.take(&identifiers[9]).is_none() && tries.take(&identifiers[10]).is_some());
        tries.expire(TRY_SPAN_MAX);
        assert!(tries.take(&identifiers[11]).is_some());
        tries.expire(TRY_SPAN_MAX + Nanos::from_secs(1));
        assert!(tries.open.is_empty() && tries.sent.is_empty());
    }
}
