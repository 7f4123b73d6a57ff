//! Quotients: all lanes of all groups share one inversion.

use super::field::{Factor, Sum};
use super::inverse::inverse;
use super::kernels::GROUPS;
use super::words::Words;
use crate::crypto::lanes::Lanes;
use zeroize::Zeroize;

/// x / z in each lane.
#[derive(Clone, Copy)]
pub(super) struct Fraction<L> {
    /// The numerator.
    pub(super) x: Sum<L>,
    /// The denominator.
    pub(super) z: Sum<L>,
}

impl<L: Lanes> Fraction<L> {
    /// 0 / 0, to be replaced.
    #[inline(always)]
    pub(super) fn none(proof: L::Proof) -> Self {
        let zero = Sum::small(proof, 0);
        Fraction { x: zero, z: zero }
    }
}

/// The quotients of as many fractions as there is room for; where the denominator is zero, zero.
///
/// P. Montgomery's trick: the inverse of a product, times all but one of its factors, is the
/// inverse of that one.
#[inline(always)]
pub(super) fn divide<'q, L: Lanes>(
    proof: L::Proof,
    fractions: &[Fraction<L>; GROUPS],
    quotients: impl DoubleEndedIterator<Item = &'q mut Words> + ExactSizeIterator,
) {
    let fractions = &fractions[..quotients.len()];
    let one = Factor::one(proof);
    let (mut zeros, mut factors, mut before) = ([0; GROUPS], [one; GROUPS], [one; GROUPS]);
    let mut product = one;
    for (g, fraction) in fractions.iter().enumerate() {
        zeros[g] = fraction.z.zeros();
        factors[g] = Factor::choose(zeros[g], &one, &fraction.z.carry());
        before[g] = product;
        product = multiply(&product, &factors[g]);
    }
    let mut inverse = inverse_of_lanes(&product);
    for ((g, fraction), quotient) in fractions.iter().enumerate().zip(quotients).rev() {
        let own = multiply(&inverse, &before[g]);
        inverse = multiply(&inverse, &factors[g]);
        let finite = multiply(&fraction.x.carry(), &own);
        quotient.store(Factor::choose(zeros[g], &Factor::zero(proof), &finite).to_words());
    }
}

/// The inverse in each lane, none of which is zero: the same trick among the lanes.
#[inline(always)]
fn inverse_of_lanes<L: Lanes>(lanes: &Factor<L>) -> Factor<L> {
    let pairs = multiply(lanes, &lanes.exchange::<1>());
    let fours = multiply(&pairs, &pairs.exchange::<2>());
    let all = multiply(&fours, &fours.exchange::<4>());
    let all = inverse_of_first(&all);
    let fours = multiply(&all, &fours.exchange::<4>());
    let pairs = multiply(&fours, &pairs.exchange::<2>());
    multiply(&pairs, &lanes.exchange::<1>())
}

/// The inverse of the first lane, in all lanes.
#[inline(always)]
fn inverse_of_first<L: Lanes>(factor: &Factor<L>) -> Factor<L> {
    let mut words = Words::default();
    words.store(factor.to_words());
    let (mut inverse, proof) = (inverse(&words.lane(0)), factor.proof());
    let [a, b, c, d] = inverse;
    let factor = Factor::from_words([
        L::splat(proof, a),
        L::splat(proof, b),
        L::splat(proof, c),
        L::splat(proof, d),
    ]);
    inverse.zeroize();
    words.zeroize();
    factor
}

#[inline(always)]
fn multiply<L: Lanes>(a: &Factor<L>, b: &Factor<L>) -> Factor<L> {
    L::outlined(a.proof(), carried_product, (a, b))
}

#[inline(always)]
fn carried_product<L: Lanes>((a, b): (&Factor<L>, &Factor<L>)) -> Factor<L> {
    a.multiply(b).carry()
}
