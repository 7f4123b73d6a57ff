//! The ring: what is asked of the kernel goes in, what became of it comes out.
//!
//! A ring of one issuer belongs to the thread that enables it, and ports are opened by another
//! thread than the worker that uses them. So it is made disabled, and enabled when it is first
//! entered.

use crate::io::{BATCH, OpenError};
use io_uring::types::{CancelBuilder, Fixed};
use io_uring::{IoUring, cqueue, squeue};
use socket2::Socket;
use std::io;
use std::os::fd::AsRawFd as _;
use std::thread::{self, ThreadId};

/// The socket's number in the ring.
pub(super) const SOCKET: Fixed = Fixed(0);
/// What completions of the receive carry; those of frames carry the frame's number.
pub(super) const RECEIVE: u64 = u64::MAX;

/// Room for a whole batch and the receive.
const SUBMISSIONS: usize = 2 * BATCH;
/// Room for all that one call can complete: a batch in each direction, ends of receives.
const COMPLETIONS: usize = 4 * BATCH;
/// `linux/io_uring.h`, IORING_ENTER_GETEVENTS: without it no deferred work is done.
const DO_DEFERRED_WORK: u32 = 1;

pub(super) struct Ring {
    ring: IoUring,
    owner: Option<ThreadId>,
}

impl Ring {
    /// A ring that knows `socket`.
    pub(super) fn open(socket: &Socket) -> Result<Self, OpenError> {
        #[expect(clippy::cast_possible_truncation, reason = "small constants")]
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_r_disabled()
            .setup_cqsize(COMPLETIONS as u32)
            .build(SUBMISSIONS as u32)
            .map_err(|source| failed("make an io_uring", source))?;
        ring.submitter()
            .register_files(&[socket.as_raw_fd()])
            .map_err(|source| failed("register the socket at an io_uring", source))?;
        Ok(Ring { ring, owner: None })
    }

    /// Registers the ring of `entries` buffers at `address` as group 0.
    ///
    /// # Safety
    /// It lies on page boundaries, has room for that many and a tail, and outlives this ring.
    pub(super) unsafe fn register(&self, address: u64, entries: u16) -> Result<(), OpenError> {
        // SAFETY: this function's caller answers for it.
        let done =
            unsafe { self.ring.submitter().register_buf_ring_with_flags(address, entries, 0, 0) };
        done.map_err(|source| failed("register buffers at an io_uring", source))
    }

    /// Submits `entry` with the next call of [`Ring::enter`]; `false` if there is no room.
    ///
    /// # Safety
    /// What `entry` points to stays where it is, and is not written, until it has completed.
    #[must_use]
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: this function's caller answers for it.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Whether [`Ring::enter`] would do something.
    pub(super) fn has_work(&mut self) -> bool {
        let submissions = self.ring.submission();
        submissions.taskrun() || !submissions.is_empty()
    }

    /// Whether the kernel has taken all that was pushed.
    pub(super) fn took_all(&mut self) -> bool {
        self.ring.submission().is_empty()
    }

    /// Submits what was pushed; with `deferred`, also lets the kernel do what it could not do
    /// without us: receive.
    ///
    /// # Panics
    /// On another thread than the one that called it first.
    pub(super) fn enter(&mut self, deferred: bool) {
        self.enable();
        let flags = if deferred { DO_DEFERRED_WORK } else { 0 };
        loop {
            let count = self.ring.submission().len();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            // SAFETY: the flags take no argument; what the entries point to is as was promised
            // when they were pushed.
            let taken = unsafe { self.ring.submitter().enter::<()>(count, 0, flags, None) };
            match taken {
                Ok(taken) if taken > 0 && !self.took_all() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let code = error.raw_os_error();
                    assert_ne!(code, Some(libc::EEXIST), "two threads use one UringPort");
                    return;
                }
                Ok(_) => return,
            }
        }
    }

    /// What has completed, in order.
    pub(super) fn completions(&mut self) -> impl Iterator<Item = cqueue::Entry> {
        self.ring.completion()
    }

    /// Whether this thread may enter the ring, and has done so.
    pub(super) fn is_of_this_thread(&self) -> bool {
        self.owner == Some(thread::current().id())
    }

    /// Makes all that is in flight complete when the ring is next entered.
    pub(super) fn cancel(&self) {
        // It fails where nothing is in flight.
        let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
    }

    /// Lets go of the socket at once; the kernel would do so some time after the ring is closed.
    pub(super) fn release_socket(&self) {
        // If it fails, that is what happens.
        let _ = self.ring.submitter().unregister_files();
    }

    fn enable(&mut self) {
        if self.owner.is_none() {
            self.owner = Some(thread::current().id());
            // It can only fail if it is enabled.
            let _ = self.ring.submitter().register_enable_rings();
        }
    }
}

/// What the kernel's refusal means (io_uring_setup(2), `Documentation/admin-guide/sysctl/kernel`).
fn failed(step: &str, source: io::Error) -> OpenError {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => OpenError::UringForbidden,
        // A flag or a command that it does not know.
        Some(libc::ENOSYS | libc::EINVAL) => OpenError::UringMissing,
        Some(libc::EMFILE | libc::ENFILE) => OpenError::Descriptors,
        _ => OpenError::Refused { step: step.into(), source },
    }
}
