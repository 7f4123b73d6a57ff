//! A message of which not all parts are here.

use std::collections::BTreeMap;

use crate::clock::Nanos;
use crate::message::envelope::Part;
use crate::message::fragment::Cut;

/// What a part costs beside its bytes: its places in two trees and in the allocator.
const PART_OVERHEAD_BYTES: usize = 128;
/// What a message costs beside its parts.
pub(super) const MESSAGE_OVERHEAD_BYTES: usize = 256;

/// A part that is here, and the letter that brought it.
#[derive(Debug)]
struct Held {
    content: Box<[u8]>,
    letter: u64,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addition {
    /// It is kept.
    New,
    /// It was here before.
    Duplicate,
    /// The message is cut in another way.
    Contradiction,
}

/// The parts of one message, as many as are here: a long message of which little came takes
/// little.
#[derive(Debug)]
pub(super) struct Partial {
    cut: Cut,
    parts: BTreeMap<u32, Held>,
    bytes: usize,
    /// When the last part came.
    pub(super) last: Nanos,
    /// How many parts of all messages had come until then.
    pub(super) turn: u64,
}

impl Partial {
    pub(super) fn new(cut: Cut) -> Self {
        let (parts, last) = (BTreeMap::new(), Nanos::ZERO);
        Partial { cut, parts, bytes: MESSAGE_OVERHEAD_BYTES, last, turn: 0 }
    }

    /// Takes a part of this message.
    pub(super) fn add(&mut self, part: Part, letter: u64) -> Addition {
        if part.cut != self.cut {
            return Addition::Contradiction;
        }
        if self.parts.contains_key(&part.number) {
            return Addition::Duplicate;
        }
        self.bytes += cost(part.content.len());
        self.parts.insert(part.number, Held { content: part.content.into(), letter });
        Addition::New
    }

    /// What the message costs of the memory for all.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_whole(&self) -> bool {
        self.parts.len() == self.cut.parts() as usize
    }

    /// The letters that brought the parts.
    pub(super) fn letters(&self) -> impl Iterator<Item = u64> {
        self.parts.values().map(|held| held.letter)
    }

    /// The message, if it is whole: its parts one after the other.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.cut.message_bytes());
        for held in self.parts.into_values() {
            bytes.extend_from_slice(&held.content);
        }
        bytes
    }
}

/// What a part of `content_bytes` costs.
pub(super) const fn cost(content_bytes: usize) -> usize {
    content_bytes + PART_OVERHEAD_BYTES
}
