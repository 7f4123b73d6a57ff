//! Free tokens on their way between threads: in magazines, through one queue.
//!
//! Whoever has too many fills the queue, whoever has none empties it, so that no thread starves
//! while another hoards, and a lone token costs no atomic operation.

use crate::sync::{Arc, ArrayQueue};
use arrayvec::ArrayVec;

/// Tokens that travel together between a cache and the depot.
pub(super) const MAGAZINE_TOKENS: usize = 64;
/// Tokens that one cache holds at most.
pub(super) const CACHE_TOKENS_MAX: usize = 2 * MAGAZINE_TOKENS;
/// Threads that may end with a partial magazine each, beside the last one of the first filling.
const PARTIAL_MAGAZINES_MAX: usize = 4 * 1024;

type Magazine<T> = ArrayVec<T, MAGAZINE_TOKENS>;

/// What no thread holds.
#[derive(Debug)]
pub(super) struct Depot<T>(ArrayQueue<Magazine<T>>);

impl<T> Depot<T> {
    /// With `tokens` in it, and room for as many.
    pub(super) fn new(tokens: impl ExactSizeIterator<Item = T>) -> Arc<Self> {
        let depot = Depot(ArrayQueue::new(tokens.len() / MAGAZINE_TOKENS + PARTIAL_MAGAZINES_MAX));
        let mut tokens = tokens.peekable();
        while tokens.peek().is_some() {
            depot.put(tokens.by_ref().take(MAGAZINE_TOKENS).collect());
        }
        Arc::new(depot)
    }

    fn put(&self, magazine: Magazine<T>) {
        assert!(self.0.push(magazine).is_ok(), "the depot holds every magazine");
    }
}

/// One thread's tokens, filled from and emptied into the depot by the magazine.
#[derive(Debug)]
pub(super) struct Cache<T> {
    depot: Arc<Depot<T>>,
    free: ArrayVec<T, CACHE_TOKENS_MAX>,
}

impl<T> Cache<T> {
    /// An empty one over `depot`.
    pub(super) fn new(depot: Arc<Depot<T>>) -> Self {
        Cache { depot, free: ArrayVec::new() }
    }

    /// A token; none when all are in use, or with other threads.
    pub(super) fn take(&mut self) -> Option<T> {
        if self.free.is_empty() {
            self.free.extend(self.depot.0.pop()?);
        }
        self.free.pop()
    }

    /// Takes `token` home.
    pub(super) fn give(&mut self, token: T) {
        if self.free.is_full() {
            self.depot.put(self.free.drain(MAGAZINE_TOKENS..).collect());
        }
        self.free.push(token);
    }
}

impl<T> Drop for Cache<T> {
    fn drop(&mut self) {
        while !self.free.is_empty() {
            let keep = self.free.len().saturating_sub(MAGAZINE_TOKENS);
            self.depot.put(self.free.drain(keep..).collect());
        }
    }
}
