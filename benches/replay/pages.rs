//! Huge pages: whether this process may have them, and how much of it lies on them.

#![allow(unsafe_code)]

use std::fs;

/// Lets the kernel give this process huge pages from now on, or none.
pub(crate) fn allow_huge(allowed: bool) {
    let none: libc::c_ulong = 0;
    let disabled = libc::c_ulong::from(!allowed);
    // SAFETY: no memory is involved; the call only sets a flag of this process.
    let status = unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, disabled, none, none, none) };
    assert_eq!(status, 0, "a process may choose its pages");
}

/// Bytes of this process's own memory on huge pages.
pub(crate) fn huge_bytes() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let kibibytes = rollup.lines().find_map(|line| {
        line.strip_prefix("AnonHugePages:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    kibibytes.unwrap_or_default() << 10
}
