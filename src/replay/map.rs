//! The memory of a table: a header page and cache lines of atomic words, shared by all cores and,
//! where it is a file on a tmpfs, with the process that comes after this one.
//!
//! It is the one place of the filter with unsafe code: the mapping itself, and a hint to the
//! processor that hides the cache miss of each lookup (60 ns a packet instead of 210 with a table
//! of 64 MiB).

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Words in a line.
pub(super) const LINE_WORDS: usize = 8;
/// Bytes before the first line of the table.
pub(super) const HEADER_BYTES: usize = PAGE_LINES * size_of::<Line>();
/// Lines in a page of 4 KiB, the smallest there is.
const PAGE_LINES: usize = 64;
/// The line of the header page that holds the state; the lines before it are the header's text.
const STATE_LINE: usize = 8;
/// Where the state stands in a file.
pub(super) const STATE_OFFSET: u64 = (STATE_LINE * size_of::<Line>()) as u64;

/// One cache line.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Line(pub(super) [AtomicU64; LINE_WORDS]);

const _: () = assert!(size_of::<Line>() == 64);

/// A header page and all lines of a table.
pub(super) struct Map {
    start: NonNull<Line>,
    /// With the header's.
    lines: usize,
}

// SAFETY: a map is memory of its own that no thread is bound to, and every access to it goes
// through atomic words.
unsafe impl Send for Map {}
// SAFETY: as above: shared references give out atomic words only.
unsafe impl Sync for Map {}

impl Map {
    /// `lines` lines of zeros that end with this process.
    ///
    /// # Errors
    /// When there is not as much memory.
    pub(super) fn anonymous(lines: u64) -> io::Result<Self> {
        Self::of(-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, lines)
    }

    /// The header and the `lines` lines in `file`, which has [`file_bytes`] of room: nobody else
    /// may shorten it, or this process ends with a bus error.
    ///
    /// # Errors
    /// When it cannot be mapped.
    pub(super) fn shared(file: &File, lines: u64) -> io::Result<Self> {
        Self::of(file.as_raw_fd(), libc::MAP_SHARED, lines)
    }

    /// The table's lines.
    pub(super) fn lines(&self) -> &[Line] {
        &self.all()[PAGE_LINES..]
    }

    /// The word that says how far the key's life is.
    pub(super) fn state(&self) -> &AtomicU64 {
        &self.all()[STATE_LINE].0[0]
    }

    /// Tells the processor that line `index` of the table will be needed.
    pub(super) fn prefetch(&self, index: usize) {
        let line: *const Line = &self.lines()[index];
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint that reads nothing, for any address; this one is a line of the map.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }

    fn all(&self) -> &[Line] {
        // SAFETY: `start` is the page-aligned start of a mapping of `lines` lines that lives as
        // long as `self`; any bytes are valid atomic words.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.lines) }
    }

    fn of(fd: libc::c_int, flags: libc::c_int, lines: u64) -> io::Result<Self> {
        let lines = usize::try_from(lines).ok().and_then(|lines| lines.checked_add(PAGE_LINES));
        let lines = lines.ok_or(io::ErrorKind::OutOfMemory)?;
        let bytes = lines.checked_mul(size_of::<Line>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = Map { start, lines };
        map.advise(libc::MADV_HUGEPAGE);
        // The header holds the key, and no dump of a crash shall.
        map.advise(libc::MADV_DONTDUMP);
        map.touch();
        Ok(map)
    }

    /// Tells the kernel what the memory is for; where it cannot follow, nothing is lost.
    fn advise(&self, advice: libc::c_int) {
        let bytes = self.lines * size_of::<Line>();
        // SAFETY: the range is this mapping, and neither advice changes what is in it.
        unsafe { libc::madvise(self.start.as_ptr().cast(), bytes, advice) };
    }

    /// Has the kernel bring in every page now, so that none is missing when a packet comes.
    fn touch(&self) {
        for page in self.all().chunks(PAGE_LINES) {
            page[0].0[0].fetch_or(0, Relaxed);
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        let bytes = self.lines * size_of::<Line>();
        // SAFETY: the mapping is ours, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), bytes) };
    }
}

/// Bytes of a file with a header and `lines` lines; none if no file is so long.
pub(super) fn file_bytes(lines: u64) -> Option<u64> {
    lines.checked_mul(size_of::<Line>() as u64)?.checked_add(HEADER_BYTES as u64)
}

/// Takes `bytes` of memory for `file`, so that none is missing later.
///
/// # Errors
/// When the file system has no such room.
pub(super) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(|_| io::ErrorKind::StorageFull)?;
    // SAFETY: no memory of ours is involved; the descriptor is open for the length of the call.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Whether the file or folder lies in memory: on a tmpfs or a ramfs.
///
/// # Errors
/// When the kernel does not say.
pub(super) fn is_in_memory(file: &File) -> io::Result<bool> {
    let mut answer = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `answer` has room for one statfs and lives for the length of the call.
    if unsafe { libc::fstatfs(file.as_raw_fd(), answer.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled it, as its success says.
    let kind = unsafe { answer.assume_init() }.f_type;
    Ok(matches!(kind, libc::TMPFS_MAGIC | RAMFS_MAGIC))
}

/// ramfs, which `libc` does not name (linux/magic.h).
const RAMFS_MAGIC: libc::c_long = 0x8584_58f6;
