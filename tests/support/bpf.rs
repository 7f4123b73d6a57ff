//! XDP programs run on frames, and what they can redirect to.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use libbpf_rs::libbpf_sys::{self, bpf_test_run_opts};

/// What a program says of a frame (`enum xdp_action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    Pass,
    Redirect,
}

/// Runs `program` on `frame` in the kernel, `times` times (more when a signal disturbs); what it
/// says of the last, and how long one takes on average. The frame arrives by queue 0 of loopback,
/// and goes nowhere.
pub(crate) fn run(program: BorrowedFd<'_>, frame: &[u8], times: i32) -> (Verdict, Duration) {
    let mut options = bpf_test_run_opts {
        sz: size_of::<bpf_test_run_opts>() as libbpf_sys::size_t,
        data_in: frame.as_ptr().cast(),
        data_size_in: u32::try_from(frame.len()).expect("a frame is short"),
        repeat: times,
        ..Default::default()
    };
    let mut answer = -libc::EINTR;
    while answer == -libc::EINTR {
        // SAFETY: the program is open, and the frame and the options, which say how long they
        // are, live for the length of the call; nothing else is asked for.
        answer =
            unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    }
    assert_eq!(answer, 0, "a frame of {} bytes", frame.len());
    let verdict = match options.retval {
        libbpf_sys::XDP_DROP => Verdict::Drop,
        libbpf_sys::XDP_PASS => Verdict::Pass,
        libbpf_sys::XDP_REDIRECT => Verdict::Redirect,
        other => panic!("the program says {other}"),
    };
    (verdict, Duration::from_nanos(options.duration.into()))
}

/// An AF_XDP socket that is bound to nothing. It has what the kernel asks of one that frames can
/// be redirected to: memory, a fill ring and a receive ring.
pub(crate) struct Socket(OwnedFd);

/// The least memory that the kernel takes: one frame.
#[repr(align(4096))]
struct Page([u8; PAGE_BYTES as usize]);

const PAGE_BYTES: u32 = 4096;

impl Socket {
    pub(crate) fn new() -> Self {
        // SAFETY: no memory of ours is involved.
        let descriptor = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW, 0) };
        assert!(descriptor >= 0, "AF_XDP: {}", io::Error::last_os_error());
        // SAFETY: the call above just opened it, for nobody else.
        let socket = Socket(unsafe { OwnedFd::from_raw_fd(descriptor) });
        // Never given back, because the kernel may keep it for a while after the socket.
        let page = Box::leak(Box::new(Page([0; PAGE_BYTES as usize])));
        let region = libc::xdp_umem_reg {
            addr: page.0.as_mut_ptr() as u64,
            len: PAGE_BYTES.into(),
            chunk_size: PAGE_BYTES,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        socket.set(libc::XDP_UMEM_REG, &region);
        socket.set(libc::XDP_UMEM_FILL_RING, &1u32);
        socket.set(libc::XDP_RX_RING, &1u32);
        socket
    }

    fn set<T>(&self, option: i32, value: &T) {
        let bytes = libc::socklen_t::try_from(size_of::<T>()).expect("options are short");
        // SAFETY: the socket is open, and `value` is live and `bytes` long; the kernel reads it
        // as what the option takes.
        let answer = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_XDP,
                option,
                ptr::from_ref(value).cast(),
                bytes,
            )
        };
        assert_eq!(answer, 0, "option {option}: {}", io::Error::last_os_error());
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A socket for all tests of the process.
pub(crate) fn socket() -> BorrowedFd<'static> {
    static SOCKET: OnceLock<Socket> = OnceLock::new();
    SOCKET.get_or_init(Socket::new).as_fd()
}

/// Moves this thread, and what it starts, into a network of its own, which ends with them.
pub(crate) fn leave_network() {
    // SAFETY: no memory is involved.
    let answer = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(answer, 0, "unshare: {}", io::Error::last_os_error());
}

/// Takes all privileges from this thread, and from no other: the kernel knows only threads.
pub(crate) fn drop_privileges() {
    const NOBODY: libc::c_long = 65_534;
    // SAFETY: no memory is involved.
    let answer = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
    assert_eq!(answer, 0, "setresuid: {}", io::Error::last_os_error());
}
