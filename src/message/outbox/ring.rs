//! Messages that wait for their turn: first come, first served, and free to leave at any time.

use std::collections::BTreeMap;

use crate::message::MessageId;

/// A place in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

/// Messages in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Ring {
    members: BTreeMap<Place, MessageId>,
    places_ever: u64,
}

impl Ring {
    /// A place at the end for `id`.
    pub(super) fn join(&mut self, id: MessageId) -> Place {
        self.places_ever += 1;
        let place = Place(self.places_ever);
        self.members.insert(place, id);
        place
    }

    pub(super) fn leave(&mut self, place: Place) {
        self.members.remove(&place);
    }

    pub(super) fn pop(&mut self) -> Option<MessageId> {
        self.members.pop_first().map(|(_, id)| id)
    }

    /// All members, the first one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &MessageId> {
        self.members.values()
    }
}
