//! The memory of a table: a header page and cache lines of atomic words, shared by all cores and,
//! where it is a file on a tmpfs, with the process that comes after this one.
//!
//! It is the one place of the filter with unsafe code: the mapping itself, and a hint to the
//! processor that hides the cache miss of each lookup.
//!
//! Gibibytes are taken and given back in steps: what one call of the kernel does to a whole
//! table would hold up every other thread of the process that needs memory meanwhile.

#![allow(unsafe_code)]

use super::fingerprints::{LINE_WORDS, Line};
use crate::sync::{AtomicU64, Ordering::Relaxed};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::ptr::NonNull;

/// Bytes before the first line of the table.
pub(super) const HEADER_BYTES: usize = PAGE_LINES * LINE_BYTES;

const LINE_BYTES: usize = size_of::<Line>();
/// Lines in a page of 4 KiB, the smallest there is.
const PAGE_LINES: usize = 64;
/// The line of the header page that holds the state; the lines before it are the header's text.
const STATE_LINE: usize = 8;
/// Lines that the kernel is asked for, or given back, at a time: 16 MiB, some milliseconds.
const STEP_LINES: usize = (16 << 20) / LINE_BYTES;

const _: () = assert!(LINE_BYTES == 64 && LINE_WORDS * size_of::<AtomicU64>() == LINE_BYTES);

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
        let map = Self::of(-1, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, lines)?;
        match map.populate() {
            Err(error) if is_unknown(&error) => map.touch(),
            populated => populated?,
        }
        Ok(map)
    }

    /// The header and the `lines` lines in `file`, which has [`file_bytes`], all of them in memory
    /// from now on. Nobody else may shorten it, or this process ends with a bus error.
    ///
    /// # Errors
    /// When it cannot be mapped, or the file system has no such room.
    pub(super) fn shared(file: &File, lines: u64) -> io::Result<Self> {
        let map = Self::of(file.as_raw_fd(), libc::MAP_SHARED, lines)?;
        // Through the mapping, which asked for huge pages: what is reserved through the file, as
        // an old kernel needs it, has small ones.
        match map.populate() {
            Err(error) if is_unknown(&error) => {
                reserve(file, file_bytes(lines).ok_or(io::ErrorKind::StorageFull)?)?;
                map.touch();
            }
            populated => populated?,
        }
        Ok(map)
    }

    /// The table's lines.
    #[inline]
    pub(super) fn lines(&self) -> &[Line] {
        &self.all()[PAGE_LINES..]
    }

    /// The word that says how far the key's life is.
    pub(super) fn state(&self) -> &AtomicU64 {
        &self.all()[STATE_LINE].0[0]
    }

    /// Tells the processor that line `index` of the table will be needed.
    #[inline]
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

    #[inline]
    fn all(&self) -> &[Line] {
        // SAFETY: `start` is the page-aligned start of a mapping of `lines` lines that lives as
        // long as `self`; any bytes are valid atomic words.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.lines) }
    }

    fn of(fd: libc::c_int, flags: libc::c_int, lines: u64) -> io::Result<Self> {
        let lines = usize::try_from(lines).ok().and_then(|lines| lines.checked_add(PAGE_LINES));
        let lines = lines.ok_or(io::ErrorKind::OutOfMemory)?;
        let bytes = lines.checked_mul(LINE_BYTES).ok_or(io::ErrorKind::OutOfMemory)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = Map { start, lines };
        // Where the kernel cannot follow, nothing is lost but time.
        let _ = map.advise(0..lines, libc::MADV_HUGEPAGE);
        // The header holds the key, and no dump of a crash shall.
        let _ = map.advise(0..lines, libc::MADV_DONTDUMP);
        Ok(map)
    }

    /// The lines of the steps in which a whole map is gone through.
    fn steps(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let lines = self.lines;
        (0..lines).step_by(STEP_LINES).map(move |first| first..lines.min(first + STEP_LINES))
    }

    /// Tells the kernel what the memory is for.
    fn advise(&self, lines: Range<usize>, advice: libc::c_int) -> io::Result<()> {
        let first: *const Line = &self.all()[lines.start];
        let bytes = lines.len() * LINE_BYTES;
        // SAFETY: the range is part of this mapping, and no advice here changes what is in it.
        match unsafe { libc::madvise(first.cast_mut().cast(), bytes, advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Has the kernel bring in every page now, so that none is missing when a packet comes; what
    /// it has no room for is an error here, and would be the end of the process at a packet.
    fn populate(&self) -> io::Result<()> {
        for lines in self.steps() {
            loop {
                match self.advise(lines.clone(), libc::MADV_POPULATE_WRITE) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // So the kernel says that a store would be answered by a bus error.
                    Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
                        return Err(io::ErrorKind::StorageFull.into());
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// The same for kernels before 5.14, which give no answer.
    fn touch(&self) {
        for page in self.all().chunks(PAGE_LINES) {
            page[0].0[0].fetch_or(0, Relaxed);
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        for lines in self.steps() {
            let first = self.start.as_ptr().wrapping_add(lines.start);
            // SAFETY: the mapping is ours, each part goes once, and no reference into it outlives
            // `self`.
            unsafe { libc::munmap(first.cast(), lines.len() * LINE_BYTES) };
        }
    }
}

/// Whether the kernel does not know what it was asked for.
fn is_unknown(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

/// Bytes of a file with a header and `lines` lines; none if no file is so long.
pub(super) fn file_bytes(lines: u64) -> Option<u64> {
    lines.checked_mul(LINE_BYTES as u64)?.checked_add(HEADER_BYTES as u64)
}

/// Takes `bytes` of memory for `file`.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(|_| io::ErrorKind::StorageFull)?;
    // SAFETY: no memory of ours is involved; the descriptor is open for the length of the call.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
