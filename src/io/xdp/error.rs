//! Why a queue cannot be had, and what to do about it.

use crate::io::OpenError;
use std::fmt;
use std::io;

/// One receive and send queue of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The interface, as people call it.
    pub interface: String,
    /// The interface, as the kernel counts it.
    pub index: u32,
    /// Which of its queues, from 0.
    pub queue: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "queue {} of {}", self.queue, self.interface)
    }
}

/// Why an AF_XDP port could not be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// A capability is missing.
    #[error(
        "no permission for AF_XDP on {0}: grant cap_net_raw, cap_net_admin and cap_bpf \
             (AmbientCapabilities in systemd, setcap), or choose another mode"
    )]
    Permission(Place),
    /// The kernel lacks it.
    #[error("this kernel has no AF_XDP, wanted for {0}: choose another mode")]
    NoFamily(Place),
    /// More memory than may be locked.
    #[error(
        "packet memory of {bytes} bytes for {place} is above the limit of locked memory: grant \
             cap_ipc_lock, or raise the limit (LimitMEMLOCK in systemd, ulimit -l)"
    )]
    MemoryLimit {
        /// The queue it is for.
        place: Place,
        /// How much it is.
        bytes: usize,
    },
    /// Another socket has the queue.
    #[error("{0} has an AF_XDP socket: stop the program that holds it, or choose another queue")]
    Busy(Place),
    /// The interface is gone.
    #[error("there is no interface for {0}: name one that `ip link` lists")]
    NoInterface(Place),
    /// The interface is down.
    #[error("{0} is down: `ip link set {interface} up`", interface = .0.interface)]
    Down(Place),
    /// It has fewer queues.
    #[error("there is no {0}: `ethtool -l {interface}` says how many it has",
        interface = .0.interface)]
    NoQueue(Place),
    /// The driver cannot do without a copy.
    #[error("the driver of {0} has no zero-copy for AF_XDP: choose native or generic mode")]
    NoZeroCopy(Place),
    /// The datagram fits no frame.
    #[error("datagrams of {0} bytes are too long for AF_XDP: choose a shorter payload")]
    TooLong(usize),
    /// The ordinary socket beside it could not be opened.
    #[error(transparent)]
    Socket(#[from] OpenError),
    /// The kernel refused one step for a reason of its own.
    #[error("cannot {step} for {place}: {source}")]
    Refused {
        /// What was tried.
        step: &'static str,
        /// For which queue.
        place: Place,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl XdpError {
    /// What the kernel's answer to `step` means.
    pub(super) fn refused(step: &'static str, place: &Place, source: io::Error) -> Self {
        let place = place.clone();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => XdpError::Permission(place),
            Some(libc::EAFNOSUPPORT) => XdpError::NoFamily(place),
            Some(libc::EMFILE | libc::ENFILE) => OpenError::Descriptors.into(),
            _ => XdpError::Refused { step, place, source },
        }
    }
}
