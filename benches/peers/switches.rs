//! How often the kernel took the core from this thread: time that passed then is nobody's.

#![allow(unsafe_code)]

/// Involuntary switches of this thread since it began.
pub(crate) fn involuntary() -> i64 {
    // SAFETY: a structure of integers, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a live, writable rusage for the length of the call.
    let read = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    assert_eq!(read, 0, "a thread may ask for its own use");
    usage.ru_nivcsw
}
