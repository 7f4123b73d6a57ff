//! Mailboxes: what a gateway keeps for its users until they fetch it.
//!
//! Orders go in, completions come out, so whoever keeps mailboxes by a [`Store`] waits for no disk.
//! A completion says that its order, and every order before it, is on durable storage: what was
//! acknowledged survives the death of the process. Letters are sealed; nothing in here can be read.

mod database;
mod inline;
mod thread;

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use crate::clock::UnixMicros;

pub use inline::InlineStore;
pub use thread::ThreadStore;

/// Names a mailbox: its Ed25519 key, the destination of its packets.
pub type Mailbox = [u8; 32];

/// Limits of the store, fixed at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Mailboxes at most.
    pub mailboxes_max: usize,
    /// Letters that one mailbox holds at most.
    pub letters_max: u64,
    /// Bytes that the letters of one mailbox have at most.
    pub bytes_max: u64,
    /// How long a letter waits; how long an empty mailbox that nobody opens stays, a day at most
    /// if it never held a letter.
    pub expiry: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            mailboxes_max: 4096,
            letters_max: 65_536,
            bytes_max: 64 << 20,
            expiry: Duration::from_secs(30 * 86_400),
        }
    }
}

/// A body that waits in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its place in the mailbox: 1, 2, 3 ...
    pub number: u64,
    /// The body.
    pub body: Box<[u8]>,
}

/// What the store is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make the mailbox if it is not there yet; its owner is here.
    Open(Mailbox),
    /// Put a body into a mailbox.
    Put {
        /// Which one.
        mailbox: Mailbox,
        /// The body.
        body: Box<[u8]>,
    },
    /// Nothing, for as long as a put would take.
    Discard,
    /// Forget the letters up to and with this place.
    Acknowledge {
        /// The mailbox.
        mailbox: Mailbox,
        /// The place.
        cursor: u64,
    },
    /// Say what waits behind this place, oldest first.
    Read {
        /// The mailbox.
        mailbox: Mailbox,
        /// The place.
        after: u64,
        /// Letters at most.
        letters_max: usize,
    },
    /// Forget what is too old.
    Sweep,
}

/// A request and what its completion is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Given back with the completion.
    pub ticket: u64,
    /// The time.
    pub wall: UnixMicros,
    /// What to do.
    pub request: Request,
}

/// Where a body went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Into the mailbox.
    Stored,
    /// It had been there before.
    Duplicate,
    /// The mailbox holds all the letters or bytes it may.
    MailboxFull,
    /// Nobody has opened such a mailbox here.
    UnknownMailbox,
    /// It was to go nowhere.
    Discarded,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The mailbox is open; everything up to this place was acknowledged.
    Opened {
        /// The place.
        acknowledged: u64,
    },
    /// There are as many mailboxes as there may be.
    StoreFull,
    /// A body's way has ended.
    Placed(Placed),
    /// Some of the letters that wait.
    Letters {
        /// Everything up to this place was acknowledged, or has waited too long.
        acknowledged: u64,
        /// The letters, in order, none left out.
        letters: Vec<Letter>,
    },
    /// It is done.
    Done,
}

/// The end of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The order's.
    pub ticket: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// Why mailboxes cannot be kept, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder.
    #[error("cannot make the mailbox folder {path}: {source}")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file.
    #[error("cannot open the mailboxes in {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<redb::Error>,
    },
    /// A commit failed: nothing of it was acknowledged.
    #[error("cannot keep letters any more: {0}: is the disk full or damaged?")]
    Commit(#[source] Box<redb::Error>),
    /// The thread could not be started.
    #[error("cannot start the storage thread: {0}")]
    Thread(std::io::Error),
}

/// Keeps mailboxes. Completions come in the order of the orders.
pub trait Store: Debug + Send {
    /// Takes an order.
    ///
    /// # Errors
    /// The order itself, when too many wait.
    fn submit(&mut self, order: Order) -> Result<(), Order>;

    /// The next order that is done.
    fn completed(&mut self) -> Option<Completion>;

    /// Why no order will be done any more.
    fn failure(&mut self) -> Option<StoreError>;
}
