//! One core's work: a packet's diary from the receive frame to the send frame.
//!
//! A worker owns its port, its sessions and its pool; it never allocates, locks, logs or reads a
//! clock. What it must know comes as immutable [`Tables`] and as [`Command`]s; what is not a packet
//! goes up to the control thread as an [`Upcall`].

pub mod drops;
mod obey;
pub mod policing;
mod receive;
pub mod rings;
mod route;
mod send;
pub mod slab;
pub mod stalls;
pub mod tables;
mod unwrap;

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::clock::Nanos;
use crate::crypto::tier::{Name, Tier};
use crate::io::{self, Port};
use crate::link::Sessions;
use crate::metrics::{Counter, Gauge};
use crate::pool::Pool;
use crate::sphinx::{Hop, Unwrapper};

use drops::Drops;
use policing::Policer;
use rings::{Command, HandOff, Handshake, Inbox, Parcel, Upcall};
use slab::{Slot, SlotCache};
use stalls::Stalls;
use tables::Tables;

/// Datagrams of a port's batch.
pub const BATCH: usize = io::BATCH;
/// The largest group.
const GROUP_MAX: usize = 32;
/// Packets that one turn takes in at most: a group from the port, and one of the node's own.
const ARRIVALS_MAX: usize = 2 * GROUP_MAX;

/// Datagrams that one turn takes in at most: a thread that also mixes looks at its pool between
/// two groups, so that a full port makes nothing later than two groups of unwrappings. They take
/// 0.4 ms with vectors, whose full speed needs 32 packets, 0.7 ms by the scalar tier and 1.6 ms by
/// the reference (`docs/performance.md`).
const fn group(tier: Tier) -> usize {
    match tier.name() {
        Name::Avx512 => GROUP_MAX,
        Name::Scalar | Name::Serial => 8,
    }
}

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

/// The rings that connect one worker with the other threads.
#[derive(Debug, Clone)]
pub struct Rings {
    /// From the control thread.
    pub commands: Arc<Inbox<Command>>,
    /// To the control thread.
    pub control: Arc<Inbox<Upcall>>,
    /// To the control thread, for what strangers send.
    pub handshakes: Arc<Inbox<Handshake>>,
    /// Into every worker of the node, by number: packets for the links that it owns.
    pub workers: Arc<[Arc<Inbox<HandOff>>]>,
}

/// What a worker is made of; all its memory is taken before the first turn.
#[derive(Debug)]
pub struct Parts<P> {
    /// Which of the node's workers this is.
    pub number: usize,
    /// Where its datagrams come from and go to.
    pub port: P,
    /// Its sessions, empty at first.
    pub sessions: Sessions,
    /// Its mix.
    pub pool: Pool<Parcel>,
    /// Its share of the packet memory.
    pub slots: SlotCache,
    /// Its first tables.
    pub tables: Arc<Tables>,
    /// Keeps clients to their rate.
    pub policer: Policer,
    /// Its connections to the other threads.
    pub rings: Rings,
}

/// A packet that was opened and now goes through the Sphinx stages.
#[derive(Debug)]
struct Arrival {
    slot: Slot,
    /// Place of its epoch's key in the tables.
    key: usize,
}

/// One core's worker.
#[derive(Debug)]
pub struct Worker<P> {
    number: usize,
    port: P,
    sessions: Sessions,
    group: usize,
    unwrapper: Unwrapper,
    pool: Pool<Parcel>,
    slots: SlotCache,
    tables: Arc<Tables>,
    tables_next: Option<Arc<Tables>>,
    policer: Policer,
    rings: Rings,
    counts: Arc<Counts>,
    arrivals: ArrayVec<Arrival, ARRIVALS_MAX>,
    outcomes: ArrayVec<Result<Hop, crate::sphinx::Refusal>, ARRIVALS_MAX>,
    draining: bool,
}

impl<P: Port> Worker<P> {
    /// A worker made of `parts`.
    pub fn new(parts: Parts<P>) -> Self {
        let Parts { number, port, sessions, pool, slots, tables, policer, rings } = parts;
        let tier = Tier::chosen();
        Worker {
            number,
            port,
            sessions,
            group: group(tier),
            unwrapper: Unwrapper::new(tier, tables.geometry, ARRIVALS_MAX),
            pool,
            slots,
            tables,
            tables_next: None,
            policer,
            rings,
            counts: Arc::default(),
            arrivals: ArrayVec::new(),
            outcomes: ArrayVec::new(),
            draining: false,
        }
    }

    /// One turn at `now`: takes what is there, never waits. Returns how much it found to do.
    pub fn turn(&mut self, now: Nanos) -> usize {
        let mut work = self.obey(now); //       what the control thread asked for
        work += self.receive(now); //           1 receive, 2 open
        self.unwrap(); //                       3 unwrap a, 4 replay, 5 unwrap b
        self.route(now); //                     6 to the owner of the next link, or up
        work += self.collect(now); //           7 mix: packets of our links, from every worker
        work += self.send(now); //              8 seal and 9 send what is due, shuffled
        self.counts.resident.set(self.pool.len() as u64);
        self.counts.kernel_dropped.set(self.port.counters().kernel_dropped);
        self.counts.turns.add(1);
        work
    }

    /// When the next turn has something to do, if no message and no datagram comes before.
    pub fn next_due(&self) -> Nanos {
        self.pool.next_due().unwrap_or(Nanos::NEVER)
    }

    /// Packets in the pool.
    pub fn resident(&self) -> usize {
        self.pool.len()
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

    /// Ends the worker: whatever is still mixed is dropped and counted, every slot goes home.
    pub fn stop(&mut self) {
        let Worker { pool, slots, counts, rings, number, .. } = self;
        let mut discard = |parcel: Parcel| {
            if let Some(slot) = parcel.slot {
                counts.drops.count(drops::Refusal::Drained);
                slots.give(slot);
            }
        };
        pool.drain(&mut discard);
        while let Some(handed) = rings.workers[*number].pop() {
            discard(handed.parcel);
        }
        while let Some(command) = rings.commands.pop() {
            command.into_slot().into_iter().for_each(|slot| slots.give(slot));
        }
    }
}
