//! The program and its tables, as `build.rs` makes them out of `bpf/`.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Once;

use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{Error, ErrorKind, MapHandle, PrintLevel};

use super::{Budget, Settings, ShieldError};
pub(super) use generated::types;
use generated::{OpenShieldSkel, ShieldSkel, ShieldSkelBuilder};

#[expect(
    unreachable_pub,
    unused_qualifications,
    clippy::unwrap_used,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "generated"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/shield.rs"));
}

/// An address as the program knows it: of IPv6, or of IPv4 inside IPv6.
pub(super) type Address = [u8; 16];

/// An address and a port as the program knows them, `struct shield_endpoint`.
pub(super) type Endpoint = [u8; 20];

const _: () = assert!(size_of::<Address>() == size_of::<types::shield_address>());
const _: () = assert!(size_of::<Endpoint>() == size_of::<types::shield_endpoint>());

/// What is loaded into the kernel: it stays there as long as these descriptors.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) program: OwnedFd,
    pub(super) sockets: MapHandle,
    pub(super) peers: MapHandle,
    pub(super) clients: MapHandle,
    pub(super) counters: MapHandle,
}

pub(super) fn load(settings: &Settings) -> Result<Program, ShieldError> {
    quieten();
    let mut place = MaybeUninit::uninit();
    let mut opened = ShieldSkelBuilder::default().open(&mut place).map_err(explain)?;
    configure(&mut opened, settings).map_err(explain)?;
    let loaded = opened.load().map_err(explain)?;
    keep(&loaded).map_err(|error| ShieldError::refused("keep the XDP program", error))
}

fn configure(opened: &mut OpenShieldSkel<'_>, settings: &Settings) -> Result<(), Error> {
    // Two sets of peers, so that the next can be added before the last is removed. The kernel
    // makes no table without a place.
    let peers_max = settings.peers_max.saturating_mul(2).max(2);
    opened.maps.peers.set_max_entries(peers_max)?;
    opened.maps.clients.set_max_entries(settings.clients_max.max(1))?;
    let constants = opened.maps.rodata_data.as_mut().expect("the program has constants");
    constants.settings = in_program(settings);
    Ok(())
}

/// The skeleton ends here: what is kept are descriptors of our own.
fn keep(loaded: &ShieldSkel<'_>) -> Result<Program, Error> {
    Ok(Program {
        program: loaded.progs.shield.as_fd().try_clone_to_owned()?,
        sockets: MapHandle::try_from(&loaded.maps.sockets)?,
        peers: MapHandle::try_from(&loaded.maps.peers)?,
        clients: MapHandle::try_from(&loaded.maps.clients)?,
        counters: MapHandle::try_from(&loaded.maps.counters)?,
    })
}

fn explain(error: Error) -> ShieldError {
    match error.kind() {
        ErrorKind::PermissionDenied => ShieldError::Permission {
            step: "load the XDP program".into(),
            capabilities: "cap_bpf and cap_net_admin",
        },
        ErrorKind::OutOfMemory => ShieldError::Memory,
        _ => ShieldError::Kernel(error),
    }
}

/// What libbpf has to say belongs to those who look for a fault: the error says what to do.
fn quieten() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let to_log = |_, line: String| tracing::debug!("libbpf: {}", line.trim_end());
        libbpf_rs::set_print(Some((PrintLevel::Info, to_log)));
    });
}

fn in_program(settings: &Settings) -> types::shield_settings {
    let unspecified = settings.address.ip().is_unspecified();
    types::shield_settings {
        source: settings.per_source.in_program(),
        strangers: settings.strangers.in_program(),
        node: types::shield_endpoint {
            address: words(inside_ipv6(settings.address.ip())),
            port: settings.address.port().to_be(),
            zero: 0,
        },
        any_ipv4: u8::from(unspecified),
        any_ipv6: u8::from(unspecified && settings.address.is_ipv6()),
        datagram_bytes: u16::try_from(settings.datagram_bytes).expect("UDP takes no more"),
    }
}

impl Budget {
    fn in_program(self) -> types::shield_budget {
        // The shortest interval and no depth: nothing fits, as for a burst of 0.
        let Some(interval_ns) = 1_000_000_000u64.checked_div(self.per_second.into()) else {
            return types::shield_budget { interval_ns: 1, depth_ns: 0 };
        };
        let interval_ns = interval_ns.max(1);
        types::shield_budget { interval_ns, depth_ns: interval_ns * u64::from(self.burst) }
    }
}

/// The bytes of an address on the wire.
pub(super) fn inside_ipv6(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The bytes of an address and a port on the wire, and two zeros.
pub(super) fn endpoint(address: SocketAddr) -> Endpoint {
    let mut endpoint = [0; size_of::<Endpoint>()];
    let (ip, rest) = endpoint.split_at_mut(size_of::<Address>());
    ip.copy_from_slice(&inside_ipv6(address.ip()));
    rest[..2].copy_from_slice(&address.port().to_be_bytes());
    endpoint
}

fn words(address: Address) -> types::shield_address {
    let (words, _) = address.as_chunks::<4>();
    types::shield_address { words: std::array::from_fn(|place| u32::from_ne_bytes(words[place])) }
}
