//! The Edwards form of the curve, -x^2 + y^2 = 1 + d x^2 y^2, in eight lanes.
//!
//! Formulas: H. Hisil, K. K.-H. Wong, G. Carter, E. Dawson, "Twisted Edwards curves revisited"
//! (ASIACRYPT 2008), sections 3.1 and 3.3. They are complete: there is no exceptional case on the
//! curve. The coordinates are (x : y : z), or (x : y : z : t) with t = x y / z.

use super::field::{Factor, LIMBS, Sum};
use super::fraction::Fraction;
use crate::crypto::lanes::{Lanes, Mask};

/// 2 d, where d = -121665 / 121666 (RFC 7748, section 4.1).
const TWO_D: [u64; LIMBS] = [
    0x6_9b94_26b2_f159,
    0x9_a828_3b15_6ebd,
    0xe_f3d1_3000_e014,
    0xf_ce71_98e8_0f2e,
    0x0_2406_d9dc_56df,
];

/// A point without t.
#[derive(Clone, Copy)]
pub(super) struct Projective<L> {
    x: Sum<L>,
    y: Sum<L>,
    z: Sum<L>,
}

/// What the formulas end with: x = e f, y = g h, z = f g, t = e h.
#[derive(Clone, Copy)]
pub(super) struct Completed<L> {
    e: Factor<L>,
    f: Factor<L>,
    g: Factor<L>,
    h: Factor<L>,
}

/// A point to which another is added.
#[derive(Clone, Copy)]
pub(super) struct Extended<L> {
    /// y - x, y + x, z and t.
    pub(super) factors: [Factor<L>; 4],
}

/// A point that is added to others.
#[derive(Clone, Copy)]
pub(super) struct Cached<L> {
    /// y - x, y + x, 2 z and 2 d t.
    pub(super) factors: [Factor<L>; 4],
}

impl<L: Lanes> Projective<L> {
    /// From coordinates that are products, or zero and one.
    #[inline(always)]
    pub(super) fn new(x: Sum<L>, y: Sum<L>, z: Sum<L>) -> Self {
        Projective { x, y, z }
    }

    /// The neutral element.
    #[inline(always)]
    pub(super) fn neutral(proof: L::Proof) -> Self {
        let (zero, one) = (Sum::small(proof, 0), Sum::small(proof, 1));
        Projective { x: zero, y: one, z: one }
    }

    /// What its vectors were made with.
    #[inline(always)]
    pub(super) fn proof(&self) -> L::Proof {
        self.x.proof()
    }

    /// The double. All of e, f, g and h have the opposite sign of the paper's, which cancels.
    #[inline(always)]
    pub(super) fn double(&self) -> Completed<L> {
        let both = self.x.add(&self.y).carry();
        let (x, y, z) = (self.x.carry(), self.y.carry(), self.z.carry());
        let (xx, yy, zz, both) = (x.square(), y.square(), z.square(), both.square());
        let h = xx.add(&yy);
        let g = xx.sub(&yy);
        let f = g.add(&zz.add(&zz));
        let e = h.sub(&both);
        Completed { e: e.carry(), f: f.carry(), g: g.carry(), h: h.carry() }
    }

    /// The same point, scaled by z.
    #[inline(always)]
    pub(super) fn extended(&self) -> Extended<L> {
        let (x, y, z) = (self.x.carry(), self.y.carry(), self.z.carry());
        Extended::new(&x.multiply(&z), &y.multiply(&z), &z.square(), &x.multiply(&y))
    }

    /// The u-coordinate of the Montgomery form: (z + y) / (z - y).
    #[inline(always)]
    pub(super) fn u(&self) -> Fraction<L> {
        Fraction { x: self.z.add(&self.y), z: self.z.sub(&self.y) }
    }
}

impl<L: Lanes> Completed<L> {
    /// The point, for doubling.
    #[inline(always)]
    pub(super) fn projective(&self) -> Projective<L> {
        let Completed { e, f, g, h } = self;
        Projective { x: e.multiply(f), y: g.multiply(h), z: f.multiply(g) }
    }

    /// The point, for adding to it.
    #[inline(always)]
    pub(super) fn extended(&self) -> Extended<L> {
        let Projective { x, y, z } = self.projective();
        Extended::new(&x, &y, &z, &self.e.multiply(&self.h))
    }
}

impl<L: Lanes> Extended<L> {
    #[inline(always)]
    fn new(x: &Sum<L>, y: &Sum<L>, z: &Sum<L>, t: &Sum<L>) -> Self {
        let (minus, plus) = (y.sub(x).carry(), y.add(x).carry());
        Extended { factors: [minus, plus, z.carry(), t.carry()] }
    }

    /// The sum of this point and `other`, or, in the lanes of `negative`, minus `other`: there
    /// y - x and y + x change places, and t changes its sign.
    #[inline(always)]
    pub(super) fn add(&self, other: &Cached<L>, negative: Mask) -> Completed<L> {
        let [own_minus, own_plus, z, t] = &self.factors;
        let [minus, plus, z2, t2d] = &other.factors;
        let a = own_minus.multiply(&Factor::choose(negative, plus, minus));
        let b = own_plus.multiply(&Factor::choose(negative, minus, plus));
        let c = t.multiply(t2d);
        let d = z.multiply(z2);
        let (less, more) = (d.sub(&c).carry(), d.add(&c).carry());
        Completed {
            e: b.sub(&a).carry(),
            f: Factor::choose(negative, &more, &less),
            g: Factor::choose(negative, &less, &more),
            h: b.add(&a).carry(),
        }
    }

    /// The same point, to be added to others.
    #[inline(always)]
    pub(super) fn cached(&self) -> Cached<L> {
        let [minus, plus, z, t] = &self.factors;
        let z2 = z.sum().add(&z.sum()).carry();
        let t2d = t.multiply(&Factor::constant(t.proof(), &TWO_D)).carry();
        Cached { factors: [*minus, *plus, z2, t2d] }
    }
}
