//! The port over a UDP socket and `io_uring(7)`: receiving and sending in one system call.
//!
//! A receive goes on until nothing waits (multishot), into buffers out of a ring that both sides
//! see; a batch is sent by as many operations, of which only those that fail are told of. While
//! more waits than was fetched, the call that sends a batch also fetches the next one.
//!
//! Every operation says `MSG_DONTWAIT`, so it ends before the call does: nothing is in flight
//! between two calls, no memory changes behind the worker's back, and the worker sleeps on the
//! socket itself. A receive that stays armed and sending without a copy (`IORING_OP_SEND_ZC`) were
//! measured and are slower (`docs/packet-io.md`).

#![allow(unsafe_code)]

use super::room::Room;
use super::udp::{DATAGRAM_BYTES_MAX, Options, socket};
use super::{BATCH, OpenError, Port, PortCounters, Unsent};
use receive::Receiver;
use ring::{RECEIVE, Ring};
use send::Sender;
use socket2::Socket;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};

mod buffers;
mod receive;
mod ring;
mod send;

/// A [`Port`] over one UDP socket in one ring. One that was detached has a ring of its own over the
/// socket of the other.
///
/// The thread that first receives something, or flushes what it sends, is the only one that may
/// do so from then on. Any thread may drop it.
pub struct UringPort {
    /// Above all memory that it was told of: fields are dropped in this order.
    ring: Ring,
    /// None in a port that only sends.
    receiver: Option<Receiver>,
    sender: Sender,
    /// What a port that only sends sleeps on.
    room: Option<Room>,
    socket: Socket,
    local: SocketAddr,
    datagram_bytes: usize,
    /// Whether more waits than the last receive has brought, most likely.
    more_waits: bool,
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
            receiver: Some(Receiver::open(&ring, datagram_bytes, coalesces)?),
            sender: Sender::new(datagram_bytes, local.is_ipv6()),
            room: None,
            counters: PortCounters::default(),
            ring,
            socket,
            local,
            datagram_bytes,
            more_waits: false,
        })
    }
}

impl Port for UringPort {
    fn receive(&mut self, most: usize, take: impl FnMut(SocketAddr, &[u8])) -> usize {
        let Self { ring, receiver, sender, socket, more_waits, counters, .. } = self;
        let Some(receiver) = receiver else { return 0 };
        if receiver.is_empty() {
            if !*more_waits && !waits(socket, counters) {
                return 0;
            }
            receiver.submit(ring);
            ring.enter();
            reap(ring, Some(receiver), sender, counters);
        }
        let count = receiver.hand_over(most.min(BATCH), counters, take);
        *more_waits = count > 0 && receiver.was_full();
        count
    }

    fn send<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>> {
        self.sender.queue(&mut self.counters, fill)
    }

    fn flush(&mut self) {
        let Self { ring, receiver, sender, room, socket, counters, .. } = self;
        if sender.queued() == 0 {
            return;
        }
        sender.submit(ring);
        // After a call that gave nothing the worker may sleep, and poll(2) does not know of what
        // was fetched.
        if let Some(receiver) = receiver
            && self.more_waits
            && receiver.is_empty()
        {
            receiver.submit(ring);
        }
        ring.enter();
        reap(ring, receiver.as_mut(), sender, counters);
        if ring.took_all() {
            sender.settle(counters);
        }
        if let Some(room) = room {
            room.watch(socket.as_fd(), sender.queued() > 0);
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

    /// The socket, if this port receives: what arrives stays in it until it is asked for.
    fn fd(&self) -> Option<RawFd> {
        match self.receiver {
            Some(_) => Some(self.socket.as_raw_fd()),
            None => self.room.as_ref().map(Room::as_raw_fd),
        }
    }

    fn detach_sender(&mut self) -> Result<Self, OpenError> {
        let Self { local, datagram_bytes, .. } = *self;
        let socket = socket::share(&self.socket, local)?;
        Ok(UringPort {
            ring: Ring::open(&socket)?,
            receiver: None,
            sender: Sender::new(datagram_bytes, local.is_ipv6()),
            room: Some(Room::of(socket.as_fd())?),
            counters: PortCounters::default(),
            socket,
            local,
            datagram_bytes,
            more_waits: false,
        })
    }
}

impl Drop for UringPort {
    /// Makes the address free for others at once, where that is possible.
    fn drop(&mut self) {
        self.ring.release_socket();
    }
}

/// Takes in what the kernel has completed.
fn reap(
    ring: &mut Ring,
    mut receiver: Option<&mut Receiver>,
    sender: &mut Sender,
    counters: &mut PortCounters,
) {
    for completion in ring.completions() {
        match (completion.user_data(), &mut receiver) {
            (RECEIVE, Some(receiver)) => receiver.note(&completion, counters),
            _ => sender.note(&completion),
        }
    }
}

/// One phrase for the line that says which backend was chosen.
impl fmt::Display for UringPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: io::Result<usize>| bytes.unwrap_or(0) as f64 / 1_048_576.0;
        write!(out, "io_uring {} (", self.local)?;
        match &self.receiver {
            None => write!(out, "sends only, ")?,
            Some(receiver) if receiver.coalesces() => write!(out, "with GRO, ")?,
            Some(_) => write!(out, "no GRO, ")?,
        }
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

/// Whether anything waits in `socket`: a third of the cost of a receive that finds nothing.
fn waits(socket: &Socket, counters: &mut PortCounters) -> bool {
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    // SAFETY: the kernel has no byte to write, so it may write to nowhere.
    let status = unsafe { libc::recv(socket.as_raw_fd(), std::ptr::null_mut(), 0, flags) };
    if status >= 0 {
        return true;
    }
    let idle = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
    let is_idle = idle.contains(&io::Error::last_os_error().kind());
    // Asking has taken the error off the socket: nobody else will see it.
    counters.receive_failed += u64::from(!is_idle);
    !is_idle
}
