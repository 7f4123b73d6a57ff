//! Steps 1 and 2 of the diary: receive a batch, open each datagram into a slot.

use std::net::SocketAddr;

use arrayvec::ArrayVec;

use super::drops::{Drops, Reason, Refusal};
use super::ingress::{ARRIVALS_MAX, Arrival};
use super::policing::Policer;
use super::rings::{Handshake, Inbox, Upcall};
use super::shed::Shedder;
use super::slab::{Slot, SlotCache};
use super::spill::Spills;
use super::tables::Tables;
use super::{BATCH, Counts, Ingress, Rings, Worker};
use crate::clock::Nanos;
use crate::io::Port;
use crate::link::{self, Frame, Opened, Sessions};

impl<P: Port> Worker<P> {
    /// Receives what the port has: at most a group for itself, as much as other workers can take
    /// over, and what is turned away in overload. Returns how many datagrams that were.
    pub(super) fn receive(&mut self, now: Nanos) -> usize {
        let Some((port, mut intake, shedder)) = self.intake(now) else { return 0 };
        intake.make_room();
        let reach = shedder.reach(intake.room());
        let mut seen = 0;
        while seen < reach && intake.room() > 0 {
            let most = (reach - seen).min(intake.room());
            let handed = port.receive(most, |source, datagram| match shedder.keeps() {
                true => intake.take(source, datagram),
                false => intake.drops().count(Refusal::Overload),
            });
            seen += handed;
            if handed < most.min(BATCH) {
                break;
            }
        }
        shedder.note(seen, reach, now);
        intake.spills.publish();
        seen
    }

    /// Takes over what other workers have opened and cannot unwrap at once; returns how many
    /// packets.
    pub(super) fn take_over(&mut self, now: Nanos) -> usize {
        let Some(ingress) = &mut self.ingress else { return 0 };
        let mut taken: ArrayVec<Slot, ARRIVALS_MAX> = ArrayVec::new();
        let most = ingress.group.saturating_sub(ingress.arrivals.len());
        ingress.spills.pop_each(most, |slot| taken.push(slot));
        let count = taken.len();
        for slot in taken {
            self.admit_opened(slot, now);
        }
        count
    }

    /// Takes in a packet that begins its way here.
    pub(super) fn admit_own(&mut self, slot: Slot, now: Nanos) {
        self.counts.packets_own.add(1);
        self.admit_opened(slot, now);
    }

    fn admit_opened(&mut self, slot: Slot, now: Nanos) {
        let Some((_, mut intake, _)) = self.intake(now) else { return self.slots.give(slot) };
        if let Err((slot, Some(reason))) = intake.admit(slot) {
            self.drop_packet(slot, reason);
        }
    }

    /// What opens datagrams, if this worker takes any in: its port, what the opening needs, and
    /// what is turned away.
    fn intake(&mut self, now: Nanos) -> Option<(&mut P, Intake<'_>, &mut Shedder)> {
        let Worker { port, sessions, slots, tables, rings, counts, ingress, .. } = self;
        let Ingress { group, shedder, spills, policer, arrivals, draining, .. } =
            ingress.as_mut()?;
        let Rings { control, handshakes, .. } = &*rings;
        let intake = Intake {
            sessions,
            slots,
            tables,
            policer,
            control,
            handshakes,
            counts,
            arrivals,
            spills,
            group: *group,
            own: 0,
            others: 0,
            draining: *draining,
            now,
        };
        Some((port, intake, shedder))
    }
}

/// What the opening of one datagram needs of the worker.
struct Intake<'a> {
    sessions: &'a mut Sessions,
    slots: &'a mut SlotCache,
    tables: &'a Tables,
    policer: &'a mut Policer,
    control: &'a Inbox<Upcall>,
    handshakes: &'a Inbox<Handshake>,
    counts: &'a Counts,
    arrivals: &'a mut ArrayVec<Arrival, ARRIVALS_MAX>,
    spills: &'a mut Spills,
    group: usize,
    /// Packets that this worker takes in, and those that others take over.
    own: usize,
    others: usize,
    draining: bool,
    now: Nanos,
}

impl Intake<'_> {
    /// Finds out how many packets this worker, and others, can take in now. Who takes over from
    /// others passes nothing on.
    fn make_room(&mut self) {
        self.others = if self.arrivals.is_empty() { self.spills.room(self.group) } else { 0 };
        self.own = self.group.min(self.arrivals.remaining_capacity());
    }

    /// How many more packets there is somebody for.
    fn room(&self) -> usize {
        self.own + self.others
    }

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
        let Opened { link, frame, .. } = opened;
        if let Err(reason) = self.policer.admit(link, frame, self.tables.client_gap, self.now) {
            return Err((slot, Some(reason)));
        }
        match frame {
            Frame::Sphinx => {
                self.counts.packets_in.add(1);
                self.assign(slot)
            }
            Frame::Dummy => {
                self.counts.dummies_in.add(1);
                Err((slot, None))
            }
            _ => self.pass_up(Upcall::Frame { opened, slot }),
        }
    }

    /// Decides who unwraps a Sphinx packet: this worker, or one that has less to do.
    fn assign(&mut self, slot: Slot) -> Result<(), (Slot, Option<Reason>)> {
        if self.own > 0 {
            self.own -= 1;
            return self.admit(slot);
        }
        self.others = self.others.saturating_sub(1);
        let pushed = self.spills.push(slot, self.group);
        pushed.map_err(|slot| (slot, Some(Refusal::HandOffFull.into())))
    }

    /// Lets a Sphinx packet into this turn's batch if its epoch's key is at hand.
    fn admit(&mut self, slot: Slot) -> Result<(), (Slot, Option<Reason>)> {
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
        self.handshakes
            .push(Handshake { source, slot })
            .map_err(|refused| (refused.slot, Some(link::Refusal::RingFull.into())))
    }

    fn pass_up(&mut self, upcall: Upcall) -> Result<(), (Slot, Option<Reason>)> {
        self.control
            .push(upcall)
            .map_err(|refused| (refused.into_slot(), Some(Refusal::FrameControlFull.into())))
    }

    fn drops(&self) -> &Drops {
        &self.counts.drops
    }
}
