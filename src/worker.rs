//! One core's work: a packet's diary from the receive frame to the send frame.
//!
//! A worker owns its port and its sessions; it never allocates, locks, logs or reads a clock. What
//! it must know comes as immutable [`Tables`] and as [`Command`]s; what is not a packet goes up to
//! the control thread as an [`Upcall`]. It takes packets in ([`Ingress`]), or it owns links, mixes
//! and sends ([`Egress`]), or it does both: [`roles`] says who.

pub mod drops;
mod egress;
mod ingress;
mod obey;
pub mod policing;
mod receive;
pub mod ring;
pub mod rings;
pub mod roles;
mod route;
mod send;
mod shed;
pub mod slab;
pub mod spill;
pub mod stalls;
pub mod tables;
mod unwrap;

use std::sync::Arc;

use crate::clock::Nanos;
use crate::io::{self, Port};
use crate::link::Sessions;
use crate::metrics::{Counter, Gauge};

use drops::Drops;
use rings::{Command, Handshake, Inbox, Upcall};
use slab::SlotCache;
use stalls::Stalls;
use tables::Tables;

pub use egress::Egress;
pub use ingress::{Ingress, WAITING_MAX, Ways};

/// Datagrams of a port's batch.
pub const BATCH: usize = io::BATCH;

/// What one worker has counted; it writes, any thread may read.
#[derive(Debug, Default)]
pub struct Counts {
    /// Sphinx packets that arrived under a valid link key.
    pub packets_in: Counter,
    /// Sphinx packets sent to their next hop.
    pub packets_out: Counter,
    /// Packets passed up for delivery.
    pub delivered: Counter,
    /// Loops of this node's own that came back.
    pub loops_back: Counter,
    /// Packets of this node's own: put into the mix, or taken in as if they had arrived.
    pub packets_own: Counter,
    /// Dummies and control frames sent.
    pub frames_out: Counter,
    /// Dummies received.
    pub dummies_in: Counter,
    /// Packets in the pool at the end of the last turn.
    pub resident: Gauge,
    /// Turns taken: the worker's heartbeat.
    pub turns: Counter,
    /// Nanoseconds that the worker has slept.
    pub asleep_ns: Counter,
    /// Datagrams that the kernel dropped before the port saw them.
    pub kernel_dropped: Gauge,
    /// Packets dropped, by reason.
    pub drops: Drops,
    /// When it stood still.
    pub stalls: Stalls,
}

/// The rings that connect one worker with the control thread.
#[derive(Debug, Clone)]
pub struct Rings {
    /// From the control thread.
    pub commands: Arc<Inbox<Command>>,
    /// To the control thread.
    pub control: Arc<Inbox<Upcall>>,
    /// To the control thread, for what strangers send.
    pub handshakes: Arc<Inbox<Handshake>>,
}

/// What a worker is made of; all its memory is taken before the first turn.
#[derive(Debug)]
pub struct Parts<P> {
    /// Where its datagrams come from and go to.
    pub port: P,
    /// Its sessions, empty at first.
    pub sessions: Sessions,
    /// Its share of the packet memory.
    pub slots: SlotCache,
    /// Its first tables.
    pub tables: Arc<Tables>,
    /// Its connections to the control thread.
    pub rings: Rings,
    /// What takes packets in, if it does.
    pub ingress: Option<Ingress>,
    /// What mixes and sends, if it owns links.
    pub egress: Option<Egress>,
}

/// One core's worker.
#[derive(Debug)]
pub struct Worker<P> {
    port: P,
    sessions: Sessions,
    slots: SlotCache,
    tables: Arc<Tables>,
    tables_next: Option<Arc<Tables>>,
    rings: Rings,
    ingress: Option<Ingress>,
    egress: Option<Egress>,
    counts: Arc<Counts>,
}

impl<P: Port> Worker<P> {
    /// A worker made of `parts`.
    pub fn new(parts: Parts<P>) -> Self {
        let Parts { port, sessions, slots, tables, rings, ingress, egress } = parts;
        let counts = Arc::default();
        Worker { port, sessions, slots, tables, tables_next: None, rings, ingress, egress, counts }
    }

    /// One turn at `now`: takes what is there, never waits. Returns how much it found to do.
    pub fn turn(&mut self, now: Nanos) -> usize {
        let mut work = self.obey(now); //       what the control thread asked for
        work += self.take_over(now); //         what other workers cannot unwrap at once
        work += self.receive(now); //           1 receive, 2 open
        self.unwrap(); //                       3 unwrap a, 4 replay, 5 unwrap b
        self.route(now); //                     6 to the owner of the next link, or up
        work += self.collect(now); //           7 mix: packets of our links, from every worker
        work += self.send(now); //              8 seal and 9 send what is due, shuffled
        self.counts.resident.set(self.resident() as u64);
        self.counts.kernel_dropped.set(self.port.counters().kernel_dropped);
        self.counts.turns.add(1);
        work
    }

    /// When the next turn has something to do, if no message and no datagram comes before.
    pub fn next_due(&self) -> Nanos {
        self.egress.as_ref().map_or(Nanos::NEVER, Egress::next_due)
    }

    /// Packets in the pool, and those on their way into it.
    pub fn resident(&self) -> usize {
        self.egress.as_ref().map_or(0, Egress::resident)
    }

    /// The worker's counters.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// The worker's port.
    pub fn port(&self) -> &P {
        &self.port
    }

    /// The port of a worker that has ended.
    pub fn into_port(self) -> P {
        self.port
    }

    /// Ends the worker, when all workers of the node have taken their last turn: whatever is
    /// still mixed is dropped and counted, every slot goes home.
    pub fn stop(&mut self) {
        let Worker { ingress, egress, slots, counts, rings, .. } = self;
        let mut discard = |slot| {
            counts.drops.count(drops::Refusal::Drained);
            slots.give(slot);
        };
        if let Some(ingress) = ingress {
            ingress.waiting.drain(..).for_each(&mut discard);
            ingress.spills.pop_each(usize::MAX, &mut discard);
        }
        if let Some(egress) = egress {
            egress.empty(&mut discard);
        }
        while let Some(command) = rings.commands.pop() {
            command.into_slot().into_iter().for_each(|slot| slots.give(slot));
        }
    }
}
