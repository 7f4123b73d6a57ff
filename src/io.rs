//! Ports: where datagrams enter and leave a worker.
//!
//! One thread owns one [`Port`]; no port waits for another. The contract is made
//! for every way the kernel offers packets: a datagram is borrowed where it lies and its memory
//! goes back to the kernel as soon as the borrow ends, a datagram to send is written straight
//! into the memory the kernel will read. All implementations pass one suite, `tests/ports.rs`.
//!
//! A thread that only sends has a port that was detached from one that receives.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::ops::Add;
use std::os::fd::RawFd;

pub mod memory;
mod room;
pub mod shield;
pub mod udp;
pub mod uring;
pub mod wake;
pub mod xdp;

/// The most datagrams that one call of [`Port::receive`] hands over, and the least that a port
/// can hold between two flushes.
pub const BATCH: usize = 64;

/// A place to receive and send datagrams of one fixed length.
///
/// A datagram of any other length never reaches the worker: the port drops and counts it. No
/// method blocks, and none allocates once the port is open.
pub trait Port {
    /// Hands at most `most` waiting datagrams (and never more than [`BATCH`]) to `take`, each
    /// with its source; returns how many. Each is borrowed where it lies: its memory is the port's
    /// again when `take` returns.
    /// Nothing waits any more only when it returns 0.
    fn receive(&mut self, most: usize, take: impl FnMut(SocketAddr, &[u8])) -> usize;

    /// Lets `fill` write one datagram of exactly [`Port::datagram_bytes`] and say where to; it
    /// waits for [`Port::flush`]. The frame holds leftovers before `fill` has written it, so
    /// `fill` writes all of it.
    ///
    /// # Errors
    /// [`Unsent::Full`] when no frame is free: `fill` was not called, flush and try again.
    /// [`Unsent::Refused`] with what `fill` returned: the frame is free again.
    fn send<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>>;

    /// Hands what waits to the kernel as one batch. What the kernel has no room for stays queued
    /// for the next flush; what it refuses for good is counted and dropped.
    fn flush(&mut self);

    /// How many datagrams wait to be flushed; above 0 after a flush only when the kernel is full.
    fn queued(&self) -> usize;

    /// The length of every datagram, in bytes.
    fn datagram_bytes(&self) -> usize;

    /// The address that datagrams are received on and sent from.
    fn local(&self) -> SocketAddr;

    /// What happened so far.
    fn counters(&self) -> &PortCounters;

    /// Asks the kernel for what else it has counted, and returns how many frames of the memory that
    /// is shared with it are missing: neither free nor in a ring, though nothing is on its way. For
    /// the end of a port's life.
    fn audit(&mut self) -> u64 {
        0
    }

    /// What to sleep on until something arrives, or there is room for what is queued, if there is
    /// such a thing ([`wake::Sleeper`]).
    fn fd(&self) -> Option<RawFd>;

    /// A port of its own, for another thread, that sends from the same address and receives
    /// nothing, nor is woken by what arrives: what comes to the address still comes to this one.
    ///
    /// This port may go on sending. One over AF_XDP then uses the kernel's stack, because the first
    /// sender to be detached takes along its way past it; and with that what was queued there.
    /// To be called before either thread sends.
    ///
    /// # Errors
    /// [`OpenError::Descriptors`] when the process has no file descriptor left, and what else
    /// opening a port can meet. Nothing has changed then.
    fn detach_sender(&mut self) -> Result<Self, OpenError>
    where
        Self: Sized;
}

/// Why a datagram was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent<E> {
    /// No frame is free.
    Full,
    /// The caller's `fill` declined to write it.
    Refused(E),
}

/// What happened at a port since it was opened; one writer, so plain numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Datagrams handed over.
    pub received: u64,
    /// Datagrams dropped on arrival because their length was not the port's.
    pub wrong_length: u64,
    /// Datagrams the kernel dropped before the port saw them, mostly for want of buffer space.
    pub kernel_dropped: u64,
    /// Packets that reached the port without being datagrams to its address.
    pub foreign: u64,
    /// Entries of the rings shared with the kernel that name no packet memory the other side had.
    pub wrong_descriptors: u64,
    /// Errors the kernel reported instead of a datagram.
    pub receive_failed: u64,
    /// Datagrams the kernel took to send.
    pub sent: u64,
    /// Times [`Port::send`] found no free frame.
    pub send_full: u64,
    /// Datagrams dropped because the network of the next hop does not take their length.
    pub too_long: u64,
    /// Datagrams dropped because there is no way to the next hop.
    pub unreachable: u64,
    /// Datagrams dropped for any other reason the kernel gave, a packet filter for example.
    pub send_failed: u64,
}

/// What happened at two ports together.
impl Add for PortCounters {
    type Output = PortCounters;

    fn add(self, other: PortCounters) -> PortCounters {
        PortCounters {
            received: self.received + other.received,
            wrong_length: self.wrong_length + other.wrong_length,
            kernel_dropped: self.kernel_dropped + other.kernel_dropped,
            foreign: self.foreign + other.foreign,
            wrong_descriptors: self.wrong_descriptors + other.wrong_descriptors,
            receive_failed: self.receive_failed + other.receive_failed,
            sent: self.sent + other.sent,
            send_full: self.send_full + other.send_full,
            too_long: self.too_long + other.too_long,
            unreachable: self.unreachable + other.unreachable,
            send_failed: self.send_failed + other.send_failed,
        }
    }
}

/// Why a port or a sleeper could not be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another socket holds the address.
    #[error("UDP address {0} is in use: stop the program that holds it, or choose another port")]
    InUse(SocketAddr),
    /// The address belongs to no interface.
    #[error("UDP address {0} is on no interface of this machine: configure it, or choose another")]
    NotLocal(SocketAddr),
    /// The kernel lacks the address family.
    #[error("this machine lacks the family of UDP address {0}: enable it, or choose another")]
    NoFamily(SocketAddr),
    /// The port is privileged, or a policy forbids it.
    #[error(
        "no permission for UDP address {0}: choose a port above 1023, or grant \
             cap_net_bind_service"
    )]
    Permission(SocketAddr),
    /// The process has no file descriptor left.
    #[error("no file descriptor is left: raise the limit (LimitNOFILE in systemd, ulimit -n)")]
    Descriptors,
    /// The kernel has io_uring and does not let this process use it.
    #[error(
        "io_uring is forbidden here: set the sysctl kernel.io_uring_disabled to 0, allow \
             io_uring_setup, io_uring_enter and io_uring_register in the filter of system calls \
             (systemd, container), or use sockets"
    )]
    UringForbidden,
    /// The kernel has no io_uring, or one that cannot do what the port needs.
    #[error("this kernel has no io_uring as of Linux 6.1: use sockets, or a newer kernel")]
    UringMissing,
    /// The kernel refused one step for a reason of its own.
    #[error("cannot {step}: {source}")]
    Refused {
        /// What was tried, on which object.
        step: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl OpenError {
    /// What the kernel's answer to a step that makes a descriptor means.
    fn refused(step: impl Into<String>, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => OpenError::Descriptors,
            _ => OpenError::Refused { step: step.into(), source },
        }
    }
}

/// The one form of an address by which peers are compared: IPv4 inside IPv6 becomes IPv4, the
/// flow label is dropped, and a scope stays only where it means something (RFC 4007).
pub fn normalised(address: SocketAddr) -> SocketAddr {
    let SocketAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.ip().to_ipv4_mapped() {
        return SocketAddr::new(IpAddr::V4(v4), v6.port());
    }
    let scope = if v6.ip().is_unicast_link_local() { v6.scope_id() } else { 0 };
    SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_inside_ipv6_becomes_ipv4() {
        let mapped = "[::ffff:192.0.2.7]:4000".parse().unwrap();
        assert_eq!(normalised(mapped), "192.0.2.7:4000".parse().unwrap());
    }

    #[test]
    fn flow_and_needless_scope_do_not_distinguish_addresses() {
        let ip = "2001:db8::7".parse().unwrap();
        let marked = SocketAddr::V6(SocketAddrV6::new(ip, 4000, 9, 3));
        assert_eq!(normalised(marked), SocketAddr::V6(SocketAddrV6::new(ip, 4000, 0, 0)));
    }

    #[test]
    fn the_scope_of_a_link_local_address_stays() {
        let ip = "fe80::7".parse().unwrap();
        let scoped = SocketAddr::V6(SocketAddrV6::new(ip, 4000, 0, 3));
        assert_eq!(normalised(scoped), scoped);
    }

    #[test]
    fn opening_errors_name_the_address_and_the_remedy() {
        let text = OpenError::InUse("127.0.0.1:4000".parse().unwrap()).to_string();
        assert!(text.contains("127.0.0.1:4000") && text.contains("choose another port"));
    }
}
