//! A node's own loops: sent at random times once around the network, counted when they are back.

use std::sync::Arc;

use crate::clock::Nanos;
use crate::cover::{LoopCounts, Loops, Schedule, decoy};
use crate::crypto::random::Rng;
use crate::pki::{Consensus, Node as ListedNode, NodeId, Role};
use crate::route;
use crate::sphinx::{Destination, Identifier, NodeAddress};

/// A loop that leaves now: where to, and how long it waits in this node's own mix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) first_hop: NodeAddress,
    pub(super) delay: Nanos,
    identifier: Identifier,
}

/// A node's loops.
#[derive(Debug)]
pub struct OwnLoops {
    consensus: Arc<Consensus>,
    own: NodeId,
    role: Role,
    destination: Destination,
    schedule: Schedule,
    loops: Loops,
    rng: Rng,
}

impl OwnLoops {
    /// Of the node `own`, which `consensus` lists; the first leaves some time after `now`.
    pub fn new(consensus: Arc<Consensus>, own: &ListedNode, now: Nanos, mut rng: Rng) -> Self {
        let parameters = *consensus.parameters();
        let mut schedule = Schedule::node(own.role(), &parameters.rates, rng.fork());
        schedule.start(now);
        OwnLoops {
            own: own.id(),
            role: own.role(),
            consensus,
            destination: rng.bytes(),
            schedule,
            loops: Loops::new(parameters.delay_mean),
            rng,
        }
    }

    /// Where they end: random and known to nobody else, so that nobody else can send here what
    /// passes for one.
    pub fn destination(&self) -> Destination {
        self.destination
    }

    /// Sends loops by another consensus, as often as it says, from now on.
    pub fn follow(&mut self, consensus: Arc<Consensus>, now: Nanos) {
        self.schedule.follow_node(self.role, &consensus.parameters().rates);
        // There was no next one where the rate has been 0.
        self.schedule.start(now);
        self.consensus = consensus;
    }

    /// When the next one leaves.
    pub fn next_due(&self) -> Nanos {
        self.schedule.next_due()
    }

    /// What came of them.
    pub fn counts(&self) -> LoopCounts {
        self.loops.counts()
    }

    /// Whether the instant of one has come; the next is drawn.
    pub(super) fn is_due(&mut self, now: Nanos) -> bool {
        self.schedule.due(now).is_some()
    }

    /// No more instants.
    pub(super) fn end(&mut self) {
        self.schedule.stop();
    }

    /// Writes a loop to the front of `frame`; nothing if the consensus has no way for it.
    pub(super) fn build(&mut self, frame: &mut [u8]) -> Option<Departure> {
        let OwnLoops { consensus, own, destination, rng, .. } = self;
        let frame = frame.get_mut(..consensus.geometry().frame_bytes())?;
        let own = consensus.node(own)?;
        let built = decoy::node_loop(consensus, own, destination, rng, frame);
        let (first_hop, identifier) = built.ok()?;
        let delay = route::random_delay(consensus.parameters().delay_mean, rng);
        Some(Departure { first_hop, delay, identifier })
    }

    /// The loop is in the mix.
    pub(super) fn launch(&mut self, departure: &Departure, now: Nanos) {
        self.loops.launch(departure.identifier, now);
    }

    /// A packet to our destination is here.
    pub(super) fn take(&mut self, identifier: &Identifier, now: Nanos) {
        self.loops.take(identifier, now);
    }
}
