//! The processor time of this thread, with what the kernel does on its behalf.

#![allow(unsafe_code)]

use mixline::clock::Nanos;
use std::fs;
use std::path::{Path, PathBuf};

/// Processor time since the thread began: in user space, in system calls, and in interrupts and
/// soft interrupts that came meanwhile; not the time when others had the core.
pub(crate) fn processor_time() -> Nanos {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a live, writable timespec for the length of the call.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(status, 0, "a thread may ask for its own time");
    Nanos(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
}

/// The kernel's thread for soft interrupts of one core that it does not serve at once: what it
/// does is on nobody's account.
pub(crate) struct Deferred {
    /// None where the thread cannot be seen.
    account: Option<PathBuf>,
}

impl Deferred {
    /// The thread of `core`.
    pub(crate) fn on(core: usize) -> Self {
        let name = format!("ksoftirqd/{core}\n");
        let is_it =
            |folder: &PathBuf| fs::read_to_string(folder.join("comm")).is_ok_and(|is| is == name);
        let processes = fs::read_dir(Path::new("/proc")).into_iter().flatten().flatten();
        let account = processes.map(|entry| entry.path()).find(is_it);
        Deferred { account: account.map(|folder| folder.join("schedstat")) }
    }

    /// How long it has run so far, and how often.
    pub(crate) fn time(&self) -> String {
        let account = self.account.as_deref();
        account.and_then(|account| fs::read_to_string(account).ok()).unwrap_or_default()
    }
}
