//! Where the demo's processes are: on loopback addresses, or each node on a machine of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::machines::Machines;
use super::{DemoError, GATEWAYS, Options};
use crate::config::PortMode;
use crate::crypto::random::Rng;
use crate::host::namespace::Namespace;

/// The port of every node of a demo; their addresses differ.
pub(super) const PORT: u16 = 7700;
/// The last byte of the authority's address, behind those of all nodes, and its port.
const AUTHORITY: (u8, u16) = (254, 7780);
/// The last byte of the address that a demo holds to have the subnet for itself.
const CLAIM: u8 = 255;

/// Where the processes are.
pub(super) enum Site {
    /// All on this machine's loopback interface.
    Loopback(Subnet),
    /// Each node behind an interface of its own.
    Machines(Machines),
}

impl Site {
    /// The one that `options` ask for.
    pub(super) fn prepare(options: Options) -> Result<Self, DemoError> {
        let count = options.mixes + GATEWAYS;
        match options.xdp {
            true => Machines::start(count).map(Site::Machines),
            false => Subnet::claim(count).map(Site::Loopback),
        }
    }

    /// The address before that of the first node.
    pub(super) fn base(&self) -> Ipv4Addr {
        match self {
            Site::Loopback(subnet) => subnet.base,
            Site::Machines(machines) => machines.base(),
        }
    }

    /// The authority's address.
    pub(super) fn authority(&self) -> SocketAddr {
        match self {
            Site::Loopback(subnet) => subnet.authority(),
            Site::Machines(machines) => machines.authority(),
        }
    }

    /// How packets come to nodes here.
    pub(super) fn port_mode(&self) -> PortMode {
        match self {
            Site::Loopback(_) => PortMode::Auto,
            Site::Machines(_) => PortMode::Xdp,
        }
    }

    /// The machine of the node `number`, from 0, if it has one of its own.
    pub(super) fn of_node(&self, number: usize) -> Option<&Namespace> {
        match self {
            Site::Loopback(_) => None,
            Site::Machines(machines) => machines.nodes().get(number),
        }
    }

    /// The machine of authority and clients, if it is another one than this.
    pub(super) fn hub(&self) -> Option<&Namespace> {
        match self {
            Site::Loopback(_) => None,
            Site::Machines(machines) => Some(machines.hub()),
        }
    }
}

/// A subnet of 127.77.0.0/16 that nobody uses: one a demo, so that several run side by side.
pub(super) struct Subnet {
    /// The address before that of the first node.
    base: Ipv4Addr,
    /// Two demos cannot both hold it, not even before their processes have their addresses.
    _claim: UdpSocket,
}

impl Subnet {
    /// One with `count` addresses for nodes.
    fn claim(count: usize) -> Result<Self, DemoError> {
        let mut rng = Rng::from_os();
        for _ in 0..16 {
            let number = u8::try_from(rng.below(256)).unwrap_or(0);
            let address = |host| Ipv4Addr::new(127, 77, number, host);
            let Ok(claim) = UdpSocket::bind((address(CLAIM), PORT)) else { continue };
            let subnet = Subnet { base: address(0), _claim: claim };
            let is_free = (1..=count).all(|host| {
                let host = u8::try_from(host).unwrap_or(u8::MAX);
                UdpSocket::bind((address(host), PORT)).is_ok()
            });
            if is_free && TcpListener::bind(subnet.authority()).is_ok() {
                return Ok(subnet);
            }
        }
        Err(DemoError::NoAddresses { port: PORT })
    }

    /// The authority's address, behind those of the nodes.
    fn authority(&self) -> SocketAddr {
        let [a, b, c, _] = self.base.octets();
        let (host, port) = AUTHORITY;
        (Ipv4Addr::new(a, b, c, host), port).into()
    }
}
