//! The buffers that the kernel receives into, and the ring by which it gets them.
//!
//! io_uring_register_buf_ring(3): entries that say where a buffer is, and a tail, which lies in
//! the unused bytes of the first entry. The kernel takes them in order.

use super::ring::Ring;
use crate::io::{BATCH, OpenError};
use io_uring::types::BufRingEntry;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// As many as one batch, so that they stay in the cache: the kernel takes each in its turn.
#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
const COUNT: u16 = BATCH as u16;
/// What the kernel's places for the ring begin on.
const PAGE_BYTES: usize = 4096;

const _: () = {
    assert!(COUNT.is_power_of_two(), "the kernel wants it so");
    assert!(BATCH * size_of::<BufRingEntry>() <= PAGE_BYTES);
};

/// [`BATCH`] buffers, each of which the kernel has, or we.
pub(super) struct Buffers {
    /// One page for the ring, then the buffers. The kernel writes into buffers that it has, and
    /// only while this thread is in [`Ring::enter`].
    memory: NonNull<u8>,
    bytes: usize,
    buffer_bytes: usize,
    /// From one buffer to the next: more than its size, so that the short messages that are the
    /// rule do not all fall into the same sets of the cache.
    stride_bytes: usize,
    tail: u16,
}

// SAFETY: the memory belongs to this value alone, and is bound to no thread.
unsafe impl Send for Buffers {}

impl Buffers {
    /// Memory for buffers of `buffer_bytes`, all of them ours.
    pub(super) fn new(buffer_bytes: usize, stride_bytes: usize) -> Result<Self, OpenError> {
        assert!(buffer_bytes <= stride_bytes, "buffers overlap");
        let bytes = PAGE_BYTES + BATCH * stride_bytes;
        let memory = map(bytes).map_err(|source| {
            let step = format!("take {bytes} bytes for received datagrams");
            OpenError::Refused { step, source }
        })?;
        Ok(Buffers { memory, bytes, buffer_bytes, stride_bytes, tail: 0 })
    }

    /// Shows the kernel where buffers will be.
    pub(super) fn register(&self, ring: &Ring) -> Result<(), OpenError> {
        // SAFETY: a page, of which the assertion above says that it is enough; a port drops its
        // ring before its buffers.
        unsafe { ring.register(self.memory.as_ptr() as u64, COUNT) }
    }

    /// Gives the kernel buffers of ours, by number.
    pub(super) fn give(&mut self, numbers: impl Iterator<Item = usize>) {
        for number in numbers {
            let Some(address) = self.start(number) else { continue };
            let entry = self.entry(self.tail % COUNT);
            // SAFETY: the entry is ours until the tail has passed it, and `self` is borrowed whole.
            let entry = unsafe { &mut *entry.as_ptr() };
            entry.set_addr(address.as_ptr() as u64);
            entry.set_len(u32::try_from(self.buffer_bytes).unwrap_or(u32::MAX));
            entry.set_bid(u16::try_from(number).unwrap_or(u16::MAX));
            self.tail = self.tail.wrapping_add(1);
        }
        self.publish();
    }

    /// The first `length` bytes of a buffer of ours; `None` if there is no such buffer or it is
    /// shorter.
    pub(super) fn filled(&self, number: usize, length: usize) -> Option<&[u8]> {
        let start = self.start(number).filter(|_| length <= self.buffer_bytes)?;
        // SAFETY: so many bytes from `start` on lie in our memory, are initialised, and change
        // only in `Ring::enter`, for which a port borrows all of itself.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), length) })
    }

    /// An entry of the ring, initialised, as zero bytes are a value.
    fn entry(&self, place: u16) -> NonNull<BufRingEntry> {
        assert!(place < COUNT, "there is no entry {place}");
        // SAFETY: so many entries lie in the first page.
        unsafe { self.memory.cast().add(usize::from(place)) }
    }

    fn start(&self, number: usize) -> Option<NonNull<u8>> {
        if number >= BATCH {
            return None;
        }
        // SAFETY: the memory has BATCH buffers behind the first page.
        Some(unsafe { self.memory.add(PAGE_BYTES + number * self.stride_bytes) })
    }

    fn publish(&self) {
        // SAFETY: it is the first entry.
        let tail = unsafe { BufRingEntry::tail(self.entry(0).as_ptr()) };
        // SAFETY: the tail is aligned as the kernel's structure is, lives as long as this, and is
        // accessed in no other way.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the kernel reads the entries after it.
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: it was mapped by `new`, with this size, and nothing borrows from it any more.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.bytes) };
    }
}

/// Zeroed pages, of which the kernel backs what is ever written.
fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: the kernel chooses a place that nothing else has.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_a_buffer_is_shown() {
        let mut buffers = Buffers::new(100, 128).unwrap();
        assert_eq!(buffers.filled(BATCH - 1, 100), Some(&[0; 100][..]));
        assert_eq!(buffers.filled(0, 101), None);
        assert_eq!(buffers.filled(BATCH, 1), None);
        buffers.give([BATCH, usize::MAX].into_iter());
        assert_eq!(buffers.tail, 0);
    }

    #[test]
    fn entries_are_used_in_turn_and_the_tail_wraps() {
        let mut buffers = Buffers::new(100, 128).unwrap();
        buffers.tail = u16::MAX - 1;
        buffers.give([5, 6, 7].into_iter());
        assert_eq!(buffers.tail, 1);
        let entry = |place: u16| {
            // SAFETY: nothing else refers to it.
            let entry = unsafe { &*buffers.entry(place).as_ptr() };
            (entry.bid(), entry.len())
        };
        assert_eq!([entry(COUNT - 2), entry(COUNT - 1), entry(0)], [(5, 100), (6, 100), (7, 100)]);
    }
}
