//! Step 6 of the diary: each packet to the worker that owns its next link, or up for delivery.

use subtle::ConstantTimeEq as _;

use super::drops::{Reason, Refusal};
use super::rings::{HandOff, Parcel, Upcall};
use super::slab::Slot;
use super::{Ingress, Worker};
use crate::clock::Nanos;
use crate::io::Port;
use crate::sphinx::{Destination, Hop, Identifier, NodeAddress};

impl<P: Port> Worker<P> {
    /// Sends every unwrapped packet on its way; what is refused gives its slot back.
    pub(super) fn route(&mut self, now: Nanos) {
        let Some(ingress) = &mut self.ingress else { return };
        let arrivals = std::mem::take(&mut ingress.arrivals);
        let outcomes = std::mem::take(&mut ingress.outcomes);
        for (arrival, outcome) in arrivals.into_iter().zip(outcomes) {
            let slot = arrival.slot;
            let routed = match outcome {
                Ok(Hop::Forward { next, delay_ns }) => {
                    self.forward(slot, &next, Nanos(delay_ns), now)
                }
                Ok(Hop::Final { destination, identifier }) => {
                    self.deliver(slot, destination, identifier)
                }
                Err(refusal) => Err((slot, refusal.into())),
            };
            if let Err((slot, reason)) = routed {
                self.drop_packet(slot, reason);
            }
        }
        self.ingress.iter_mut().for_each(Ingress::publish);
    }

    /// Takes a dropped packet's memory home and counts the reason.
    pub(super) fn drop_packet(&mut self, slot: Slot, reason: Reason) {
        self.counts.drops.count(reason);
        self.slots.give(slot);
    }

    fn forward(
        &mut self,
        slot: Slot,
        next: &NodeAddress,
        delay: Nanos,
        now: Nanos,
    ) -> Result<(), (Slot, Reason)> {
        let Some(&link) = self.tables.links.get(next) else {
            return Err((slot, Refusal::UnknownNextHop.into()));
        };
        if delay > self.tables.delay_max {
            return Err((slot, Refusal::DelayTooLong.into()));
        }
        let handed = HandOff { due: now + delay, parcel: Parcel { slot: Some(slot), link } };
        if let Some(ingress) = &mut self.ingress
            && let Err(handed) = ingress.hand_off(link, handed)
            && let Some(slot) = handed.parcel.slot
        {
            return Err((slot, Refusal::HandOffFull.into()));
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        slot: Slot,
        destination: Destination,
        identifier: Identifier,
    ) -> Result<(), (Slot, Reason)> {
        if bool::from(destination.ct_eq(&self.tables.loops)) {
            return self.note_loop(slot, identifier);
        }
        if !self.tables.delivers {
            return Err((slot, Refusal::NotDelivering.into()));
        }
        match self.rings.control.push(Upcall::Delivery { destination, identifier, slot }) {
            Ok(()) => {
                self.counts.delivered.add(1);
                Ok(())
            }
            Err(refused) => Err((refused.into_slot(), Refusal::ControlFull.into())),
        }
    }

    /// A loop of our own is back: its name goes up, its memory home.
    fn note_loop(&mut self, slot: Slot, identifier: Identifier) -> Result<(), (Slot, Reason)> {
        if self.rings.control.push(Upcall::Loop(identifier)).is_err() {
            return Err((slot, Refusal::ControlFull.into()));
        }
        self.counts.loops_back.add(1);
        self.slots.give(slot);
        Ok(())
    }
}
