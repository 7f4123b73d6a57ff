//! The processor time of this thread, with what the kernel does on its behalf.

#![allow(unsafe_code)]

use mixline::clock::Nanos;

/// Processor time since the thread began, in user space, in system calls and in the interrupts
/// and soft interrupts that came meanwhile; not the time when others had the core.
pub(crate) fn processor_time() -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live, writable timespec for the length of the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "a thread may ask for its own time");
    Nanos(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}
