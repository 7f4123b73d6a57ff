//! The ring: what is asked of the kernel goes in, what became of it comes out.
//!
//! A ring with one issuer and deferred work takes no lock for what completes, which is measurable.
//! It belongs to the thread that enables it, and ports are opened by another thread than the
//! worker that uses them: so it is made disabled, and enabled when it is first entered.

use crate::io::{BATCH, OpenError};
use io_uring::types::Fixed;
use io_uring::{IoUring, cqueue, squeue};
use socket2::Socket;
use std::io;
use std::os::fd::AsRawFd as _;

/// The socket's number in the ring.
pub(super) const SOCKET: Fixed = Fixed(0);
/// What completions of the receive carry; those of frames carry the frame's number.
pub(super) const RECEIVE: u64 = u64::MAX;

/// Room for a whole batch and some receives.
const SUBMISSIONS: usize = 2 * BATCH;
/// Room for all that one call can complete: a batch in each direction, ends of receives.
const COMPLETIONS: usize = 4 * BATCH;

/// A ring in which nothing is ever in flight between two calls.
pub(super) struct Ring {
    ring: IoUring,
    is_enabled: bool,
}

impl Ring {
    /// A ring that knows `socket`.
    pub(super) fn open(socket: &Socket) -> Result<Self, OpenError> {
        #[expect(clippy::cast_possible_truncation, reason = "small constants")]
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_r_disabled()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS as u32)
            .build(SUBMISSIONS as u32)
            .map_err(|source| failed("make an io_uring", source))?;
        ring.submitter()
            .register_files(&[socket.as_raw_fd()])
            .map_err(|source| failed("register the socket at an io_uring", source))?;
        Ok(Ring { ring, is_enabled: false })
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

    /// Whether the kernel has taken all that was pushed.
    pub(super) fn took_all(&mut self) -> bool {
        self.ring.submission().is_empty()
    }

    /// Lets the kernel do what was pushed.
    ///
    /// # Panics
    /// On another thread than the one that called it first.
    pub(super) fn enter(&mut self) {
        if !self.is_enabled {
            // If it fails, so does what follows.
            let _ = self.ring.submitter().register_enable_rings();
            self.is_enabled = true;
        }
        loop {
            match self.ring.submitter().submit() {
                Ok(taken) if taken > 0 && !self.took_all() => {}
                Ok(_) => return,
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EEXIST) => panic!("a UringPort belongs to one thread"),
                    // Short of memory, the kernel leaves the rest in the ring for another time.
                    _ => return,
                },
            }
        }
    }

    /// What has completed, in order.
    pub(super) fn completions(&mut self) -> impl Iterator<Item = cqueue::Entry> {
        self.ring.completion()
    }

    /// Lets go of the socket at once. On another thread than its own the ring cannot: then the
    /// kernel does so some time after the ring is closed.
    pub(super) fn release_socket(&self) {
        let _ = self.ring.submitter().unregister_files();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::udp::Options;
    use crate::io::uring::UringPort;

    /// Lets no call of `number` of this thread pass: it gets `code` instead (seccomp(2)).
    fn forbid(number: libc::c_long, code: i32) {
        let step = |code: u32, jump_else, k| libc::sock_filter {
            code: u16::try_from(code).unwrap(),
            jt: 0,
            jf: jump_else,
            k,
        };
        let answer = libc::SECCOMP_RET_ERRNO | code.cast_unsigned();
        let mut steps = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, u32::try_from(number).unwrap()),
            step(libc::BPF_RET | libc::BPF_K, 0, answer),
            step(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let filter = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
        // SAFETY: no memory is involved.
        let status = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        assert_eq!(status, 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        // SAFETY: the filter and its steps are alive, and the kernel makes a copy.
        let status = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) };
        assert_eq!(status, 0);
    }

    /// What opening a port says in a thread where `number` gets `code`.
    fn refusal(number: libc::c_long, code: i32) -> OpenError {
        let open = move || {
            forbid(number, code);
            UringPort::open(&Options::new("127.77.9.1:0".parse().unwrap(), 100)).unwrap_err()
        };
        std::thread::spawn(open).join().unwrap()
    }

    #[test]
    fn what_the_machine_forbids_or_lacks_is_said_with_a_remedy() {
        let setup = libc::SYS_io_uring_setup;
        assert!(matches!(refusal(setup, libc::EPERM), OpenError::UringForbidden));
        assert!(matches!(refusal(setup, libc::ENOSYS), OpenError::UringMissing));
        assert!(matches!(refusal(setup, libc::EINVAL), OpenError::UringMissing));
        assert!(matches!(refusal(setup, libc::EMFILE), OpenError::Descriptors));
        let register = libc::SYS_io_uring_register;
        assert!(matches!(refusal(register, libc::EACCES), OpenError::UringForbidden));
        let text = refusal(register, libc::ENOMEM).to_string();
        assert!(text.contains("register the socket at an io_uring"), "{text}");
        let text = OpenError::UringForbidden.to_string();
        assert!(text.contains("kernel.io_uring_disabled"), "{text}");
    }
}
