//! Neighbours: the machines on a link, by ARP and neighbour discovery (ip-neighbour(8)).

use std::net::IpAddr;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as State,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::links::{family, mac};
use super::{Mac, Netlink, NetlinkError};

/// One machine on a link, as far as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface of the link.
    pub interface: u32,
    /// Its IP address.
    pub address: IpAddr,
    /// Its ethernet address, if it has said so.
    pub mac: Option<Mac>,
    /// How sure the kernel is.
    pub state: NeighbourState,
}

/// How sure the kernel is of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Somebody wrote it down.
    Permanent,
    /// The link needs no asking.
    NoArp,
    /// It answered lately.
    Reachable,
    /// It has not answered for a while; the next packet of the kernel's makes it ask.
    Stale,
    /// Such a packet has been sent: the kernel will ask soon.
    Delay,
    /// It is being asked.
    Probe,
    /// It is being asked for the first time.
    Incomplete,
    /// It does not answer.
    Failed,
    /// Nothing was tried.
    Unknown,
}

impl Neighbour {
    /// Where to send frames for it, if that is known.
    pub fn reachable_at(&self) -> Option<Mac> {
        match self.state {
            NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::Unknown => None,
            _ => self.mac,
        }
    }
}

impl Netlink {
    /// All neighbours on the link of `interface`.
    ///
    /// # Errors
    /// When the kernel cannot be asked or understood.
    pub fn neighbours(&mut self, interface: u32) -> Result<Vec<Neighbour>, NetlinkError> {
        let mut question = NeighbourMessage::default();
        // Neither version: both.
        question.header.family = AddressFamily::Unspec;
        question.attributes.push(NeighbourAttribute::IfIndex(interface));
        let about = format_args!("the neighbours on interface number {interface}");
        let question = RouteNetlinkMessage::GetNeighbour(question);
        let answers = self.ask(question, NLM_F_DUMP, &about)?;
        let neighbours = answers.iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(message) => neighbour(message),
            _ => None,
        });
        // An older kernel lists those of all interfaces.
        Ok(neighbours.filter(|neighbour| neighbour.interface == interface).collect())
    }

    /// What the kernel knows of `address` on the link of `interface`; none if it has never met it.
    ///
    /// # Errors
    /// When the kernel cannot be asked or understood.
    pub fn neighbour(
        &mut self,
        interface: u32,
        address: IpAddr,
    ) -> Result<Option<Neighbour>, NetlinkError> {
        let mut question = NeighbourMessage::default();
        question.header.family = family(address);
        question.header.ifindex = interface;
        question.attributes.push(NeighbourAttribute::Destination(address.into()));
        let about = format_args!("neighbour {address} on interface number {interface}");
        let answers = match self.ask(RouteNetlinkMessage::GetNeighbour(question), 0, &about) {
            Err(error) if error.refusal() == Some(libc::ENOENT) => return Ok(None),
            answers => answers?,
        };
        let found = answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewNeighbour(message) => neighbour(message),
            _ => None,
        });
        found.ok_or_else(|| NetlinkError::malformed(&about, "it describes no neighbour")).map(Some)
    }
}

/// A neighbour of IP; none of what bridges and proxies call so.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::from(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::from(*v6)),
        _ => None,
    })?;
    let known = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => mac(bytes),
        _ => None,
    });
    let state = state(message.header.state);
    Some(Neighbour { interface: message.header.ifindex, address, mac: known, state })
}

fn state(said: State) -> NeighbourState {
    match said {
        State::Permanent => NeighbourState::Permanent,
        State::Noarp => NeighbourState::NoArp,
        State::Reachable => NeighbourState::Reachable,
        State::Stale => NeighbourState::Stale,
        State::Delay => NeighbourState::Delay,
        State::Probe => NeighbourState::Probe,
        State::Incomplete => NeighbourState::Incomplete,
        State::Failed => NeighbourState::Failed,
        _ => NeighbourState::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkMessage, NetlinkPayload};

    use super::*;
    use crate::host::netlink::captures::{NEIGHBOUR, NEIGHBOUR_FAILED, bytes};

    fn message(capture: &str) -> NeighbourMessage {
        let message = NetlinkMessage::deserialize(&bytes(capture)).unwrap();
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(message)) =
            message.payload
        else {
            panic!("it is something else");
        };
        message
    }

    #[test]
    fn a_neighbour_is_read_from_what_a_kernel_said() {
        let expected = Neighbour {
            interface: 3,
            address: "198.18.0.2".parse().unwrap(),
            mac: Some([2, 0, 0, 0, 0, 2]),
            state: NeighbourState::Permanent,
        };
        assert_eq!(neighbour(&message(NEIGHBOUR)), Some(expected));
        assert_eq!(expected.reachable_at(), Some([2, 0, 0, 0, 0, 2]));
    }

    #[test]
    fn a_neighbour_that_does_not_answer_is_reachable_nowhere() {
        let failed = neighbour(&message(NEIGHBOUR_FAILED)).unwrap();
        assert_eq!((failed.state, failed.reachable_at()), (NeighbourState::Failed, None));
        // Nor if the kernel still remembers where it was.
        let remembered = Neighbour { mac: Some([2; 6]), ..failed };
        assert_eq!(remembered.reachable_at(), None);
    }

    #[test]
    fn what_is_answered_for_others_is_no_neighbour() {
        let mut message = message(NEIGHBOUR);
        message.header.flags = NeighbourFlags::Proxy;
        assert_eq!(neighbour(&message), None);
    }

    #[test]
    fn what_a_bridge_has_learnt_is_no_neighbour() {
        let mut message = message(NEIGHBOUR);
        message
            .attributes
            .retain(|attribute| !matches!(attribute, NeighbourAttribute::Destination(_)));
        assert_eq!(neighbour(&message), None);
    }
}
