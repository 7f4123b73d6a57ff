//! The wheel's memory: items in chunks, chunks in singly linked lists, all allocated at once.
//!
//! A list grows at its front, and every chunk but the front one is full: so a list wastes less
//! than one chunk, and an item costs a share of a cache line instead of a pointer to chase.

use crate::crypto::random::Rng;
use arrayvec::ArrayVec;

/// Items in a chunk: fourteen of eight bytes, with the links, make two cache lines.
const CHUNK_ITEMS: u32 = 14;

/// No chunk: the end of a list.
const NONE: u32 = u32::MAX;

#[repr(align(64))]
struct Chunk<T> {
    items: ArrayVec<T, { CHUNK_ITEMS as usize }>,
    /// The chunk behind this one, in its list or among the free ones.
    next: u32,
    /// The list that the chunk is in: a removal fills its hole from that list's front.
    list: u32,
}

const _: () = assert!(size_of::<Chunk<u64>>() == 128);

/// Unordered lists of items, numbered from 0, over one block of chunks.
pub(super) struct Chunks<T> {
    chunks: Box<[Chunk<T>]>,
    /// How many chunks there are.
    count: u32,
    /// The front chunk of each list.
    fronts: Box<[u32]>,
    /// The first free chunk.
    free: u32,
    /// How many items are in all lists together.
    len: usize,
}

impl<T> Chunks<T> {
    /// Memory for `items_max` items, however they are spread over `lists` lists.
    pub(super) fn new(items_max: u32, lists: u32) -> Self {
        // No chunk in a list is empty, and each list has at most one that is not full.
        let count = items_max.min((items_max / CHUNK_ITEMS).saturating_add(lists));
        let behind = |index: u32| if index + 1 < count { index + 1 } else { NONE };
        let chunk = |index| Chunk { items: ArrayVec::new(), next: behind(index), list: 0 };
        Chunks {
            chunks: (0..count).map(chunk).collect(),
            count,
            fronts: vec![NONE; lists as usize].into_boxed_slice(),
            free: if count > 0 { 0 } else { NONE },
            len: 0,
        }
    }

    /// How many items are in all lists together.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether `list` has no items.
    pub(super) fn is_empty(&self, list: u32) -> bool {
        self.fronts[list as usize] == NONE
    }

    /// Adds `item` to `list`.
    ///
    /// # Panics
    /// When there are more items than the memory was built for.
    pub(super) fn push(&mut self, list: u32, item: T) {
        let front = self.fronts[list as usize];
        let has_room = front != NONE && !self.chunks[front as usize].items.is_full();
        let front = if has_room { front } else { self.grow(list) };
        self.chunks[front as usize].items.push(item);
        self.len += 1;
    }

    /// Takes some item of `list`.
    pub(super) fn pop(&mut self, list: u32) -> Option<T> {
        let front = self.fronts[list as usize];
        let items = &mut self.chunks.get_mut(front as usize)?.items;
        let item = items.pop();
        if items.is_empty() {
            self.shrink(list);
        }
        self.len -= 1;
        item
    }

    /// Moves all items of `list` to the end of `out`.
    pub(super) fn take(&mut self, list: u32, out: &mut Vec<T>) {
        while let Some(chunk) = self.chunks.get_mut(self.fronts[list as usize] as usize) {
            self.len -= chunk.items.len();
            out.extend(chunk.items.drain(..));
            self.shrink(list);
        }
    }

    /// Takes an item chosen uniformly among all, and says from which list.
    ///
    /// A place is drawn until one is taken: there are at most as many chunks as items when the
    /// memory is full, so one draw in fourteen hits.
    pub(super) fn remove_random(&mut self, rng: &mut Rng) -> Option<(u32, T)> {
        while self.len > 0 {
            let chunk = rng.below(self.count);
            let place = rng.below(CHUNK_ITEMS) as usize;
            if place < self.chunks[chunk as usize].items.len() {
                return self.remove(chunk, place);
            }
        }
        None
    }

    fn remove(&mut self, chunk: u32, place: usize) -> Option<(u32, T)> {
        let list = self.chunks[chunk as usize].list;
        let last = self.pop(list)?;
        // The front's last item fills the hole, unless it was itself the one to remove.
        match self.chunks[chunk as usize].items.get_mut(place) {
            Some(hole) => Some((list, std::mem::replace(hole, last))),
            None => Some((list, last)),
        }
    }

    /// Puts a free chunk in front of `list`.
    fn grow(&mut self, list: u32) -> u32 {
        let front = self.free;
        let chunk = &mut self.chunks[front as usize];
        self.free = chunk.next;
        chunk.next = self.fronts[list as usize];
        chunk.list = list;
        self.fronts[list as usize] = front;
        front
    }

    /// Frees the empty chunk in front of `list`.
    fn shrink(&mut self, list: u32) {
        let front = self.fronts[list as usize];
        let chunk = &mut self.chunks[front as usize];
        self.fronts[list as usize] = chunk.next;
        chunk.next = self.free;
        self.free = front;
    }
}
