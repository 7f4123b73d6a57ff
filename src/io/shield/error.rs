//! What can go wrong with the shield, and what to do about it.

use super::Attachment;

/// Why the shield could not be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum ShieldError {
    /// The process may not.
    #[error("no permission to {step}: grant {capabilities} (AmbientCapabilities), or run as root")]
    Permission {
        /// What was tried, on which object.
        step: String,
        /// What it takes.
        capabilities: &'static str,
    },
    /// The kernel has no memory for the tables.
    #[error(
        "no memory to load the XDP program: raise the limit of the service (MemoryMax, \
             LimitMEMLOCK), or lower the number of clients"
    )]
    Memory,
    /// The kernel does not take the program.
    #[error(
        "this kernel does not take the XDP program ({0}): it takes Linux 5.19 or later with \
             CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS"
    )]
    Kernel(libbpf_rs::Error),
    /// There is no such interface.
    #[error("there is no network interface with the index {0}: see `ip link`")]
    NoInterface(u32),
    /// The interface has a program.
    #[error(
        "{program} is attached to {interface}, which takes one: stop what uses it, or remove it \
             with `ip link set dev {interface} xdp off`"
    )]
    Occupied {
        /// Where.
        interface: String,
        /// What, as far as this process may know.
        program: String,
    },
    /// The driver does not know XDP.
    #[error("the driver of {0} has no native XDP: use the generic mode")]
    NoNative(String),
    /// The interface could, if it were set up otherwise.
    #[error(
        "{interface} takes no XDP program in {attachment} mode as it is set up ({source}): lower \
             its MTU to 1500, turn off coalescing (`ethtool -K {interface} lro off`), or use \
             fewer queues"
    )]
    Unsuitable {
        /// Which interface.
        interface: String,
        /// How it was tried.
        attachment: Attachment,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The program has no place for such a queue.
    #[error(
        "receive queue {queue} cannot be served, only those below {queues_max}: lower the \
             number of queues with `ethtool -L`"
    )]
    QueueTooHigh {
        /// Which queue.
        queue: u32,
        /// How many can be.
        queues_max: u32,
    },
    /// A table has no place left; nothing was changed.
    #[error("the shield has places for {places} {guests}, which are all taken")]
    Full {
        /// Peers or clients.
        guests: &'static str,
        /// How many there may be.
        places: u32,
    },
    /// The kernel refused one step for a reason of its own.
    #[error("cannot {step}: {source}")]
    Refused {
        /// What was tried, on which object.
        step: String,
        /// The kernel's answer.
        source: libbpf_rs::Error,
    },
}

impl ShieldError {
    pub(super) fn refused(step: impl Into<String>, source: libbpf_rs::Error) -> Self {
        ShieldError::Refused { step: step.into(), source }
    }
}
