//! A network of hosts on this machine: network namespaces without a name, joined by veth pairs.
//!
//! A namespace lives as long as the file that holds it, and its interfaces with it: nothing is
//! left behind however a test ends.

#![allow(unsafe_code)]

use std::env;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::thread;

use mixline::host;
use mixline::wire::Mac;

/// What is missing fails a test where this is set, as in `.ci/run`.
const REQUIRE: &str = "MIXLINE_REQUIRE_XDP";

/// The name of every host's interface.
pub(crate) const INTERFACE: &str = "eth0";

/// Whether this machine can run the test `name`; says why if not.
pub(crate) fn is_possible(name: &str) -> bool {
    let Err(missing) = look() else { return true };
    assert!(env::var_os(REQUIRE).is_none(), "{name}: {missing}");
    eprintln!("SKIP {name}: {missing}");
    false
}

fn look() -> Result<(), String> {
    if host::user() != 0 {
        return Err("it needs root: for network namespaces, bpf and AF_XDP".into());
    }
    let tried = Command::new("ip").arg("-V").output();
    tried.map_err(|error| format!("cannot run ip: {error}: install iproute2"))?;
    Namespace::new().map_err(|error| format!("cannot make network namespaces: {error}"))?;
    Ok(())
}

/// A network namespace.
pub(crate) struct Namespace(pub(crate) host::namespace::Namespace);

impl Namespace {
    /// A new one, whose loopback is up.
    pub(crate) fn new() -> io::Result<Self> {
        let namespace = Namespace(host::namespace::Namespace::new()?);
        namespace.enter(|| {
            // Some machines disable it for every new namespace.
            let _ = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0");
            ip("link set lo up");
        });
        Ok(namespace)
    }

    /// Runs `work` on a thread of this namespace; what it opens stays in it.
    pub(crate) fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let inside = || {
            self.0.enter().expect("it is ours");
            work()
        };
        thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

/// Runs `ip` with these words in the namespace of this thread.
pub(crate) fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().expect("ip starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {said}");
}

/// A host with one interface.
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    /// Its number, which is the end of all its addresses.
    pub(crate) number: u8,
    /// The number that the kernel gave its interface.
    pub(crate) index: u32,
}

impl Host {
    /// Gives the interface that `namespace` has the addresses of host `number`.
    pub(crate) fn new(namespace: Namespace, number: u8) -> Self {
        let index = namespace.enter(|| {
            let mac = mac(number).map(|byte| format!("{byte:02x}")).join(":");
            ip(&format!("link set {INTERFACE} address {mac}"));
            ip(&format!("address add {}/24 dev {INTERFACE}", v4(number)));
            ip(&format!("address add {}/64 dev {INTERFACE} nodad", v6(number)));
            ip(&format!("link set {INTERFACE} up"));
            // SAFETY: the name is a live text that ends with a zero.
            unsafe { libc::if_nametoindex(c"eth0".as_ptr()) }
        });
        assert_ne!(index, 0, "{INTERFACE}: {}", io::Error::last_os_error());
        Host { namespace, number, index }
    }
}

pub(crate) fn namespace() -> Namespace {
    Namespace::new().expect("it was tried before")
}

/// A wire from the interface of `near` to one of another namespace.
pub(crate) fn wire(near: &Namespace, (far, name): (&Namespace, &str), queues: u32) {
    let ends = format!("numrxqueues {queues} numtxqueues {queues}");
    let far = far.0.path();
    let far = far.display();
    near.enter(|| {
        ip(&format!("link add {INTERFACE} {ends} type veth peer name {name} {ends} netns {far}"));
    });
}

/// The ethernet address of host `number`.
pub(crate) fn mac(number: u8) -> Mac {
    [2, 0, 0, 0, 0, number]
}

/// An address that is reserved for benchmarks (RFC 2544).
pub(crate) fn v4(number: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, 0, number).into()
}

/// The same of IPv6 (RFC 5180).
pub(crate) fn v6(number: u8) -> IpAddr {
    Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, number.into()).into()
}
