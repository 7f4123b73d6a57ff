//! Messages between users: cut into parts, sealed to the recipient alone, sent until they are
//! acknowledged, put together again (`docs/messages.md`).
//!
//! [`Outbox`] is the sender's end, [`Inbox`] the recipient's. Neither does I/O or reads a clock;
//! both have a bound on everything that they keep.

pub mod envelope;
pub mod fragment;
pub mod inbox;
pub mod outbox;

pub use inbox::{Inbox, Received};
pub use outbox::{Event, Failure, Outbox, SubmitError};

use crate::clock::Nanos;
use crate::route::content::REPLY_OVERHEAD_BYTES;
use crate::sphinx::Geometry;

/// Bytes of the longest message.
pub const MESSAGE_BYTES_MAX: usize = 10 * 1024 * 1024;

/// How long a message may be on its way at most: the longest deadline that an application may set.
pub const DEADLINE_MAX: Nanos = Nanos::from_secs(7 * 24 * 60 * 60);

/// Names a message to its sender and its recipient: random, and sealed like the rest of it.
pub type MessageId = [u8; 16];

/// Bytes of a message that one packet carries, beside its reply block: 533 in the default
/// geometry; none, if its packets are too small.
pub const fn part_bytes(geometry: Geometry) -> usize {
    geometry.message_bytes_max().saturating_sub(REPLY_OVERHEAD_BYTES + envelope::OVERHEAD_BYTES)
}

const _: () = assert!(part_bytes(Geometry::DEFAULT) == 533);
