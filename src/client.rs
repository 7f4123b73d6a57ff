//! The program beside the user: a link to one gateway, messages out, messages in.
//!
//! [`Client`] runs on one thread by `turn`s, like a worker, but it is no packet path: it may
//! allocate. [`daemon`] puts it behind a unix socket for many applications, which speak to it
//! through [`api`].

pub mod api;
mod connection;
pub mod daemon;
mod emitter;
mod mailbox;
pub mod protocol;
pub mod spool;

use std::sync::Arc;

use crate::clock::{Nanos, UnixMicros};
use crate::cover::LoopCounts;
use crate::crypto::random::Rng;
use crate::io::Port;
use crate::link::{Delivery, Frame};
use crate::message::outbox::{self, Outbox};
use crate::message::{self, MessageId, SubmitError, inbox};
use crate::pki::{Consensus, MailboxAddress, MailboxKeys, NodeId};
use crate::route::Recipient;
use crate::sphinx::Identifier;

pub use connection::{Connection, ConnectionError, network_of};
pub use emitter::EmissionCounts;
pub use mailbox::Record;

use emitter::{Emitter, Sources};
use mailbox::Mailbox;

/// What a client counted; sums only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// What it sent, by kind.
    pub emissions: EmissionCounts,
    /// Its packets, and what came back for them.
    pub outbox: outbox::Counts,
    /// Its loops.
    pub loops: LoopCounts,
    /// Letters of its mailbox.
    pub inbox: inbox::Counts,
}

/// A user's end of the network.
#[derive(Debug)]
pub struct Client<P> {
    connection: Connection<P>,
    consensus: Arc<Consensus>,
    gateway: NodeId,
    mailbox: Mailbox,
    outbox: Outbox,
    emitter: Emitter,
    /// Whether the network has gone on with a consensus that this client cannot follow.
    is_outdated: bool,
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
        Client {
            outbox: Outbox::new(consensus.geometry(), home, rng.fork()),
            emitter: Emitter::new(&consensus, home, rng),
            mailbox: Mailbox::new(gateway, keys),
            connection,
            consensus,
            gateway,
            is_outdated: false,
        }
    }

    /// The address of this client's mailbox.
    pub fn address(&self) -> MailboxAddress {
        self.mailbox.address()
    }

    /// The gateway.
    pub fn gateway(&self) -> NodeId {
        self.gateway
    }

    /// The consensus that it follows.
    pub fn consensus(&self) -> &Arc<Consensus> {
        &self.consensus
    }

    /// Follows another consensus of the same network from now on.
    ///
    /// # Errors
    /// [`ConnectionError::NetworkChanged`], when a running client cannot: its memory and what
    /// waits in it are made for packets of one size, and it counts on delays of one mean. The one
    /// before stays in use.
    pub fn follow(&mut self, consensus: Arc<Consensus>) -> Result<(), ConnectionError> {
        let (ours, theirs) = (self.consensus.parameters(), consensus.parameters());
        self.is_outdated = ours.geometry != theirs.geometry || ours.delay_mean != theirs.delay_mean;
        if self.is_outdated {
            return Err(ConnectionError::NetworkChanged);
        }
        self.emitter.follow(&consensus);
        self.connection.follow(&consensus);
        self.consensus = consensus;
        Ok(())
    }

    /// Takes a message on its way to `to`; it is given up at `deadline`.
    ///
    /// # Errors
    /// When it cannot be sent, now or ever.
    pub fn submit(
        &mut self,
        message: Vec<u8>,
        to: &MailboxAddress,
        deadline: Nanos,
    ) -> Result<MessageId, SubmitError> {
        self.outbox.submit(message, to, deadline)
    }

    /// What became of the messages that were submitted.
    pub fn event(&mut self) -> Option<message::Event> {
        self.outbox.poll()
    }

    /// Messages that were submitted and are neither delivered nor failed.
    pub fn waiting(&self) -> usize {
        self.outbox.waiting()
    }

    /// What came in and is to be kept, in order; [`Client::kept`] says when it is.
    pub fn record(&mut self) -> Option<Record> {
        self.mailbox.record()
    }

    /// The caller keeps all records up to number `last`, where they outlast this process: the
    /// gateway may forget their letters.
    pub fn kept(&mut self, last: u64) {
        self.mailbox.kept(last);
    }

    /// Takes in again, before the first turn, the letters that were kept, with the numbers of
    /// their records; new records have numbers above `last`.
    pub fn restore(&mut self, letters: Vec<(u64, Vec<u8>)>, last: u64, now: Nanos) {
        self.mailbox.restore(letters, last, now);
    }

    /// Whether the link to the gateway stands and the mailbox is open.
    pub fn is_ready(&self) -> bool {
        self.connection.is_up() && self.mailbox.is_open()
    }

    /// Why the gateway does not let this client in, if it said so, or will not for long.
    pub fn refusal(&self) -> Option<ConnectionError> {
        self.is_outdated.then_some(ConnectionError::NetworkChanged).or(self.mailbox.refusal())
    }

    /// One turn: sends what is due, then takes what is there. Returns how much there was to do.
    ///
    /// What is due was made before, and goes first. Then one frame is opened and no more, so that
    /// the next instant waits for nothing that came in.
    pub fn turn(&mut self, now: Nanos, wall: UnixMicros) -> usize {
        let mut work = self.emit(now, wall);
        work += self.connection.turn(now, wall);
        if let Some((frame, mut body)) = self.connection.received() {
            work += 1;
            self.take(frame, &mut body, now);
        }
        self.outbox.tick(now);
        self.mailbox.tick(now);
        // The link may just have come up.
        work += self.emit(now, wall);
        self.connection.flush();
        work
    }

    /// When the next turn has something to do, if nothing arrives before.
    pub fn next_due(&self) -> Nanos {
        let messages = self.outbox.next_deadline().min(self.mailbox.next_deadline());
        self.emitter.next_due().min(self.connection.next_due()).min(messages)
    }

    /// The link to the gateway.
    pub fn connection(&self) -> &Connection<P> {
        &self.connection
    }

    /// What it counted.
    pub fn counts(&self) -> Counts {
        Counts {
            emissions: self.emitter.counts(),
            outbox: self.outbox.counts(),
            loops: self.emitter.loop_counts(),
            inbox: self.mailbox.counts(),
        }
    }

    /// Tells the gateway that this client goes.
    pub fn close(&mut self, now: Nanos) {
        self.connection.close(now);
    }

    fn take(&mut self, frame: Frame, body: &mut [u8], now: Nanos) {
        match frame {
            Frame::Control => {
                self.mailbox.control(body);
                if self.mailbox.is_open() {
                    self.emitter.let_messages_out();
                }
            }
            Frame::Deliver => {
                let Ok(delivery) = Delivery::decode(body) else { return };
                if delivery.surb == Identifier::default() {
                    return self.mailbox.letter(&delivery, now);
                }
                // What answers neither a packet nor a loop of ours came too late, or from a liar.
                if !self.emitter.take_loop(&delivery.surb, now) {
                    let identifier = delivery.surb;
                    let payload = &mut body[Delivery::HEADER_BYTES..];
                    self.outbox.reply(&identifier, payload, now);
                }
            }
            _ => {}
        }
    }

    /// Sends what is due: always something, at instants that depend on nothing but the rates. It
    /// is with the kernel before what the next instant is for is made.
    fn emit(&mut self, now: Nanos, wall: UnixMicros) -> usize {
        let Client { connection, consensus, mailbox, outbox, emitter, .. } = self;
        let Some(session) = connection.session().filter(|_| connection.is_up()) else {
            emitter.stop();
            return 0;
        };
        let mut sources = Sources { consensus, outbox, mailbox, session };
        emitter.start(&mut sources, now, wall);
        let mut work = 0;
        while emitter.is_due(now) {
            work += 1;
            if let Some((frame, body)) = emitter.launch(&session, now) {
                connection.send(frame, body, now);
                connection.flush();
            }
            emitter.prepare(&mut sources, now, wall);
        }
        work
    }
}
