//! Steps 7 to 9 of the diary: what is due leaves the pool shuffled, is sealed and sent.

use super::drops::Refusal;
use super::egress::Egress;
use super::rings::Parcel;
use super::slab::Slot;
use super::{BATCH, Counts, Worker};
use crate::clock::Nanos;
use crate::io::{Port, Unsent};
use crate::link::{self, Frame, LinkIndex};

impl<P: Port> Worker<P> {
    /// Seals and sends what is due; returns how many packets and dummies left.
    pub(super) fn send(&mut self, now: Nanos) -> usize {
        let Worker { egress: Some(egress), port, sessions, slots, counts, tables, .. } = self
        else {
            return 0;
        };
        let frame_bytes = tables.geometry.frame_bytes();
        let sent = egress.pool.release(now, |Parcel { slot, link }| {
            if port.queued() >= BATCH {
                port.flush();
            }
            let Some(slot) = slot else {
                let sealed = port.send(|out| sessions.seal(link, Frame::Dummy, &[], out, now));
                return counts.frame(sealed);
            };
            let body = &slots.slab().bytes(&slot)[..frame_bytes];
            match port.send(|out| sessions.seal(link, Frame::Sphinx, body, out, now)) {
                Ok(()) => counts.packets_out.add(1),
                Err(Unsent::Full) => counts.drops.count(Refusal::SendFull),
                Err(Unsent::Refused(_)) => counts.drops.count(Refusal::LinkDown),
            }
            slots.give(slot);
        });
        port.flush();
        sent
    }

    /// Lets a dummy leave with the packets of the next tick, so that its time does not tell it
    /// from them. It never takes a packet's place.
    pub(super) fn mix_dummy(&mut self, link: LinkIndex, now: Nanos) {
        let parcel = Parcel { slot: None, link };
        let accompanies = |egress: &mut Egress| egress.pool.accompany(parcel, now).is_ok();
        if !self.egress.as_mut().is_some_and(accompanies) {
            self.counts.drops.count(Refusal::FrameUnsent);
        }
    }

    /// Seals `slot`'s first `length` bytes as a frame and sends it; the slot goes home.
    pub(super) fn send_slot(
        &mut self,
        link: LinkIndex,
        frame: Frame,
        length: usize,
        slot: Slot,
        now: Nanos,
    ) {
        let Worker { port, sessions, slots, counts, .. } = self;
        let body = &slots.slab().bytes(&slot)[..length];
        counts.frame(port.send(|out| sessions.seal(link, frame, body, out, now)));
        slots.give(slot);
    }

    /// Seals and sends a frame that is not a packet.
    pub(super) fn send_frame(&mut self, link: LinkIndex, frame: Frame, body: &[u8], now: Nanos) {
        let Worker { port, sessions, counts, .. } = self;
        counts.frame(port.send(|out| sessions.seal(link, frame, body, out, now)));
    }
}

impl Counts {
    /// Counts the sending of what is not a packet.
    pub(super) fn frame(&self, sent: Result<(), Unsent<link::Refusal>>) {
        match sent {
            Ok(()) => self.frames_out.add(1),
            Err(Unsent::Full) => self.drops.count(Refusal::FrameUnsent),
            Err(Unsent::Refused(refusal)) => self.drops.count(refusal),
        }
    }
}
