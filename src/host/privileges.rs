//! Capabilities: which of those that packet input needs this process has, and giving all up.
//!
//! Kernel bypass needs privileges to be set up, never to be used (capabilities(7), bpf(2),
//! Documentation/networking/af_xdp.rst). What works without any of them, by descriptors that are
//! open, on Linux 5.19 and later, whatever `kernel.unprivileged_bpf_disabled` says:
//!
//! - reading and writing BPF maps of every kind: `__sys_bpf` in kernel/bpf/syscall.c asks for a
//!   privilege only to create maps and load programs. (Before 5.19 it asked for one for every
//!   command, unless that setting was 0.)
//! - an attached program goes on running; closing its `bpf_link` still detaches it;
//! - AF_XDP sockets: rings, `sendto`, `recvfrom`, `poll`, `epoll`, `XDP_STATISTICS`, even binding
//!   one that is open;
//! - netlink questions and notifications.
//!
//! Not any more: another AF_XDP socket, map or program, attaching, `SO_PREFER_BUSY_POLL`, socket
//! buffers and packet memory beyond the limits, ports below 1024, real-time scheduling.
//!
//! User 0 keeps what it may do as the owner of files, like any other user, but no longer passes
//! over permissions: what belongs to another user, or what its own mode forbids, is closed to it.
//!
//! In a user namespace of its own (a container without root) a process may have all of them and
//! still not be allowed to load programs: for that the kernel asks for CAP_BPF outside.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;

use caps::errors::CapsError;
use caps::{CapSet, Capability};

/// One of the privileges that setting up kernel bypass takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Loads the XDP program and makes its maps.
    Bpf,
    /// Attaches the program, forces socket buffers, asks for busy polling.
    NetAdmin,
    /// Opens AF_XDP sockets.
    NetRaw,
    /// Locks packet memory beyond the memlock limit.
    IpcLock,
}

impl Privilege {
    /// All of them.
    pub const ALL: [Privilege; 4] =
        [Privilege::Bpf, Privilege::NetAdmin, Privilege::NetRaw, Privilege::IpcLock];

    /// Its name as systemd.exec(5) and setcap(8) write it.
    pub fn name(self) -> &'static str {
        match self {
            Privilege::Bpf => "CAP_BPF",
            Privilege::NetAdmin => "CAP_NET_ADMIN",
            Privilege::NetRaw => "CAP_NET_RAW",
            Privilege::IpcLock => "CAP_IPC_LOCK",
        }
    }

    /// Whether this thread has it now.
    pub fn is_effective(self) -> bool {
        let capability = match self {
            Privilege::Bpf => Capability::CAP_BPF,
            Privilege::NetAdmin => Capability::CAP_NET_ADMIN,
            Privilege::NetRaw => Capability::CAP_NET_RAW,
            Privilege::IpcLock => Capability::CAP_IPC_LOCK,
        };
        let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
        // CAP_SYS_ADMIN has all that CAP_BPF was split off from.
        has(capability) || self == Privilege::Bpf && has(Capability::CAP_SYS_ADMIN)
    }
}

impl std::fmt::Display for Privilege {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

/// Those of [`Privilege::ALL`] that this thread does not have.
pub fn missing() -> Vec<Privilege> {
    Privilege::ALL.into_iter().filter(|privilege| !privilege.is_effective()).collect()
}

/// Why not all privileges are gone; the process must not go on.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// The kernel refused a step.
    #[error("cannot {step}: {source}: start without privileges, or choose the mode with sockets")]
    Refused {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel says that some are left.
    #[error(
        "privileges are left after they were given up ({0}): does something around the program \
         (a security module, a container) give them back?"
    )]
    Left(String),
}

/// Gives up every privilege of the calling thread for good: effective, permitted, inheritable,
/// ambient and, where it may, bounding; no program that it starts gets any either. Threads that it
/// starts have none.
///
/// # Errors
/// [`DropError`]; the process must end then.
pub fn drop_of_thread() -> Result<(), DropError> {
    give_up_new_privileges()?;
    bound_nothing()?;
    // In this order: no set may hold more than the one that it is a part of.
    clear(CapSet::Ambient, "clear the ambient capabilities")?;
    clear(CapSet::Effective, "clear the effective capabilities")?;
    clear(CapSet::Permitted, "clear the permitted capabilities")?;
    clear(CapSet::Inheritable, "clear the inheritable capabilities")
}

/// As [`drop_of_thread`]; then reads back what the kernel says of every thread of this process.
/// Threads that run already must have given up theirs: the kernel has them by thread.
///
/// # Errors
/// [`DropError`]; the process must end then.
pub fn drop_all() -> Result<(), DropError> {
    drop_of_thread()?;
    let refused =
        |source| DropError::Refused { step: "list the threads in /proc/self/task", source };
    for thread in fs::read_dir("/proc/self/task").map_err(refused)? {
        confirm(&thread.map_err(refused)?.path().join("status"))?;
    }
    Ok(())
}

/// A program that user 0 starts would have all privileges again, and so would one with
/// capabilities of its own, but for this (Documentation/userspace-api/no_new_privs.rst).
fn give_up_new_privileges() -> Result<(), DropError> {
    // SAFETY: no memory is involved; the call only sets a flag of this thread.
    let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if set == 0 {
        return Ok(());
    }
    let source = io::Error::last_os_error();
    Err(DropError::Refused { step: "give up new privileges", source })
}

/// Only CAP_SETPCAP allows it; without it no_new_privs does the same.
fn bound_nothing() -> Result<(), DropError> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        clear(CapSet::Bounding, "clear the bounding set of capabilities")?;
    }
    Ok(())
}

fn clear(set: CapSet, step: &'static str) -> Result<(), DropError> {
    let refused = |error: CapsError| DropError::Refused { step, source: io::Error::other(error) };
    caps::clear(None, set).map_err(refused)
}

/// Whether the kernel's own account of a thread has nothing left.
fn confirm(status: &Path) -> Result<(), DropError> {
    let account = match fs::read_to_string(status) {
        // It has ended meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        account => account,
    };
    let step = "read the status of a thread in /proc/self/task";
    let account = account.map_err(|source| DropError::Refused { step, source })?;
    left(&account).map_or(Ok(()), |left| Err(DropError::Left(left)))
}

/// The first line of `status` (proc_pid_status(5)) that is not as it must be, or that is missing.
fn left(status: &str) -> Option<String> {
    let value = |name: &str| Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim());
    for name in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        let set = value(name).and_then(|text| u64::from_str_radix(text, 16).ok());
        if set != Some(0) {
            return Some(format!("{name} {}", value(name).unwrap_or("missing")));
        }
    }
    let may_gain = value("NoNewPrivs:") != Some("1");
    may_gain.then(|| "NoNewPrivs is not set".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: &str = "Name:\tmixline\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
        CapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000000\n\
        NoNewPrivs:\t1\n";

    #[test]
    fn nothing_is_left_when_the_kernel_says_so() {
        assert_eq!(left(NOTHING), None);
    }

    #[test]
    fn one_capability_in_any_set_is_named() {
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let one = NOTHING.replace(
                &format!("{set}:\t0000000000000000"),
                &format!("{set}:\t0000000000002000"),
            );
            assert_eq!(left(&one), Some(format!("{set}: 0000000000002000")));
        }
    }

    #[test]
    fn an_account_that_cannot_be_read_counts_as_privileged() {
        assert_eq!(left(""), Some("CapEff: missing".into()));
        let garbled = NOTHING.replace("CapEff:\t0000000000000000", "CapEff:\tnone");
        assert_eq!(left(&garbled), Some("CapEff: none".into()));
        assert!(left(&NOTHING.replace("NoNewPrivs:\t1", "NoNewPrivs:\t0")).is_some());
    }
}
