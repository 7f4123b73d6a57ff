//! Questions to the kernel about interfaces, routes, neighbours and drivers (netlink(7)).
//!
//! A question is one message, its answers are there when the call returns: nothing here is
//! asynchronous, and no worker comes here. [`Netlink`] asks rtnetlink(7), [`netdev::Netdev`] asks
//! drivers, [`events::Events`] tells what changed. All are bound to the network namespace of the
//! thread that opened them. None needs a privilege.
//!
//! What the kernel says is checked like what anybody says: it may be newer than this program.

use std::fmt::Display;
use std::io;
use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;

use socket::Conversation;

#[cfg(test)]
mod captures;
pub mod events;
pub mod links;
pub mod neighbours;
pub mod netdev;
pub mod routes;
mod socket;

/// An ethernet address.
pub type Mac = [u8; 6];

/// Asks about links, routes and neighbours.
#[derive(Debug)]
pub struct Netlink(Conversation);

impl Netlink {
    /// Opens a socket for questions in the network namespace of this thread.
    ///
    /// # Errors
    /// [`NetlinkError::Open`].
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Netlink(Conversation::open(NETLINK_ROUTE)?))
    }

    fn ask(
        &mut self,
        question: RouteNetlinkMessage,
        flags: u16,
        about: &dyn Display,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.0.ask(question, flags, about)
    }
}

/// Why the kernel could not be asked, or what it does not have.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// There is no socket.
    #[error(
        "cannot open a netlink socket: {0}: is a descriptor left, and does a sandbox allow \
         AF_NETLINK (RestrictAddressFamilies of systemd)?"
    )]
    Open(#[source] io::Error),
    /// The kernel refused to answer.
    #[error("cannot ask the kernel for {about}: {source}")]
    Refused {
        /// What was asked.
        about: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// No answer came, though the kernel answers before the call returns.
    #[error("the kernel does not answer for {about}: does a sandbox filter netlink?")]
    Silent {
        /// What was asked.
        about: String,
    },
    /// The answer has a form that this program does not know.
    #[error(
        "cannot read the kernel's answer for {about}: {reason}: is this kernel newer than the \
         program? Update it, or choose the mode that uses sockets"
    )]
    Malformed {
        /// What was asked.
        about: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// No interface has this name or number.
    #[error("there is no interface {0}: `ip link` lists those of this network namespace")]
    NoLink(String),
    /// No interface has this address.
    #[error("address {0} is on no interface of this machine: configure it, or choose another")]
    NoAddress(IpAddr),
    /// Nothing says which interface leads out.
    #[error("this machine has no default route: name the interface, or the address to listen on")]
    NoDefaultRoute,
}

impl NetlinkError {
    fn refused(about: &dyn Display, source: io::Error) -> Self {
        NetlinkError::Refused { about: about.to_string(), source }
    }

    fn malformed(about: &dyn Display, reason: impl Display) -> Self {
        NetlinkError::Malformed { about: about.to_string(), reason: reason.to_string() }
    }

    /// The number of the kernel's refusal, as in errno(3).
    fn refusal(&self) -> Option<i32> {
        let NetlinkError::Refused { source, .. } = self else { return None };
        source.raw_os_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_object_and_the_remedy() {
        let about = "the route to 198.18.0.2";
        let refused = NetlinkError::refused(&about, io::Error::from_raw_os_error(libc::EPERM));
        assert!(refused.to_string().contains(about), "{refused}");
        assert_eq!(refused.refusal(), Some(libc::EPERM));
        let malformed = NetlinkError::malformed(&about, "it is short").to_string();
        assert!(malformed.contains(about) && malformed.contains("it is short"), "{malformed}");
        assert!(malformed.contains("choose the mode that uses sockets"), "{malformed}");
        assert!(NetlinkError::NoLink("eth7".into()).to_string().contains("eth7: `ip link`"));
    }
}
