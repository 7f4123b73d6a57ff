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

use super::udp::{self, UdpPort};
use super::{BATCH, OpenError, Port, PortCounters, Unsent, normalised};
use crate::host::gathering::Gathering;
use crate::wire::{self, Ends, Headers};
use hops::{Hop, HopsReader};
use memory::PAYLOAD_AT;
use queue::Queue;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, RawFd};

mod error;
pub mod hops;
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
    queues: Vec<Queue>,
    udp: UdpPort,
    hops: HopsReader,
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
    /// Whether `gathering` is ready when there is room: at the first queue, at the UDP socket.
    watched: [bool; 2],
    options: Options,
}

/// What one interface, one address and one length make of a packet.
struct Lane {
    interface: u32,
    local: SocketAddr,
    datagram_bytes: usize,
}

/// Why a received packet is not handed over.
enum Stray {
    Foreign,
    WrongLength,
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
            Queue::open(place, options.mode, options.socket.datagram_bytes, options.busy_poll)
        };
        let queues = options.queues.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let gathering = gather(&queues, &udp).map_err(|source| OpenError::Refused {
            step: format!("wait for the queues of {}", options.interface),
            source,
        })?;
        let lane = Lane {
            interface: options.index,
            local: udp.local(),
            datagram_bytes: options.socket.datagram_bytes,
        };
        let none = PortCounters::default();
        Ok(XdpPort {
            queues,
            udp,
            hops,
            lane,
            gathering,
            own: none,
            counters: none,
            kernel: none,
            calls: 0,
            turn: 0,
            watched: [false; 2],
            options: options.clone(),
        })
    }

    /// Each queue with its socket, for the program's map.
    pub fn sockets(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>)> {
        self.queues.iter().map(|queue| (queue.place().queue, queue.as_fd()))
    }

    /// Where the program runs and who copies; `None` without a queue.
    pub fn kind(&self) -> Option<&'static str> {
        let first = self.queues.first()?;
        Some(match (self.options.mode, first.is_zero_copy()) {
            (Mode::Generic, _) => "xdp generic",
            (_, true) => "xdp native zero-copy",
            (_, false) => "xdp native copy",
        })
    }

    /// Where the frames of each queue are.
    pub fn balances(&self) -> impl Iterator<Item = Balance> {
        self.queues.iter().map(Queue::balance)
    }

    /// Reads the kernel's statistics into the counters, which else happens now and then.
    pub fn read_statistics(&mut self) {
        self.kernel = PortCounters::default();
        for queue in &self.queues {
            // It can fail only for a socket that is none.
            let Ok(said) = queue.statistics() else { continue };
            self.kernel.kernel_dropped += said.rx_dropped + said.rx_ring_full;
            self.kernel.wrong_descriptors += said.rx_invalid_descs + said.tx_invalid_descs;
        }
        self.count();
    }

    fn count(&mut self) {
        let mut sum = self.own + self.kernel + *self.udp.counters();
        for queue in &self.queues {
            sum.sent += queue.sent();
            sum.wrong_descriptors += queue.wrong_descriptors();
        }
        self.counters = sum;
    }

    /// Hands over what waits at the queues, beginning with another one when one took all.
    fn receive_frames(&mut self, most: usize, mut take: impl FnMut(SocketAddr, &[u8])) -> usize {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let (mut looked_at, mut taken) = (0, 0);
        for _ in 0..self.queues.len() {
            let queue = &mut self.queues[self.turn];
            looked_at += queue.receive(most - looked_at, |frame| match self.lane.read(frame) {
                Ok((source, datagram)) => {
                    take(source, datagram);
                    taken += 1;
                }
                Err(Stray::Foreign) => self.own.foreign += 1,
                Err(Stray::WrongLength) => self.own.wrong_length += 1,
            });
            self.turn = (self.turn + 1) % self.queues.len();
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
        if let Some(queue) = self.queues.first() {
            let _ = self.gathering.watch_room(queue.as_fd(), wanted[0]);
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
        let Some(queue) = self.queues.first_mut() else {
            let sent = self.udp.send(fill);
            self.count();
            return sent;
        };
        let Some(mut frame) = has_room.then(|| queue.claim()).flatten() else {
            self.own.send_full += 1;
            self.count();
            return Err(Unsent::Full);
        };
        let payload = PAYLOAD_AT..PAYLOAD_AT + self.lane.datagram_bytes;
        let bytes = queue.bytes_mut(&mut frame);
        let to = match fill(&mut bytes[payload.clone()]) {
            Ok(to) => to,
            Err(error) => {
                queue.put(frame);
                return Err(Unsent::Refused(error));
            }
        };
        if let Some(headers) = self.lane.headers(to, &self.hops) {
            let packet = payload.start - headers.bytes()..payload.end;
            headers.write(&mut bytes[packet.clone()]);
            queue.send(frame, packet);
        } else {
            let _ = self.udp.send(|out| {
                out.copy_from_slice(&bytes[payload]);
                Ok::<_, Infallible>(to)
            });
            queue.put(frame);
        }
        Ok(())
    }

    fn flush(&mut self) {
        let is_done = self.queues.first_mut().is_none_or(Queue::flush);
        if self.udp.queued() > 0 {
            self.udp.flush();
        }
        self.hops.refresh();
        self.count();
        self.watch_room(!is_done);
    }

    fn queued(&self) -> usize {
        self.queues.first().map_or(0, Queue::queued) + self.udp.queued()
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
        self.queues.iter().map(|queue| queue.balance().missing(queue.is_zero_copy())).sum()
    }

    fn fd(&self) -> Option<RawFd> {
        Some(self.gathering.as_raw_fd())
    }
}

impl Lane {
    /// Source and payload of a frame that holds a datagram for this port.
    fn read<'a>(&self, frame: &'a [u8]) -> Result<(SocketAddr, &'a [u8]), Stray> {
        let (headers, datagram) = wire::parse(frame).map_err(|_| Stray::Foreign)?;
        let (source, destination) = (headers.ends.source(), headers.ends.destination());
        if !self.is_local(destination) || !self.is_possible(source.ip()) {
            return Err(Stray::Foreign);
        }
        if datagram.len() != self.datagram_bytes {
            return Err(Stray::WrongLength);
        }
        Ok((self.scoped(source), datagram))
    }

    fn is_local(&self, destination: SocketAddr) -> bool {
        let (local, ip) = (self.local.ip(), destination.ip());
        let is_served = match local {
            _ if local == ip => true,
            IpAddr::V4(any) => any.is_unspecified() && ip.is_ipv4(),
            IpAddr::V6(any) => any.is_unspecified(),
        };
        destination.port() == self.local.port() && is_served && !ip.is_multicast()
    }

    /// Whether a packet from `source` can have come over a wire: the kernel drops all others
    /// before a socket sees them, and an answer to them would go astray on this machine.
    fn is_possible(&self, source: IpAddr) -> bool {
        let is_special = source.is_loopback() || source.is_unspecified() || source.is_multicast();
        let is_disguised = match source {
            IpAddr::V4(ip) => ip.is_broadcast(),
            IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
        };
        !is_special && !is_disguised && source != self.local.ip()
    }

    /// A link-local address means something only together with its interface.
    fn scoped(&self, address: SocketAddr) -> SocketAddr {
        let SocketAddr::V6(v6) = address else { return address };
        let scoped = SocketAddrV6::new(*v6.ip(), v6.port(), 0, self.interface);
        normalised(SocketAddr::V6(scoped))
    }

    /// The headers of a datagram to `to`; `None` if the kernel's socket is to send it.
    fn headers(&self, to: SocketAddr, hops: &HopsReader) -> Option<Headers> {
        let to = normalised(to);
        let is_elsewhere = match to {
            SocketAddr::V4(_) => false,
            SocketAddr::V6(v6) => v6.scope_id() != 0 && v6.scope_id() != self.interface,
        };
        if to.port() == 0 || is_elsewhere {
            return None;
        }
        let Hop { ethernet, source, .. } = hops.find(&to.ip())?;
        Some(Headers { ethernet: *ethernet, ends: ends(*source, self.local.port(), to)? })
    }
}

/// The ends of a datagram, if both are of one IP version.
fn ends(source: IpAddr, port: u16, to: SocketAddr) -> Option<Ends> {
    match (source, to) {
        (IpAddr::V4(ip), SocketAddr::V4(destination)) => {
            Some(Ends::V4 { source: SocketAddrV4::new(ip, port), destination })
        }
        (IpAddr::V6(ip), SocketAddr::V6(destination)) => {
            Some(Ends::V6 { source: SocketAddrV6::new(ip, port, 0, 0), destination })
        }
        _ => None,
    }
}

fn gather(queues: &[Queue], udp: &UdpPort) -> io::Result<Gathering> {
    let gathering = Gathering::new()?;
    gathering.add(udp.as_fd())?;
    for queue in queues {
        gathering.add(queue.as_fd())?;
    }
    Ok(gathering)
}

/// One phrase for the line that says which backend was chosen.
impl fmt::Display for XdpPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { interface, mode, busy_poll, .. } = &self.options;
        let Some(first) = self.queues.first() else {
            return write!(out, "{}, for want of another queue of {interface}", self.udp);
        };
        let plural = if self.queues.len() == 1 { "" } else { "s" };
        write!(out, "AF_XDP on {interface} queue{plural} ")?;
        for (position, queue) in self.queues.iter().enumerate() {
            let comma = if position == 0 { "" } else { "," };
            write!(out, "{comma}{}", queue.place().queue)?;
        }
        let program = if *mode == Mode::Generic { "generic" } else { "native" };
        let copy = if first.is_zero_copy() { "zero-copy" } else { "copy" };
        let pages = if first.memory().on_huge_pages() { "huge pages" } else { "ordinary pages" };
        let polling = if busy_poll.is_some() { ", busy polling" } else { "" };
        let frames = first.memory().frames() as usize * self.queues.len();
        write!(out, " ({program}, {copy}, {pages}, {frames} frames{polling})")
    }
}

impl fmt::Debug for XdpPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (local, counters) = (&self.lane.local, &self.counters);
        out.debug_struct("XdpPort").field("local", local).field("counters", counters).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Ethernet;
    use hops::HopsWriter;
    use std::sync::Arc;

    const INTERFACE: u32 = 3;
    const ETHERNET: Ethernet = Ethernet { destination: [2; 6], source: [4; 6], vlan_tag: None };

    fn lane(local: &str) -> Lane {
        Lane { interface: INTERFACE, local: local.parse().unwrap(), datagram_bytes: 30 }
    }

    fn frame(source: &str, destination: &str, bytes: usize) -> Vec<u8> {
        let source: SocketAddr = source.parse().unwrap();
        let ends = ends(source.ip(), source.port(), destination.parse().unwrap()).unwrap();
        let headers = Headers { ethernet: ETHERNET, ends };
        let mut frame = vec![0xab; headers.bytes() + bytes];
        headers.write(&mut frame);
        frame
    }

    /// The source as the port names it, or why there is none.
    fn read(local: &str, source: &str, destination: &str) -> String {
        match lane(local).read(&frame(source, destination, 30)) {
            Ok((source, datagram)) => {
                assert_eq!(datagram, [0xab; 30]);
                source.to_string()
            }
            Err(Stray::Foreign) => "foreign".into(),
            Err(Stray::WrongLength) => "wrong length".into(),
        }
    }

    #[test]
    fn a_link_local_source_has_the_scope_of_the_interface_and_no_other_has_one() {
        assert_eq!(read("[fe80::1]:7", "[fe80::2]:9", "[fe80::1]:7"), "[fe80::2%3]:9");
        assert_eq!(read("[2001:2::1]:7", "[2001:2::2]:9", "[2001:2::1]:7"), "[2001:2::2]:9");
    }

    #[test]
    fn an_unspecified_address_serves_every_one_of_its_version() {
        for (local, serves_v4, serves_v6) in [("0.0.0.0:7", true, false), ("[::]:7", true, true)] {
            let v4 = read(local, "198.18.0.2:9", "198.18.0.1:7");
            let v6 = read(local, "[2001:2::2]:9", "[2001:2::1]:7");
            assert_eq!((v4 != "foreign", v6 != "foreign"), (serves_v4, serves_v6));
        }
    }

    #[test]
    fn other_ports_addresses_and_groups_are_foreign() {
        for destination in ["198.18.0.1:8", "198.18.0.3:7"] {
            assert_eq!(read("198.18.0.1:7", "198.18.0.2:9", destination), "foreign");
        }
        assert_eq!(read("0.0.0.0:7", "198.18.0.2:9", "224.0.0.1:7"), "foreign");
        assert_eq!(read("[::]:7", "[2001:2::2]:9", "[ff02::1]:7"), "foreign");
    }

    #[test]
    fn sources_that_no_wire_can_have_brought_are_foreign() {
        for source in ["127.0.0.1:9", "0.0.0.0:9", "255.255.255.255:9", "198.18.0.1:9"] {
            assert_eq!(read("198.18.0.1:7", source, "198.18.0.1:7"), "foreign");
        }
        for source in ["[::1]:9", "[::]:9", "[ff02::1]:9", "[::ffff:198.18.0.2]:9"] {
            assert_eq!(read("[2001:2::1]:7", source, "[2001:2::1]:7"), "foreign");
        }
    }

    #[test]
    fn any_other_length_is_wrong() {
        for bytes in [0, 29, 31] {
            let frame = frame("198.18.0.2:9", "198.18.0.1:7", bytes);
            assert!(matches!(lane("198.18.0.1:7").read(&frame), Err(Stray::WrongLength)));
        }
    }

    #[test]
    fn the_kernel_sends_what_has_no_hop_or_another_interface() {
        let mut writer = HopsWriter::new();
        let hop = |ip: &str, source: &str| {
            let hop = Hop::new(ETHERNET, source.parse().unwrap());
            (ip.parse().unwrap(), Arc::new(hop))
        };
        writer.publish(
            [
                hop("198.18.0.2", "198.18.0.1"),
                hop("fe80::2", "fe80::1"),
                hop("198.18.0.3", "2001:2::1"),
            ]
            .into_iter()
            .collect(),
        );
        let hops = writer.reader();
        let source = |to: &str| {
            let headers = lane("[::]:7").headers(to.parse().unwrap(), &hops)?;
            Some(headers.ends.source().to_string())
        };
        assert_eq!(source("198.18.0.2:9").unwrap(), "198.18.0.1:7");
        assert_eq!(source("[::ffff:198.18.0.2]:9").unwrap(), "198.18.0.1:7");
        assert_eq!(source("[fe80::2]:9").unwrap(), "[fe80::1]:7");
        assert_eq!(source("[fe80::2%3]:9").unwrap(), "[fe80::1]:7");
        for to in ["[fe80::2%4]:9", "198.18.0.2:0", "198.18.0.9:9", "198.18.0.3:9"] {
            assert_eq!(source(to), None);
        }
    }
}
