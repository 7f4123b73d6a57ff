//! Socket addresses as the kernel writes them.

use crate::io::normalised;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The bytes of a `sockaddr_in` or a `sockaddr_in6` (`linux/in.h`, `linux/in6.h`).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub(in crate::io) struct RawAddress([u8; RawAddress::BYTES]);

const _: () = {
    assert!(RawAddress::LENGTH as usize == RawAddress::BYTES);
    assert!(size_of::<libc::sockaddr_in6>() == RawAddress::BYTES);
    assert!(size_of::<libc::sockaddr_in>() <= RawAddress::BYTES);
    assert!(offset_of!(libc::sockaddr_in, sin_family) == 0);
    assert!(offset_of!(libc::sockaddr_in, sin_port) == 2);
    assert!(offset_of!(libc::sockaddr_in, sin_addr) == 4);
    assert!(offset_of!(libc::sockaddr_in6, sin6_family) == 0);
    assert!(offset_of!(libc::sockaddr_in6, sin6_port) == 2);
    assert!(offset_of!(libc::sockaddr_in6, sin6_addr) == 8);
    assert!(offset_of!(libc::sockaddr_in6, sin6_scope_id) == 24);
};

impl RawAddress {
    pub(in crate::io) const BYTES: usize = 28;
    /// The same for the kernel, which takes a longer `sockaddr_in` as well.
    pub(in crate::io) const LENGTH: libc::socklen_t = 28;
    pub(in crate::io) const EMPTY: Self = RawAddress([0; Self::BYTES]);

    /// What `sendmsg` on a socket takes for `address`. A socket of IPv6 reaches IPv4 through
    /// mapped addresses; `None` when the socket is of IPv4 and `address` is not.
    pub(in crate::io) fn new(address: SocketAddr, on_ipv6: bool) -> Option<Self> {
        let mut raw = [0; Self::BYTES];
        raw[2..4].copy_from_slice(&address.port().to_be_bytes());
        let family = match (address.ip(), on_ipv6) {
            (IpAddr::V4(ip), false) => {
                raw[4..8].copy_from_slice(&ip.octets());
                libc::AF_INET
            }
            (IpAddr::V4(ip), true) => {
                raw[8..24].copy_from_slice(&ip.to_ipv6_mapped().octets());
                libc::AF_INET6
            }
            (IpAddr::V6(ip), true) => {
                raw[8..24].copy_from_slice(&ip.octets());
                libc::AF_INET6
            }
            (IpAddr::V6(_), false) => return None,
        };
        if let SocketAddr::V6(address) = address {
            raw[24..28].copy_from_slice(&address.scope_id().to_ne_bytes());
        }
        raw[..2].copy_from_slice(&u16::try_from(family).ok()?.to_ne_bytes());
        Some(RawAddress(raw))
    }

    /// What `recvmsg` wrote, which may be shorter.
    pub(in crate::io) fn read(bytes: &[u8]) -> Self {
        let mut raw = [0; Self::BYTES];
        let length = bytes.len().min(Self::BYTES);
        raw[..length].copy_from_slice(&bytes[..length]);
        RawAddress(raw)
    }

    pub(in crate::io) fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    /// The normalised address; `None` if it is of no family that carries UDP.
    pub(in crate::io) fn parsed(&self) -> Option<SocketAddr> {
        let raw = &self.0;
        let port = u16::from_be_bytes([raw[2], raw[3]]);
        match i32::from(u16::from_ne_bytes([raw[0], raw[1]])) {
            libc::AF_INET => {
                let ip = Ipv4Addr::new(raw[4], raw[5], raw[6], raw[7]);
                Some(SocketAddr::from((ip, port)))
            }
            libc::AF_INET6 => {
                let octets: [u8; 16] = raw[8..24].try_into().ok()?;
                let scope = u32::from_ne_bytes([raw[24], raw[25], raw[26], raw[27]]);
                let address = SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope);
                Some(normalised(SocketAddr::V6(address)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in ["127.77.3.4:4000", "[2001:db8::9]:65535", "[::1]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(RawAddress::new(address, true).unwrap().parsed(), Some(address));
        }
        let scoped = SocketAddr::V6(SocketAddrV6::new("fe80::1".parse().unwrap(), 7, 0, 5));
        assert_eq!(RawAddress::new(scoped, true).unwrap().parsed(), Some(scoped));
    }

    #[test]
    fn the_bytes_are_those_that_the_kernel_reads() {
        let address: SocketAddr = "192.0.2.7:4660".parse().unwrap();
        let ours = RawAddress::new(address, false).unwrap();
        let theirs = socket2::SockAddr::from(address);
        assert_eq!(theirs.as_socket(), Some(address));
        let family = u16::try_from(libc::AF_INET).unwrap().to_ne_bytes();
        assert_eq!(ours.0[..2], family);
        assert_eq!(ours.0[2..8], [0x12, 0x34, 192, 0, 2, 7]);
    }

    #[test]
    fn an_ipv4_socket_has_no_form_for_ipv6() {
        assert!(RawAddress::new("[::1]:9".parse().unwrap(), false).is_none());
    }

    #[test]
    fn an_unknown_family_is_no_address() {
        assert_eq!(RawAddress([0xff; RawAddress::BYTES]).parsed(), None);
        assert_eq!(RawAddress::EMPTY.parsed(), None);
    }
}
