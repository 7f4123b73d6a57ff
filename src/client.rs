//! The program beside the user: a link to one gateway, messages out, messages in.
//!
//! It runs on one thread by `turn`s, like a worker, but it is no packet path: it may allocate.

mod connection;
mod mailbox;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::{Nanos, UnixMicros};
use crate::crypto::random::Rng;
use crate::io::Port;
use crate::link::Frame;
use crate::message::envelope::{self, Part};
use crate::pki::{Consensus, MailboxAddress, MailboxKeys, NodeId};
use crate::route::{self, Recipient, RouteError};

pub use connection::{Connection, ConnectionError, network_of};
use mailbox::MailboxReader;

/// Messages that wait to be sent, at most.
pub const OUTBOX_MESSAGES_MAX: usize = 65_536;

/// Why a message is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It does not fit one packet.
    #[error("the message has {bytes} bytes; one packet carries {bytes_max}")]
    TooLong {
        /// Bytes of the message.
        bytes: usize,
        /// The most that fit.
        bytes_max: usize,
    },
    /// Too many wait already.
    #[error("{OUTBOX_MESSAGES_MAX} messages wait already: send more slowly")]
    OutboxFull,
    /// The address holds a key that nothing can be sealed to.
    #[error("the address is not usable: its sealing key is no good point of the curve")]
    BadAddress,
    /// No path leads there.
    #[error(transparent)]
    Route(#[from] RouteError),
}

/// A user's end of the network.
#[derive(Debug)]
pub struct Client<P> {
    connection: Connection<P>,
    consensus: Arc<Consensus>,
    gateway: NodeId,
    mailbox: Option<MailboxReader>,
    outbox: VecDeque<Vec<u8>>,
    next_send: Nanos,
    send_gap: Nanos,
    rng: Rng,
}

impl<P: Port> Client<P> {
    /// A client of `gateway` in the network that `consensus` describes, over `connection`; it
    /// reads the mailbox of `keys`, if any.
    pub fn new(
        connection: Connection<P>,
        consensus: Arc<Consensus>,
        gateway: NodeId,
        keys: Option<MailboxKeys>,
        rng: Rng,
    ) -> Self {
        let send_gap = consensus.parameters().rates.payload.gap_mean();
        let mailbox = keys.map(|keys| MailboxReader::new(gateway, keys));
        Client {
            connection,
            consensus,
            gateway,
            mailbox,
            outbox: VecDeque::new(),
            next_send: Nanos::ZERO,
            send_gap,
            rng,
        }
    }

    /// The address of this client's mailbox.
    pub fn address(&self) -> Option<MailboxAddress> {
        self.mailbox.as_ref().map(MailboxReader::address)
    }

    /// The most bytes that one message may have.
    pub fn message_bytes_max(&self) -> usize {
        self.consensus.geometry().message_bytes_max().saturating_sub(envelope::OVERHEAD_BYTES)
    }

    /// Takes a message on its way to `to`: sealed and wrapped now, sent at its turn.
    ///
    /// # Errors
    /// When it cannot be sent, now or ever.
    pub fn submit(&mut self, message: &[u8], to: &MailboxAddress) -> Result<(), SendError> {
        let (bytes, bytes_max) = (message.len(), self.message_bytes_max());
        if bytes > bytes_max {
            return Err(SendError::TooLong { bytes, bytes_max });
        }
        if self.outbox.len() >= OUTBOX_MESSAGES_MAX {
            return Err(SendError::OutboxFull);
        }
        let part = Part { id: self.rng.bytes(), number: 0, count: 1, content: message.to_vec() };
        let sealed = envelope::seal(&part, &to.sealing, &mut self.rng)
            .map_err(|envelope::NotOpened| SendError::BadAddress)?;
        let recipient = Recipient { gateway: to.gateway, mailbox: to.signing };
        let mut frame = vec![0; self.consensus.geometry().frame_bytes()];
        let (consensus, gateway) = (&self.consensus, &self.gateway);
        route::build_frame(consensus, gateway, &recipient, &sealed, &mut self.rng, &mut frame)?;
        self.outbox.push_back(frame);
        Ok(())
    }

    /// Messages that were submitted and have not left yet.
    pub fn waiting(&self) -> usize {
        self.outbox.len()
    }

    /// Whether the link to the gateway stands and the mailbox, if there is one, is open.
    pub fn is_ready(&self) -> bool {
        self.connection.is_up() && self.mailbox.as_ref().is_none_or(MailboxReader::is_open)
    }

    /// Why the gateway does not let this client in, if it said so.
    pub fn refusal(&self) -> Option<ConnectionError> {
        self.mailbox.as_ref().and_then(MailboxReader::refusal)
    }

    /// The next message that arrived.
    pub fn received(&mut self) -> Option<Vec<u8>> {
        self.mailbox.as_mut()?.received()
    }

    /// One turn: takes what is there, sends what is due. Returns how much there was to do.
    pub fn turn(&mut self, now: Nanos, wall: UnixMicros) -> usize {
        let mut work = self.connection.turn(now, wall);
        while let Some((frame, body)) = self.connection.received() {
            work += 1;
            if let Some(mailbox) = &mut self.mailbox {
                mailbox.take(frame, &body);
            }
        }
        if self.connection.is_up() {
            self.send_control(now, wall);
            work += self.send_packet(now);
        }
        self.connection.flush();
        work
    }

    /// When the next turn has something to do, if nothing arrives before.
    pub fn next_due(&self) -> Nanos {
        if !self.connection.is_up() {
            return self.connection.next_due();
        }
        let mailbox = self.mailbox.as_ref().map_or(Nanos::NEVER, MailboxReader::next_due);
        self.next_send.min(mailbox).min(self.connection.next_due())
    }

    /// The link to the gateway.
    pub fn connection(&self) -> &Connection<P> {
        &self.connection
    }

    /// Tells the gateway that this client goes; take turns until its connection is closed.
    pub fn close(&mut self, now: Nanos) {
        self.connection.close(now);
    }

    /// Opens the mailbox in every new session, acknowledges letters.
    fn send_control(&mut self, now: Nanos, wall: UnixMicros) {
        let (Some(mailbox), Some(session)) = (&mut self.mailbox, self.connection.session()) else {
            return;
        };
        for body in mailbox.requests(&session, now, wall) {
            self.connection.send(Frame::Control, &body, now);
        }
    }

    /// Sends a packet, if one waits, at each instant of a Poisson clock.
    fn send_packet(&mut self, now: Nanos) -> usize {
        let mut sent = 0;
        while self.next_send <= now {
            // The clock runs also when nothing waits: a packet goes at the clock's next instant,
            // which says nothing of when it was submitted.
            self.next_send = self.next_send.max(now) + self.rng.exponential(self.send_gap);
            if let Some(frame) = self.outbox.pop_front() {
                self.connection.send(Frame::Sphinx, &frame, now);
                sent += 1;
            }
        }
        sent
    }
}
