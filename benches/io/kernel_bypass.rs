//! AF_XDP for the benchmark: a port over all queues of its interface, with the real shield in
//! front, which knows the generator as a peer.

use crate::network::{self, INSIDE, NOBODY, OUTSIDE, QUEUES};
use mixline::io::shield::{Attachment, Budget, Settings, Shield};
use mixline::io::udp;
use mixline::io::xdp::hops::{Hop, Hops, HopsWriter};
use mixline::io::xdp::{self, Mode, XdpPort};
use mixline::sphinx::Geometry;
use mixline::wire::Ethernet;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Nobody else sends here.
const STRANGERS: Budget = Budget { per_second: 1, burst: 1 };

/// The port at `address` of this thread's network, and what must last as long.
pub(crate) fn open(
    address: SocketAddr,
    attachment: Attachment,
) -> Result<(XdpPort, Shield), Box<dyn Error>> {
    let index = network::interface(INSIDE.0)?;
    let datagram_bytes = Geometry::DEFAULT.datagram_bytes();
    let mut shield = Shield::load(&Settings {
        address,
        datagram_bytes,
        peers_max: 1,
        clients_max: 1,
        strangers: STRANGERS,
        per_source: STRANGERS,
    })?;
    shield.guests().set_peers([IpAddr::V4(OUTSIDE.1)])?;
    shield.attach(index, attachment)?;
    let options = xdp::Options {
        interface: INSIDE.0.into(),
        index,
        queues: (0..QUEUES).collect(),
        mode: match attachment {
            Attachment::Native => Mode::Native,
            Attachment::Generic => Mode::Generic,
        },
        busy_poll: None,
        socket: udp::Options::new(address, datagram_bytes),
    };
    let mut hops = HopsWriter::new();
    hops.publish(next_hop());
    let port = XdpPort::open(&options, hops.reader())?;
    for (queue, socket) in port.sockets() {
        shield.serve(queue, socket)?;
    }
    Ok((port, shield))
}

/// All that the forwarder sends goes one way.
fn next_hop() -> Hops {
    let ethernet = Ethernet { destination: NOBODY, source: INSIDE.2, vlan_tag: None };
    let hop = Arc::new(Hop::new(ethernet, IpAddr::V4(INSIDE.1)));
    [(IpAddr::V4(OUTSIDE.1), hop)].into_iter().collect()
}
