//! Steps 1 and 2 of the diary: receive a batch, open each datagram into a slot.

use std::net::SocketAddr;

use arrayvec::ArrayVec;

use super::drops::{Drops, Reason, Refusal};
use super::rings::{Inbox, Upcall};
use super::slab::{Slot, SlotCache};
use super::tables::Tables;
use super::{Arrival, BATCH, Counts, Worker};
use crate::clock::Nanos;
use crate::io::Port;
use crate::link::{Frame, Opened, Sessions};

impl<P: Port> Worker<P> {
    /// Receives what the port has, at most a batch; returns how many datagrams that were.
    pub(super) fn receive(&mut self, now: Nanos) -> usize {
        let Worker { port, sessions, slots, tables, rings, counts, arrivals, draining, .. } = self;
        let control = &*rings.control;
        let mut intake =
            Intake { sessions, slots, tables, control, counts, arrivals, draining: *draining, now };
        port.receive(|source, datagram| intake.take(source, datagram))
    }
}

/// What the opening of one datagram needs of the worker.
struct Intake<'a> {
    sessions: &'a mut Sessions,
    slots: &'a mut SlotCache,
    tables: &'a Tables,
    control: &'a Inbox<Upcall>,
    counts: &'a Counts,
    arrivals: &'a mut ArrayVec<Arrival, BATCH>,
    draining: bool,
    now: Nanos,
}

impl Intake<'_> {
    fn take(&mut self, source: SocketAddr, datagram: &[u8]) {
        let Some(slot) = self.slots.take() else {
            return self.drops().count(Refusal::SlotsExhausted);
        };
        if let Err((slot, reason)) = self.open(source, datagram, slot) {
            self.slots.give(slot);
            if let Some(reason) = reason {
                self.drops().count(reason);
            }
        }
    }

    /// Opens the datagram into `slot` and passes the slot on, or gives it back with the reason
    /// (none where the datagram has simply done its duty).
    fn open(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
        mut slot: Slot,
    ) -> Result<(), (Slot, Option<Reason>)> {
        let body_bytes = self.tables.geometry.frame_bytes();
        let body = &mut self.slots.slab().bytes_mut(&mut slot)[..body_bytes];
        let opened = match self.sessions.open(source, datagram, body, self.now) {
            Ok(opened) => opened,
            Err(refusal) if refusal.may_be_handshake() => {
                return self.pass_up_handshake(source, datagram, slot);
            }
            Err(refusal) => return Err((slot, Some(refusal.into()))),
        };
        if opened.unconfirmed {
            // A ring that is full loses nothing: the key's next datagram says it again.
            let Opened { link, generation, .. } = opened;
            let _ = self.control.push(Upcall::Confirmed { link, generation });
        }
        match opened.frame {
            Frame::Sphinx => self.admit(slot),
            Frame::Dummy => {
                self.counts.dummies_in.add(1);
                Err((slot, None))
            }
            _ => self.pass_up(Upcall::Frame { opened, slot }),
        }
    }

    /// Lets a Sphinx packet into this turn's batch if its epoch's key is at hand.
    fn admit(&mut self, slot: Slot) -> Result<(), (Slot, Option<Reason>)> {
        self.counts.packets_in.add(1);
        if self.draining {
            return Err((slot, Some(Refusal::Drained.into())));
        }
        let tail = &self.slots.slab().bytes(&slot)[self.tables.geometry.packet_bytes()..];
        let (epoch, reserved) = (tail[0], &tail[1..4]);
        if reserved != [0; 3] {
            return Err((slot, Some(Refusal::BadTail.into())));
        }
        let Some(key) = self.tables.keys.iter().position(|(of, _)| *of == epoch) else {
            return Err((slot, Some(Refusal::UnknownEpoch.into())));
        };
        if self.tables.keys[key].1.is_closed() {
            return Err((slot, Some(Refusal::KeyClosed.into())));
        }
        self.arrivals.push(Arrival { slot, key });
        Ok(())
    }

    fn pass_up_handshake(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
        mut slot: Slot,
    ) -> Result<(), (Slot, Option<Reason>)> {
        if let Err(refusal) = self.sessions.gate(source, datagram, self.now) {
            return Err((slot, Some(refusal.into())));
        }
        self.slots.slab().bytes_mut(&mut slot)[..datagram.len()].copy_from_slice(datagram);
        self.pass_up(Upcall::Handshake { source, slot })
    }

    fn pass_up(&mut self, upcall: Upcall) -> Result<(), (Slot, Option<Reason>)> {
        self.control
            .push(upcall)
            .map_err(|refused| (refused.into_slot(), Some(Refusal::ControlFull.into())))
    }

    fn drops(&self) -> &Drops {
        &self.counts.drops
    }
}
