//! What a packet's payload holds for the gateway at its end: a reply block or none, and a body.
//!
//! | bytes | field |
//! | --- | --- |
//! | 1 | 0: no reply block; 1: one follows |
//! | 0 or 397 | the epoch byte of the block's keys, then the block |
//! | rest | the body: an envelope, or what a decoy carries |
//!
//! The block is the sender's own: the gateway lets it go when the body is safe, or when it never
//! will be, and so acknowledges without knowing whom.

use crate::sphinx::Surb;
use crate::sphinx::surb::SURB_BYTES;

const WITHOUT: u8 = 0;
const WITH: u8 = 1;

/// Bytes in front of the body when there is a reply block.
pub const REPLY_OVERHEAD_BYTES: usize = 1 + 1 + SURB_BYTES;

/// A reply block and the epoch whose keys it was made for: usable once.
#[derive(Debug)]
pub struct ReplyBlock {
    /// [`super::epoch_byte`] of the epoch.
    pub epoch: u8,
    /// The block.
    pub surb: Surb,
}

/// What a payload holds.
#[derive(Debug)]
pub struct Content<'a> {
    /// How to acknowledge it.
    pub reply: Option<ReplyBlock>,
    /// For the mailbox.
    pub body: &'a [u8],
}

impl<'a> Content<'a> {
    /// The message that [`crate::sphinx::build`] wraps.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(REPLY_OVERHEAD_BYTES + self.body.len());
        match &self.reply {
            None => out.push(WITHOUT),
            Some(ReplyBlock { epoch, surb }) => {
                out.extend([WITH, *epoch]);
                out.extend(surb.encode());
            }
        }
        out.extend_from_slice(self.body);
        out
    }

    /// Reads what [`crate::sphinx::payload::open`] gave; nothing if it has not this form.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = bytes.split_first()?;
        match kind {
            WITHOUT => Some(Content { reply: None, body: rest }),
            WITH => {
                let (&epoch, rest) = rest.split_first()?;
                let (block, body) = rest.split_at_checked(SURB_BYTES)?;
                let surb = Surb::decode(block)?;
                Some(Content { reply: Some(ReplyBlock { epoch, surb }), body })
            }
            _ => None,
        }
    }
}

/// What an acknowledgement says: the whole message of a released reply block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Receipt {
    /// The body is in the mailbox, on durable storage.
    Stored = 0,
    /// It was there before.
    Duplicate = 1,
    /// The mailbox holds all it may.
    MailboxFull = 2,
    /// There is no such mailbox here.
    UnknownMailbox = 3,
    /// It was for nobody: a decoy.
    Discarded = 4,
}

impl Receipt {
    /// As it is sent.
    pub const fn encode(self) -> [u8; 1] {
        [self as u8]
    }

    /// Reads the message of a reply; nothing if it is no acknowledgement.
    pub fn decode(message: &[u8]) -> Option<Self> {
        match message {
            [0] => Some(Receipt::Stored),
            [1] => Some(Receipt::Duplicate),
            [2] => Some(Receipt::MailboxFull),
            [3] => Some(Receipt::UnknownMailbox),
            [4] => Some(Receipt::Discarded),
            _ => None,
        }
    }
}

/// The destination that every gateway discards: for decoys.
pub const DISCARD: crate::sphinx::Destination = [0; 32];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_without_a_reply_block_comes_back() {
        let bytes = Content { reply: None, body: b"body" }.encode();
        let content = Content::decode(&bytes).unwrap();
        assert!(content.reply.is_none());
        assert_eq!(content.body, b"body");
    }

    #[test]
    fn content_with_a_reply_block_comes_back() {
        let block = [7; SURB_BYTES];
        let surb = Surb::decode(&block).unwrap();
        let bytes = Content { reply: Some(ReplyBlock { epoch: 9, surb }), body: b"body" }.encode();
        assert_eq!(bytes.len(), REPLY_OVERHEAD_BYTES + 4);
        let content = Content::decode(&bytes).unwrap();
        let reply = content.reply.unwrap();
        assert_eq!((reply.epoch, reply.surb.encode()), (9, block.to_vec()));
        assert_eq!(content.body, b"body");
    }

    #[test]
    fn other_forms_are_refused() {
        assert!(Content::decode(&[]).is_none());
        assert!(Content::decode(&[2, 0, 0]).is_none());
        assert!(Content::decode(&[1; REPLY_OVERHEAD_BYTES - 1]).is_none());
    }

    #[test]
    fn a_receipt_comes_back_and_nothing_else_is_one() {
        for receipt in [Receipt::Stored, Receipt::Duplicate, Receipt::Discarded] {
            assert_eq!(Receipt::decode(&receipt.encode()), Some(receipt));
        }
        assert_eq!(Receipt::decode(&[5]), None);
        assert_eq!(Receipt::decode(&[0, 0]), None);
    }
}
