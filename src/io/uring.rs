//! The port over a UDP socket and `io_uring(7)`: one system call a turn, none where nothing waits.
//!
//! A receive without end (multishot) takes buffers out of a ring that both sides see. It is the
//! only operation that outlives a call, and the kernel works on it only while the worker is in
//! `io_uring_enter` (`IORING_SETUP_DEFER_TASKRUN`). So no memory changes behind the worker's back,
//! datagrams wait in the socket until they are asked for, and the worker sleeps on the socket
//! itself. That they wait, the kernel says in shared memory: to find nothing costs no call.
//!
//! Datagrams are sent by operations that end before the call returns (`MSG_DONTWAIT`), and only
//! those that fail are told of. The call that sends also fetches what has arrived meanwhile.
//! Sending without a copy (`IORING_OP_SEND_ZC`) was measured and is slower, `docs/packet-io.md`.

#![allow(unsafe_code)]

use super::udp::{DATAGRAM_BYTES_MAX, Options, socket};
use super::{BATCH, OpenError, Port, PortCounters, Unsent};
use receive::Receiver;
use ring::{RECEIVE, Ring};
use send::Sender;
use socket2::Socket;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};

mod buffers;
mod receive;
mod ring;
mod send;

/// A [`Port`] over one UDP socket in one ring.
///
/// The thread that first receives, or flushes what it sends, is the only one that may do so from
/// then on. Any thread may drop it.
pub struct UringPort {
    /// Before all memory that it reads or writes: fields are dropped in this order.
    ring: Ring,
    receiver: Receiver,
    sender: Sender,
    socket: Socket,
    local: SocketAddr,
    datagram_bytes: usize,
    /// Whether the last call of [`Port::receive`] gave something.
    was_busy: bool,
    counters: PortCounters,
}

impl UringPort {
    /// Opens socket and ring and takes all memory the port will ever use. Datagrams are sent one
    /// by one, whatever `options.segment` says.
    ///
    /// # Errors
    /// [`OpenError`] says what to do.
    ///
    /// # Panics
    /// If `datagram_bytes` is 0 or above [`DATAGRAM_BYTES_MAX`].
    pub fn open(options: &Options) -> Result<Self, OpenError> {
        let datagram_bytes = options.datagram_bytes;
        assert!((1..=DATAGRAM_BYTES_MAX).contains(&datagram_bytes), "{datagram_bytes} bytes");
        let (socket, local) = socket::open(options)?;
        let coalesces = options.coalesce && socket::coalesce(&socket);
        let ring = Ring::open(&socket)?;
        Ok(UringPort {
            receiver: Receiver::open(&ring, datagram_bytes, coalesces)?,
            sender: Sender::new(datagram_bytes, local.is_ipv6()),
            counters: PortCounters::default(),
            ring,
            socket,
            local,
            datagram_bytes,
            was_busy: false,
        })
    }

    /// Takes in what the kernel has completed.
    fn reap(&mut self) {
        let Self { ring, receiver, sender, counters, .. } = self;
        for completion in ring.completions() {
            match completion.user_data() {
                RECEIVE => receiver.note(&completion, counters),
                _ => sender.note(&completion),
            }
        }
    }
}

impl Port for UringPort {
    fn receive(&mut self, most: usize, take: impl FnMut(SocketAddr, &[u8])) -> usize {
        if self.receiver.is_empty() {
            self.receiver.ask(&mut self.ring);
            if self.ring.has_work() {
                self.ring.enter(true);
            }
            self.reap();
        }
        let count = self.receiver.hand_over(most.min(BATCH), &mut self.counters, take);
        self.was_busy = count > 0;
        count
    }

    fn send<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>> {
        self.sender.queue(&mut self.counters, fill)
    }

    fn flush(&mut self) {
        if self.sender.queued() == 0 {
            return;
        }
        self.sender.submit(&mut self.ring);
        // After a call that gave nothing the worker may sleep, and poll(2) does not know of what
        // was fetched.
        let ahead = self.was_busy && self.receiver.is_empty();
        if ahead {
            self.receiver.ask(&mut self.ring);
        }
        self.ring.enter(ahead);
        self.reap();
        if self.ring.took_all() {
            self.sender.settle(&mut self.counters);
        }
    }

    fn queued(&self) -> usize {
        self.sender.queued()
    }

    fn datagram_bytes(&self) -> usize {
        self.datagram_bytes
    }

    fn local(&self) -> SocketAddr {
        self.local
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    /// The socket: what arrives stays in it until the worker enters the ring.
    fn fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }
}

impl Drop for UringPort {
    /// Ends the receive that is in flight and waits for its end. Another thread than the ring's
    /// cannot: then the kernel ends it some time after the ring is closed. Either way nothing
    /// touches the buffers any more, because nobody is in the ring.
    fn drop(&mut self) {
        if !self.ring.is_of_this_thread() {
            return;
        }
        self.ring.cancel();
        // The first call runs what was cancelled; the others are for what no kernel does.
        for _ in 0..BATCH {
            if !self.receiver.is_asking() {
                break;
            }
            self.ring.enter(true);
            self.receiver.discard();
            self.reap();
        }
        self.ring.release_socket();
    }
}

/// One phrase for the line that says which backend was chosen.
impl fmt::Display for UringPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: std::io::Result<usize>| bytes.unwrap_or(0) as f64 / 1_048_576.0;
        write!(out, "io_uring {} (", self.local)?;
        write!(out, "{} GRO, ", if self.receiver.coalesces() { "with" } else { "no" })?;
        write!(out, "buffers {:.1}", mebibytes(self.socket.recv_buffer_size()))?;
        write!(out, " + {:.1} MiB)", mebibytes(self.socket.send_buffer_size()))
    }
}

impl fmt::Debug for UringPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = &self.counters;
        out.debug_struct("UringPort")
            .field("local", &self.local)
            .field("counters", counters)
            .finish()
    }
}
