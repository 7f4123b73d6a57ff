//! Network namespaces: networks of their own on one machine.
//!
//! A namespace lives as long as somebody holds it or is in it, so nothing has to be cleaned up.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

/// A network namespace, held.
#[derive(Debug)]
pub struct Namespace(File);

/// Why `ip` did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum IpError {
    /// It did not start.
    #[error("cannot start ip (package iproute2): {0}")]
    Start(io::Error),
    /// It refused.
    #[error("ip {words}: {said}")]
    Refused {
        /// What it was told.
        words: String,
        /// What it said.
        said: String,
    },
}

impl Namespace {
    /// A new one, with nothing in it but a loopback interface that is down.
    ///
    /// # Errors
    /// What the kernel answered: most likely that CAP_SYS_ADMIN is missing.
    pub fn new() -> io::Result<Self> {
        // Namespaces belong to threads, and this one must stay where it is.
        let made = thread::Builder::new().name("namespace".into()).spawn(unshare)?.join();
        made.unwrap_or_else(|_| Err(io::Error::other("its thread ended early")))
    }

    /// Moves the calling thread into it for good; threads and processes that it starts are there
    /// too.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn enter(&self) -> io::Result<()> {
        enter(self.0.as_raw_fd())
    }

    /// Lets the process that `command` starts be in it.
    pub fn place(&self, command: &mut Command) {
        let fd = self.0.as_raw_fd();
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        // The descriptor is open as long as this namespace is held; if it is not when the process
        // starts, the call fails, and with it the start.
        unsafe { command.pre_exec(move || enter(fd)) };
    }

    /// Runs `ip` with `words` in it.
    ///
    /// # Errors
    /// When there is no such program, or it refuses.
    pub fn ip(&self, words: &str) -> Result<(), IpError> {
        let mut command = Command::new("ip");
        command.args(words.split(' ')).stdin(Stdio::null());
        self.place(&mut command);
        let output = command.output().map_err(IpError::Start)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(IpError::Refused {
                words: words.to_owned(),
                said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            }),
        }
    }

    /// A path by which other programs find it while this one holds it.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}

fn unshare() -> io::Result<Namespace> {
    // SAFETY: no memory is involved; only this thread's network changes.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => File::open("/proc/thread-self/ns/net").map(Namespace),
        _ => Err(io::Error::last_os_error()),
    }
}

fn enter(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved; a descriptor that is no namespace is refused.
    match unsafe { libc::setns(fd, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
