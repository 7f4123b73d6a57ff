//! One message on its way: which of its parts were sent, which are still to be acknowledged.

use std::collections::{BTreeMap, VecDeque};

use zeroize::Zeroizing;

use super::Failure;
use super::ring::Place;
use crate::clock::Nanos;
use crate::message::MessageId;
use crate::message::envelope::Part;
use crate::message::fragment::Cut;
use crate::pki::MailboxAddress;

/// A part that was sent and is not acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// How often it was sent.
    pub(super) tries: u32,
    /// When it is to be sent again.
    pub(super) retry_at: Nanos,
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) to: MailboxAddress,
    pub(super) deadline: Nanos,
    bytes: Zeroizing<Vec<u8>>,
    cut: Cut,
    /// The parts up to this one were sent at least once.
    sent: u32,
    flights: BTreeMap<u32, Flight>,
    /// Parts in flight whose wait is over, first come first served; some may be acknowledged by
    /// now.
    due: VecDeque<u32>,
    /// When it may be sent again, while it rests.
    pub(super) resting_until: Option<Nanos>,
    /// How often it rested since a part was last acknowledged.
    pub(super) rests: u32,
    /// Why it is not delivered, as far as anybody said.
    pub(super) trouble: Failure,
    /// Its place among the messages with parts that are due.
    pub(super) due_place: Option<Place>,
    /// Its place among those with parts never sent.
    pub(super) fresh_place: Option<Place>,
    /// Its place among those whose progress is to be reported.
    pub(super) progress_place: Option<Place>,
}

impl Outgoing {
    pub(super) fn new(bytes: Vec<u8>, cut: Cut, to: &MailboxAddress, deadline: Nanos) -> Self {
        Outgoing {
            to: *to,
            deadline,
            bytes: Zeroizing::new(bytes),
            cut,
            sent: 0,
            flights: BTreeMap::new(),
            due: VecDeque::new(),
            resting_until: None,
            rests: 0,
            trouble: Failure::Unanswered,
            due_place: None,
            fresh_place: None,
            progress_place: None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn parts(&self) -> u32 {
        self.cut.parts()
    }

    /// How many parts are acknowledged: sent, and no longer in flight.
    pub(super) fn acknowledged(&self) -> u32 {
        self.sent - u32::try_from(self.flights.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_delivered(&self) -> bool {
        self.sent == self.parts() && self.flights.is_empty()
    }

    pub(super) fn flights(&self) -> &BTreeMap<u32, Flight> {
        &self.flights
    }

    /// The first part that was never sent.
    pub(super) fn fresh_part(&self) -> Option<u32> {
        (self.sent < self.parts()).then_some(self.sent)
    }

    /// The part in flight that has been due for the longest.
    pub(super) fn due_part(&mut self) -> Option<u32> {
        while let Some(&part) = self.due.front() {
            if self.flights.contains_key(&part) {
                return Some(part);
            }
            self.due.pop_front();
        }
        None
    }

    /// The wait for `part` is over.
    pub(super) fn is_due(&mut self, part: u32) {
        self.due.push_back(part);
    }

    /// What goes into an envelope for `part`; nothing if there is no such part.
    pub(super) fn part(&self, id: MessageId, part: u32) -> Option<Part> {
        let content = self.bytes.get(self.cut.range(part)?)?.to_vec();
        Some(Part { id, number: part, cut: self.cut, content })
    }

    /// How often `part` was sent.
    pub(super) fn tries(&self, part: u32) -> u32 {
        self.flights.get(&part).map_or(0, |flight| flight.tries)
    }

    /// `part`, which was due or fresh, has left. Whether it was fresh.
    pub(super) fn has_left(&mut self, part: u32, retry_at: Nanos) -> bool {
        let fresh = self.fresh_part() == Some(part);
        if fresh {
            self.sent += 1;
        } else if self.due.front() == Some(&part) {
            self.due.pop_front();
        }
        let tries = self.tries(part) + 1;
        self.flights.insert(part, Flight { tries, retry_at });
        fresh
    }

    /// `part` is acknowledged: its flight, if it was not before.
    pub(super) fn acknowledge(&mut self, part: u32) -> Option<Flight> {
        self.flights.remove(&part)
    }
}
