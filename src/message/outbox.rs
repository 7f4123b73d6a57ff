//! The sender's end: messages in parts, every part in a packet of its own, until all are
//! acknowledged.
//!
//! Each try takes a new route, in a new envelope, with a new reply block back to the sender's own
//! mailbox: what an observer sees of two tries is no more alike than of any two packets. Nobody
//! sees whether there is something to send at all, since a decoy goes where nothing waits
//! ([`Outbox::decoy`]) and is acknowledged like the rest; that is also why what is sent again
//! burdens no network more than silence does.

mod backoff;
mod outgoing;
mod queue;
mod ring;
mod tries;

pub use backoff::WAIT_MAX;
pub use queue::WINDOW_PARTS;
pub use tries::{TRIES_MAX, TRY_SPAN_MAX};

use super::envelope::{self, Part};
use super::fragment::Cut;
use super::{MESSAGE_BYTES_MAX, MessageId, part_bytes};
use crate::clock::Nanos;
use crate::crypto::random::Rng;
use crate::crypto::x25519;
use crate::pki::{Consensus, MailboxAddress};
use crate::route::content::{Content, DISCARD, REPLY_OVERHEAD_BYTES, Receipt};
use crate::route::{self, Recipient, RouteError};
use crate::sphinx::{BuildError, Geometry, Identifier};
use backoff::Backoff;
use outgoing::Outgoing;
use queue::Queue;
use tries::{Purpose, Tries};

/// Messages kept at most: those on their way, and those whose end the caller has not asked for.
pub const MESSAGES_MAX: usize = 65_536;
/// Bytes of all messages on their way at most.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(QUEUE_BYTES_MAX >= MESSAGE_BYTES_MAX && TRIES_MAX >= WINDOW_PARTS);

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It has no bytes.
    #[error("the message is empty")]
    Empty,
    /// No message may be so long.
    #[error("the message has {bytes} bytes; allowed are {bytes_max}")]
    TooLong {
        /// Bytes of the message.
        bytes: usize,
        /// The most that are allowed.
        bytes_max: usize,
    },
    /// Too much is on its way already.
    #[error("too many messages wait already: send more slowly")]
    QueueFull,
    /// The address is nobody's.
    #[error("the address is not usable: nothing can be sealed to its key")]
    BadAddress,
}

/// Why a message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The recipient's gateway keeps no such mailbox; known at once.
    #[error("the recipient's gateway has no such mailbox: is the address right?")]
    UnknownMailbox,
    /// The mailbox had no room until the deadline.
    #[error("the recipient's mailbox is full: it must be read first")]
    MailboxFull,
    /// No packet could be made until the deadline.
    #[error("no path leads to the recipient: {0}")]
    NoRoute(RouteError),
    /// Not all parts were acknowledged before the deadline; the message may have arrived.
    #[error("not acknowledged in time: the message may have arrived or not")]
    Unanswered,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Some more of it is acknowledged.
    Progress {
        /// The message.
        id: MessageId,
        /// Parts that are acknowledged.
        acknowledged: u32,
        /// Parts that it has.
        total: u32,
    },
    /// All of it lies safe at the recipient's gateway.
    Delivered {
        /// The message.
        id: MessageId,
    },
    /// It is given up.
    Failed {
        /// The message.
        id: MessageId,
        /// For what reason.
        why: Failure,
    },
}

/// What was sent and what came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets with a part of a message.
    pub packets: u64,
    /// Those among them whose part was sent before.
    pub retransmissions: u64,
    /// Decoys.
    pub decoys: u64,
    /// Acknowledgements of parts, whatever they said and whether news or not.
    pub acknowledgements: u64,
    /// Acknowledgements of decoys.
    pub decoys_acknowledged: u64,
    /// Answers that were changed on their way, or say nothing known.
    pub garbled: u64,
}

/// A user's messages on their way out.
#[derive(Debug)]
pub struct Outbox {
    part_bytes: usize,
    home: Recipient,
    /// What decoys are sealed to: nobody has its secret.
    nobody: x25519::Point,
    queue: Queue,
    tries: Tries,
    counts: Counts,
    rng: Rng,
}

/// A packet to be.
struct Emission<'a> {
    to: Recipient,
    sealing: &'a x25519::Point,
    part: &'a Part,
    purpose: Purpose,
}

impl Outbox {
    /// For packets of `geometry`; acknowledgements come back to the mailbox `home`, and packets
    /// enter the network at its gateway.
    pub fn new(geometry: Geometry, home: Recipient, mut rng: Rng) -> Self {
        Outbox {
            part_bytes: part_bytes(geometry),
            home,
            nobody: x25519::Secret::random(&mut rng).public(),
            queue: Queue::default(),
            tries: Tries::default(),
            counts: Counts::default(),
            rng,
        }
    }

    /// Takes a message on its way to `to`; it is given up at `deadline`.
    ///
    /// # Errors
    /// When it cannot be sent, now or ever.
    pub fn submit(
        &mut self,
        bytes: Vec<u8>,
        to: &MailboxAddress,
        deadline: Nanos,
    ) -> Result<MessageId, SubmitError> {
        if bytes.is_empty() {
            return Err(SubmitError::Empty);
        }
        let cut = Cut::new(bytes.len(), self.part_bytes).ok_or(SubmitError::TooLong {
            bytes: bytes.len(),
            bytes_max: if self.part_bytes == 0 { 0 } else { MESSAGE_BYTES_MAX },
        })?;
        let is_full = self.queue.bytes() + bytes.len() > QUEUE_BYTES_MAX;
        if is_full || self.queue.kept() >= MESSAGES_MAX {
            return Err(SubmitError::QueueFull);
        }
        if to.signing == DISCARD || !envelope::is_usable(&to.sealing) {
            return Err(SubmitError::BadAddress);
        }
        let id = self.rng.bytes();
        self.queue.insert(id, Outgoing::new(bytes, cut, to, deadline));
        Ok(id)
    }

    /// Makes `frame`, of the geometry's frame bytes, the next packet to send and its tail. Says
    /// no, and leaves nothing of meaning in it, when nothing waits: then a decoy is to go.
    pub fn next_packet(&mut self, consensus: &Consensus, now: Nanos, frame: &mut [u8]) -> bool {
        self.tick(now);
        let Some((id, number)) = self.queue.next() else { return false };
        let Some(message) = self.queue.message(&id) else { return false };
        let Some(part) = message.part(id, number) else { return false };
        let (address, tries) = (message.to, message.tries(number));
        let emission = Emission {
            to: Recipient { gateway: address.gateway, mailbox: address.signing },
            sealing: &address.sealing,
            part: &part,
            purpose: Purpose::Part(id, number),
        };
        if let Err(error) = self.write(consensus, &emission, now, frame) {
            self.queue.rest(&id, Failure::NoRoute(error), now, &mut self.rng);
            return false;
        }
        let backoff = Backoff::of_acknowledgements(consensus.parameters());
        self.queue.has_left(&id, number, now + backoff.wait(tries, &mut self.rng));
        self.counts.packets += 1;
        self.counts.retransmissions += u64::from(tries > 0);
        true
    }

    /// Makes `frame` a decoy: a packet as any other, with a sealed envelope and a reply block, to
    /// a random gateway that discards and acknowledges it. To make one is the same work, too.
    ///
    /// # Errors
    /// When the consensus has no path for it.
    pub fn decoy(
        &mut self,
        consensus: &Consensus,
        now: Nanos,
        frame: &mut [u8],
    ) -> Result<(), RouteError> {
        self.tries.expire(now);
        let gateways = consensus.gateways();
        let choice = self.rng.below(u32::try_from(gateways.len()).unwrap_or(u32::MAX)) as usize;
        let gateway = gateways.get(choice).map_or(self.home.gateway, |gateway| gateway.id());
        let nobody = self.nobody;
        let id = self.rng.bytes();
        let cut = Cut::new(self.part_bytes, self.part_bytes).ok_or(BuildError::Message {
            message_bytes: REPLY_OVERHEAD_BYTES + envelope::OVERHEAD_BYTES,
            message_bytes_max: consensus.geometry().message_bytes_max(),
        })?;
        let part = Part { id, number: 0, cut, content: vec![0; self.part_bytes] };
        let emission = Emission {
            to: Recipient { gateway, mailbox: DISCARD },
            sealing: &nobody,
            part: &part,
            purpose: Purpose::Decoy,
        };
        self.write(consensus, &emission, now, frame)?;
        self.counts.decoys += 1;
        Ok(())
    }

    /// Takes the answer to the reply block `identifier`, its payload still sealed. Whether the
    /// block is one of ours that was not answered yet, or not so long ago that it is forgotten.
    pub fn reply(&mut self, identifier: &Identifier, payload: &mut [u8], now: Nanos) -> bool {
        let Some(answered) = self.tries.take(identifier) else { return false };
        let receipt = answered.recovery.open(payload).and_then(Receipt::decode);
        match (receipt, answered.purpose) {
            (None, _) => self.counts.garbled += 1,
            (Some(_), Purpose::Decoy) => self.counts.decoys_acknowledged += 1,
            (Some(receipt), Purpose::Part(id, part)) => {
                self.counts.acknowledgements += 1;
                self.acknowledge(receipt, &id, part, now);
            }
        }
        true
    }

    /// Does what is due at `now`: parts to be sent again, messages to be given up.
    pub fn tick(&mut self, now: Nanos) {
        self.tries.expire(now);
        self.queue.tick(now);
    }

    /// When [`Outbox::tick`] has something to do.
    pub fn next_deadline(&self) -> Nanos {
        self.queue.next_deadline()
    }

    /// What happened next. Progress that nobody asked for in time is reported in one.
    pub fn poll(&mut self) -> Option<Event> {
        self.queue.poll()
    }

    /// Messages that were submitted and are neither delivered nor failed.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// What was sent and what came back.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn acknowledge(&mut self, receipt: Receipt, id: &MessageId, part: u32, now: Nanos) {
        match receipt {
            Receipt::Stored | Receipt::Duplicate => {
                self.queue.acknowledge(id, part);
            }
            Receipt::MailboxFull => {
                self.queue.rest(id, Failure::MailboxFull, now, &mut self.rng);
            }
            Receipt::UnknownMailbox => self.queue.fail(id, Failure::UnknownMailbox),
            // No gateway discards what is for a mailbox: it is lost, and sent again.
            Receipt::Discarded => {}
        }
    }

    /// Seals, wraps, remembers.
    fn write(
        &mut self,
        consensus: &Consensus,
        emission: &Emission<'_>,
        now: Nanos,
        frame: &mut [u8],
    ) -> Result<(), RouteError> {
        let Emission { to, sealing, part, purpose } = *emission;
        let rng = &mut self.rng;
        let identifier = rng.bytes();
        let (reply, recovery) =
            route::reply_block(consensus, &to.gateway, &self.home, identifier, rng)?;
        #[expect(clippy::expect_used, reason = "an address with another key was not taken")]
        let sealed = envelope::seal(part, sealing, rng).expect("a usable key");
        let content = Content { reply: Some(reply), body: &sealed }.encode();
        route::build_frame(consensus, &self.home.gateway, &to, &content, rng, frame)?;
        self.tries.insert(purpose, recovery, now);
        Ok(())
    }
}
