//! A ring from one thread to one other: a packet that changes core costs a share of a cache line.
//!
//! The producer stages what it has and publishes once a batch; the consumer takes what was
//! published and gives the places back once a batch. So the two indices that both threads read
//! change hands once a batch, not once a message (3.6 ns a packet in batches of 32; a queue of
//! many producers takes ten times that).
//!
//! An index counts messages and wraps; its low bits are the place. A place between `head` and
//! `tail` holds a message and is the consumer's, every other one is free and the producer's. The
//! producer's release of `tail` hands messages over, the consumer's release of `head` hands the
//! places back (Lamport, "Proving the Correctness of Multiprocess Programs", 1977).

#![allow(unsafe_code)]

use crate::sync::{Arc, AtomicU32, Ordering, UnsafeCell};
use crossbeam_utils::CachePadded;
use std::mem::MaybeUninit;

/// The most messages of a ring: an index must tell a full ring from an empty one.
const CAPACITY_MAX: u32 = 1 << 31;

struct Shared<T> {
    places: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// The first message that the consumer has not given back; written by the consumer.
    head: CachePadded<AtomicU32>,
    /// Behind the last message that is published; written by the producer.
    tail: CachePadded<AtomicU32>,
}

// SAFETY: a place is reached by the one side whose turn it is, as the two indices say, so a `T`
// only ever moves from one thread to the other.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the places hold nothing that is bound to a thread but a `T`.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    /// The place of message `index`.
    fn place(&self, index: u32) -> &UnsafeCell<MaybeUninit<T>> {
        &self.places[index as usize & (self.places.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (mut index, tail) =
            (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        while index != tail {
            // SAFETY: both sides are gone, and what lies between the indices was never taken.
            self.place(index).with_mut(|place| unsafe { place.cast::<T>().drop_in_place() });
            index = index.wrapping_add(1);
        }
    }
}

/// The side that puts messages in.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Behind the last message that is staged.
    staged: u32,
    /// Behind the last one that is published.
    published: u32,
    /// What the consumer's index was when last looked at.
    head: u32,
}

/// The side that takes them out.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The next message.
    next: u32,
    /// The first message whose place is not given back.
    given_back: u32,
    /// What the producer's index was when last looked at.
    tail: u32,
}

/// A ring for `capacity` messages.
///
/// # Panics
/// If `capacity` is not a power of two up to 2^31: a bug of the caller.
pub fn ring<T>(capacity: u32) -> (Producer<T>, Consumer<T>) {
    assert!(capacity.is_power_of_two() && capacity <= CAPACITY_MAX, "a ring of {capacity}");
    let shared = Arc::new(Shared {
        places: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        head: CachePadded::new(AtomicU32::new(0)),
        tail: CachePadded::new(AtomicU32::new(0)),
    });
    let consumer = Consumer { shared: shared.clone(), next: 0, given_back: 0, tail: 0 };
    (Producer { shared, staged: 0, published: 0, head: 0 }, consumer)
}

impl<T> Producer<T> {
    /// Stages `message`; the consumer sees it after [`Producer::publish`].
    ///
    /// # Errors
    /// The message itself, when the ring is full.
    #[inline]
    pub fn push(&mut self, message: T) -> Result<(), T> {
        let is_full =
            |head: u32| self.staged.wrapping_sub(head) as usize == self.shared.places.len();
        if is_full(self.head) {
            // Acquires the consumer's release: it has read what was in the places given back.
            self.head = self.shared.head.load(Ordering::Acquire);
            if is_full(self.head) {
                return Err(message);
            }
        }
        // SAFETY: the place lies outside of what the consumer may touch, as was just checked, and
        // holds no message that a write could overwrite.
        self.shared.place(self.staged).with_mut(|place| unsafe {
            (*place).write(message);
        });
        self.staged = self.staged.wrapping_add(1);
        Ok(())
    }

    /// How many more messages can be staged.
    pub fn room(&mut self) -> usize {
        self.head = self.shared.head.load(Ordering::Acquire);
        self.shared.places.len() - self.staged.wrapping_sub(self.head) as usize
    }

    /// Hands over what was staged since the last call; returns whether that was anything.
    #[inline]
    pub fn publish(&mut self) -> bool {
        let is_new = self.published != self.staged;
        if is_new {
            self.published = self.staged;
            self.shared.tail.store(self.staged, Ordering::Release);
        }
        is_new
    }
}

impl<T> Consumer<T> {
    /// The oldest message that was published.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.next == self.tail {
            // Acquires the producer's release: what lies before the index is written.
            self.tail = self.shared.tail.load(Ordering::Acquire);
            if self.next == self.tail {
                return None;
            }
        }
        // SAFETY: the message was published, and `next` passes each index once.
        let message =
            self.shared.place(self.next).with(|place| unsafe { place.cast::<T>().read() });
        self.next = self.next.wrapping_add(1);
        Some(message)
    }

    /// Gives the places of what was taken back to the producer.
    #[inline]
    pub fn give_back(&mut self) {
        if self.given_back != self.next {
            self.given_back = self.next;
            self.shared.head.store(self.next, Ordering::Release);
        }
    }

    /// How many published messages wait.
    pub fn len(&self) -> usize {
        self.shared.tail.load(Ordering::Relaxed).wrapping_sub(self.next) as usize
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Producer<T> {
    /// What was staged and never published is handed over, so that it is not lost.
    fn drop(&mut self) {
        self.publish();
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl<T> std::fmt::Debug for Producer<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Producer({} places)", self.shared.places.len())
    }
}

impl<T> std::fmt::Debug for Consumer<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Consumer({} of {} places)", self.len(), self.shared.places.len())
    }
}
