//! One AF_XDP socket with its rings and frames: batches in, batches out, and no system call that
//! the kernel does not ask for.
//!
//! A queue is two halves, which threads of their own can use: each has its side of two rings, and
//! its frames. What they share is the socket, which is only called, and the mapping, of which each
//! touches its own frames. So there is no lock between them.

use super::error::{Place, XdpError};
use super::memory::{self, Frame, Memory, Quotas};
use super::rings::{Balance, ReceiveRings, SendRings};
use super::socket::{Setup, Sizes, XskSocket};
use super::{BusyPoll, Mode};
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Every ring can be full at once. The fill ring holds what a receive ring and the ring of a
/// network card of the same length together take, so that neither starves the other.
const SIZES: Sizes = Sizes { receive: 2048, fill: 4096, send: 2048, completion: 2048 };
const QUOTAS: Quotas = Quotas { receive: SIZES.receive + SIZES.fill, send: SIZES.send };

const _: () = assert!(SIZES.completion >= QUOTAS.send, "what was sent can always be said");

/// Calls without progress after which a flush leaves the rest for the next one.
const IDLE_WAKE_UPS_MAX: u32 = 3;

/// Binds to a queue of an interface.
pub(super) fn open(
    place: Place,
    mode: Mode,
    datagram_bytes: usize,
    busy_poll: Option<BusyPoll>,
) -> Result<(Receiver, Sender), XdpError> {
    if datagram_bytes > memory::DATAGRAM_BYTES_MAX {
        return Err(XdpError::TooLong(datagram_bytes));
    }
    let setup = Setup { place, mode, sizes: SIZES, busy_poll };
    let frames = Memory::halves(datagram_bytes, QUOTAS)
        .map_err(|source| XdpError::refused("take packet memory", &setup.place, source))?;
    let (socket, mut to_receive, to_send) = XskSocket::open(&setup, frames)?;
    to_receive.refill();
    let socket = Arc::new(socket);
    let polls_busily = setup.busy_poll.is_some();
    let receiver = Receiver { socket: socket.clone(), rings: to_receive, polls_busily };
    receiver.wake_if_frames_ran_out();
    Ok((receiver, Sender { socket, rings: to_send, unsubmitted: 0, pushed: 0 }))
}

/// The receiving half of a queue.
#[derive(Debug)]
pub(super) struct Receiver {
    socket: Arc<XskSocket>,
    rings: ReceiveRings,
    polls_busily: bool,
}

impl Receiver {
    /// Hands at most `most` packets to `take`; returns how many entries of the receive ring it
    /// looked at.
    pub(super) fn receive(&mut self, most: u32, take: impl FnMut(&[u8])) -> u32 {
        if self.polls_busily && self.rings.receive.available() == 0 {
            self.socket.wake_to_receive();
        }
        let count = self.rings.receive(most, take);
        if count > 0 {
            self.rings.refill();
            self.wake_if_frames_ran_out();
        }
        debug_assert!(self.rings.memory.is_balanced(), "{:?}", self.balance());
        count
    }

    /// Descriptors that were wrong, as we see it.
    pub(super) fn wrong_descriptors(&self) -> u64 {
        self.rings.wrong_descriptors
    }

    /// Where the frames are.
    pub(super) fn balance(&self) -> Balance {
        self.rings.balance()
    }

    /// How many frames are missing.
    pub(super) fn missing(&self) -> u64 {
        self.balance().missing(self.socket.is_zero_copy())
    }

    pub(super) fn socket(&self) -> &XskSocket {
        &self.socket
    }

    fn wake_if_frames_ran_out(&self) {
        if self.rings.fill.wants_wake_up() {
            self.socket.wake_to_receive();
        }
    }
}

/// The sending half of a queue.
#[derive(Debug)]
pub(super) struct Sender {
    socket: Arc<XskSocket>,
    rings: SendRings,
    /// Packets put into the send ring since the last flush.
    unsubmitted: u32,
    /// Packets put into the send ring in all.
    pushed: u64,
}

impl Sender {
    /// A frame to write a packet into, if one is free.
    pub(super) fn claim(&mut self) -> Option<Frame> {
        self.rings.claim().or_else(|| {
            self.rings.reap();
            self.rings.claim()
        })
    }

    /// All bytes of a claimed frame.
    pub(super) fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        self.rings.memory.bytes_mut(frame)
    }

    /// Sends the packet that stands in `frame` at `range`, at the next flush.
    pub(super) fn send(&mut self, frame: Frame, range: Range<usize>) {
        self.rings.send(frame, range);
        self.unsubmitted += 1;
        self.pushed += 1;
    }

    /// Makes a claimed frame free again.
    pub(super) fn put(&mut self, frame: Frame) {
        self.rings.memory.put(frame);
    }

    /// Hands everything to the kernel that it takes; `false` if it must be asked again, for want
    /// of room and not because the interface is down.
    pub(super) fn flush(&mut self) -> bool {
        if self.unsubmitted > 0 {
            self.rings.send.submit();
            self.unsubmitted = 0;
        }
        let is_done = self.push_out();
        self.rings.reap();
        debug_assert!(self.rings.memory.is_balanced(), "{:?}", self.balance());
        is_done
    }

    /// In copy mode each call sends 32 packets at most, so it is repeated until all are gone or
    /// nothing moves any more. A driver without copy takes the rest by itself.
    fn push_out(&self) -> bool {
        let mut waiting = self.rings.send.waiting();
        let mut idle = 0;
        while waiting > 0 && self.rings.send.wants_wake_up() {
            match self.socket.wake_to_send() {
                Err(error) if !is_for_later(&error) => return true,
                _ if self.socket.is_zero_copy() => return true,
                _ => {}
            }
            let still_waiting = self.rings.send.waiting();
            idle = if still_waiting < waiting { 0 } else { idle + 1 };
            if idle == IDLE_WAKE_UPS_MAX {
                return false;
            }
            waiting = still_waiting;
        }
        true
    }

    /// How many packets wait to be flushed, or were flushed and are still with us: without copy
    /// a packet in the ring is the driver's.
    pub(super) fn queued(&self) -> usize {
        let queued =
            if self.socket.is_zero_copy() { self.unsubmitted } else { self.rings.send.waiting() };
        queued as usize
    }

    /// How many packets the kernel has taken.
    pub(super) fn sent(&self) -> u64 {
        self.pushed.saturating_sub(self.queued() as u64)
    }

    /// Addresses that were wrong, as we see it.
    pub(super) fn wrong_descriptors(&self) -> u64 {
        self.rings.wrong_descriptors
    }

    /// Where the frames are.
    pub(super) fn balance(&self) -> Balance {
        self.rings.balance()
    }

    /// How many frames are missing.
    pub(super) fn missing(&self) -> u64 {
        self.balance().missing(self.socket.is_zero_copy())
    }

    pub(super) fn socket(&self) -> &XskSocket {
        &self.socket
    }
}

/// Whether the kernel had no room, or sent something else first. `EBUSY` tells that a packet was
/// dropped on its way out, which is progress.
fn is_for_later(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR))
}
