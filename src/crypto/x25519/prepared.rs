//! The points of a batch, each multiplied twice, with what a kernel prepares of them.
//!
//! A group of eight lanes in which a single point waits goes one by one where that is quicker: a
//! table is worth making for two.

use super::batch::BATCH;
use super::kernels::{GROUPS, Group, Kernels};
use super::words::words_of;
use super::{Point, digits, scalar, symbol};
use crate::crypto::lanes::{LANES, Mask};
use arrayvec::ArrayVec;
use zeroize::Zeroize;

type Job<'a> = (usize, &'a [u8; 32], &'a mut Point);

/// Points in groups of eight lanes.
#[derive(Debug)]
pub(super) struct Prepared {
    points: Box<[Point]>,
    groups: Box<[State]>,
}

/// A group, and what is known of its lanes.
#[derive(Clone, Debug)]
struct State {
    group: Group,
    /// The lanes whose points are in the table.
    prepared: Mask,
    /// The lanes of the jobs in hand.
    wanted: Mask,
}

impl Prepared {
    /// Room for `lanes` points.
    pub(super) fn new(lanes: usize) -> Self {
        let state = State { group: Group::EMPTY, prepared: 0, wanted: 0 };
        Prepared {
            points: vec![[0; 32]; lanes].into(),
            groups: vec![state; lanes.div_ceil(LANES)].into(),
        }
    }

    /// Puts `point` into `lane`.
    pub(super) fn load(&mut self, lane: usize, point: &Point) {
        self.points[lane] = *point;
        let state = &mut self.groups[lane / LANES];
        state.group.points.set(lane % LANES, &words_of(point));
        state.prepared &= !bit(lane);
    }

    /// Whether the lane's point lies on the curve.
    pub(super) fn is_on_curve(&self, lane: usize) -> bool {
        let state = &self.groups[lane / LANES];
        if state.prepared & bit(lane) == 0 {
            return symbol::is_on_curve(&self.points[lane]);
        }
        state.group.on_curve & bit(lane) != 0
    }

    /// For each job (lane, scalar, product): multiplies the lane's point by the clamped scalar.
    pub(super) fn multiply<'a, K: Kernels>(
        &mut self,
        proof: K::Proof,
        jobs: impl Iterator<Item = Job<'a>>,
    ) {
        let mut jobs = jobs.peekable();
        while jobs.peek().is_some() {
            let mut batch: ArrayVec<Job<'a>, BATCH> = ArrayVec::new();
            while let Some(job) = jobs.next_if(|job| !batch.is_full() && self.is_free(job.0)) {
                self.groups[job.0 / LANES].wanted |= bit(job.0);
                batch.push(job);
            }
            self.prepare::<K>(proof);
            self.multiply_batch::<K>(proof, &mut batch);
        }
    }

    /// Whether no job in hand is for `lane`.
    fn is_free(&self, lane: usize) -> bool {
        self.groups[lane / LANES].wanted & bit(lane) == 0
    }

    /// Makes the tables that are wanted and worth it.
    fn prepare<K: Kernels>(&mut self, proof: K::Proof) {
        let worth = if K::LEAVES_SINGLES { 2 } else { 1 };
        let lacking = |state: &&mut State| (state.wanted & !state.prepared).count_ones() >= worth;
        let states = self.groups.iter_mut().filter(lacking);
        in_batches(
            states.map(|state| {
                state.prepared = Mask::MAX;
                &mut state.group
            }),
            |groups| K::prepare(proof, groups),
        );
    }

    fn multiply_batch<K: Kernels>(&mut self, proof: K::Proof, batch: &mut [Job<'_>]) {
        for (lane, scalar, product) in &mut *batch {
            let state = &mut self.groups[*lane / LANES];
            if state.prepared & bit(*lane) == 0 {
                **product = scalar::multiply(scalar, &self.points[*lane]);
                state.wanted &= !bit(*lane);
            } else {
                state.group.signs.set(*lane % LANES, &digits::signs(scalar));
            }
        }
        let states = self.groups.iter_mut().filter(|state| state.wanted != 0);
        in_batches(states.map(|state| &mut state.group), |groups| {
            K::multiply_prepared(proof, groups);
        });
        for (lane, _, product) in batch {
            let state = &self.groups[*lane / LANES];
            if state.wanted & bit(*lane) != 0 {
                state.group.products.write(*lane % LANES, product);
            }
        }
        for state in self.groups.iter_mut().filter(|state| state.wanted != 0) {
            state.wanted = 0;
            state.group.signs.zeroize();
            state.group.products.zeroize();
        }
    }
}

/// The bit of `lane` in its group.
fn bit(lane: usize) -> Mask {
    1 << (lane % LANES)
}

/// Gives `groups` to `kernel`, so many at a time as it takes.
fn in_batches<'g>(
    mut groups: impl Iterator<Item = &'g mut Group>,
    kernel: impl Fn(&mut [&mut Group]),
) {
    loop {
        let mut batch: ArrayVec<&mut Group, GROUPS> = groups.by_ref().take(GROUPS).collect();
        if batch.is_empty() {
            break;
        }
        kernel(&mut batch);
    }
}
