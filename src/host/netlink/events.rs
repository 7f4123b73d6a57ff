//! What changed: the kernel's notifications about links, addresses, routes and neighbours.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;

use super::NetlinkError;
use super::neighbours::{Neighbour, neighbour};
use super::socket::{self, next_message};

/// Everything that decides where a packet goes (linux/rtnetlink.h). Rules and groups of next
/// hops are rare; whatever they say is [`Event::Everything`].
const GROUPS: [u32; 9] = [
    libc::RTNLGRP_LINK,
    libc::RTNLGRP_NEIGH,
    libc::RTNLGRP_IPV4_IFADDR,
    libc::RTNLGRP_IPV4_ROUTE,
    libc::RTNLGRP_IPV4_RULE,
    libc::RTNLGRP_IPV6_IFADDR,
    libc::RTNLGRP_IPV6_ROUTE,
    libc::RTNLGRP_IPV6_RULE,
    libc::RTNLGRP_NEXTHOP,
];

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This is what the kernel knows of a neighbour now.
    Neighbour(Neighbour),
    /// The kernel has forgotten a neighbour.
    NeighbourGone {
        /// The interface of its link.
        interface: u32,
        /// Its IP address.
        address: IpAddr,
    },
    /// Routes to these destinations may be others.
    Routes(Prefix),
    /// An interface came, went, or changed: state, length of packets, ethernet address, anything.
    Link(u32),
    /// An interface got or lost an address.
    Addresses(u32),
    /// Something was missed, or has changed that concerns everything: look at everything again.
    Everything,
}

/// The destinations of a route: those that begin like `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// All whose first `bits` are those of `address`.
    pub fn new(address: IpAddr, bits: u8) -> Self {
        Prefix { address, bits }
    }

    /// Whether `destination` is one of them.
    pub fn contains(&self, destination: IpAddr) -> bool {
        let (one, other, width) = match (self.address, destination) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                (u128::from(one.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        let spare = u32::saturating_sub(width, self.bits.into());
        (one ^ other).checked_shr(spare).unwrap_or(0) == 0
    }
}

/// Iterates over what changed since it was asked last; ends when there is nothing more for now.
pub struct Events {
    socket: Socket,
    buffer: Vec<u8>,
    /// How much of `buffer` has been read.
    read: usize,
}

impl fmt::Debug for Events {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.buffer.len().saturating_sub(self.read);
        out.debug_struct("Events").field("waiting_bytes", &waiting).finish_non_exhaustive()
    }
}

impl Events {
    /// Listens in the network namespace of this thread, from now on.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        let socket = socket::open(NETLINK_ROUTE).map_err(NetlinkError::Open)?;
        for group in GROUPS {
            match socket.add_membership(group) {
                // Next hops as objects of their own came with Linux 5.3.
                Err(_) if group == libc::RTNLGRP_NEXTHOP => {}
                joined => joined.map_err(NetlinkError::Open)?,
            }
        }
        Ok(Events { socket, buffer: vec![], read: 0 })
    }

    /// The next event of the datagram in the buffer.
    fn next_in_buffer(&mut self) -> Option<Event> {
        while self.read < self.buffer.len() {
            let mut rest = &self.buffer[self.read..];
            let found = match next_message(&mut rest) {
                Ok(Some(message)) => event(message),
                Ok(None) => None,
                Err(_) => {
                    rest = &[];
                    Some(Event::Everything)
                }
            };
            self.read = self.buffer.len() - rest.len();
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.next_in_buffer() {
                return Some(event);
            }
            self.read = 0;
            let received = socket::receive(&self.socket, &mut self.buffer);
            if !matches!(received, Ok(true)) {
                self.buffer.clear();
            }
            match received {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) if is_loss(&error) => return Some(Event::Everything),
                // The socket itself is broken: there is nothing to read from it any more.
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// More came than the socket holds, or than memory does, or one that is longer than any may be.
fn is_loss(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM | libc::EMSGSIZE))
}

/// What a message tells; none if it is not about IP.
fn event(bytes: &[u8]) -> Option<Event> {
    use RouteNetlinkMessage as Message;
    let Ok(message) = NetlinkMessage::<Message>::deserialize(bytes) else {
        return Some(Event::Everything);
    };
    let NetlinkPayload::InnerMessage(message) = message.payload else {
        return matches!(message.payload, NetlinkPayload::Overrun(_)).then_some(Event::Everything);
    };
    match message {
        Message::NewNeighbour(message) => neighbour(&message).map(Event::Neighbour),
        Message::DelNeighbour(message) => {
            let Neighbour { interface, address, .. } = neighbour(&message)?;
            Some(Event::NeighbourGone { interface, address })
        }
        Message::NewRoute(message) | Message::DelRoute(message) => Some(routes(&message)),
        // What a bridge says of its ports comes as a link too.
        Message::NewLink(message) | Message::DelLink(message) => {
            let is_bridge = message.header.interface_family == AddressFamily::Bridge;
            (!is_bridge).then_some(Event::Link(message.header.index))
        }
        Message::NewAddress(message) | Message::DelAddress(message) => {
            Some(Event::Addresses(message.header.index))
        }
        _ => Some(Event::Everything),
    }
}

fn routes(message: &RouteMessage) -> Event {
    let bits = message.header.destination_prefix_length;
    let destination = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::from(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::from(*v6)),
        _ => None,
    });
    match (destination, message.header.address_family) {
        (Some(address), _) => Event::Routes(Prefix::new(address, bits)),
        // The default route names no destination.
        (None, AddressFamily::Inet) if bits == 0 => {
            Event::Routes(Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0))
        }
        (None, AddressFamily::Inet6) if bits == 0 => {
            Event::Routes(Prefix::new(Ipv6Addr::UNSPECIFIED.into(), 0))
        }
        _ => Event::Everything,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::captures::{
        LINK, NEIGHBOUR_CHANGED, NEIGHBOUR_FAILED, NEIGHBOUR_GONE, ROUTE_ADDED, ROUTING, bytes,
    };
    use crate::host::netlink::neighbours::NeighbourState;

    fn prefix(address: &str, bits: u8) -> Prefix {
        Prefix::new(address.parse().unwrap(), bits)
    }

    #[test]
    fn what_happens_to_a_neighbour_is_told() {
        let address = "198.18.0.2".parse().unwrap();
        let changed = Neighbour {
            interface: 3,
            address,
            mac: Some([2, 0, 0, 0, 0, 3]),
            state: NeighbourState::Permanent,
        };
        assert_eq!(event(&bytes(NEIGHBOUR_CHANGED)), Some(Event::Neighbour(changed)));
        let failed = Neighbour { mac: None, state: NeighbourState::Failed, ..changed };
        assert_eq!(event(&bytes(NEIGHBOUR_FAILED)), Some(Event::Neighbour(failed)));
        let gone = Event::NeighbourGone { interface: 3, address };
        assert_eq!(event(&bytes(NEIGHBOUR_GONE)), Some(gone));
    }

    #[test]
    fn a_default_route_concerns_all_destinations_of_its_version() {
        let event = event(&bytes(ROUTE_ADDED));
        assert_eq!(event, Some(Event::Routes(prefix("0.0.0.0", 0))));
    }

    #[test]
    fn a_link_that_changed_is_named() {
        assert_eq!(event(&bytes(LINK)), Some(Event::Link(3)));
    }

    #[test]
    fn what_cannot_be_read_means_to_look_at_everything() {
        let mut damaged = bytes(NEIGHBOUR_CHANGED);
        // The length of the first attribute.
        damaged[28] = 3;
        assert_eq!(event(&damaged), Some(Event::Everything));
        for whole in ROUTING.map(bytes) {
            for place in 0..whole.len() {
                let mut damaged = whole.clone();
                damaged[place] ^= 0x55;
                let _ = event(&damaged);
            }
        }
    }

    #[test]
    fn a_prefix_contains_what_begins_like_it() {
        let ip = |text: &str| text.parse().unwrap();
        assert!(prefix("198.18.0.0", 15).contains(ip("198.19.255.255")));
        assert!(!prefix("198.18.0.0", 15).contains(ip("198.20.0.0")));
        assert!(prefix("198.18.0.1", 32).contains(ip("198.18.0.1")));
        assert!(!prefix("198.18.0.1", 32).contains(ip("198.18.0.0")));
        assert!(prefix("::", 0).contains(ip("2001:2::1")));
        assert!(!prefix("::", 0).contains(ip("198.18.0.1")));
        assert!(prefix("2001:2::", 48).contains(ip("2001:2::1")));
        assert!(!prefix("2001:2::", 48).contains(ip("2001:3::1")));
        // More bits than there are is as many as there are.
        assert!(!prefix("198.18.0.1", 200).contains(ip("198.18.0.0")));
    }
}
