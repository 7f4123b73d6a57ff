//! What waits to be sent: frames, where each goes, and the order in which they were queued.

use super::address::RawAddress;
use crate::io::{BATCH, PortCounters, Unsent};
use arrayvec::ArrayVec;
use std::net::SocketAddr;

/// [`BATCH`] frames, each of which is free or in the queue.
pub(in crate::io) struct Outbox {
    pub(super) datagram_bytes: usize,
    on_ipv6: bool,
    frames: Box<[u8]>,
    /// By number of frame; like the frames, they stay where they are.
    pub(super) destinations: Box<[RawAddress]>,
    pub(super) free: ArrayVec<usize, BATCH>,
    pub(super) queue: ArrayVec<usize, BATCH>,
}

impl Outbox {
    pub(in crate::io) fn new(datagram_bytes: usize, on_ipv6: bool) -> Self {
        Outbox {
            datagram_bytes,
            on_ipv6,
            frames: vec![0; datagram_bytes * BATCH].into(),
            destinations: [RawAddress::EMPTY; BATCH].into(),
            free: (0..BATCH).collect(),
            queue: ArrayVec::new(),
        }
    }

    /// The numbers of the frames that wait, in order.
    pub(in crate::io) fn queue(&self) -> &[usize] {
        &self.queue
    }

    /// What stands in a frame.
    pub(in crate::io) fn frame(&self, number: usize) -> &[u8] {
        &self.frames[number * self.datagram_bytes..][..self.datagram_bytes]
    }

    /// Where a frame goes.
    pub(in crate::io) fn destination(&self, number: usize) -> &RawAddress {
        &self.destinations[number]
    }

    /// Queues what `fill` writes, as [`crate::io::Port::send`] promises it.
    pub(in crate::io) fn put<E>(
        &mut self,
        counters: &mut PortCounters,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>> {
        let Some(&number) = self.free.last() else {
            counters.send_full += 1;
            return Err(Unsent::Full);
        };
        let bytes = &mut self.frames[number * self.datagram_bytes..][..self.datagram_bytes];
        let to = fill(bytes).map_err(Unsent::Refused)?;
        match RawAddress::new(to, self.on_ipv6) {
            Some(raw) if to.port() != 0 => {
                self.destinations[number] = raw;
                self.free.pop();
                self.queue.push(number);
            }
            // Such sources do arrive, forged, and get answers: they cost themselves only.
            _ => counters.unreachable += 1,
        }
        Ok(())
    }

    /// Frees the first `count` frames of the queue.
    pub(in crate::io) fn release(&mut self, count: usize) {
        self.free.extend(self.queue.drain(..count));
    }

    /// Frees those of the first `count` frames of the queue that do not stay; keeps the order of
    /// the others.
    pub(in crate::io) fn release_unless(
        &mut self,
        count: usize,
        mut stays: impl FnMut(usize) -> bool,
    ) {
        let mut position = 0;
        for _ in 0..count {
            if stays(self.queue[position]) {
                position += 1;
            } else {
                self.free.extend(self.queue.pop_at(position));
            }
        }
    }
}

/// Counts `datagrams` that the kernel refused for good, by the code of its refusal.
pub(in crate::io) fn count_refused(
    code: Option<i32>,
    datagrams: usize,
    counters: &mut PortCounters,
) {
    let counter = match code {
        Some(libc::EMSGSIZE) => &mut counters.too_long,
        Some(
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::ECONNREFUSED
            | libc::EADDRNOTAVAIL,
        ) => &mut counters.unreachable,
        _ => &mut counters.send_failed,
    };
    *counter += datagrams as u64;
}
