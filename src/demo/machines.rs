//! The demo's machines with `--xdp`: a network of its own for each node, all on one bridge.
//!
//! Each node has one interface, `eth0`, the far end of which is a port of a bridge in the hub,
//! where the authority and the clients are. All of it vanishes with the processes that are in it:
//! nothing of the network of the machine below is touched.

use std::net::{Ipv4Addr, SocketAddr};

use super::DemoError;
use crate::host::namespace::Namespace;

/// Of the range that is kept for benchmarks (RFC 2544), which no network routes.
const BASE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// The hub's address, behind those of all nodes, and the authority's port there.
const HUB: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 18, 0, 254), 7780);
/// Queues of every interface.
const QUEUES: usize = 2;

/// The hub and the nodes' machines.
pub(super) struct Machines {
    hub: Namespace,
    nodes: Vec<Namespace>,
}

impl Machines {
    /// The hub and `count` machines, connected.
    pub(super) fn start(count: usize) -> Result<Self, DemoError> {
        let namespace = || Namespace::new().map_err(DemoError::Namespace);
        let hub = namespace()?;
        hub.ip("link set lo up")?;
        hub.ip("link add br0 type bridge")?;
        hub.ip(&format!("address add {}/24 dev br0", HUB.0))?;
        hub.ip("link set br0 up")?;
        let mut machines = Machines { hub, nodes: Vec::with_capacity(count) };
        for number in 1..=count {
            let node = namespace()?;
            machines.connect(&node, number)?;
            machines.nodes.push(node);
        }
        Ok(machines)
    }

    /// The address before that of the first node.
    pub(super) fn base(&self) -> Ipv4Addr {
        BASE
    }

    /// The authority's address.
    pub(super) fn authority(&self) -> SocketAddr {
        HUB.into()
    }

    /// Where authority and clients are.
    pub(super) fn hub(&self) -> &Namespace {
        &self.hub
    }

    /// The nodes' machines, in order.
    pub(super) fn nodes(&self) -> &[Namespace] {
        &self.nodes
    }

    fn connect(&self, node: &Namespace, number: usize) -> Result<(), DemoError> {
        let there = node.path();
        let there = there.display();
        let queues = format!("numrxqueues {QUEUES} numtxqueues {QUEUES}");
        // Both ends need them: the kernel gives no end more than the other one asked for.
        let near = format!("link add node{number} {queues} type veth");
        let pair = format!("{near} peer name eth0 {queues} netns {there}");
        self.hub.ip(&pair)?;
        self.hub.ip(&format!("link set node{number} master br0 up"))?;
        let host = u8::try_from(number).unwrap_or(u8::MAX);
        let [a, b, c, _] = BASE.octets();
        node.ip("link set lo up")?;
        node.ip(&format!("address add {}/24 dev eth0", Ipv4Addr::new(a, b, c, host)))?;
        Ok(node.ip("link set eth0 up")?)
    }
}
