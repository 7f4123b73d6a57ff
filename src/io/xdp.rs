//! The port over AF_XDP: whole frames in memory shared with the kernel, past its network stack.
//!
//! A port has some queues of one interface, to each of which an XDP program passes the datagrams
//! for this node ([`XdpPort::sockets`]), and an ordinary UDP socket on the same address. The
//! socket keeps the address from others, takes in what the program leaves to the kernel, and
//! sends what has no hop in the table ([`hops`]). It is also all there is to a port that has no
//! queue, because a machine has more workers than queues.
//!
//! Everything leaves by the first queue: which of several would say nothing that the addresses on
//! the wire do not say, and the order of a burst is kept.
//!
//! A queue is two halves ([`queue`]). A port has the receiving halves of all its queues and the
//! sending half of the first; a sender that is detached from it takes that one along, with the table
//! of hops.

use super::udp::{self, UdpPort};
use super::{BATCH, OpenError, Port, PortCounters, Unsent};
use crate::host::gathering::Gathering;
use hops::HopsReader;
use lane::{Lane, Stray};
use memory::PAYLOAD_AT;
use queue::{Receiver, Sender};
use socket::XskSocket;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::iter;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, RawFd};

mod error;
pub mod hops;
mod lane;
pub mod mapping;
pub mod memory;
mod queue;
pub mod resolver;
pub mod ring;
pub mod rings;
mod socket;

pub use error::{Place, XdpError};
pub use rings::Balance;

/// How often a port whose queues are never empty looks at its UDP socket: every so many calls.
const SOCKET_EVERY: u64 = 16;
/// How often it reads the kernel's statistics.
const STATISTICS_EVERY: u64 = 256;

/// How packets come to the socket: where the program runs, and who copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The program runs in the driver, which works on packet memory itself.
    NativeZeroCopy,
    /// The program runs in the driver, and the kernel copies.
    Native,
    /// The program runs behind the driver, on any interface, and the kernel copies.
    Generic,
}

/// How the kernel polls a queue when asked to, in place of waiting for interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one system call may poll.
    pub microseconds: u32,
    /// How many packets it may take.
    pub packets: u16,
}

/// How an AF_XDP port is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The interface, as people call it.
    pub interface: String,
    /// The interface, as the kernel counts it.
    pub index: u32,
    /// The queues of this port; no other port has them.
    pub queues: Vec<u32>,
    /// How packets come; the program is attached accordingly.
    pub mode: Mode,
    /// Whether to poll.
    pub busy_poll: Option<BusyPoll>,
    /// The UDP socket, which has the address and the length of datagrams.
    pub socket: udp::Options,
}

/// The queues of worker number `worker` of `workers`: every one belongs to one worker.
pub fn queues_of(worker: usize, workers: usize, queues: u32) -> Vec<u32> {
    (0..queues).skip(worker).step_by(workers.max(1)).collect()
}

/// A [`Port`] over AF_XDP.
pub struct XdpPort {
    receivers: Vec<Receiver>,
    /// None without a queue, and once a sender was detached.
    outlet: Option<Outlet>,
    udp: UdpPort,
    lane: Lane,
    gathering: Gathering,
    /// What has happened at the queues, apart from what they count themselves.
    own: PortCounters,
    /// The same with the queues' own, the kernel's and the UDP socket's.
    counters: PortCounters,
    /// The kernel's, as last read.
    kernel: PortCounters,
    /// How often something was asked for.
    calls: u64,
    /// The queue that is looked at next.
    turn: usize,
    /// Whether `gathering` is ready when there is room: at the outlet, at the UDP socket.
    watched: [bool; 2],
    options: Options,
}

/// The way past the kernel's stack: the sending half of a queue, and where datagrams go by it.
struct Outlet {
    sender: Sender,
    hops: HopsReader,
}

impl XdpPort {
    /// Binds to the queues and takes all memory the port will ever use. The program must be
    /// attached before, and be told of the sockets after.
    ///
    /// # Errors
    /// [`XdpError`] says what to do.
    pub fn open(options: &Options, hops: HopsReader) -> Result<Self, XdpError> {
        let udp = UdpPort::open(&options.socket)?;
        let open = |queue: &u32| {
            let interface = options.interface.clone();
            let place = Place { interface, index: options.index, queue: *queue };
            queue::open(place, options.mode, options.socket.datagram_bytes, options.busy_poll)
        };
        let queues = options.queues.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let (receivers, senders): (Vec<_>, Vec<_>) = queues.into_iter().unzip();
        let outlet = senders.into_iter().next().map(|sender| Outlet { sender, hops });
        let sockets = receivers.iter().map(|receiver| receiver.socket().as_fd());
        let gathering = gather(Gathering::new, iter::once(udp.as_fd()).chain(sockets))?;
        Ok(Self::of(receivers, outlet, udp, gathering, options))
    }

    fn of(
        receivers: Vec<Receiver>,
        outlet: Option<Outlet>,
        udp: UdpPort,
        gathering: Gathering,
        options: &Options,
    ) -> Self {
        let none = PortCounters::default();
        XdpPort {
            receivers,
            outlet,
            lane: Lane {
                interface: options.index,
                local: udp.local(),
                datagram_bytes: options.socket.datagram_bytes,
            },
            udp,
            gathering,
            own: none,
            counters: none,
            kernel: none,
            calls: 0,
            turn: 0,
            watched: [false; 2],
            options: options.clone(),
        }
    }

    /// Each queue that it receives by with its socket, for the program's map.
    pub fn sockets(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        let sockets = self.receivers.iter().map(Receiver::socket);
        sockets.map(|socket| (socket.place().queue, socket.as_fd()))
    }

    /// Where the program runs and who copies; `None` without a queue.
    pub fn kind(&self) -> Option<&'static str> {
        let first = self.bound().next()?;
        Some(match (self.options.mode, first.is_zero_copy()) {
            (Mode::Generic, _) => "xdp generic",
            (_, true) => "xdp native zero-copy",
            (_, false) => "xdp native copy",
        })
    }

    /// Where the frames to receive into are, by queue.
    pub fn receive_balances(&self) -> impl Iterator<Item = Balance> {
        self.receivers.iter().map(Receiver::balance)
    }

    /// Where the frames to send from are; `None` if it sends by its UDP socket alone.
    pub fn send_balance(&self) -> Option<Balance> {
        self.outlet.as_ref().map(|outlet| outlet.sender.balance())
    }

    /// Reads the kernel's statistics into the counters, which else happens now and then. A socket's
    /// count at the port that receives by it, whoever sends.
    pub fn read_statistics(&mut self) {
        self.kernel = PortCounters::default();
        for queue in &self.receivers {
            // It can fail only for a socket that is none.
            let Ok(said) = queue.socket().statistics() else { continue };
            self.kernel.kernel_dropped += said.rx_dropped + said.rx_ring_full;
            self.kernel.wrong_descriptors += said.rx_invalid_descs + said.tx_invalid_descs;
        }
        self.count();
    }

    /// The sockets that it receives by, or else the one that it sends by.
    fn bound(&self) -> impl Iterator<Item = &XskSocket> {
        let sender = self.outlet.iter().map(|outlet| outlet.sender.socket());
        let sender = sender.filter(|_| self.receivers.is_empty());
        self.receivers.iter().map(Receiver::socket).chain(sender)
    }

    fn count(&mut self) {
        let mut sum = self.own + self.kernel + *self.udp.counters();
        for receiver in &self.receivers {
            sum.wrong_descriptors += receiver.wrong_descriptors();
        }
        if let Some(Outlet { sender, .. }) = &self.outlet {
            sum.sent += sender.sent();
            sum.wrong_descriptors += sender.wrong_descriptors();
        }
        self.counters = sum;
    }

    /// Hands over what waits at the queues, beginning with another one when one took all.
    fn receive_frames(&mut self, most: usize, mut take: impl FnMut(SocketAddr, &[u8])) -> usize {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let (mut looked_at, mut taken) = (0, 0);
        for _ in 0..self.receivers.len() {
            let queue = &mut self.receivers[self.turn];
            looked_at += queue.receive(most - looked_at, |frame| match self.lane.read(frame) {
                Ok((source, datagram)) => {
                    take(source, datagram);
                    taken += 1;
                }
                Err(Stray::Foreign) => self.own.foreign += 1,
                Err(Stray::WrongLength) => self.own.wrong_length += 1,
            });
            self.turn = (self.turn + 1) % self.receivers.len();
            if looked_at == most {
                break;
            }
        }
        self.own.received += taken as u64;
        taken
    }

    fn watch_room(&mut self, queue_is_full: bool) {
        let wanted = [queue_is_full, self.udp.queued() > 0];
        if wanted == self.watched {
            return;
        }
        // Both are members, so it cannot fail.
        if let Some(Outlet { sender, .. }) = &self.outlet {
            let _ = self.gathering.watch_room(sender.socket().as_fd(), wanted[0]);
        }
        let _ = self.gathering.watch_room(self.udp.as_fd(), wanted[1]);
        self.watched = wanted;
    }
}

impl Port for XdpPort {
    fn receive(&mut self, most: usize, mut take: impl FnMut(SocketAddr, &[u8])) -> usize {
        let most = most.min(BATCH);
        self.calls += 1;
        let is_sockets_turn = self.calls.is_multiple_of(SOCKET_EVERY);
        let mut taken = if is_sockets_turn { self.udp.receive(most, &mut take) } else { 0 };
        taken += self.receive_frames(most - taken, &mut take);
        if taken == 0 && !is_sockets_turn {
            taken = self.udp.receive(most, take);
        }
        if self.calls.is_multiple_of(STATISTICS_EVERY) {
            self.read_statistics();
        }
        self.count();
        taken
    }

    fn send<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>> {
        // The UDP socket takes a whole batch as well: what has no hop finds room there.
        let has_room = self.queued() < BATCH;
        let Some(Outlet { sender, hops }) = &mut self.outlet else {
            let sent = self.udp.send(fill);
            self.count();
            return sent;
        };
        let Some(mut frame) = has_room.then(|| sender.claim()).flatten() else {
            self.own.send_full += 1;
            self.count();
            return Err(Unsent::Full);
        };
        let payload = PAYLOAD_AT..PAYLOAD_AT + self.lane.datagram_bytes;
        let bytes = sender.bytes_mut(&mut frame);
        let to = match fill(&mut bytes[payload.clone()]) {
            Ok(to) => to,
            Err(error) => {
                sender.put(frame);
                return Err(Unsent::Refused(error));
            }
        };
        if let Some(headers) = self.lane.headers(to, hops) {
            let packet = payload.start - headers.bytes()..payload.end;
            headers.write(&mut bytes[packet.clone()]);
            sender.send(frame, packet);
        } else {
            let _ = self.udp.send(|out| {
                out.copy_from_slice(&bytes[payload]);
                Ok::<_, Infallible>(to)
            });
            sender.put(frame);
        }
        Ok(())
    }

    fn flush(&mut self) {
        let is_done = self.outlet.as_mut().is_none_or(Outlet::flush);
        if self.udp.queued() > 0 {
            self.udp.flush();
        }
        self.count();
        self.watch_room(!is_done);
    }

    fn queued(&self) -> usize {
        self.outlet.as_ref().map_or(0, |outlet| outlet.sender.queued()) + self.udp.queued()
    }

    fn datagram_bytes(&self) -> usize {
        self.lane.datagram_bytes
    }

    fn local(&self) -> SocketAddr {
        self.lane.local
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    fn audit(&mut self) -> u64 {
        self.read_statistics();
        let sending = self.outlet.as_ref().map_or(0, |outlet| outlet.sender.missing());
        self.receivers.iter().map(Receiver::missing).sum::<u64>() + sending
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.gathering.as_raw_fd())
    }

    /// The first one to be detached gets the outlet; another one has a UDP socket alone, as this
    /// port then has to send by.
    fn detach_sender(&mut self) -> Result<Self, OpenError> {
        let udp = self.udp.sender()?;
        let outlet = self.outlet.iter().map(|outlet| outlet.sender.socket().as_fd());
        let gathering = gather(Gathering::of_room, iter::once(udp.as_fd()).chain(outlet))?;
        self.watch_room(false);
        let mut sender = Self::of(vec![], self.outlet.take(), udp, gathering, &self.options);
        sender.count();
        self.count();
        Ok(sender)
    }
}

impl Outlet {
    /// Sends what waits, and takes a newer table of hops; `false` if it must be asked again.
    fn flush(&mut self) -> bool {
        let is_done = self.sender.flush();
        self.hops.refresh();
        is_done
    }
}

fn gather<'a>(
    make: fn() -> io::Result<Gathering>,
    mut members: impl Iterator<Item = BorrowedFd<'a>>,
) -> Result<Gathering, OpenError> {
    let gathered = make().and_then(|gathering| {
        members.try_for_each(|member| gathering.add(member))?;
        Ok(gathering)
    });
    gathered.map_err(|source| OpenError::refused("wait for several sockets", source))
}

/// One phrase for the line that says which backend was chosen.
impl fmt::Display for XdpPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { interface, mode, busy_poll, .. } = &self.options;
        let Some(first) = self.bound().next() else {
            return write!(out, "{}, for want of another queue of {interface}", self.udp);
        };
        let plural = if self.bound().count() == 1 { "" } else { "s" };
        write!(out, "AF_XDP on {interface} queue{plural} ")?;
        for (position, socket) in self.bound().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(out, "{comma}{}", socket.place().queue)?;
        }
        let only = if self.receivers.is_empty() { "sends only, " } else { "" };
        let program = if *mode == Mode::Generic { "generic" } else { "native" };
        let copy = if first.is_zero_copy() { "zero-copy" } else { "copy" };
        let pages = if first.region().on_huge_pages() { "huge pages" } else { "ordinary pages" };
        let polling = if busy_poll.is_some() { ", busy polling" } else { "" };
        let balances = self.receive_balances().chain(self.send_balance());
        let frames: u32 = balances.map(|balance| balance.frames).sum();
        write!(out, " ({only}{program}, {copy}, {pages}, {frames} frames{polling})")
    }
}

impl fmt::Debug for XdpPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, counters) = (&self.lane.local, &self.counters);
        out.debug_struct("XdpPort").field("local", local).field("counters", counters).finish()
    }
}
