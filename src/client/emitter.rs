//! What a client sends and when: the schedule, and the frame for its next instant.
//!
//! What leaves at an instant is chosen and made as soon as what left at the one before is with the
//! kernel. So neither how long it takes to make it, be it real or a decoy, nor what comes in
//! meanwhile shows in when it leaves.

use crate::clock::{Nanos, UnixMicros};
use crate::cover::{LoopCounts, Loops, Schedule, Stream, decoy};
use crate::crypto::random::Rng;
use crate::link::Frame;
use crate::message::Outbox;
use crate::pki::Consensus;
use crate::route::{Recipient, RouteError};
use crate::sphinx::Identifier;

use super::mailbox::Mailbox;

/// What a client has sent, by kind; sums only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmissionCounts {
    /// Packets of the user's messages.
    pub packets: u64,
    /// Decoys in their place.
    pub decoys: u64,
    /// Packets that a random gateway drops.
    pub drops: u64,
    /// Control frames.
    pub control: u64,
    /// Empty frames in their place.
    pub dummies: u64,
}

/// A client's schedule, and what is ready to leave.
#[derive(Debug)]
pub(super) struct Emitter {
    home: Recipient,
    schedule: Schedule,
    ready: Ready,
    /// The packet that is ready, with its tail.
    packet: Vec<u8>,
    /// The control frame that is.
    control: Vec<u8>,
    lets_messages_out: bool,
    loops: Loops,
    counts: EmissionCounts,
    rng: Rng,
}

/// What is ready for the next instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    Nothing,
    Packet,
    Decoy,
    Loop(Identifier),
    Drop,
    /// For the session with this handshake hash.
    Control([u8; 32]),
    Dummy,
}

/// What frames are made of.
pub(super) struct Sources<'a> {
    pub(super) consensus: &'a Consensus,
    pub(super) outbox: &'a mut Outbox,
    pub(super) mailbox: &'a mut Mailbox,
    /// The handshake hash of the session.
    pub(super) session: [u8; 32],
}

impl Emitter {
    /// Of a client that is reached at `home`; not running yet.
    pub(super) fn new(consensus: &Consensus, home: Recipient, mut rng: Rng) -> Self {
        let parameters = consensus.parameters();
        Emitter {
            home,
            schedule: Schedule::client(&parameters.rates, rng.fork()),
            ready: Ready::Nothing,
            packet: vec![0; consensus.geometry().frame_bytes()],
            control: Vec::new(),
            lets_messages_out: false,
            loops: Loops::new(parameters.delay_mean),
            counts: EmissionCounts::default(),
            rng,
        }
    }

    /// Follows the rates of another consensus.
    pub(super) fn follow(&mut self, consensus: &Consensus) {
        self.schedule.follow(&consensus.parameters().rates);
    }

    /// The user's mailbox is there, so that messages may go to it, and acknowledgements come;
    /// before, only decoys leave.
    pub(super) fn let_messages_out(&mut self) {
        self.lets_messages_out = true;
    }

    /// Begins, or goes on.
    pub(super) fn start(&mut self, sources: &mut Sources<'_>, now: Nanos, wall: UnixMicros) {
        if self.schedule.next_due() == Nanos::NEVER {
            self.schedule.start(now);
            self.prepare(sources, now, wall);
        }
    }

    /// Ends, until the next start. A packet that was ready is lost, as on the wire.
    pub(super) fn stop(&mut self) {
        self.schedule.stop();
    }

    /// Whether an instant has come; what is ready is for it.
    pub(super) fn is_due(&mut self, now: Nanos) -> bool {
        self.schedule.due(now).is_some()
    }

    /// When the next instant comes.
    pub(super) fn next_due(&self) -> Nanos {
        self.schedule.next_due()
    }

    /// What leaves now, in the session with handshake hash `session`; nothing only in a network
    /// without decoys.
    pub(super) fn launch(&mut self, session: &[u8; 32], now: Nanos) -> Option<(Frame, &[u8])> {
        match self.ready {
            Ready::Nothing => return None,
            Ready::Packet => self.counts.packets += 1,
            Ready::Decoy => self.counts.decoys += 1,
            Ready::Loop(identifier) => self.loops.launch(identifier, now),
            Ready::Drop => self.counts.drops += 1,
            Ready::Control(of) if of == *session => {
                self.counts.control += 1;
                return Some((Frame::Control, &self.control));
            }
            // The mailbox asks afresh in a new session.
            Ready::Control(_) | Ready::Dummy => {
                self.counts.dummies += 1;
                return Some((Frame::Dummy, &[]));
            }
        }
        Some((Frame::Sphinx, &self.packet))
    }

    /// Makes what the next instant is for.
    pub(super) fn prepare(&mut self, sources: &mut Sources<'_>, now: Nanos, wall: UnixMicros) {
        let consensus = sources.consensus;
        let made = match self.schedule.next_stream() {
            Some(Stream::Payload) => self.payload(consensus, sources.outbox, now),
            Some(Stream::Loop) => self.make_loop(consensus),
            Some(Stream::Drop) => self.drop_packet(consensus).map(|()| Ready::Drop),
            Some(Stream::Control) => Ok(self.control(sources, now, wall)),
            None => Ok(Ready::Nothing),
        };
        self.ready = made.unwrap_or(Ready::Nothing);
    }

    /// Whether `identifier` is that of a loop, which then is back.
    pub(super) fn take_loop(&mut self, identifier: &Identifier, now: Nanos) -> bool {
        self.loops.take(identifier, now)
    }

    pub(super) fn counts(&self) -> EmissionCounts {
        self.counts
    }

    pub(super) fn loop_counts(&self) -> LoopCounts {
        self.loops.counts()
    }

    fn payload(
        &mut self,
        consensus: &Consensus,
        outbox: &mut Outbox,
        now: Nanos,
    ) -> Result<Ready, RouteError> {
        if self.lets_messages_out && outbox.next_packet(consensus, now, &mut self.packet) {
            return Ok(Ready::Packet);
        }
        if !consensus.parameters().rates.has_decoys() {
            return Ok(Ready::Nothing);
        }
        outbox.decoy(consensus, now, &mut self.packet).map(|()| Ready::Decoy)
    }

    fn make_loop(&mut self, consensus: &Consensus) -> Result<Ready, RouteError> {
        let Emitter { home, rng, packet, .. } = self;
        decoy::client_loop(consensus, home, rng, packet).map(Ready::Loop)
    }

    fn drop_packet(&mut self, consensus: &Consensus) -> Result<(), RouteError> {
        decoy::drop_packet(consensus, &self.home.gateway, &mut self.rng, &mut self.packet)
    }
    fn control(&mut self, sources: &mut Sources<'_>, now: Nanos, wall: UnixMicros) -> Ready {
        let Sources { consensus, mailbox, session, .. } = sources;
        match mailbox.request(session, now, wall) {
            Some(body) => {
                self.control = body;
                Ready::Control(*session)
            }
            None if consensus.parameters().rates.has_decoys() => Ready::Dummy,
            None => Ready::Nothing,
        }
    }
}
