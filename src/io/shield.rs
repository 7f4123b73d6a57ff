//! The shield: an XDP program in front of the network stack, from user space.
//!
//! It drops what the node would drop before it costs anything, bounds what strangers can take of
//! the node's time, and redirects the rest into the node's own sockets (AF_XDP). The program is
//! `bpf/shield.bpf.c`, what it is worth and what it costs stands in `docs/packet-io.md`. Loading
//! and attaching need privileges; the handles that are left afterwards need none.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::sync::Arc;

pub use counters::{Reason, ShieldCounters};
pub use error::ShieldError;
pub use guests::Guests;

use libbpf_rs::{MapCore as _, MapFlags};
use link::Link;
use program::Program;

mod counters;
mod error;
mod guests;
mod link;
mod program;

/// What the shield lets in, and how many it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the node receives; an unspecified address is every one of the machine's, and that of
    /// IPv6 serves IPv4 as well. Everything else passes untouched.
    pub address: SocketAddr,
    /// The length of every datagram.
    pub datagram_bytes: usize,
    /// The most peers of one epoch.
    pub peers_max: u32,
    /// The most clients with a session.
    pub clients_max: u32,
    /// For all strangers together.
    pub strangers: Budget,
    /// For each stranger: an IPv4 address, or a /64 of IPv6.
    pub per_source: Budget,
}

/// How many datagrams are let in: a burst at once, and so many every second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Every second, as a whole number of nanoseconds between two: up to a million a second this
    /// is exact to a thousandth. With 0, nothing is let in.
    pub per_second: u32,
    /// At once, after a silence. With 0, nothing is let in.
    pub burst: u32,
}

/// Where a program is attached: an interface takes one at a time, in one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// In the driver, before the kernel makes a packet of a frame.
    Native,
    /// In the kernel's stack: slower, with every driver.
    Generic,
}

impl fmt::Display for Attachment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Attachment::Native => "native",
            Attachment::Generic => "generic",
        })
    }
}

/// The loaded program. When it is dropped, or when the process dies in whatever way, the
/// interface is as before.
#[derive(Debug)]
pub struct Shield {
    program: Arc<Program>,
    link: Option<Link>,
}

impl Shield {
    /// Gives the program to the kernel. It knows nobody, and sees nothing until it is attached.
    ///
    /// # Errors
    /// Which privilege is missing, or why the kernel takes no such program.
    ///
    /// # Panics
    /// If no datagram can be as long as the settings say.
    pub fn load(settings: &Settings) -> Result<Self, ShieldError> {
        Ok(Shield { program: Arc::new(program::load(settings)?), link: None })
    }

    /// Puts it before everything that `interface` (its index) receives; away from where it was.
    ///
    /// # Errors
    /// What holds the interface, or why it takes no program in this way.
    pub fn attach(&mut self, interface: u32, attachment: Attachment) -> Result<(), ShieldError> {
        self.link = None;
        self.link = Some(Link::new(self.program.program.as_fd(), interface, attachment)?);
        Ok(())
    }

    /// Directs what comes by receive queue `queue` of the interface to an AF_XDP `socket`, which
    /// must have its memory and its rings. When the socket is closed, the kernel's socket of the
    /// same address gets what comes.
    ///
    /// # Errors
    /// When there is no such queue, or the socket is of another kind.
    pub fn serve(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), ShieldError> {
        let sockets = &self.program.sockets;
        let queues_max = sockets.max_entries();
        if queue >= queues_max {
            return Err(ShieldError::QueueTooHigh { queue, queues_max });
        }
        let socket = socket.as_raw_fd().to_ne_bytes();
        sockets.update(&queue.to_ne_bytes(), &socket, MapFlags::ANY).map_err(|error| {
            ShieldError::refused(format!("direct queue {queue} to a socket"), error)
        })
    }

    /// The lists of those who are not strangers.
    pub fn guests(&self) -> Guests {
        Guests::new(self.program.clone())
    }

    /// What happened so far, on all cores together.
    ///
    /// # Errors
    /// When the kernel does not tell: before Linux 5.19 it does not after privileges are dropped.
    pub fn counters(&self) -> Result<ShieldCounters, ShieldError> {
        counters::read(&self.program.counters)
    }

    /// The program itself, for whoever wants to ask the kernel about it.
    pub fn program(&self) -> BorrowedFd<'_> {
        self.program.program.as_fd()
    }
}
