//! What one interface, one address and one length make of a packet: frames to datagrams, and
//! destinations to headers.

use super::hops::{Hop, HopsReader};
use crate::io::normalised;
use crate::wire::{self, Ends, Headers};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What one interface, one address and one length make of a packet.
pub(super) struct Lane {
    pub(super) interface: u32,
    pub(super) local: SocketAddr,
    pub(super) datagram_bytes: usize,
}

/// Why a received packet is not handed over.
pub(super) enum Stray {
    Foreign,
    WrongLength,
}

impl Lane {
    /// Source and payload of a frame that holds a datagram for this port.
    pub(super) fn read<'a>(&self, frame: &'a [u8]) -> Result<(SocketAddr, &'a [u8]), Stray> {
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
    pub(super) fn headers(&self, to: SocketAddr, hops: &HopsReader) -> Option<Headers> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::xdp::hops::HopsWriter;
    use crate::wire::Ethernet;
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
