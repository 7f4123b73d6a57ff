//! The table `port` of a node's file: how packets come in and go out.

use super::values::Count;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// Most datagrams a second that strangers may send through the shield.
const STRANGERS_MAX: usize = 1_000_000;
/// What a node that says nothing lets through: about what its control thread can answer.
const STRANGERS_DEFAULT: usize = 4000;
/// The longest name of an interface, IFNAMSIZ without its zero byte.
const NAME_BYTES_MAX: usize = 15;

/// How packets come in and go out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOptions {
    /// By which way of the kernel's.
    pub mode: PortMode,
    /// On which interface, where it is named; otherwise on the one that has the node's address.
    pub interface: Option<String>,
    /// Whether workers look for packets in the driver's queues themselves.
    pub busy_poll: bool,
    /// Datagrams a second that all strangers together may send.
    pub strangers: u32,
}

/// By which way of the kernel's packets come in and go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortMode {
    /// The fastest that this machine offers.
    #[default]
    Auto,
    /// AF_XDP in the driver of the interface.
    Xdp,
    /// AF_XDP behind the driver: slower, on any interface.
    XdpGeneric,
    /// UDP sockets by io_uring.
    Uring,
    /// UDP sockets by recvmmsg and sendmmsg.
    Udp,
}

impl PortMode {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            PortMode::Auto => "auto",
            PortMode::Xdp => "xdp",
            PortMode::XdpGeneric => "xdp-generic",
            PortMode::Uring => "uring",
            PortMode::Udp => "udp",
        }
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PortText {
    mode: PortMode,
    #[serde(deserialize_with = "interface")]
    interface: Option<String>,
    busy_poll: bool,
    strangers: Count<1, STRANGERS_MAX>,
}

impl Default for PortText {
    fn default() -> Self {
        PortText {
            mode: PortMode::Auto,
            interface: None,
            busy_poll: false,
            strangers: Count(STRANGERS_DEFAULT),
        }
    }
}

impl PortText {
    pub(super) fn check(self) -> PortOptions {
        PortOptions {
            mode: self.mode,
            interface: self.interface,
            busy_poll: self.busy_poll,
            strangers: u32::try_from(self.strangers.0).unwrap_or(u32::MAX),
        }
    }
}

impl Default for PortOptions {
    fn default() -> Self {
        PortText::default().check()
    }
}

/// The name of an interface, as the kernel allows it.
fn interface<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(from)?;
    let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
    match is_name {
        true => Ok(Some(name)),
        false => Err(D::Error::custom(format!(
            "{name:?} is no name of an interface: use one that `ip link` shows"
        ))),
    }
}
