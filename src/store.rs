//! Mailboxes: what a gateway keeps for its users until they fetch it.
//!
//! Here in memory, bounded; a letter is sealed, so nothing in here can be read.

use std::collections::{HashMap, VecDeque};

/// Names a mailbox: its Ed25519 key, the destination of its packets.
pub type Mailbox = [u8; 32];

/// Limits of the store, fixed at start.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Mailboxes at most.
    pub mailboxes_max: usize,
    /// Letters that one mailbox holds at most.
    pub letters_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { mailboxes_max: 4096, letters_max: 4096 }
    }
}

/// A payload that waits in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its place in the mailbox: 1, 2, 3 ...
    pub sequence: u64,
    /// The identifier of the packet that brought it: zeros, or that of a reply block.
    pub identifier: [u8; 16],
    /// The payload.
    pub payload: Box<[u8]>,
}

/// Why a letter or a mailbox was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Nobody has opened such a mailbox here.
    UnknownMailbox,
    /// The mailbox holds all the letters it may.
    MailboxFull,
    /// The store holds all the mailboxes it may.
    StoreFull,
}

#[derive(Debug, Default)]
struct Letters {
    last: u64,
    waiting: VecDeque<Letter>,
}

/// All mailboxes of a gateway.
#[derive(Debug)]
pub struct Store {
    options: Options,
    mailboxes: HashMap<Mailbox, Letters>,
}

impl Store {
    /// An empty store.
    pub fn new(options: Options) -> Self {
        Store { options, mailboxes: HashMap::new() }
    }

    /// Makes the mailbox if it is not there yet.
    ///
    /// # Errors
    /// [`StoreError::StoreFull`].
    pub fn open(&mut self, mailbox: Mailbox) -> Result<(), StoreError> {
        let full = self.mailboxes.len() >= self.options.mailboxes_max;
        if full && !self.mailboxes.contains_key(&mailbox) {
            return Err(StoreError::StoreFull);
        }
        self.mailboxes.entry(mailbox).or_default();
        Ok(())
    }

    /// Puts a payload into a mailbox; returns its place there.
    ///
    /// # Errors
    /// [`StoreError::UnknownMailbox`], [`StoreError::MailboxFull`].
    pub fn put(
        &mut self,
        mailbox: &Mailbox,
        identifier: [u8; 16],
        payload: &[u8],
    ) -> Result<u64, StoreError> {
        let letters = self.mailboxes.get_mut(mailbox).ok_or(StoreError::UnknownMailbox)?;
        if letters.waiting.len() >= self.options.letters_max {
            return Err(StoreError::MailboxFull);
        }
        letters.last += 1;
        let sequence = letters.last;
        letters.waiting.push_back(Letter { sequence, identifier, payload: payload.into() });
        Ok(sequence)
    }

    /// The waiting letters behind place `after`, oldest first.
    pub fn waiting(&self, mailbox: &Mailbox, after: u64) -> impl Iterator<Item = &Letter> {
        let letters = self.mailboxes.get(mailbox);
        letters.into_iter().flat_map(|letters| &letters.waiting).filter(move |l| l.sequence > after)
    }

    /// The place behind which letters wait: everything up to it was acknowledged.
    pub fn acknowledged(&self, mailbox: &Mailbox) -> u64 {
        self.mailboxes.get(mailbox).map_or(0, |letters| letters.last - letters.waiting.len() as u64)
    }

    /// Forgets the letters up to and with place `cursor`.
    pub fn acknowledge(&mut self, mailbox: &Mailbox, cursor: u64) {
        if let Some(letters) = self.mailboxes.get_mut(mailbox) {
            while letters.waiting.front().is_some_and(|letter| letter.sequence <= cursor) {
                letters.waiting.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Options = Options { mailboxes_max: 2, letters_max: 3 };

    #[test]
    fn letters_wait_in_order_until_acknowledged() {
        let mut store = Store::new(LIMITS);
        store.open([1; 32]).unwrap();
        for payload in [b"a", b"b", b"c"] {
            store.put(&[1; 32], [0; 16], payload).unwrap();
        }
        store.acknowledge(&[1; 32], 1);
        let waiting: Vec<_> = store.waiting(&[1; 32], 0).map(|letter| letter.sequence).collect();
        assert_eq!(waiting, [2, 3]);
        assert_eq!(store.waiting(&[1; 32], 2).count(), 1);
    }

    #[test]
    fn a_full_mailbox_a_full_store_and_an_unknown_mailbox_are_values() {
        let mut store = Store::new(LIMITS);
        store.open([1; 32]).unwrap();
        store.open([2; 32]).unwrap();
        assert_eq!(store.open([3; 32]), Err(StoreError::StoreFull));
        assert_eq!(store.open([1; 32]), Ok(()));
        for _ in 0..3 {
            store.put(&[1; 32], [0; 16], b"x").unwrap();
        }
        assert_eq!(store.put(&[1; 32], [0; 16], b"x"), Err(StoreError::MailboxFull));
        assert_eq!(store.put(&[3; 32], [0; 16], b"x"), Err(StoreError::UnknownMailbox));
    }
}
