//! The port over an ordinary UDP socket: works everywhere, needs no privilege.
//!
//! A batch is one `recvmmsg(2)` or one `sendmmsg(2)`. Where the kernel can, datagrams to or from
//! one address travel through its stack as one (`UDP_SEGMENT`, `UDP_GRO`), which halves the cost.
//! Gathering the datagrams of a flush by destination keeps the order within each destination;
//! the order between destinations says nothing that the destinations on the wire do not say.

#![allow(unsafe_code)]

use super::room::Room;
use super::{BATCH, OpenError, Port, PortCounters, Unsent};
use receive::Receiver;
use send::Sender;
use socket2::Socket;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};

pub(super) mod address;
pub(super) mod control;
pub(super) mod inbox;
pub(super) mod outbox;
mod receive;
mod send;
pub(super) mod socket;

/// The longest datagram that fits IPv4: 65535 bytes less 20 of IPv4 and 8 of UDP.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;

// SAFETY: an mmsghdr is integers and pointers, for all of which zero bytes are a value.
const EMPTY_HEADER: libc::mmsghdr = unsafe { std::mem::zeroed() };
const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// How a UDP port is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to receive and what to send from; port 0 lets the kernel choose. An unspecified
    /// IPv6 address serves IPv4 as well.
    pub address: SocketAddr,
    /// The length of every datagram.
    pub datagram_bytes: usize,
    /// Whether other ports of this process share the address: the kernel then spreads sources
    /// over them. Every one of them must say so.
    pub shared: bool,
    /// Whether the kernel may hand over runs of received datagrams as one, where it can (GRO).
    pub coalesce: bool,
    /// Whether to give the kernel runs of datagrams to send as one, where it can (GSO). It then
    /// numbers the packets of a run in the identification field of IPv4 (it writes 0 otherwise):
    /// an observer can tell which packets to one destination left in one flush. So a node does
    /// not; a generator of load may.
    pub segment: bool,
    /// Kernel memory for datagrams that wait to be received. The kernel doubles it and charges
    /// about 2.3 KB for a datagram of 1.4 KB: 8 MiB bridge 80 ms at 90 000 datagrams a second.
    pub receive_buffer_bytes: usize,
    /// Kernel memory for datagrams that wait to be sent.
    pub send_buffer_bytes: usize,
}

impl Options {
    /// One port alone at `address`, with everything else at its default.
    pub fn new(address: SocketAddr, datagram_bytes: usize) -> Self {
        Options {
            address,
            datagram_bytes,
            shared: false,
            coalesce: true,
            segment: false,
            receive_buffer_bytes: 8 << 20,
            send_buffer_bytes: 4 << 20,
        }
    }
}

/// A [`Port`] over one non-blocking UDP socket, or over one that another port receives from.
pub struct UdpPort {
    socket: Socket,
    local: SocketAddr,
    datagram_bytes: usize,
    /// None in a port that only sends.
    receiver: Option<Receiver>,
    sender: Sender,
    /// What a port that only sends sleeps on.
    room: Option<Room>,
    counters: PortCounters,
}

impl UdpPort {
    /// Opens the socket and takes all memory the port will ever use.
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
        let segments = options.segment && socket::segments(&socket);
        Ok(UdpPort {
            receiver: Some(Receiver::new(datagram_bytes, coalesces)),
            sender: Sender::new(datagram_bytes, local.is_ipv6(), segments),
            room: None,
            counters: PortCounters::default(),
            socket,
            local,
            datagram_bytes,
        })
    }

    /// A port that only sends, over the same socket; without anything to sleep on.
    pub(super) fn sender(&self) -> Result<Self, OpenError> {
        let Self { local, datagram_bytes, .. } = *self;
        Ok(UdpPort {
            receiver: None,
            sender: Sender::new(datagram_bytes, local.is_ipv6(), self.sender.segments()),
            room: None,
            counters: PortCounters::default(),
            socket: socket::share(&self.socket, local)?,
            local,
            datagram_bytes,
        })
    }
}

impl Port for UdpPort {
    fn receive(&mut self, most: usize, take: impl FnMut(SocketAddr, &[u8])) -> usize {
        let Some(receiver) = &mut self.receiver else { return 0 };
        if receiver.is_empty() {
            receiver.fetch(&self.socket, &mut self.counters);
        }
        receiver.hand_over(most.min(BATCH), &mut self.counters, take)
    }

    fn send<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>> {
        self.sender.queue(&mut self.counters, fill)
    }

    fn flush(&mut self) {
        self.sender.flush(&self.socket, &mut self.counters);
        if let Some(room) = &mut self.room {
            room.watch(self.socket.as_fd(), self.sender.queued() > 0);
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

    fn fd(&self) -> Option<RawFd> {
        match self.receiver {
            Some(_) => Some(self.socket.as_raw_fd()),
            None => self.room.as_ref().map(Room::as_raw_fd),
        }
    }

    fn detach_sender(&mut self) -> Result<Self, OpenError> {
        let sender = self.sender()?;
        Ok(UdpPort { room: Some(Room::of(sender.as_fd())?), ..sender })
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// One phrase for the line that says which backend was chosen.
impl fmt::Display for UdpPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: std::io::Result<usize>| bytes.unwrap_or(0) as f64 / 1_048_576.0;
        write!(out, "UDP {} (", self.local)?;
        match &self.receiver {
            None => write!(out, "sends only, ")?,
            Some(receiver) if receiver.coalesces() => write!(out, "with GRO, ")?,
            Some(_) => write!(out, "no GRO, ")?,
        }
        write!(out, "{} GSO, ", if self.sender.segments() { "with" } else { "no" })?;
        write!(out, "buffers {:.1}", mebibytes(self.socket.recv_buffer_size()))?;
        write!(out, " + {:.1} MiB)", mebibytes(self.socket.send_buffer_size()))
    }
}

impl fmt::Debug for UdpPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = &self.counters;
        out.debug_struct("UdpPort").field("local", &self.local).field("counters", counters).finish()
    }
}
