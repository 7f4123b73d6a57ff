//! A node's ports: which way of the kernel's they take, and who stands at the door of that way.
//!
//! AF_XDP in the driver, AF_XDP behind it, UDP sockets: `port.mode = "auto"` goes down this ladder
//! and says where it stopped and why; a mode that is named is had, or the node does not start.

use std::fmt;
use std::net::SocketAddr;

use super::door::Front;
use super::{Identity, Options};
use crate::config::{PortMode, PortOptions};
use crate::host::netlink::links::Link;
use crate::host::netlink::netdev::Netdev;
use crate::host::netlink::{Netlink, NetlinkError};
use crate::host::privileges::{self, Privilege};
use crate::io::OpenError;
use crate::io::shield::{Attachment, Budget, Settings, Shield, ShieldError};
use crate::io::udp::{self, UdpPort};
use crate::io::uring::UringPort;
use crate::io::xdp::hops::HopsWriter;
use crate::io::xdp::resolver;
use crate::io::xdp::{self, BusyPoll, Mode, XdpError, XdpPort};
use crate::worker::roles::Roles;

/// What one stranger may send: a few handshakes, and the first packets of its session.
const PER_SOURCE: Budget = Budget { per_second: 50, burst: 100 };
/// What IP and UDP add to a datagram, at most: the headers of IPv6.
const HEADERS_BYTES: usize = 48;
/// How long one system call polls a queue, and how many packets it takes.
const BUSY_POLL: BusyPoll = BusyPoll { microseconds: 20, packets: 64 };

/// The ports of all workers, by number.
pub(super) enum Ports {
    /// UDP sockets by recvmmsg and sendmmsg.
    Udp(Vec<UdpPort>),
    /// UDP sockets by io_uring.
    Uring(Vec<UringPort>),
    /// AF_XDP.
    Xdp(Vec<XdpPort>, Front),
}

/// Why ports cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortsError {
    /// The process may not do what the mode takes.
    #[error(
        "port.mode = \"{mode}\" needs {}: run as root, grant them to the program \
         (AmbientCapabilities in systemd), or use \"auto\"",
        list(.missing)
    )]
    Privileges {
        /// The mode.
        mode: &'static str,
        /// What is missing.
        missing: Vec<Privilege>,
    },
    /// The loopback interface has no queues.
    #[error("{0} has no queues that AF_XDP could take: use port.mode = \"udp\", or \"auto\"")]
    Loopback(String),
    /// The kernel does not say what there is.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The program in front.
    #[error(transparent)]
    Shield(#[from] ShieldError),
    /// A queue.
    #[error(transparent)]
    Queue(#[from] XdpError),
    /// A socket.
    #[error(transparent)]
    Socket(#[from] OpenError),
}

fn list(missing: &[Privilege]) -> String {
    missing.iter().map(|privilege| privilege.name()).collect::<Vec<_>>().join(", ")
}

/// What the ports are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    pub(super) address: SocketAddr,
    pub(super) datagram_bytes: usize,
    pub(super) roles: Roles,
    pub(super) peers_max: u32,
    pub(super) clients_max: u32,
    pub(super) options: &'a PortOptions,
}

impl<'a> Plan<'a> {
    pub(super) fn new(identity: &Identity, options: &'a Options, address: SocketAddr) -> Self {
        let neighbours = identity.neighbours().map_or(0, |neighbours| neighbours.len());
        Plan {
            address,
            datagram_bytes: identity.consensus.geometry().datagram_bytes(),
            roles: Roles::of(options.workers),
            // Those of the epoch before and of the next one may be others.
            peers_max: u32::try_from(3 * neighbours)
                .unwrap_or(u32::MAX)
                .max(options.neighbours_max)
                .max(1),
            clients_max: options.clients_max,
            options: &options.port,
        }
    }

    /// Opens one port a thread: those that take packets in come first.
    pub(super) fn open(self) -> Result<Ports, PortsError> {
        match self.options.mode {
            PortMode::Auto => self.fastest(),
            PortMode::Xdp => self.named(Attachment::Native),
            PortMode::XdpGeneric => self.named(Attachment::Generic),
            PortMode::Uring => self.uring(),
            PortMode::Udp => self.udp(),
        }
    }

    /// Goes down the ladder; what was not to be had is said.
    fn fastest(self) -> Result<Ports, PortsError> {
        let missing = privileges::missing();
        if !missing.is_empty() {
            tracing::info!("AF_XDP is not used: it needs {}", list(&missing));
            return self.udp();
        }
        for attachment in [Attachment::Native, Attachment::Generic] {
            match self.xdp(attachment) {
                Ok(ports) => return Ok(ports),
                Err(PortsError::Loopback(_)) => break,
                Err(error) => tracing::info!("AF_XDP is not used ({attachment}): {error}"),
            }
        }
        self.udp()
    }

    fn named(self, attachment: Attachment) -> Result<Ports, PortsError> {
        let missing = privileges::missing();
        if !missing.is_empty() {
            return Err(PortsError::Privileges { mode: self.options.mode.as_str(), missing });
        }
        self.xdp(attachment)
    }

    /// The program is attached first, then each queue gets its socket, then the program's map the
    /// sockets: until then the kernel's socket takes in what comes.
    fn xdp(self, attachment: Attachment) -> Result<Ports, PortsError> {
        let link = self.link()?;
        // Behind the driver a frame still has the queue that it came by.
        let queues = Netdev::open()?.queues(&link)?.receive;
        let mut shield = Shield::load(&self.settings())?;
        shield.attach(link.index, attachment)?;
        let mut hops = HopsWriter::new();
        let workers = self.roles.workers();
        let ports = (0..workers)
            .map(|worker| {
                let queues = xdp::queues_of(worker, workers, queues);
                self.xdp_port(&link, queues, attachment, &mut hops)
            })
            .collect::<Result<Vec<_>, _>>()?;
        for (queue, socket) in ports.iter().flat_map(XdpPort::sockets) {
            shield.serve(queue, socket)?;
        }
        let packet_bytes = u32::try_from(self.datagram_bytes + HEADERS_BYTES).unwrap_or(u32::MAX);
        let resolver = resolver::Options::new(link.index, self.address.ip(), packet_bytes);
        let resolver = resolver::Options { clients_max: self.clients_max as usize, ..resolver };
        Ok(Ports::Xdp(self.roles.ports(ports)?, Front { shield, hops, resolver }))
    }

    fn xdp_port(
        self,
        link: &Link,
        queues: Vec<u32>,
        attachment: Attachment,
        hops: &mut HopsWriter,
    ) -> Result<XdpPort, XdpError> {
        let mode = match attachment {
            Attachment::Native => Mode::NativeZeroCopy,
            Attachment::Generic => Mode::Generic,
        };
        let options = |mode| xdp::Options {
            interface: link.name.clone(),
            index: link.index,
            queues: queues.clone(),
            mode,
            busy_poll: self.options.busy_poll.then_some(BUSY_POLL),
            socket: self.socket(),
        };
        match XdpPort::open(&options(mode), hops.reader()) {
            // The next rung: the driver runs the program, the kernel copies.
            Err(XdpError::NoZeroCopy(_)) => XdpPort::open(&options(Mode::Native), hops.reader()),
            port => port,
        }
    }

    /// The interface that frames come by: the one that is named, or the one that has the address;
    /// of a VLAN, the one that it is on.
    fn link(self) -> Result<Link, PortsError> {
        let mut netlink = Netlink::open()?;
        let mut link = match &self.options.interface {
            Some(name) => netlink.link_named(name)?,
            None => netlink.link_of(self.address.ip())?,
        };
        if let Some(vlan) = link.vlan {
            let parent = netlink.link(vlan.parent)?;
            link = parent.ok_or(NetlinkError::NoLink(link.name))?;
        }
        if link.is_loopback { Err(PortsError::Loopback(link.name)) } else { Ok(link) }
    }

    fn settings(self) -> Settings {
        let strangers = self.options.strangers;
        Settings {
            address: self.address,
            datagram_bytes: self.datagram_bytes,
            peers_max: self.peers_max,
            clients_max: self.clients_max,
            strangers: Budget { per_second: strangers, burst: strangers.div_ceil(10) },
            per_source: PER_SOURCE,
        }
    }

    fn socket(self) -> udp::Options {
        let shared = self.roles.workers() > 1;
        udp::Options { shared, ..udp::Options::new(self.address, self.datagram_bytes) }
    }

    fn udp(self) -> Result<Ports, PortsError> {
        let options = self.socket();
        let open = |_| UdpPort::open(&options);
        let ports = (0..self.roles.workers()).map(open).collect::<Result<_, _>>()?;
        Ok(Ports::Udp(self.roles.ports(ports)?))
    }

    fn uring(self) -> Result<Ports, PortsError> {
        let options = self.socket();
        let open = |_| UringPort::open(&options);
        let ports = (0..self.roles.workers()).map(open).collect::<Result<_, _>>()?;
        Ok(Ports::Uring(self.roles.ports(ports)?))
    }
}

impl Ports {
    /// What they are, for totals.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Ports::Udp(_) => "udp",
            Ports::Uring(_) => "uring",
            // A worker for which there was no queue has a port that is none.
            Ports::Xdp(ports, _) => ports.iter().find_map(XdpPort::kind).unwrap_or("udp"),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn each<P: fmt::Display>(out: &mut fmt::Formatter<'_>, ports: &[P]) -> fmt::Result {
            for (number, port) in ports.iter().enumerate() {
                write!(out, "{}{port}", if number == 0 { "" } else { "; " })?;
            }
            Ok(())
        }
        match self {
            Ports::Udp(ports) => each(out, ports),
            Ports::Uring(ports) => each(out, ports),
            Ports::Xdp(ports, _) => each(out, ports),
        }
    }
}
