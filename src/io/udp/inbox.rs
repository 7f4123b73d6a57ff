//! What the kernel has brought and the worker has not taken yet: runs of datagrams, each in a
//! buffer of whoever asked the kernel.

use super::control::Said;
use crate::io::{BATCH, PortCounters};
use arrayvec::ArrayVec;
use std::net::SocketAddr;

/// Room for whatever the kernel may put together: it stops at the longest IP packet.
pub(in crate::io) const COALESCED_BYTES: usize = 1 << 16;

/// At most one run for each of [`BATCH`] buffers, in the order of arrival.
pub(in crate::io) struct Inbox {
    datagram_bytes: usize,
    runs: ArrayVec<Run, BATCH>,
    /// The first run that was not handed over completely.
    next: usize,
    /// How many datagrams the longest of these runs has.
    run_max: usize,
    messages_max: usize,
    /// The kernel's running count of what it dropped, as last seen.
    dropped_seen: u32,
}

/// One message of the kernel: datagrams from one source, of which only the last may be shorter.
pub(in crate::io) struct Run {
    /// The buffer that holds it.
    pub(in crate::io) place: usize,
    /// None of it is handed over if the source is no address.
    pub(in crate::io) source: Option<SocketAddr>,
    pub(in crate::io) bytes: usize,
    pub(in crate::io) segment_bytes: usize,
    /// How much of it has been handed over.
    taken_bytes: usize,
}

impl Inbox {
    pub(in crate::io) fn new(datagram_bytes: usize) -> Self {
        Inbox {
            datagram_bytes,
            runs: ArrayVec::new(),
            next: 0,
            run_max: 1,
            messages_max: BATCH,
            dropped_seen: 0,
        }
    }

    /// Whether everything that came has been handed over.
    pub(in crate::io) fn is_empty(&self) -> bool {
        self.next == self.runs.len()
    }

    /// Everything that came since [`Inbox::clear`].
    pub(in crate::io) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Forgets what came, to make place for more.
    pub(in crate::io) fn clear(&mut self) {
        if !self.runs.is_empty() {
            self.messages_max = (BATCH / self.run_max).max(1);
        }
        self.runs.clear();
        self.next = 0;
        self.run_max = 1;
    }

    /// How many messages to ask the kernel for: as many as make one batch of datagrams if runs
    /// stay as long as the longest of the last ones.
    pub(in crate::io) fn messages_max(&self) -> usize {
        self.messages_max
    }

    /// Takes in the message in buffer `place`, of `bytes` and not more than that buffer has, and
    /// what the kernel said of it.
    ///
    /// # Panics
    /// If it is one more than [`BATCH`] since [`Inbox::clear`].
    pub(in crate::io) fn note(
        &mut self,
        place: usize,
        source: Option<SocketAddr>,
        bytes: usize,
        said: Said,
        counters: &mut PortCounters,
    ) {
        if let Some(dropped) = said.dropped {
            counters.kernel_dropped += u64::from(dropped.wrapping_sub(self.dropped_seen));
            self.dropped_seen = dropped;
        }
        let segment_bytes = said.segment_bytes.map_or(bytes, |segment| segment as usize).max(1);
        self.run_max = self.run_max.max(bytes / segment_bytes);
        self.runs.push(Run { place, source, bytes, segment_bytes, taken_bytes: 0 });
    }

    /// Hands over up to `most` datagrams of what came, from the buffers that `buffer` finds;
    /// returns how many.
    pub(in crate::io) fn hand_over<'a>(
        &mut self,
        most: usize,
        buffer: impl Fn(&Run) -> &'a [u8],
        counters: &mut PortCounters,
        mut take: impl FnMut(SocketAddr, &[u8]),
    ) -> usize {
        let mut count = 0;
        while count < most && self.next < self.runs.len() {
            let run = &mut self.runs[self.next];
            let rest = &buffer(run)[run.taken_bytes..];
            let datagram = &rest[..run.segment_bytes.min(rest.len())];
            match run.source {
                Some(source) if datagram.len() == self.datagram_bytes => {
                    take(source, datagram);
                    count += 1;
                }
                _ => counters.wrong_length += 1,
            }
            run.taken_bytes += datagram.len();
            if run.taken_bytes == run.bytes {
                self.next += 1;
            }
        }
        counters.received += count as u64;
        count
    }
}
