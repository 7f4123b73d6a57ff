//! AF_XDP ports on hosts of a test's own network.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mixline::io::udp;
use mixline::io::xdp::hops::{Hop, Hops, HopsWriter};
use mixline::io::xdp::{Mode, Options, XdpPort};
use mixline::wire::Ethernet;

use crate::hosts::{Host, INTERFACE, mac, v4, v6};
use crate::redirect::Redirect;

/// The UDP port of all.
pub(crate) const PORT: u16 = 4000;

/// How to open a port on `host` over the queues from 0 to `queues`.
pub(crate) fn options(host: &Host, ip: IpAddr, mode: Mode, queues: u32, bytes: usize) -> Options {
    Options {
        interface: INTERFACE.into(),
        index: host.index,
        queues: (0..queues).collect(),
        mode,
        busy_poll: None,
        socket: udp::Options::new(SocketAddr::new(ip, PORT), bytes),
    }
}

/// The hops from `host` to the neighbours with these numbers, by one VLAN or none.
pub(crate) fn hops(host: &Host, numbers: impl Iterator<Item = u8>, tag: Option<u16>) -> Hops {
    let own = host.number;
    let entries = numbers.flat_map(|number| {
        let ethernet = Ethernet { destination: mac(number), source: mac(own), vlan_tag: tag };
        [v4, v6].map(|ip| (ip(number), Arc::new(Hop::new(ethernet, ip(own)))))
    });
    entries.collect()
}

/// A port with `hops`, served by a program that lives as long as the second value.
pub(crate) fn open(host: &Host, options: &Options, hops: Hops) -> (XdpPort, Redirect) {
    let mut writer = HopsWriter::new();
    writer.publish(hops);
    let reader = writer.reader();
    host.namespace.enter(|| {
        let is_native = options.mode != Mode::Generic;
        let program = Redirect::attach(host.index, is_native, PORT).expect("the program attaches");
        let port = XdpPort::open(options, reader).expect("the queues are free");
        for (queue, socket) in port.sockets() {
            program.serve(queue, socket).expect("the map has room");
        }
        (port, program)
    })
}
