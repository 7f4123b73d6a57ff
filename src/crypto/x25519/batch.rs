//! Independent multiplications, gathered into the groups that a kernel takes.

use super::kernels::{GROUPS, Kernels};
use super::ladder::Group;
use super::words::words_of;
use super::{Point, digits, scalar};
use crate::crypto::lanes::LANES;
use arrayvec::ArrayVec;
use zeroize::Zeroize;

/// Lanes of a batch.
pub(super) const BATCH: usize = GROUPS * LANES;

type Job<'a> = (&'a [u8; 32], &'a Point, &'a mut Point);

/// For each job (scalar, point, product): multiplies the point by the clamped scalar. One that
/// would have a group for itself goes alone where that is quicker.
pub(super) fn multiply_each<'a, K: Kernels>(
    proof: K::Proof,
    mut jobs: impl Iterator<Item = Job<'a>>,
) {
    loop {
        let mut batch: ArrayVec<Job<'a>, BATCH> = jobs.by_ref().take(BATCH).collect();
        let leaves_one = K::LEAVES_SINGLES && batch.len() % LANES == 1;
        if leaves_one && let Some((scalar, point, product)) = batch.pop() {
            *product = scalar::multiply(scalar, point);
        }
        if batch.is_empty() {
            break;
        }
        multiply_batch::<K>(proof, batch);
    }
}

fn multiply_batch<K: Kernels>(proof: K::Proof, batch: ArrayVec<Job<'_>, BATCH>) {
    let mut groups = [Group::default(); GROUPS];
    let groups = &mut groups[..batch.len().div_ceil(LANES)];
    for (index, (scalar, point, _)) in batch.iter().enumerate() {
        let (group, lane) = (&mut groups[index / LANES], index % LANES);
        group.points.set(lane, &words_of(point));
        group.changes.set(lane, &digits::changes(scalar));
    }
    K::multiply(proof, groups);
    for (index, (_, _, product)) in batch.into_iter().enumerate() {
        groups[index / LANES].products.write(index % LANES, product);
    }
    for group in groups {
        group.changes.zeroize();
        group.products.zeroize();
    }
}
