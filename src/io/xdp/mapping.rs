//! Memory that the kernel works on at the same time: mapped here, unmapped when dropped.
//!
//! Words that both sides change are only ever seen as atomics. Plain bytes are pointed to, for
//! whoever knows that nobody else uses them meanwhile ([`super::memory`] does).

#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// The size of a huge page on x86-64, and on arm64 with pages of 4 KiB.
pub const HUGE_PAGE_BYTES: usize = 2 << 20;

/// `linux/mman.h`: the base-2 logarithm of the page size stands above bit 26.
const MAP_HUGE_2MB: libc::c_int = 21 << 26;

/// A run of pages, readable and writable, all of them present from the start.
pub struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the pages belong to the process, not to a thread; this is their only owner.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference there are only atomics, and pointers, whose user answers for
// what it does with them.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `bytes` of our own, all zero.
    ///
    /// # Errors
    /// What the kernel answered: most likely that there is not enough memory.
    pub fn zeroed(bytes: usize) -> io::Result<Self> {
        Self::map(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// The same on huge pages, of which the machine has some only if somebody set them aside.
    ///
    /// # Errors
    /// What the kernel answered: most likely that not enough are set aside.
    pub fn huge(bytes: usize) -> io::Result<Self> {
        let own = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let bytes = bytes.next_multiple_of(HUGE_PAGE_BYTES);
        Self::map(bytes, own | libc::MAP_HUGETLB | MAP_HUGE_2MB, -1, 0)
    }

    /// The first `bytes` of what `socket` offers at `offset`.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn of_socket(socket: BorrowedFd, offset: libc::off_t, bytes: usize) -> io::Result<Self> {
        Self::map(bytes, libc::MAP_SHARED, socket.as_raw_fd(), offset)
    }

    fn map(bytes: usize, flags: libc::c_int, fd: i32, offset: libc::off_t) -> io::Result<Self> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, flags | libc::MAP_POPULATE);
        // SAFETY: without MAP_FIXED the kernel chooses pages that nothing else uses.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, fd, offset) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Mapping { base, bytes })
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it begins, for the kernel.
    pub fn address(&self) -> u64 {
        self.base.as_ptr().expose_provenance() as u64
    }

    /// The 32 bits at `at`.
    ///
    /// # Panics
    /// If they do not lie inside, or not on a multiple of their size.
    pub fn word(&self, at: usize) -> &AtomicU32 {
        let place = self.place(at, size_of::<AtomicU32>());
        // SAFETY: `place` is inside, aligned, and lives as long as `self`; any bits are a value,
        // and the kernel changes them atomically.
        unsafe { &*place.cast().as_ptr() }
    }

    /// The 64 bits at `at`.
    ///
    /// # Panics
    /// If they do not lie inside, or not on a multiple of their size.
    pub fn long(&self, at: usize) -> &AtomicU64 {
        let place = self.place(at, size_of::<AtomicU64>());
        // SAFETY: as in `word`.
        unsafe { &*place.cast().as_ptr() }
    }

    fn place(&self, at: usize, bytes: usize) -> NonNull<u8> {
        let is_inside = at.is_multiple_of(bytes) && at < self.bytes && self.bytes - at >= bytes;
        assert!(is_inside, "{bytes} bytes at {at} of {}", self.bytes);
        // SAFETY: `at` is inside the mapping.
        unsafe { self.base.add(at) }
    }

    /// Where the plain bytes of `range` are; whether they may be used, whoever uses them knows.
    ///
    /// # Panics
    /// If they do not lie inside.
    pub fn plain(&self, range: Range<usize>) -> NonNull<[u8]> {
        assert!(range.start <= range.end && range.end <= self.bytes, "{range:?} is not inside");
        // SAFETY: `range` is inside the mapping.
        let start = unsafe { self.base.add(range.start) };
        NonNull::slice_from_raw_parts(start, range.len())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: these pages were mapped by `map` with this length, and every borrow has ended.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Mapping({} bytes)", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn words_and_longs_are_the_same_memory() {
        let mapping = Mapping::zeroed(4096).unwrap();
        mapping.word(4088).store(0x0123_4567, Relaxed);
        mapping.word(4092).store(0x89ab_cdef, Relaxed);
        let long = mapping.long(4088).load(Relaxed).to_ne_bytes();
        assert_eq!(long[..4], 0x0123_4567u32.to_ne_bytes());
        assert_eq!(long[4..], 0x89ab_cdefu32.to_ne_bytes());
    }

    #[test]
    #[should_panic(expected = "8 bytes at 4096 of 4096")]
    fn nothing_lies_behind_the_end() {
        Mapping::zeroed(4096).unwrap().long(4096);
    }

    #[test]
    #[should_panic(expected = "4 bytes at 2 of 4096")]
    fn words_lie_on_their_multiples() {
        Mapping::zeroed(4096).unwrap().word(2);
    }
}
