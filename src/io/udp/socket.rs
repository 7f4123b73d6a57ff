//! Opening the socket, and every option it is given.

use super::Options;
use crate::io::OpenError;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

/// What most systems send: a path length that says nothing about us.
const HOP_LIMIT: u32 = 64;

/// A bound non-blocking socket and the address it really has.
pub(in crate::io) fn open(options: &Options) -> Result<(Socket, SocketAddr), OpenError> {
    let address = options.address;
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))
        .map_err(|source| failed("open a socket for", address, source))?;
    configure(&socket, options).map_err(|source| failed("set up", address, source))?;
    socket.bind(&address.into()).map_err(|source| failed("bind", address, source))?;
    let local = socket.local_addr().map_err(|source| failed("read back", address, source))?;
    Ok((socket, local.as_socket().unwrap_or(address)))
}

/// The same socket again, for another thread.
pub(in crate::io) fn share(socket: &Socket, address: SocketAddr) -> Result<Socket, OpenError> {
    socket.try_clone().map_err(|source| failed("share the socket of", address, source))
}

/// Asks the kernel to hand over runs of datagrams as one; `false` if it cannot.
pub(in crate::io) fn coalesce(socket: &Socket) -> bool {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok()
}

/// Whether the kernel cuts one message into many datagrams.
pub(super) fn segments(socket: &Socket) -> bool {
    // 0 is the default: this asks without changing anything.
    set(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

fn configure(socket: &Socket, options: &Options) -> io::Result<()> {
    let address = options.address;
    if options.shared {
        socket.set_reuse_port(true)?;
    }
    set(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
    size_buffers(socket, options)?;
    if address.is_ipv6() {
        let serves_ipv4 = address.ip().is_unspecified();
        socket.set_only_v6(!serves_ipv4)?;
        set(socket, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
        set(socket, libc::SOL_IPV6, libc::IPV6_DONTFRAG, 1)?;
        socket.set_unicast_hops_v6(HOP_LIMIT)?;
        socket.set_tclass_v6(0)?;
        if !serves_ipv4 {
            return Ok(());
        }
    }
    // "Probe" sets Don't Fragment, yet ignores what ICMP claims about the path: a forged claim
    // cannot silence a link.
    set(socket, libc::SOL_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    set(socket, libc::SOL_IP, libc::IP_TTL, HOP_LIMIT.cast_signed())?;
    set(socket, libc::SOL_IP, libc::IP_TOS, 0)
}

/// Asks for the sizes past the machine's limits, which needs privilege, or else within them.
fn size_buffers(socket: &Socket, options: &Options) -> io::Result<()> {
    let number = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX / 2);
    let (receive, send) = (options.receive_buffer_bytes, options.send_buffer_bytes);
    if set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, number(receive)).is_err() {
        socket.set_recv_buffer_size(receive)?;
    }
    if set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, number(send)).is_err() {
        socket.set_send_buffer_size(send)?;
    }
    Ok(())
}

/// Sets an option whose value is an int.
pub(super) fn set(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    let bytes: libc::socklen_t = 4;
    const { assert!(size_of::<libc::c_int>() == 4) };
    // SAFETY: the option value is a live int, and its size is passed.
    let status = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), bytes)
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn failed(step: &str, address: SocketAddr, source: io::Error) -> OpenError {
    match source.raw_os_error() {
        Some(libc::EADDRINUSE) => OpenError::InUse(address),
        Some(libc::EADDRNOTAVAIL) => OpenError::NotLocal(address),
        Some(libc::EAFNOSUPPORT) => OpenError::NoFamily(address),
        Some(libc::EACCES | libc::EPERM) => OpenError::Permission(address),
        Some(libc::EMFILE | libc::ENFILE) => OpenError::Descriptors,
        _ => OpenError::Refused { step: format!("{step} UDP address {address}"), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(text: &str) -> Result<(Socket, SocketAddr), OpenError> {
        open(&Options::new(text.parse().unwrap(), 1400))
    }

    #[test]
    fn the_kernel_chooses_a_port_when_none_is_named() {
        assert_ne!(opened("127.77.1.1:0").unwrap().1.port(), 0);
    }

    #[test]
    fn an_address_in_use_is_named() {
        let (_held, address) = opened("127.77.1.2:0").unwrap();
        let error = opened(&address.to_string()).unwrap_err();
        assert!(matches!(error, OpenError::InUse(named) if named == address), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let error = opened("192.0.2.1:0").unwrap_err();
        assert!(matches!(error, OpenError::NotLocal(_)), "{error}");
    }

    #[test]
    fn packets_leave_unfragmented_with_an_ordinary_hop_limit() {
        let (socket, _) = opened("127.77.1.3:0").unwrap();
        assert_eq!(socket.ttl_v4().unwrap(), 64);
        assert_eq!(socket.tos_v4().unwrap(), 0);
        let (socket, _) = opened("[::1]:0").unwrap();
        assert_eq!(socket.unicast_hops_v6().unwrap(), 64);
        assert!(socket.only_v6().unwrap());
    }

    #[test]
    fn an_unspecified_ipv6_address_serves_ipv4_too() {
        assert!(!opened("[::]:0").unwrap().0.only_v6().unwrap());
    }
}
