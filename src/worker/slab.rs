//! Packet memory: slots of one size, owned by exactly one holder at a time.
//!
//! A [`Slot`] is a token: it cannot be copied, and whoever holds it may read and write its bytes.
//! So a packet moves between stages, threads and queues as four bytes, and the two copies of it are
//! its two passes of the link cipher. Free slots travel in magazines through one depot.

#![allow(unsafe_code)]

mod depot;

use std::cell::UnsafeCell;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use depot::{CACHE_TOKENS_MAX, Cache, Depot};

/// A cache line: slots start on one, so that alpha and the tail each cost one.
const LINE_BYTES: usize = 64;

/// Free slots that one cache holds at most.
pub const CACHE_SLOTS_MAX: usize = CACHE_TOKENS_MAX;

/// The right to one packet's memory. Dropping it loses the memory: give it back instead.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a slot that is dropped never comes back"]
pub struct Slot(NonZeroU32);

#[repr(C, align(64))]
struct Line(UnsafeCell<[u8; LINE_BYTES]>);

/// All packet memory of a process; its size is fixed at start.
pub struct Slab {
    lines: Box<[Line]>,
    slot_lines: usize,
    slot_bytes: usize,
    /// Number of the first slot: numbers are unique in the process, so that a token of another
    /// slab is out of range here.
    first: u32,
    count: u32,
    depot: Arc<Depot<Slot>>,
}

// SAFETY: the bytes of a slot are reached only through its token, of which there is one.
unsafe impl Sync for Slab {}

impl std::fmt::Debug for Slab {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Slab({} slots of {} bytes)", self.count, self.slot_bytes)
    }
}

impl Slab {
    /// Memory for `slots` packets of `slot_bytes` bytes each, all of it taken now.
    ///
    /// # Panics
    /// If `slots` is 0, or the process made more than 2^32 slots in all: bugs of the caller.
    pub fn new(slots: u32, slot_bytes: usize) -> Arc<Self> {
        // From 1, so that a slot that may be absent takes no more than one that is there.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        assert!(slots > 0, "a slab has slots");
        let first = NEXT.fetch_add(slots, Ordering::Relaxed);
        assert!(first.checked_add(slots).is_some(), "slot numbers are used up");
        let slot_lines = slot_bytes.div_ceil(LINE_BYTES);
        let lines = (0..slots as usize * slot_lines)
            .map(|_| Line(UnsafeCell::new([0; LINE_BYTES])))
            .collect();
        let slot = |index| NonZeroU32::MIN.saturating_add(first - 1 + index);
        let depot = Depot::new((0..slots).map(|index| Slot(slot(index))));
        Arc::new(Slab { lines, slot_lines, slot_bytes, first, count: slots, depot })
    }

    /// Bytes of one slot.
    pub fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// Slots in all, free or not.
    pub fn slots(&self) -> u32 {
        self.count
    }

    /// The bytes of `slot`.
    pub fn bytes<'a>(&'a self, slot: &'a Slot) -> &'a [u8] {
        let start = self.start(slot);
        // SAFETY: `start` is the first of `slot_lines` lines of this allocation, and the token is
        // borrowed, so nobody else can hold it to write meanwhile.
        unsafe { std::slice::from_raw_parts(start, self.slot_bytes) }
    }

    /// The bytes of `slot`, to write.
    pub fn bytes_mut<'a>(&'a self, slot: &'a mut Slot) -> &'a mut [u8] {
        let start = self.start(slot);
        // SAFETY: as in `bytes`, and the token is borrowed mutably: this is the only reference.
        unsafe { std::slice::from_raw_parts_mut(start, self.slot_bytes) }
    }

    fn start(&self, slot: &Slot) -> *mut u8 {
        let index = slot.0.get().wrapping_sub(self.first);
        assert!(index < self.count, "the slot belongs to another slab");
        let lines = &self.lines[index as usize * self.slot_lines..][..self.slot_lines];
        // A pointer made from the whole run of lines, so that it may reach all of them.
        UnsafeCell::raw_get(lines.as_ptr().cast::<UnsafeCell<[u8; LINE_BYTES]>>()).cast()
    }
}

/// One thread's free slots.
#[derive(Debug)]
pub struct SlotCache {
    slab: Arc<Slab>,
    free: Cache<Slot>,
}

impl SlotCache {
    /// An empty cache over `slab`.
    pub fn new(slab: Arc<Slab>) -> Self {
        let free = Cache::new(slab.depot.clone());
        SlotCache { slab, free }
    }

    /// The memory that the slots belong to.
    pub fn slab(&self) -> &Slab {
        &self.slab
    }

    /// A free slot with whatever bytes its last packet left; none when all are in use.
    pub fn take(&mut self) -> Option<Slot> {
        self.free.take()
    }

    /// Takes `slot` home.
    pub fn give(&mut self, slot: Slot) {
        self.free.give(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(cache: &mut SlotCache) -> Vec<Slot> {
        std::iter::from_fn(|| cache.take()).collect()
    }

    #[test]
    fn every_slot_is_handed_out_once_and_comes_back() {
        let slab = Slab::new(200, 100);
        let mut cache = SlotCache::new(slab.clone());
        for _ in 0..3 {
            let mut all = take_all(&mut cache);
            assert_eq!(all.len(), 200);
            all.sort_by_key(|slot| slot.0);
            all.dedup();
            assert_eq!(all.len(), 200);
            all.into_iter().for_each(|slot| cache.give(slot));
        }
    }

    #[test]
    fn slots_do_not_overlap() {
        let slab = Slab::new(130, 100);
        let mut cache = SlotCache::new(slab.clone());
        let mut all = take_all(&mut cache);
        for (number, slot) in all.iter_mut().enumerate() {
            slab.bytes_mut(slot).fill(u8::try_from(number).unwrap());
        }
        for (number, slot) in all.iter().enumerate() {
            assert!(slab.bytes(slot).iter().all(|&byte| usize::from(byte) == number));
        }
        all.into_iter().for_each(|slot| cache.give(slot));
    }

    #[test]
    #[should_panic(expected = "belongs to another slab")]
    fn a_slot_of_another_slab_is_refused() {
        let (one, other) = (Slab::new(1, 64), Slab::new(1, 64));
        let slot = SlotCache::new(one).take().unwrap();
        let _ = other.bytes(&slot);
    }

    #[test]
    fn slots_given_by_one_thread_reach_another() {
        let slab = Slab::new(256, 64);
        let mut here = SlotCache::new(slab.clone());
        let all = take_all(&mut here);
        let mut there = SlotCache::new(slab);
        std::thread::spawn(move || {
            all.into_iter().for_each(|slot| there.give(slot));
        })
        .join()
        .unwrap();
        assert_eq!(take_all(&mut here).len(), 256);
    }
}
