//! Before the packets: what the control thread asked for since the last turn.

use super::rings::{Command, HandOff};
use super::{BATCH, Worker};
use crate::clock::Nanos;
use crate::io::Port;
use crate::link::Frame;

impl<P: Port> Worker<P> {
    /// Carries out the commands that are there when it begins; returns how many.
    pub(super) fn obey(&mut self, now: Nanos) -> usize {
        let waiting = self.rings.commands.len();
        for done in 0..waiting {
            let Some(command) = self.rings.commands.pop() else { return done };
            self.carry_out(command, now);
        }
        waiting
    }

    fn carry_out(&mut self, command: Command, now: Nanos) {
        if self.port.queued() >= BATCH {
            self.port.flush();
        }
        match command {
            Command::Tables(tables) => self.tables = tables,
            Command::Session(change) => self.sessions.apply(change),
            Command::Dummy(link) => self.mix_dummy(link, now),
            Command::ClientDummy(link) => self.send_frame(link, Frame::Dummy, &[], now),
            Command::Close(link, close) => {
                self.send_frame(link, Frame::Close, &close.encode(), now);
            }
            Command::Datagram { to, slot } => {
                let datagram = self.slots.slab().bytes(&slot);
                let sent = self.port.send(|frame| {
                    frame.copy_from_slice(&datagram[..frame.len()]);
                    Ok(to)
                });
                self.counts.frame(sent);
                self.slots.give(slot);
            }
            Command::Frame { link, frame, length, slot } => {
                self.send_slot(link, frame, length, slot, now);
            }
            Command::Arrival(slot) => self.admit_own(slot),
            Command::Packet(HandOff { due, parcel }) => {
                self.counts.packets_own.add(1);
                self.mix(HandOff { due, parcel }, now);
            }
            Command::Drain => self.draining = true,
        }
    }
}
