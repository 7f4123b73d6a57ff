//! From the u-coordinates of points to points, in the Edwards form.
//!
//! Every u belongs to a point of the curve v^2 = u^3 + A u^2 + u or of its twist: that is whether
//! the right side has a root. A point and its negative have the same u, so either root will do.

use super::curve::A;
use super::edwards::Projective;
use super::field::{Factor, LIMBS, Sum};
use super::kernels::GROUPS;
use super::words::Words;
use crate::crypto::lanes::{Lanes, Mask};

/// sqrt(-1) = 2^((p - 1) / 4).
const ROOT_OF_MINUS_ONE: [u64; LIMBS] = [
    0xe_1b27_4a0e_a0b0,
    0x0_6ad2_fe47_8c4e,
    0xd_fbd7_a72f_4318,
    0xd_f0b2_b4d0_0993,
    0x0_2b83_2480_4fc1,
];
/// sqrt(-(A + 2)): the x of the Edwards form is so many times u / v (RFC 7748, section 4.1).
const SCALE: [u64; LIMBS] = [
    0xe_04aa_ff45_7e06,
    0xd_14b7_d1a8_2cc6,
    0x3_fc4f_7ec5_a1d3,
    0x0_6bbd_27b0_8dc0,
    0x0_0f26_edf4_60a0,
];

/// The points of up to [`GROUPS`] groups of u-coordinates, and the lanes that are on the curve; in
/// the others there is no point, and the coordinates mean nothing.
#[inline(always)]
pub(super) fn lift<'a, L: Lanes>(
    proof: L::Proof,
    coordinates: impl Iterator<Item = &'a Words>,
) -> [(Projective<L>, Mask); GROUPS] {
    let mut us = Elements { factors: [Factor::zero(proof); GROUPS], count: 0 };
    for words in coordinates {
        us.factors[us.count] = Factor::from_words(words.load(proof));
        us.count += 1;
    }
    let mut squares = us;
    for g in 0..us.count {
        squares.factors[g] = right_side(&us.factors[g]);
    }
    let roots = squares.root_or_root_of_negative();
    let mut points = [(Projective::neutral(proof), 0); GROUPS];
    for (g, lifted) in points.iter_mut().enumerate().take(us.count) {
        *lifted = point(&us.factors[g], &squares.factors[g], &roots.factors[g]);
    }
    points
}

/// u^3 + A u^2 + u = ((u + A) u + 1) u.
#[inline(always)]
fn right_side<L: Lanes>(u: &Factor<L>) -> Factor<L> {
    let sum = u.sum().add(&Sum::small(u.proof(), A)).carry();
    let sum = sum.multiply(u).add(&Sum::small(u.proof(), 1)).carry();
    sum.multiply(u).carry()
}

/// The point of u, given that `root` squared is `square` or its negative where u is on the curve:
/// x = scale u / v, y = (u - 1) / (u + 1).
#[inline(always)]
fn point<L: Lanes>(u: &Factor<L>, square: &Factor<L>, root: &Factor<L>) -> (Projective<L>, Mask) {
    let proof = u.proof();
    let (found, square) = (root.square(), square.sum());
    let is_root = found.sub(&square).zeros();
    let is_root_of_negative = found.add(&square).zeros();
    let turned = root.multiply(&Factor::constant(proof, &ROOT_OF_MINUS_ONE)).carry();
    let v = Factor::choose(is_root, root, &turned);
    let more = u.sum().add(&Sum::small(proof, 1)).carry();
    let less = u.sum().sub(&Sum::small(proof, 1)).carry();
    let scaled = u.multiply(&Factor::constant(proof, &SCALE)).carry();
    let point = Projective::new(scaled.multiply(&more), less.multiply(&v), v.multiply(&more));
    (point, is_root | is_root_of_negative)
}

/// An element for each of up to [`GROUPS`] groups, which take turns: in a chain of squarings each
/// waits for the last, and one group alone leaves the multiplier idle most of the time.
#[derive(Clone, Copy)]
struct Elements<L> {
    factors: [Factor<L>; GROUPS],
    count: usize,
}

impl<L: Lanes> Elements<L> {
    /// a^((p + 3) / 8) = a^(2^252 - 2): its square is a or -a if one of them is a square. The
    /// exponents on the way have so many ones as their names say.
    #[inline(always)]
    fn root_or_root_of_negative(&self) -> Self {
        let two = self.square_and_multiply(1, self);
        let four = two.square_and_multiply(2, &two);
        let five = four.square_and_multiply(1, self);
        let ten = five.square_and_multiply(5, &five);
        let twenty = ten.square_and_multiply(10, &ten);
        let forty = twenty.square_and_multiply(20, &twenty);
        let fifty = forty.square_and_multiply(10, &ten);
        let hundred = fifty.square_and_multiply(50, &fifty);
        let two_hundred = hundred.square_and_multiply(100, &hundred);
        let two_hundred_fifty = two_hundred.square_and_multiply(50, &fifty);
        two_hundred_fifty.square_and_multiply(2, self).square_and_multiply(0, self)
    }

    /// Squares so many times, then multiplies by `other`.
    #[inline(always)]
    fn square_and_multiply(&self, times: u32, other: &Self) -> Self {
        L::outlined(self.factors[0].proof(), square_and_multiply, (self, times, other))
    }
}

#[inline(always)]
fn square_and_multiply<L: Lanes>(
    (elements, times, others): (&Elements<L>, u32, &Elements<L>),
) -> Elements<L> {
    let mut products = *elements;
    let factors = &mut products.factors[..elements.count];
    for _ in 0..times {
        for factor in &mut *factors {
            *factor = factor.square().carry();
        }
    }
    for (factor, other) in factors.iter_mut().zip(&others.factors) {
        *factor = factor.multiply(other).carry();
    }
    products
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::x25519::by_hand::{difference, product};

    /// The number with these limbs.
    fn number(limbs: &[u64; LIMBS]) -> [u64; 4] {
        let [a, b, c, d, e] = *limbs;
        [a | b << 52, b >> 12 | c << 40, c >> 24 | d << 28, d >> 36 | e << 16]
    }

    #[test]
    fn the_constants_are_the_roots_that_they_are_said_to_be() {
        for (root, square) in [(&ROOT_OF_MINUS_ONE, 1), (&SCALE, A + 2)] {
            let root = number(root);
            assert_eq!(product(&root, &root), difference(&[0; 4], &[square, 0, 0, 0]));
        }
    }
}
