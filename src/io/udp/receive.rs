//! The receiving half: one `recvmmsg(2)` for many messages, each of one or many datagrams.

use super::address::RawAddress;
use super::control::Control;
use super::inbox::{COALESCED_BYTES, Inbox, Run};
use super::{EMPTY_HEADER, EMPTY_VECTOR};
use crate::io::{BATCH, PortCounters};
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

pub(super) struct Receiver {
    /// Room for one message.
    buffer_bytes: usize,
    /// From one buffer to the next: more than its size, so that the short messages that are the
    /// rule do not all fall into the same sets of the cache.
    stride_bytes: usize,
    /// With coalescing 4 MiB of addresses, of which the kernel backs what was ever written.
    buffers: Box<[u8]>,
    sources: [RawAddress; BATCH],
    controls: [Control; BATCH],
    /// What the last call brought; a run's place is its number in the call.
    inbox: Inbox,
}

impl Receiver {
    pub(super) fn new(datagram_bytes: usize, coalesces: bool) -> Self {
        let buffer_bytes = if coalesces { COALESCED_BYTES } else { datagram_bytes };
        let spread_bytes = if coalesces { datagram_bytes } else { 0 };
        let stride_bytes = (buffer_bytes + spread_bytes).next_multiple_of(64);
        Receiver {
            buffer_bytes,
            stride_bytes,
            buffers: vec![0; stride_bytes * BATCH].into(),
            sources: [RawAddress::EMPTY; BATCH],
            controls: [Control::EMPTY; BATCH],
            inbox: Inbox::new(datagram_bytes),
        }
    }

    pub(super) fn coalesces(&self) -> bool {
        self.buffer_bytes == COALESCED_BYTES
    }

    /// Whether everything that was fetched has been handed over.
    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Fetches what waits in the kernel, over what was fetched before.
    pub(super) fn fetch(&mut self, socket: &Socket, counters: &mut PortCounters) {
        self.inbox.clear();
        let mut headers = [EMPTY_HEADER; BATCH];
        match self.ask(socket, &mut headers[..self.inbox.messages_max()]) {
            Ok(count) => self.note(headers.get(..count).unwrap_or(&headers), counters),
            Err(error) if is_idle(&error) => {}
            Err(_) => counters.receive_failed += 1,
        }
    }

    /// Hands over up to `most` of what was fetched; returns how many.
    pub(super) fn hand_over(
        &mut self,
        most: usize,
        counters: &mut PortCounters,
        take: impl FnMut(SocketAddr, &[u8]),
    ) -> usize {
        let buffer = |run: &Run| &self.buffers[run.place * self.stride_bytes..][..run.bytes];
        self.inbox.hand_over(most, buffer, counters, take)
    }

    fn ask(&mut self, socket: &Socket, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
        let mut vectors = [EMPTY_VECTOR; BATCH];
        let buffers = self.buffers.chunks_exact_mut(self.stride_bytes);
        for (vector, buffer) in vectors.iter_mut().zip(buffers) {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = self.buffer_bytes;
        }
        let places = self.sources.iter_mut().zip(&mut self.controls).zip(&mut vectors);
        for (header, ((source, control), vector)) in headers.iter_mut().zip(places) {
            let header = &mut header.msg_hdr;
            header.msg_name = std::ptr::from_mut(source).cast();
            header.msg_namelen = RawAddress::LENGTH;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr();
            header.msg_controllen = Control::BYTES;
        }
        receive_messages(socket, headers)
    }

    /// Keeps what the kernel said about each message.
    fn note(&mut self, headers: &[libc::mmsghdr], counters: &mut PortCounters) {
        for (index, header) in headers.iter().enumerate() {
            let said = self.controls[index].parsed(header.msg_hdr.msg_controllen);
            // A message cut short was longer than any that is ours: leave no source to it.
            let is_whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            let source = self.sources[index].parsed().filter(|_| is_whole);
            let bytes = (header.msg_len as usize).min(self.buffer_bytes);
            self.inbox.note(index, source, bytes, said, counters);
        }
    }
}

/// One system call; returns how many messages came.
fn receive_messages(socket: &Socket, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let (fd, count) = (socket.as_raw_fd(), u32::try_from(headers.len()).unwrap_or(u32::MAX));
    let (flags, timeout) = (libc::MSG_DONTWAIT, std::ptr::null_mut());
    // SAFETY: the caller made each header point to an address, a vector, a control area and a
    // buffer of the sizes it states, each its own and alive until the call returns; the kernel
    // writes no more than these sizes and keeps no pointer.
    let arrived = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, flags, timeout) };
    usize::try_from(arrived).map_err(|_| io::Error::last_os_error())
}

fn is_idle(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Port as _;
    use crate::io::udp::{Options, UdpPort};
    use std::convert::Infallible;

    /// How many datagrams came in each message, when a batch of them was sent in one flush.
    fn runs(from: &str, to: &str, toward: Option<&str>, datagram_bytes: usize) -> Vec<usize> {
        let open = |text: &str| {
            let options = Options::new(text.parse().unwrap(), datagram_bytes);
            UdpPort::open(&Options { segment: true, ..options })
        };
        let (mut from, mut to) = (open(from).unwrap(), open(to).unwrap());
        let ip = toward.map_or(to.local().ip(), |text| text.parse().unwrap());
        let address = SocketAddr::new(ip, to.local().port());
        for _ in 0..BATCH {
            from.send(|_| Ok::<_, Infallible>(address)).unwrap();
        }
        from.flush();
        assert!(from.sender.segments() && to.to_string().contains("with GRO"), "{from} to {to}");
        let receiver = to.receiver.as_mut().unwrap();
        let mut lengths = Vec::new();
        while lengths.iter().sum::<usize>() < BATCH {
            receiver.fetch(&to.socket, &mut to.counters);
            let run = |run: &Run| run.bytes / run.segment_bytes;
            lengths.extend(receiver.inbox.runs().iter().map(run));
            while receiver.hand_over(BATCH, &mut to.counters, |_, _| {}) > 0 {}
        }
        lengths
    }

    #[test]
    fn a_run_travels_as_the_longest_packets_that_ip_allows() {
        assert_eq!(runs("127.77.6.1:0", "127.77.6.2:0", None, 1400), [46, 18]);
        assert_eq!(runs("[::1]:0", "[::1]:0", None, 1400), [46, 18]);
        assert_eq!(runs("[::]:0", "[::]:0", Some("127.77.6.3"), 1400), [46, 18]);
    }

    #[test]
    fn short_datagrams_travel_as_a_whole_batch() {
        assert_eq!(runs("127.77.6.4:0", "127.77.6.5:0", None, 100), [64]);
    }
}
