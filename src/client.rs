//! The program beside the user: a link to one gateway, messages out, messages in.
//!
//! It runs on one thread by `turn`s, like a worker, but it is no packet path: it may allocate.

mod connection;
mod emitter;
mod mailbox;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::{Nanos, UnixMicros};
use crate::cover::{LoopCounts, Stream};
use crate::crypto::random::Rng;
use crate::io::Port;
use crate::link::Frame;
use crate::message::envelope::{self, Part};
use crate::message::fragment::Cut;
use crate::pki::{Consensus, MailboxAddress, MailboxKeys, NodeId};
use crate::route::{self, Recipient, RouteError};

pub use connection::{Connection, ConnectionError, network_of};
pub use emitter::EmissionCounts;
use emitter::Emitter;
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
    mailbox: MailboxReader,
    outbox: VecDeque<Vec<u8>>,
    emitter: Emitter,
    rng: Rng,
}

impl<P: Port> Client<P> {
    /// A client of `gateway` in the network that `consensus` describes, over `connection`; it
    /// reads the mailbox of `keys`.
    pub fn new(
        connection: Connection<P>,
        consensus: Arc<Consensus>,
        gateway: NodeId,
        keys: MailboxKeys,
        mut rng: Rng,
    ) -> Self {
        let home = Recipient { gateway, mailbox: keys.signing.public() };
        let emitter = Emitter::new(&consensus, home, rng.fork());
        let mailbox = MailboxReader::new(gateway, keys);
        Client { connection, consensus, gateway, mailbox, outbox: VecDeque::new(), emitter, rng }
    }

    /// The address of this client's mailbox.
    pub fn address(&self) -> MailboxAddress {
        self.mailbox.address()
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
        let cut = Cut::new(bytes, bytes_max).ok_or(SendError::TooLong { bytes, bytes_max })?;
        let part = Part { id: self.rng.bytes(), number: 0, cut, content: message.to_vec() };
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
        self.connection.is_up() && self.mailbox.is_open()
    }

    /// Why the gateway does not let this client in, if it said so.
    pub fn refusal(&self) -> Option<ConnectionError> {
        self.mailbox.refusal()
    }

    /// The next message that arrived.
    pub fn received(&mut self) -> Option<Vec<u8>> {
        self.mailbox.received()
    }

    /// One turn: takes what is there, sends what is due. Returns how much there was to do.
    pub fn turn(&mut self, now: Nanos, wall: UnixMicros) -> usize {
        let mut work = self.connection.turn(now, wall);
        while let Some((frame, body)) = self.connection.received() {
            work += 1;
            let emitter = &mut self.emitter;
            self.mailbox.take(frame, &body, |identifier| _ = emitter.take_loop(identifier, now));
        }
        work += self.emit(now, wall);
        self.connection.flush();
        work
    }

    /// When the next turn has something to do, if nothing arrives before.
    pub fn next_due(&self) -> Nanos {
        self.emitter.next_due().min(self.connection.next_due())
    }

    /// The link to the gateway.
    pub fn connection(&self) -> &Connection<P> {
        &self.connection
    }

    /// What it has sent.
    pub fn emission_counts(&self) -> EmissionCounts {
        self.emitter.counts()
    }

    /// What came of its loops.
    pub fn loop_counts(&self) -> LoopCounts {
        self.emitter.loop_counts()
    }

    /// Tells the gateway that this client goes.
    pub fn close(&mut self, now: Nanos) {
        self.connection.close(now);
    }

    /// Sends what is due: always something, at instants that depend on nothing but the rates.
    fn emit(&mut self, now: Nanos, wall: UnixMicros) -> usize {
        let Client { connection, consensus, mailbox, outbox, emitter, .. } = self;
        let Some(session) = connection.session().filter(|_| connection.is_up()) else {
            emitter.stop();
            return 0;
        };
        emitter.start(consensus, outbox, now);
        let has_dummies = consensus.parameters().rates.has_decoys();
        let mut work = 0;
        while let Some(stream) = emitter.due(now) {
            work += 1;
            if stream == Stream::Control {
                let request = mailbox.request(&session, now, wall);
                emitter.count_control(request.is_none());
                match request {
                    Some(body) => connection.send(Frame::Control, &body, now),
                    None if has_dummies => connection.send(Frame::Dummy, &[], now),
                    None => {}
                }
            } else if let Some(frame) = emitter.launch(now) {
                connection.send(Frame::Sphinx, frame, now);
            }
            emitter.prepare(consensus, outbox);
        }
        work
    }
}
