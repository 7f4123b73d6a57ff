//! One ring of AF_XDP, from the side that fills it and from the side that empties it.
//!
//! A ring is a power of two of entries and two indices that only grow and wrap at 2^32; an
//! entry's place is its index modulo the size. Each index is written by one side and read by the
//! other (`net/xdp/xsk_queue.h` has the kernel's side of this): the producer writes entries, then
//! its index with release; the consumer reads that index with acquire, then the entries. Backwards
//! the same holds for places that are free again.
//!
//! Each side keeps its own index here and never reads it back, so nothing in the shared memory
//! can move it. What the other side's index says is believed up to the size of the ring. What an
//! entry says is for the caller to check.

use super::mapping::Mapping;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// What a ring consists of.
pub trait Entry: Copy {
    /// How much room it takes.
    const BYTES: usize;
    /// Reads the entry that stands at `at`.
    fn read(memory: &Mapping, at: usize) -> Self;
    /// Writes it there.
    fn write(self, memory: &Mapping, at: usize);
}

/// The address of a frame, as an offset into packet memory: what the fill and completion rings
/// hold.
impl Entry for u64 {
    const BYTES: usize = 8;

    fn read(memory: &Mapping, at: usize) -> Self {
        memory.long(at).load(Relaxed)
    }

    fn write(self, memory: &Mapping, at: usize) {
        memory.long(at).store(self, Relaxed);
    }
}

/// A packet: what the receive and send rings hold (`xdp_desc` of `linux/if_xdp.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Where it begins, as an offset into packet memory.
    pub address: u64,
    /// How long it is.
    pub bytes: u32,
    /// Bit 0: more of the packet follows in the next descriptor.
    pub options: u32,
}

const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<libc::xdp_desc>() == Descriptor::BYTES);
    assert!(offset_of!(libc::xdp_desc, addr) == 0);
    assert!(offset_of!(libc::xdp_desc, len) == 8);
    assert!(offset_of!(libc::xdp_desc, options) == 12);
};

impl Entry for Descriptor {
    const BYTES: usize = 16;

    fn read(memory: &Mapping, at: usize) -> Self {
        Descriptor {
            address: memory.long(at).load(Relaxed),
            bytes: memory.word(at + 8).load(Relaxed),
            options: memory.word(at + 12).load(Relaxed),
        }
    }

    fn write(self, memory: &Mapping, at: usize) {
        memory.long(at).store(self.address, Relaxed);
        memory.word(at + 8).store(self.bytes, Relaxed);
        memory.word(at + 12).store(self.options, Relaxed);
    }
}

/// Where the parts of a ring lie in its memory: offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The index of the producer.
    pub producer: usize,
    /// The index of the consumer.
    pub consumer: usize,
    /// Bit 0: the kernel wants to be woken.
    pub flags: usize,
    /// The first entry.
    pub entries: usize,
}

impl Layout {
    /// How much memory a ring of `size` entries takes.
    pub fn bytes<E: Entry>(&self, size: u32) -> usize {
        self.entries + size as usize * E::BYTES
    }

    /// Whether such a ring lies wholly inside `memory`, each part on a multiple of its size.
    fn fits<E: Entry>(&self, size: u32, memory: &Mapping) -> bool {
        let words = [self.producer, self.consumer, self.flags];
        words.iter().all(|at| at.is_multiple_of(4) && *at <= memory.bytes() - 4)
            && self.entries.is_multiple_of(8)
            && self.bytes::<E>(size) <= memory.bytes()
    }
}

/// The memory and its geometry: what both sides have in common.
struct Ring<E> {
    memory: Arc<Mapping>,
    layout: Layout,
    size: u32,
    entries: PhantomData<E>,
}

impl<E: Entry> Ring<E> {
    fn new(memory: Arc<Mapping>, layout: Layout, size: u32) -> Self {
        assert!(size.is_power_of_two(), "a ring of {size} entries");
        assert!(layout.fits::<E>(size, &memory), "{layout:?} does not fit {memory:?}");
        Ring { memory, layout, size, entries: PhantomData }
    }

    fn place(&self, index: u32) -> usize {
        self.layout.entries + (index & (self.size - 1)) as usize * E::BYTES
    }

    /// How far `ahead` is in front of `behind`; never more than the ring is long.
    fn distance(&self, ahead: u32, behind: u32) -> u32 {
        ahead.wrapping_sub(behind).min(self.size)
    }
}

/// The side that fills a ring.
pub struct Producer<E> {
    ring: Ring<E>,
    /// The index of the next entry to write; the shared one lags behind until `submit`.
    next: u32,
}

impl<E: Entry> Producer<E> {
    /// A ring of `size` entries that goes on where its memory says it stands.
    ///
    /// # Panics
    /// If `size` is no power of two, or the ring does not fit `memory`.
    pub fn new(memory: Arc<Mapping>, layout: Layout, size: u32) -> Self {
        let ring = Ring::new(memory, layout, size);
        let next = ring.memory.word(layout.producer).load(Relaxed);
        Producer { ring, next }
    }

    /// How many entries can be written now.
    pub fn room(&self) -> u32 {
        self.ring.size - self.ring.distance(self.next, self.consumed())
    }

    /// How many entries the other side has not taken yet, those before `submit` included.
    pub fn waiting(&self) -> u32 {
        self.ring.distance(self.next, self.consumed())
    }

    /// Writes the next entry; the caller has asked for [`Producer::room`].
    pub fn push(&mut self, entry: E) {
        entry.write(&self.ring.memory, self.ring.place(self.next));
        self.next = self.next.wrapping_add(1);
    }

    /// Shows the other side all that was written.
    pub fn submit(&mut self) {
        self.ring.memory.word(self.ring.layout.producer).store(self.next, Release);
    }

    /// Whether the kernel sleeps until a system call wakes it.
    pub fn wants_wake_up(&self) -> bool {
        let flags = self.ring.memory.word(self.ring.layout.flags).load(Relaxed);
        flags & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn consumed(&self) -> u32 {
        self.ring.memory.word(self.ring.layout.consumer).load(Acquire)
    }
}

/// The side that empties a ring.
pub struct Consumer<E> {
    ring: Ring<E>,
    /// The index of the next entry to read; the shared one lags behind until `release`.
    next: u32,
}

impl<E: Entry> Consumer<E> {
    /// A ring of `size` entries that goes on where its memory says it stands.
    ///
    /// # Panics
    /// If `size` is no power of two, or the ring does not fit `memory`.
    pub fn new(memory: Arc<Mapping>, layout: Layout, size: u32) -> Self {
        let ring = Ring::new(memory, layout, size);
        let next = ring.memory.word(layout.consumer).load(Relaxed);
        Consumer { ring, next }
    }

    /// How many entries can be read now.
    pub fn available(&self) -> u32 {
        let produced = self.ring.memory.word(self.ring.layout.producer).load(Acquire);
        self.ring.distance(produced, self.next)
    }

    /// Reads the next entry; the caller has asked whether one is [`Consumer::available`].
    pub fn pop(&mut self) -> E {
        let entry = E::read(&self.ring.memory, self.ring.place(self.next));
        self.next = self.next.wrapping_add(1);
        entry
    }

    /// Gives the other side the places of all that was read.
    pub fn release(&mut self) {
        self.ring.memory.word(self.ring.layout.consumer).store(self.next, Release);
    }
}

impl<E> fmt::Debug for Producer<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Producer(size {}, next {})", self.ring.size, self.next)
    }
}

impl<E> fmt::Debug for Consumer<E> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Consumer(size {}, next {})", self.ring.size, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;

    const SIZE: u32 = 8;
    const LAYOUT: Layout = Layout { producer: 0, consumer: 64, flags: 128, entries: 192 };

    fn memory(start: u32) -> Arc<Mapping> {
        let memory = Mapping::zeroed(LAYOUT.bytes::<Descriptor>(SIZE)).unwrap();
        memory.word(LAYOUT.producer).store(start, Relaxed);
        memory.word(LAYOUT.consumer).store(start, Relaxed);
        Arc::new(memory)
    }

    fn pair<E: Entry>(memory: &Arc<Mapping>) -> (Producer<E>, Consumer<E>) {
        let (one, other) = (memory.clone(), memory.clone());
        (Producer::new(one, LAYOUT, SIZE), Consumer::new(other, LAYOUT, SIZE))
    }

    #[test]
    fn entries_come_out_as_they_went_in_across_the_end_of_the_indices() {
        let mut rng = Rng::from_seed([1; 32]);
        let memory = memory(0u32.wrapping_sub(100));
        let (mut producer, mut consumer) = pair::<u64>(&memory);
        let (mut sent, mut received) = (0u64, 0);
        while received < 10_000 {
            for _ in 0..rng.below(SIZE + 1).min(producer.room()) {
                producer.push(sent);
                sent += 1;
            }
            producer.submit();
            assert_eq!(u64::from(consumer.available()), sent - received);
            for _ in 0..rng.below(SIZE + 1).min(consumer.available()) {
                assert_eq!(consumer.pop(), received);
                received += 1;
            }
            consumer.release();
            assert_eq!(u64::from(producer.waiting()), sent - received);
        }
    }

    #[test]
    fn a_full_and_an_empty_ring_are_told_apart_at_every_index() {
        for start in [0, 5, u32::MAX - 3, u32::MAX] {
            let memory = memory(start);
            let (mut producer, mut consumer) = pair::<Descriptor>(&memory);
            assert_eq!((producer.room(), producer.waiting(), consumer.available()), (SIZE, 0, 0));
            for address in 0..u64::from(SIZE) {
                producer.push(Descriptor { address, bytes: 60, options: 0 });
            }
            assert_eq!(consumer.available(), 0, "nothing was submitted");
            producer.submit();
            assert_eq!((producer.room(), producer.waiting()), (0, SIZE));
            assert_eq!(consumer.available(), SIZE);
            for address in 0..u64::from(SIZE) {
                assert_eq!(consumer.pop(), Descriptor { address, bytes: 60, options: 0 });
            }
            assert_eq!(producer.room(), 0, "nothing was released");
            consumer.release();
            assert_eq!((producer.room(), consumer.available()), (SIZE, 0));
        }
    }

    #[test]
    fn a_broken_index_never_gives_more_than_the_ring_has() {
        let memory = memory(7);
        let (producer, consumer) = pair::<u64>(&memory);
        for index in [0, 6, 7, 8, 15, 16, 1000, 1 << 31, u32::MAX] {
            memory.word(LAYOUT.producer).store(index, Relaxed);
            memory.word(LAYOUT.consumer).store(index, Relaxed);
            assert!(consumer.available() <= SIZE);
            assert!(producer.room() <= SIZE && producer.waiting() <= SIZE);
            assert_eq!(producer.room() + producer.waiting(), SIZE);
        }
    }

    #[test]
    fn the_wake_up_flag_is_read_every_time() {
        let memory = memory(0);
        let (producer, _consumer) = pair::<u64>(&memory);
        for (flags, wants) in [(0, false), (1, true), (2, false), (u32::MAX, true), (0, false)] {
            memory.word(LAYOUT.flags).store(flags, Relaxed);
            assert_eq!(producer.wants_wake_up(), wants);
        }
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_ring_longer_than_its_memory_is_refused() {
        Consumer::<Descriptor>::new(memory(0), LAYOUT, 2 * SIZE);
    }
}
