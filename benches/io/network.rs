//! Two hosts and a cable between them: network namespaces without a name, joined by a pair of
//! interfaces. The kernel removes all of it when this process ends, however it ends.

#![allow(unsafe_code)]

use mixline::host::namespace::Namespace;
use mixline::wire::{Ends, Ethernet, Headers, Mac};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

/// The end of the cable where datagrams come from, and where answers end.
pub(crate) const OUTSIDE: (&str, Ipv4Addr, Mac) =
    ("outside", Ipv4Addr::new(198, 18, 0, 1), [2, 0, 0, 0, 0, 1]);
/// The end where the forwarder is.
pub(crate) const INSIDE: (&str, Ipv4Addr, Mac) =
    ("inside", Ipv4Addr::new(198, 18, 0, 2), [2, 0, 0, 0, 0, 2]);
/// What the forwarder believes to be the address of its next hop. The outside does not own it, so
/// it drops answers at the first look, in the same way whatever port sent them.
pub(crate) const NOBODY: Mac = [2, 0, 0, 0, 0, 3];
/// How many queues each end has.
pub(crate) const QUEUES: u32 = 4;

/// The two namespaces.
pub(crate) struct Network {
    outside: Namespace,
    inside: Namespace,
}

impl Network {
    /// Makes them; afterwards this thread is outside. `napi`: whether frames are received in
    /// batches, as from a card, without an XDP program.
    pub(crate) fn new(napi: bool) -> io::Result<Self> {
        let (outside, inside) = (Namespace::new()?, Namespace::new()?);
        let network = Network { outside, inside };
        network.enter_outside()?;
        let there = network.inside.path();
        let there = there.display();
        let queues = format!("numrxqueues {QUEUES} numtxqueues {QUEUES}");
        let (out, inn) = (OUTSIDE.0, INSIDE.0);
        ip(&format!("link add {out} {queues} type veth peer name {inn} {queues} netns {there}"))?;
        set_up(OUTSIDE)?;
        network.enter_inside()?;
        set_up(INSIDE)?;
        let (next_hop, nobody) = (OUTSIDE.1, written(NOBODY));
        ip(&format!("neigh replace {next_hop} lladdr {nobody} dev {inn} nud permanent"))?;
        if napi {
            run("ethtool", &format!("-K {inn} gro on"))?;
        }
        network.enter_outside()?;
        Ok(network)
    }

    /// Moves this thread, and what it opens from now on, to the generator's end.
    pub(crate) fn enter_outside(&self) -> io::Result<()> {
        self.outside.enter()
    }

    /// Moves this thread, and what it opens from now on, to the forwarder's end.
    pub(crate) fn enter_inside(&self) -> io::Result<()> {
        self.inside.enter()
    }
}

/// What a datagram from `first_port` of the outside to `port` of the inside begins with.
pub(crate) fn headers(first_port: u16, port: u16) -> Headers {
    let ethernet = Ethernet { destination: INSIDE.2, source: OUTSIDE.2, vlan_tag: None };
    let source = SocketAddrV4::new(OUTSIDE.1, first_port);
    let destination = SocketAddrV4::new(INSIDE.1, port);
    Headers { ethernet, ends: Ends::V4 { source, destination } }
}

/// The kernel's number of an interface of this thread's namespace.
pub(crate) fn interface(name: &str) -> io::Result<u32> {
    let name = std::ffi::CString::new(name)?;
    // SAFETY: the name ends with a zero byte and outlives the call.
    let number = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if number == 0 { Err(io::Error::last_os_error()) } else { Ok(number) }
}

fn set_up((name, address, mac): (&str, Ipv4Addr, Mac)) -> io::Result<()> {
    let mac = written(mac);
    ip("link set lo up")?;
    ip(&format!("link set {name} address {mac}"))?;
    ip(&format!("address add {address}/24 dev {name}"))?;
    ip(&format!("link set {name} up"))
}

fn written(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn ip(words: &str) -> io::Result<()> {
    run("ip", words)
}

/// Runs a program in this thread's namespace.
fn run(program: &str, words: &str) -> io::Result<()> {
    let failed =
        |why: &dyn std::fmt::Display| io::Error::other(format!("{program} {words}: {why}"));
    let output = Command::new(program).args(words.split(' ')).output();
    let output = output.map_err(|error| failed(&error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(failed(&said.trim())) }
}
