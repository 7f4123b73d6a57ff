//! Steps 7 to 9 of the diary: what is due leaves the pool shuffled, is sealed and sent.

use super::drops::{Reason, Refusal};
use super::rings::Parcel;
use super::slab::Slot;
use super::{BATCH, Worker};
use crate::clock::Nanos;
use crate::io::{Port, Unsent};
use crate::link::{self, Frame, LinkIndex};

impl<P: Port> Worker<P> {
    /// Seals and sends what is due; returns how many packets left.
    pub(super) fn send(&mut self, now: Nanos) -> usize {
        let Worker { pool, port, sessions, slots, counts, tables, .. } = self;
        let frame_bytes = tables.geometry.frame_bytes();
        let mut sent = 0;
        pool.release(now, |Parcel { slot, link }| {
            if port.queued() >= BATCH {
                port.flush();
            }
            let body = &slots.slab().bytes(&slot)[..frame_bytes];
            let sealed = port.send(|out| sessions.seal(link, Frame::Sphinx, body, out, now));
            match sealed {
                Ok(()) => counts.packets_out.add(1),
                Err(Unsent::Full) => counts.drops.count(Refusal::SendFull),
                Err(Unsent::Refused(_)) => counts.drops.count(Refusal::LinkDown),
            }
            slots.give(slot);
            sent += 1;
        });
        port.flush();
        sent
    }

    /// Seals `slot`'s first `length` bytes as a frame and sends it; the slot goes home.
    pub(super) fn seal_slot(
        &mut self,
        link: LinkIndex,
        frame: Frame,
        length: usize,
        slot: Slot,
        now: Nanos,
    ) {
        let Worker { port, sessions, slots, .. } = self;
        let body = &slots.slab().bytes(&slot)[..length];
        let sealed = port.send(|out| sessions.seal(link, frame, body, out, now));
        self.count_send(sealed);
        self.slots.give(slot);
    }

    /// Seals and sends a frame that is not a packet.
    pub(super) fn send_frame(&mut self, link: LinkIndex, frame: Frame, body: &[u8], now: Nanos) {
        let Worker { port, sessions, .. } = self;
        let sealed = port.send(|out| sessions.seal(link, frame, body, out, now));
        self.count_send(sealed);
    }

    /// Counts the sending of what is not a packet.
    pub(super) fn count_send(&self, sent: Result<(), Unsent<link::Refusal>>) {
        match sent {
            Ok(()) => self.counts.frames_out.add(1),
            Err(unsent) => self.counts.drops.count(unsent),
        }
    }
}

impl From<Unsent<link::Refusal>> for Reason {
    fn from(unsent: Unsent<link::Refusal>) -> Self {
        match unsent {
            Unsent::Full => Refusal::SendFull.into(),
            Unsent::Refused(refusal) => refusal.into(),
        }
    }
}
