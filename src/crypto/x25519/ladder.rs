//! The Montgomery ladder in eight lanes (RFC 7748, section 5, whose names these are).

use super::field::{Factor, Sum};
use super::fraction::Fraction;
use super::words::Words;
use crate::crypto::lanes::{Lanes, Mask};

/// Bits of a clamped scalar above the three lowest, which are zero.
const BITS: std::ops::Range<u32> = 3..255;

/// Eight points to multiply.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    /// The u-coordinates of the points.
    pub(super) points: Words,
    /// The scalars, as [`changes`](super::digits::changes).
    pub(super) changes: Words,
    /// The u-coordinates of the products.
    pub(super) products: Words,
}

/// The products of the group's points and scalars.
#[inline(always)]
pub(super) fn climb<L: Lanes>(proof: L::Proof, group: &Group) -> Fraction<L> {
    let base = Factor::from_words(group.points.load(proof));
    let (zero, one) = (Sum::small(proof, 0), Sum::small(proof, 1));
    let mut rung = Rung { x2: one, z2: zero, x3: base.sum(), z3: one };
    for bit in BITS.rev() {
        rung = rung.step(&base, group.changes.test::<L>(proof, bit));
    }
    let (second, third) = rung.halves();
    let mut halves =
        Halves::choose(group.changes.test::<L>(proof, BITS.start - 1), &third, &second);
    let mut product = halves.double();
    for _ in 1..BITS.start {
        halves = Halves::of(&product.x, &product.z);
        product = halves.double();
    }
    product
}

/// Two points, x2 : z2 and x3 : z3, whose difference is the base.
#[derive(Clone, Copy)]
struct Rung<L> {
    x2: Sum<L>,
    z2: Sum<L>,
    x3: Sum<L>,
    z3: Sum<L>,
}

impl<L: Lanes> Rung<L> {
    #[inline(always)]
    fn halves(&self) -> (Halves<L>, Halves<L>) {
        (Halves::of(&self.x2, &self.z2), Halves::of(&self.x3, &self.z3))
    }

    /// Doubles one point, the third in the lanes that change sides, and adds it to the other. The
    /// sum does not ask which is which, so only what is doubled is chosen.
    ///
    /// The order of the lines is that in which the multiplications find their operands ready.
    #[inline(always)]
    fn step(&self, base: &Factor<L>, changes: Mask) -> Self {
        let (second, third) = self.halves();
        let Halves { plus: a, minus: b } = Halves::choose(changes, &third, &second);
        let da = third.minus.multiply(&second.plus);
        let cb = third.plus.multiply(&second.minus);
        let aa = a.square();
        let bb = b.square();
        let sum = da.add(&cb).carry();
        let difference = da.sub(&cb).carry();
        let difference_squared = difference.square().carry();
        let e = aa.sub(&bb).carry();
        let x3 = sum.square();
        let factor = aa.add_a24_times(&e).carry();
        let (aa, bb) = (aa.carry(), bb.carry());
        let z3 = base.multiply(&difference_squared);
        let x2 = aa.multiply(&bb);
        let z2 = e.multiply(&factor);
        Rung { x2, z2, x3, z3 }
    }
}

/// x + z and x - z of a point: what the formulas are made of.
#[derive(Clone, Copy)]
struct Halves<L> {
    plus: Factor<L>,
    minus: Factor<L>,
}

impl<L: Lanes> Halves<L> {
    #[inline(always)]
    fn of(x: &Sum<L>, z: &Sum<L>) -> Self {
        Halves { plus: x.add(z).carry(), minus: x.sub(z).carry() }
    }

    #[inline(always)]
    fn choose(mask: Mask, yes: &Self, no: &Self) -> Self {
        Halves {
            plus: Factor::choose(mask, &yes.plus, &no.plus),
            minus: Factor::choose(mask, &yes.minus, &no.minus),
        }
    }

    #[inline(always)]
    fn double(&self) -> Fraction<L> {
        let (aa, bb) = (self.plus.square(), self.minus.square());
        let e = aa.sub(&bb).carry();
        let factor = aa.add_a24_times(&e).carry();
        Fraction { x: aa.carry().multiply(&bb.carry()), z: e.multiply(&factor) }
    }
}
