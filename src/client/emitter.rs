//! What a client sends and when: the schedule, and the packet for its next instant.
//!
//! The packet is made as soon as the instant before has passed, so that how long it takes to make
//! one, real or decoy, does not show in when it leaves.

use crate::clock::Nanos;
use crate::cover::{LoopCounts, Loops, Schedule, Stream, decoy};
use crate::crypto::random::Rng;
use crate::message::Outbox;
use crate::pki::Consensus;
use crate::route::{Recipient, RouteError};
use crate::sphinx::Identifier;

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
    frame: Vec<u8>,
    ready: Ready,
    lets_messages_out: bool,
    loops: Loops,
    counts: EmissionCounts,
    rng: Rng,
}

/// What the frame holds for the next instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    Nothing,
    Packet,
    Decoy,
    Loop(Identifier),
    Drop,
}

impl Emitter {
    /// Of a client that is reached at `home`; not running yet.
    pub(super) fn new(consensus: &Consensus, home: Recipient, mut rng: Rng) -> Self {
        let parameters = consensus.parameters();
        Emitter {
            home,
            schedule: Schedule::client(&parameters.rates, rng.fork()),
            frame: vec![0; consensus.geometry().frame_bytes()],
            ready: Ready::Nothing,
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
    pub(super) fn start(&mut self, consensus: &Consensus, outbox: &mut Outbox, now: Nanos) {
        if self.schedule.next_due() == Nanos::NEVER {
            self.schedule.start(now);
            self.prepare(consensus, outbox, now);
        }
    }

    /// Ends, until the next start. A packet that was ready is lost, as on the wire.
    pub(super) fn stop(&mut self) {
        self.schedule.stop();
    }

    /// What the instant that has come is for, if one has.
    pub(super) fn due(&mut self, now: Nanos) -> Option<Stream> {
        self.schedule.due(now)
    }

    /// When the next instant comes.
    pub(super) fn next_due(&self) -> Nanos {
        self.schedule.next_due()
    }

    /// The packet that leaves now; nothing only in a network without decoys.
    pub(super) fn launch(&mut self, now: Nanos) -> Option<&[u8]> {
        match self.ready {
            Ready::Nothing => return None,
            Ready::Packet => self.counts.packets += 1,
            Ready::Decoy => self.counts.decoys += 1,
            Ready::Loop(identifier) => self.loops.launch(identifier, now),
            Ready::Drop => self.counts.drops += 1,
        }
        Some(&self.frame)
    }

    /// Makes the packet for the next instant.
    pub(super) fn prepare(&mut self, consensus: &Consensus, outbox: &mut Outbox, now: Nanos) {
        let made = match self.schedule.next_stream() {
            Some(Stream::Payload) => self.payload(consensus, outbox, now),
            Some(Stream::Loop) => self.make_loop(consensus),
            Some(Stream::Drop) => self.drop_packet(consensus).map(|()| Ready::Drop),
            Some(Stream::Control) | None => Ok(Ready::Nothing),
        };
        self.ready = made.unwrap_or(Ready::Nothing);
    }

    /// Whether `identifier` is that of a loop, which then is back.
    pub(super) fn take_loop(&mut self, identifier: &Identifier, now: Nanos) -> bool {
        self.loops.take(identifier, now)
    }

    /// A control frame has left, an empty one or not.
    pub(super) fn count_control(&mut self, empty: bool) {
        let count = if empty { &mut self.counts.dummies } else { &mut self.counts.control };
        *count += 1;
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
        if self.lets_messages_out && outbox.next_packet(consensus, now, &mut self.frame) {
            return Ok(Ready::Packet);
        }
        if !consensus.parameters().rates.has_decoys() {
            return Ok(Ready::Nothing);
        }
        outbox.decoy(consensus, now, &mut self.frame).map(|()| Ready::Decoy)
    }

    fn make_loop(&mut self, consensus: &Consensus) -> Result<Ready, RouteError> {
        let Emitter { home, rng, frame, .. } = self;
        decoy::client_loop(consensus, home, rng, frame).map(Ready::Loop)
    }

    fn drop_packet(&mut self, consensus: &Consensus) -> Result<(), RouteError> {
        decoy::drop_packet(consensus, &self.home.gateway, &mut self.rng, &mut self.frame)
    }
}
