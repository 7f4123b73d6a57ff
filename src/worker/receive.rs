//! Steps 1 and 2 of the diary: receive a batch, open each datagram into a slot.

use std::collections::VecDeque;
use std::net::SocketAddr;

use arrayvec::ArrayVec;

use super::drops::{Drops, Reason, Refusal};
use super::ingress::{ARRIVALS_MAX, Arrival, WAITING_MAX};
use super::policing::Policer;
use super::rings::{Handshake, Inbox, Upcall};
use super::shed::{Found, Shedder};
use super::slab::{Slot, SlotCache};
use super::spill::Spills;
use super::tables::Tables;
use super::{BATCH, Counts, Ingress, Rings, Worker};
use crate::clock::Nanos;
use crate::io::Port;
use crate::link::{self, Frame, Opened, Sessions};

/// Datagrams that one turn looks at, at most: in overload most are turned away.
const SEEN_MAX: usize = 1024;

impl<P: Port> Worker<P> {
    /// Receives what the port has, as far as there is room for it: a group for this worker, what
    /// others take over, and some for later turns; in overload a random share is turned away.
    /// Returns how many datagrams that were.
    pub(super) fn receive(&mut self, now: Nanos) -> usize {
        let Some((port, mut intake, shedder)) = self.intake(now) else { return 0 };
        let most = intake.group.min(BATCH);
        let (mut seen, mut is_all) = (0, false);
        while !is_all && seen < SEEN_MAX && intake.waiting.len() + most <= WAITING_MAX {
            let handed = port.receive(most, |source, datagram| match shedder.keeps() {
                true => intake.take(source, datagram),
                false => intake.drops().count(Refusal::Overload),
            });
            seen += handed;
            is_all = handed < most;
        }
        let is_free = intake.arrivals.is_empty();
        let taken = intake.admit_waiting();
        // Who takes over from others passes nothing on.
        if is_free {
            intake.spills.pass_on(intake.waiting, intake.group);
        }
        let found = match (intake.waiting.is_empty(), is_all) {
            (true, _) if seen + taken == 0 => Found::Nothing,
            (true, _) => Found::Enough,
            (false, true) => Found::More,
            (false, false) => Found::TooMuch,
        };
        shedder.note(found, now);
        seen.max(taken)
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
        if let Err((slot, reason)) = intake.admit(slot) {
            intake.refuse(slot, reason);
        }
    }

    /// What opens datagrams, if this worker takes any in: its port, what the opening needs, and
    /// what is turned away.
    fn intake(&mut self, now: Nanos) -> Option<(&mut P, Intake<'_>, &mut Shedder)> {
        let Worker { port, sessions, slots, tables, rings, counts, ingress, .. } = self;
        let Ingress { group, shedder, spills, waiting, policer, arrivals, draining, .. } =
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
            waiting,
            group: *group,
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
    waiting: &'a mut VecDeque<Slot>,
    group: usize,
    draining: bool,
    now: Nanos,
}

impl Intake<'_> {
    fn take(&mut self, source: SocketAddr, datagram: &[u8]) {
        let Some(slot) = self.slots.take() else {
            return self.drops().count(Refusal::SlotsExhausted);
        };
        if let Err((slot, reason)) = self.open(source, datagram, slot) {
            self.refuse(slot, reason);
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
                self.waiting.push_back(slot);
                Ok(())
            }
            Frame::Dummy => {
                self.counts.dummies_in.add(1);
                Err((slot, None))
            }
            _ => self.pass_up(Upcall::Frame { opened, slot }),
        }
    }

    /// Lets as many of the waiting packets in as make a group; returns how many.
    fn admit_waiting(&mut self) -> usize {
        let count = self.waiting.len().min(self.group).min(self.arrivals.remaining_capacity());
        for _ in 0..count {
            let Some(slot) = self.waiting.pop_front() else { break };
            if let Err((slot, reason)) = self.admit(slot) {
                self.refuse(slot, reason);
            }
        }
        count
    }

    /// Takes a slot home, and counts why if there is a reason.
    fn refuse(&mut self, slot: Slot, reason: Option<Reason>) {
        self.slots.give(slot);
        if let Some(reason) = reason {
            self.drops().count(reason);
        }
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
