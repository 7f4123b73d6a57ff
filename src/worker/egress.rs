//! What a worker has that owns links: the mix, and the ways into it. Step 7 of the diary.

use super::drops::Refusal;
use super::ring::Consumer;
use super::rings::{HandOff, Parcel};
use super::slab::{Slot, SlotCache};
use super::{Counts, Worker};
use crate::clock::Nanos;
use crate::io::Port;
use crate::pool::{Evicted, Pool};

/// What a worker has that owns links.
#[derive(Debug)]
pub struct Egress {
    pub(super) pool: Pool<Parcel>,
    workers: Box<[Consumer<HandOff>]>,
}

impl Egress {
    /// With a `pool` for what the `workers` hand over.
    pub fn new(pool: Pool<Parcel>, workers: Vec<Consumer<HandOff>>) -> Self {
        Egress { pool, workers: workers.into() }
    }

    /// When something leaves.
    pub(super) fn next_due(&self) -> Nanos {
        self.pool.next_due().unwrap_or(Nanos::NEVER)
    }

    /// Packets in the pool, and those on their way into it.
    pub(super) fn resident(&self) -> usize {
        self.pool.len() + self.workers.iter().map(Consumer::len).sum::<usize>()
    }

    /// Puts a packet into the pool; a full pool throws out one of its packets, at random.
    pub(super) fn mix(
        &mut self,
        handed: HandOff,
        slots: &mut SlotCache,
        counts: &Counts,
        now: Nanos,
    ) {
        if let Err(Evicted(parcel)) = self.pool.insert(handed.due, handed.parcel, now)
            && let Some(slot) = parcel.slot
        {
            counts.drops.count(Refusal::Evicted);
            slots.give(slot);
        }
    }

    /// Gives the slots of everything inside to `discard`.
    pub(super) fn empty(&mut self, mut discard: impl FnMut(Slot)) {
        let Egress { pool, workers } = self;
        let mut discard = |parcel: Parcel| parcel.slot.into_iter().for_each(&mut discard);
        pool.drain(&mut discard);
        for worker in workers {
            while let Some(handed) = worker.pop() {
                discard(handed.parcel);
            }
        }
    }
}

impl<P: Port> Worker<P> {
    /// Takes what workers unwrapped for this one's links; returns how many packets.
    pub(super) fn collect(&mut self, now: Nanos) -> usize {
        let Worker { egress: Some(egress), slots, counts, .. } = self else { return 0 };
        let mut taken = 0;
        for worker in 0..egress.workers.len() {
            while let Some(handed) = egress.workers[worker].pop() {
                egress.mix(handed, slots, counts, now);
                taken += 1;
            }
            egress.workers[worker].give_back();
        }
        taken
    }
}
