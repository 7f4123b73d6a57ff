//! Interfaces: who they are, which of them holds an address, which leads out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
    VlanProtocol,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{Mac, Netlink, NetlinkError};

/// Names are shorter than this (`IFNAMSIZ` of linux/if.h counts the zero at the end).
const NAME_BYTES_MAX: usize = libc::IFNAMSIZ - 1;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its ethernet address; what is not ethernet has none.
    pub mac: Option<Mac>,
    /// The longest IP packet it takes, in bytes.
    pub mtu_bytes: u32,
    /// Whether it is switched on.
    pub is_up: bool,
    /// Whether it is switched on and connected.
    pub is_running: bool,
    /// Whether it leads back to this machine.
    pub is_loopback: bool,
    /// What it is, if it is a VLAN of another interface.
    pub vlan: Option<Vlan>,
}

/// One VLAN of an interface, as IEEE 802.1Q numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The interface that its frames leave by.
    pub parent: u32,
    /// Their tag: 12 bits, priority 0.
    pub tag: u16,
}

impl Netlink {
    /// The interface with the number `index`, if there is one.
    ///
    /// # Errors
    /// When the kernel cannot be asked or understood.
    pub fn link(&mut self, index: u32) -> Result<Option<Link>, NetlinkError> {
        let mut question = LinkMessage::default();
        question.header.index = index;
        self.one_link(question, &format_args!("interface number {index}"))
    }

    /// The interface called `name`.
    ///
    /// # Errors
    /// [`NetlinkError::NoLink`], or when the kernel cannot be asked or understood.
    pub fn link_named(&mut self, name: &str) -> Result<Link, NetlinkError> {
        let none = || NetlinkError::NoLink(name.into());
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
            return Err(none());
        }
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.into()));
        self.one_link(question, &format_args!("interface {name}"))?.ok_or_else(none)
    }

    /// The interface that holds `address`, or, if it is unspecified, the one by which the default
    /// route of its family leaves.
    ///
    /// # Errors
    /// [`NetlinkError::NoAddress`], [`NetlinkError::NoDefaultRoute`], or when the kernel cannot
    /// be asked or understood.
    pub fn link_of(&mut self, address: IpAddr) -> Result<Link, NetlinkError> {
        let address = address.to_canonical();
        if address.is_unspecified() {
            return self.link_of_default_route(address.is_ipv6());
        }
        let index = self.holder_of(address)?.ok_or(NetlinkError::NoAddress(address))?;
        self.link(index)?.ok_or(NetlinkError::NoAddress(address))
    }

    /// A socket at the unspecified address of IPv6 serves IPv4 as well: then either will do.
    fn link_of_default_route(&mut self, v6: bool) -> Result<Link, NetlinkError> {
        // What leads to an address of nobody's is the default route (RFC 5737, RFC 3849).
        const FAR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        const FAR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        let mut route = None;
        if v6 {
            route = self.route(FAR_V6, None)?;
        }
        if route.is_none() {
            route = self.route(FAR_V4, None)?;
        }
        let route = route.ok_or(NetlinkError::NoDefaultRoute)?;
        self.link(route.interface)?.ok_or(NetlinkError::NoDefaultRoute)
    }

    fn one_link(
        &mut self,
        mut question: LinkMessage,
        about: &dyn fmt::Display,
    ) -> Result<Option<Link>, NetlinkError> {
        // Statistics make half of the answer, and nobody here reads them.
        let spare = vec![LinkExtentMask::SkipStats];
        question.attributes.push(LinkAttribute::ExtMask(spare));
        let answers = match self.ask(RouteNetlinkMessage::GetLink(question), 0, about) {
            Err(error) if error.refusal() == Some(libc::ENODEV) => return Ok(None),
            answers => answers?,
        };
        let link = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => Some(link(message)),
            _ => None,
        });
        link.ok_or_else(|| NetlinkError::malformed(about, "it describes no interface")).map(Some)
    }

    /// The number of the interface that holds `address`.
    fn holder_of(&mut self, address: IpAddr) -> Result<Option<u32>, NetlinkError> {
        let mut question = AddressMessage::default();
        question.header.family = family(address);
        let question = RouteNetlinkMessage::GetAddress(question);
        let answers = self.ask(question, NLM_F_DUMP, &"the addresses of interfaces")?;
        Ok(answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(held) => {
                holds(&held, address).then_some(held.header.index)
            }
            _ => None,
        }))
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

/// An ethernet address, of the bytes that the kernel has for one.
pub(super) fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().filter(|mac| *mac != [0; 6])
}

/// Of an interface with two ends, `IFA_LOCAL` is ours and `IFA_ADDRESS` the other end's; else
/// IPv6 has only the second (linux/if_addr.h).
fn holds(message: &AddressMessage, address: IpAddr) -> bool {
    let locals = message.attributes.iter().filter_map(|attribute| match attribute {
        AddressAttribute::Local(local) => Some(*local),
        _ => None,
    });
    let addresses = message.attributes.iter().filter_map(|attribute| match attribute {
        AddressAttribute::Address(own) => Some(*own),
        _ => None,
    });
    locals.chain(addresses).next() == Some(address)
}

fn link(message: LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu_bytes: 0,
        is_up: flags.contains(LinkFlags::Up),
        is_running: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        is_loopback: flags.contains(LinkFlags::Loopback),
        vlan: None,
    };
    let (mut parent, mut tag, mut elsewhere) = (None, None, false);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(bytes) => link.mac = mac(&bytes),
            LinkAttribute::Mtu(bytes) => link.mtu_bytes = bytes,
            LinkAttribute::Link(index) => parent = Some(index),
            // Then the parent's number is one of another namespace.
            LinkAttribute::LinkNetNsId(_) => elsewhere = true,
            LinkAttribute::LinkInfo(parts) => tag = parts.iter().find_map(vlan_tag),
            _ => {}
        }
    }
    if let (Some(parent), Some(tag), false) = (parent, tag, elsewhere) {
        link.vlan = Some(Vlan { parent, tag });
    }
    link
}

/// The tag of a VLAN device, if its frames carry the tag of IEEE 802.1Q; that of 802.1ad has
/// another type, which our frames never have.
fn vlan_tag(part: &LinkInfo) -> Option<u16> {
    const TAG_MAX: u16 = 0xfff;
    let LinkInfo::Data(InfoData::Vlan(attributes)) = part else { return None };
    let mut tag = None;
    for attribute in attributes {
        match attribute {
            InfoVlan::Id(id) => tag = Some(*id),
            InfoVlan::Protocol(VlanProtocol::Ieee8021Q) => {}
            InfoVlan::Protocol(_) => return None,
            _ => {}
        }
    }
    tag.filter(|tag| *tag <= TAG_MAX)
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{DefaultNla, NetlinkBuffer, NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::link::InfoKind;

    use super::*;
    use crate::host::netlink::captures::{ADDRESSES, LINK, bytes};

    fn messages(capture: &str) -> Vec<RouteNetlinkMessage> {
        let bytes = bytes(capture);
        let mut rest = &bytes[..];
        let mut messages = vec![];
        while !rest.is_empty() {
            let length = NetlinkBuffer::new_checked(rest).unwrap().length() as usize;
            let message = NetlinkMessage::deserialize(&rest[..length]).unwrap();
            if let NetlinkPayload::InnerMessage(message) = message.payload {
                messages.push(message);
            }
            rest = &rest[length..];
        }
        messages
    }

    /// A VLAN device as the kernel describes it (`vlan_fill_info` of net/8021q/vlan_netlink.c),
    /// by hand: `ip link add link eth0 name eth0.7 type vlan id 7`.
    fn vlan_device(protocol: VlanProtocol, extra: Option<LinkAttribute>) -> Link {
        let mut message = LinkMessage::default();
        message.header.index = 9;
        message.attributes = vec![
            LinkAttribute::IfName("eth0.7".into()),
            LinkAttribute::Link(3),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![
                    InfoVlan::Protocol(protocol),
                    InfoVlan::Id(7),
                    InfoVlan::Other(DefaultNla::new(2, vec![1, 0, 0, 0, 255, 255, 255, 255])),
                ])),
            ]),
        ];
        message.attributes.extend(extra);
        // Over the bytes, so that what is read is what the kernel would write.
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::NewLink(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let message = NetlinkMessage::deserialize(&bytes).unwrap();
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) = message.payload
        else {
            panic!("it is a link");
        };
        link(message)
    }

    #[test]
    fn a_link_is_read_from_what_a_kernel_said() {
        let Some(RouteNetlinkMessage::NewLink(message)) = messages(LINK).pop() else {
            panic!("it is a link");
        };
        let expected = Link {
            index: 3,
            name: "eth0".into(),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu_bytes: 1500,
            is_up: true,
            is_running: true,
            is_loopback: false,
            vlan: None,
        };
        assert_eq!(link(message), expected);
    }

    #[test]
    fn a_vlan_has_its_parent_and_its_tag() {
        let device = vlan_device(VlanProtocol::Ieee8021Q, None);
        assert_eq!(device.vlan, Some(Vlan { parent: 3, tag: 7 }));
    }

    #[test]
    fn a_vlan_whose_frames_are_not_ours_to_write_is_none() {
        assert_eq!(vlan_device(VlanProtocol::Ieee8021Ad, None).vlan, None);
        let elsewhere = Some(LinkAttribute::LinkNetNsId(0));
        assert_eq!(vlan_device(VlanProtocol::Ieee8021Q, elsewhere).vlan, None);
    }

    #[test]
    fn an_address_is_held_by_the_interface_that_the_kernel_says() {
        let holder = |address: &str| {
            let address = address.parse().unwrap();
            messages(ADDRESSES).into_iter().find_map(|message| match message {
                RouteNetlinkMessage::NewAddress(held) => {
                    holds(&held, address).then_some(held.header.index)
                }
                _ => None,
            })
        };
        assert_eq!(holder("127.0.0.1"), Some(1));
        assert_eq!(holder("198.18.0.1"), Some(3));
        assert_eq!(holder("198.18.0.2"), None);
    }

    #[test]
    fn the_other_end_of_a_wire_is_not_our_address() {
        let mut message = AddressMessage::default();
        message.attributes = ["198.18.0.2", "198.18.0.1"]
            .map(|text| text.parse().unwrap())
            .map(AddressAttribute::Address)
            .into();
        message.attributes[1] = AddressAttribute::Local("198.18.0.1".parse().unwrap());
        assert!(holds(&message, "198.18.0.1".parse().unwrap()));
        assert!(!holds(&message, "198.18.0.2".parse().unwrap()));
    }

    #[test]
    fn an_address_of_zeros_or_of_another_kind_is_none() {
        assert_eq!(mac(&[2, 0, 0, 0, 0, 1]), Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(mac(&[0; 6]), None);
        assert_eq!(mac(&[1; 20]), None);
    }
}
