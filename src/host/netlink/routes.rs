//! Routes: by which interface, and over whom, a packet to a destination would leave.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};

use super::links::family;
use super::{Netlink, NetlinkError};

/// The way of a packet to one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What the destination is to this machine.
    pub kind: RouteKind,
    /// The interface it leaves by.
    pub interface: u32,
    /// The machine it goes to first; none when the destination is on the link itself. It may be
    /// of the other IP version (RFC 5549).
    pub gateway: Option<IpAddr>,
    /// The address it would be sent from.
    pub source: Option<IpAddr>,
    /// The longest packet that this way takes, if it is shorter than the interface's: configured,
    /// or learnt from the path.
    pub mtu_bytes: Option<u32>,
}

/// What a destination is to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// One machine elsewhere, reached as plain IP.
    Unicast,
    /// This machine.
    Local,
    /// Anything else: many machines, none, or one behind a tunnel of the route's own.
    Other,
}

impl Netlink {
    /// The way to `destination`, for packets from `source` if there is one; none if the kernel
    /// has no way.
    ///
    /// # Errors
    /// When the kernel cannot be asked or understood.
    pub fn route(
        &mut self,
        destination: IpAddr,
        source: Option<IpAddr>,
    ) -> Result<Option<Route>, NetlinkError> {
        let about = format_args!("the route to {destination}");
        let question = RouteNetlinkMessage::GetRoute(question(destination, source));
        let answers = match self.ask(question, 0, &about) {
            Err(error) if error.refusal().is_some_and(says_no_way) => return Ok(None),
            answers => answers?,
        };
        let message = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewRoute(message) => Some(message),
            _ => None,
        });
        let message =
            message.ok_or_else(|| NetlinkError::malformed(&about, "it describes no route"))?;
        route(&message, source)
            .ok_or_else(|| NetlinkError::malformed(&about, "it names no interface"))
            .map(|route| is_a_way(message.header.kind).then_some(route))
    }
}

fn question(destination: IpAddr, source: Option<IpAddr>) -> RouteMessage {
    let bits = |address: IpAddr| if address.is_ipv6() { 128 } else { 32 };
    let mut question = RouteMessage::default();
    question.header.address_family = family(destination);
    question.header.destination_prefix_length = bits(destination);
    question.attributes.push(RouteAttribute::Destination(destination.into()));
    if let Some(source) = source {
        question.header.source_prefix_length = bits(source);
        question.attributes.push(RouteAttribute::Source(source.into()));
    }
    question
}

/// Refusals that are answers: no route, or one that forbids (ip-route(8)), or a source that is
/// not ours.
fn says_no_way(refusal: i32) -> bool {
    matches!(
        refusal,
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::ENETDOWN
    )
}

/// IPv6 answers with a route that leads nowhere, where IPv4 refuses.
fn is_a_way(kind: RouteType) -> bool {
    !matches!(kind, RouteType::Unreachable | RouteType::Prohibit | RouteType::BlackHole)
}

fn route(message: &RouteMessage, source: Option<IpAddr>) -> Option<Route> {
    let mut interface = None;
    let mut route = Route {
        kind: match message.header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Local => RouteKind::Local,
            _ => RouteKind::Other,
        },
        interface: 0,
        gateway: None,
        source,
        mtu_bytes: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interface = Some(*index),
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => route.gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => {
                route.gateway = Some((*address).into());
            }
            RouteAttribute::PrefSource(address) if source.is_none() => route.source = ip(address),
            RouteAttribute::Metrics(metrics) => route.mtu_bytes = metrics.iter().find_map(mtu),
            // The kernel would wrap the packet into another.
            RouteAttribute::Encap(_) | RouteAttribute::EncapType(_) => {
                route.kind = RouteKind::Other;
            }
            _ => {}
        }
    }
    interface.map(|interface| Route { interface, ..route })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn mtu(metric: &RouteMetric) -> Option<u32> {
    let RouteMetric::Mtu(bytes) = metric else { return None };
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::route::RouteLwEnCapType;

    use super::*;
    use crate::host::netlink::captures::{
        ROUTE_LOCAL, ROUTE_ON_LINK, ROUTE_OVER_GATEWAY, ROUTE_OVER_IPV6, ROUTE_WITH_SOURCE, bytes,
    };

    fn message(capture: &str) -> RouteMessage {
        let message = NetlinkMessage::deserialize(&bytes(capture)).unwrap();
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(message)) = message.payload
        else {
            panic!("it is something else");
        };
        message
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_route_over_a_gateway_has_its_source_and_its_narrowest_link() {
        let expected = Route {
            kind: RouteKind::Unicast,
            interface: 3,
            gateway: ip("198.18.0.2"),
            source: ip("198.18.0.1"),
            mtu_bytes: Some(1300),
        };
        assert_eq!(route(&message(ROUTE_OVER_GATEWAY), None), Some(expected));
        let source = ip("198.18.0.1");
        assert_eq!(route(&message(ROUTE_WITH_SOURCE), source), Some(expected));
    }

    #[test]
    fn a_gateway_may_be_of_the_other_version() {
        let route = route(&message(ROUTE_OVER_IPV6), None).unwrap();
        assert_eq!((route.gateway, route.source), (ip("2001:2::2"), ip("198.18.0.1")));
    }

    #[test]
    fn a_destination_on_the_link_has_no_gateway() {
        let route = route(&message(ROUTE_ON_LINK), None).unwrap();
        assert_eq!((route.kind, route.gateway), (RouteKind::Unicast, None));
        assert_eq!(route.source, ip("2001:2::1"));
    }

    #[test]
    fn our_own_address_is_local() {
        assert_eq!(route(&message(ROUTE_LOCAL), None).unwrap().kind, RouteKind::Local);
    }

    #[test]
    fn a_route_into_a_tunnel_is_not_plain() {
        let mut message = message(ROUTE_OVER_GATEWAY);
        message.attributes.push(RouteAttribute::EncapType(RouteLwEnCapType::Ip));
        assert_eq!(route(&message, None).unwrap().kind, RouteKind::Other);
    }

    #[test]
    fn a_route_without_an_interface_is_none() {
        let mut message = message(ROUTE_OVER_GATEWAY);
        message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Oif(_)));
        assert_eq!(route(&message, None), None);
    }
}
