//! The sending half: one operation for each datagram, all of them in one call.

use super::ring::{Ring, SOCKET};
use crate::io::udp::address::RawAddress;
use crate::io::udp::outbox::{Outbox, count_refused};
use crate::io::{BATCH, PortCounters, Unsent};
use io_uring::{cqueue, opcode, squeue};
use std::net::SocketAddr;

pub(super) struct Sender {
    datagram_bytes: u32,
    outbox: Outbox,
    /// How many frames, from the first of the queue on, are in the ring.
    submitted: usize,
    /// Why the kernel did not send it, by number of frame; 0 for what it has sent.
    refusals: [i32; BATCH],
    /// Whether any of these is not 0.
    was_refused: bool,
}

impl Sender {
    pub(super) fn new(datagram_bytes: usize, on_ipv6: bool) -> Self {
        Sender {
            datagram_bytes: u32::try_from(datagram_bytes).unwrap_or(u32::MAX),
            outbox: Outbox::new(datagram_bytes, on_ipv6),
            submitted: 0,
            refusals: [0; BATCH],
            was_refused: false,
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.outbox.queue().len()
    }

    pub(super) fn queue<E>(
        &mut self,
        counters: &mut PortCounters,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>> {
        self.outbox.put(counters, fill)
    }

    /// Puts all that waits into the ring, unless some of it is still there.
    pub(super) fn submit(&mut self, ring: &mut Ring) {
        if self.submitted > 0 {
            return;
        }
        for &number in self.outbox.queue() {
            let destination = self.outbox.destination(number).as_ptr().cast();
            // With MSG_DONTWAIT it ends before `Ring::enter` does, whatever becomes of it.
            let send =
                opcode::Send::new(SOCKET, self.outbox.frame(number).as_ptr(), self.datagram_bytes)
                    .flags(libc::MSG_DONTWAIT)
                    .dest_addr(destination)
                    .dest_addr_len(RawAddress::LENGTH)
                    .build()
                    .flags(squeue::Flags::SKIP_SUCCESS)
                    .user_data(number as u64);
            // SAFETY: frame and address lie in the outbox, whose memory does not move and which
            // leaves both alone until `settle` frees the frame.
            if !unsafe { ring.push(&send) } {
                break;
            }
            self.submitted += 1;
        }
    }

    /// Takes in the completion of a send, which means that it failed.
    pub(super) fn note(&mut self, completion: &cqueue::Entry) {
        let number = usize::try_from(completion.user_data()).ok();
        if let Some(refusal) = number.and_then(|number| self.refusals.get_mut(number)) {
            *refusal = completion.result().saturating_neg().max(0);
            self.was_refused = true;
        }
    }

    /// Frees the frames that were in the ring, all of which the kernel has taken out of it, but
    /// for those that it had no room for.
    pub(super) fn settle(&mut self, counters: &mut PortCounters) {
        let count = std::mem::take(&mut self.submitted);
        if !std::mem::take(&mut self.was_refused) {
            counters.sent += count as u64;
            return self.outbox.release(count);
        }
        let refusals = &mut self.refusals;
        self.outbox.release_unless(count, |number| match std::mem::take(&mut refusals[number]) {
            0 => {
                counters.sent += 1;
                false
            }
            libc::EAGAIN | libc::EINTR => true,
            code => {
                count_refused(Some(code), 1, counters);
                false
            }
        });
    }
}
