//! Sleeping until a descriptor is ready: `eventfd(2)` and `ppoll(2)` as safe calls.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

/// A new event counter at zero that never blocks: writing 8 bytes adds, reading 8 bytes clears,
/// and it is readable while it is not zero.
///
/// # Errors
/// What the kernel answered: most likely that no descriptor is left.
pub fn counter() -> io::Result<File> {
    // SAFETY: eventfd takes no memory of ours.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made `fd` for us; nothing else owns it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// One descriptor to wait for, and whether it became ready.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Watch(libc::pollfd);

impl std::fmt::Debug for Watch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Watch").field("fd", &self.0.fd).field("ready", &self.ready()).finish()
    }
}

impl Watch {
    /// Waits until `fd` can be read, or, if `writable`, written.
    pub fn new(fd: RawFd, writable: bool) -> Self {
        let events = if writable { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
        Watch(libc::pollfd { fd, events, revents: 0 })
    }

    /// Whether the last [`wait`] found it ready, or broken.
    pub fn ready(&self) -> bool {
        self.0.revents != 0
    }
}

/// Blocks until one of `watches` is ready, `span` has passed (`None`: never), or a signal comes.
pub fn wait(watches: &mut [Watch], span: Option<Duration>) {
    let timeout = span.map(|span| libc::timespec {
        tv_sec: libc::time_t::try_from(span.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(span.subsec_nanos().cast_signed()),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = watches.len() as libc::nfds_t;
    // SAFETY: `Watch` is a transparent pollfd and `count` of them are ours to write; `timeout` is
    // null or points to a timespec that outlives the call; no signal mask is given.
    let ready =
        unsafe { libc::ppoll(watches.as_mut_ptr().cast(), count, timeout, std::ptr::null()) };
    if ready < 0 {
        // Only a signal can end it early: the caller turns once for nothing and comes back.
        watches.iter_mut().for_each(|watch| watch.0.revents = 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;

    #[test]
    fn a_counter_is_readable_exactly_while_it_is_not_zero() {
        let counter = counter().unwrap();
        let is_ready = || {
            let mut watches = [Watch::new(counter.as_raw_fd(), false)];
            wait(&mut watches, Some(Duration::ZERO));
            watches[0].ready()
        };
        assert!(!is_ready());
        (&counter).write_all(&1u64.to_ne_bytes()).unwrap();
        assert!(is_ready());
        (&counter).read_exact(&mut [0; 8]).unwrap();
        assert!(!is_ready());
    }

    #[test]
    fn waiting_for_nothing_lasts_as_long_as_asked() {
        let before = crate::clock::now();
        wait(&mut [], Some(Duration::from_millis(5)));
        let slept = crate::clock::now() - before;
        assert!(slept.as_duration() >= Duration::from_millis(5), "{slept:?}");
    }

    #[test]
    fn a_descriptor_that_is_not_open_counts_as_ready() {
        let mut watches = [Watch::new(1 << 20, false)];
        wait(&mut watches, Some(Duration::from_secs(5)));
        assert!(watches[0].ready());
    }
}
