//! What is computed of a batch in one go, over any kind of lanes.

use super::comb::Table;
use super::fraction::{Fraction, divide};
use super::ladder;
use super::lift::lift;
use super::words::Words;
use crate::crypto::lanes::{Lanes, Mask};

/// Groups of eight lanes that a kernel takes at a time. More would gain nothing: one inversion
/// among 32 lanes costs 2 % of the whole.
pub(super) const GROUPS: usize = 4;

/// Eight points that are multiplied by several scalars, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The u-coordinates of the points.
    pub(super) points: Words,
    /// What is prepared of the points.
    pub(super) table: Table,
    /// The lanes whose points lie on the curve, not on its twist.
    pub(super) on_curve: Mask,
    /// The scalars, as [`signs`](super::digits::signs).
    pub(super) signs: Words,
    /// The u-coordinates of the products.
    pub(super) products: Words,
}

impl Group {
    /// Room for a group.
    pub(super) const EMPTY: Group = Group {
        points: Words::ZERO,
        table: Table::EMPTY,
        on_curve: 0,
        signs: Words::ZERO,
        products: Words::ZERO,
    };
}

/// The entries of the kernels, for one kind of lanes. Each takes up to [`GROUPS`] groups.
pub(super) trait Kernels: Lanes {
    /// Whether a point that has no neighbour is quicker multiplied by the scalar backend.
    const LEAVES_SINGLES: bool;

    /// Points times scalars.
    fn multiply(proof: Self::Proof, groups: &mut [ladder::Group]);
    /// Makes the tables of points, and finds out which of these are on the curve.
    fn prepare(proof: Self::Proof, groups: &mut [&mut Group]);
    /// Points that have tables times scalars.
    fn multiply_prepared(proof: Self::Proof, groups: &mut [&mut Group]);
}

/// As [`Kernels::multiply`].
#[inline(always)]
pub(super) fn multiply<L: Lanes>(proof: L::Proof, groups: &mut [ladder::Group]) {
    let mut fractions = [Fraction::<L>::none(proof); GROUPS];
    for (fraction, group) in fractions.iter_mut().zip(&*groups) {
        *fraction = ladder::climb(proof, group);
    }
    divide(proof, &fractions, groups.iter_mut().map(|group| &mut group.products));
}

/// As [`Kernels::prepare`].
#[inline(always)]
pub(super) fn prepare<L: Lanes>(proof: L::Proof, groups: &mut [&mut Group]) {
    let points = lift::<L>(proof, groups.iter().map(|group| &group.points));
    for (group, (point, on_curve)) in groups.iter_mut().zip(&points) {
        group.on_curve = *on_curve;
        group.table.fill(point);
    }
}

/// As [`Kernels::multiply_prepared`].
#[inline(always)]
pub(super) fn multiply_prepared<L: Lanes>(proof: L::Proof, groups: &mut [&mut Group]) {
    let mut fractions = [Fraction::<L>::none(proof); GROUPS];
    for (fraction, group) in fractions.iter_mut().zip(&*groups) {
        *fraction = group.table.multiply(proof, &group.signs);
    }
    divide(proof, &fractions, groups.iter_mut().map(|group| &mut group.products));
}
