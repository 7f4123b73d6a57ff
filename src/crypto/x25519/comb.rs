//! One point multiplied by several scalars: a table of the point, made once, serves them all.
//!
//! A scalar is 256 digits of 1 or -1 (see [`signs`](super::digits::signs)), in four words. From the
//! point q the table has the sums q3 ± q2 ± q1 ± q0, where qj = 2^(64 j) q: all that the digits of
//! one place in the four words can call for, up to its sign. A product is then 64 times a doubling
//! and the addition of an entry: a comb with four teeth.
//!
//! C. H. Lim, P. J. Lee, "More flexible exponentiation with precomputation" (CRYPTO '94); digits
//! without zero: M. Hedabou, P. Pinel, L. Beneteau, "Countermeasures for preventing comb method
//! against SCA attacks" (ISPEC 2005).
//!
//! The point and so the table are public; the digits are not. All entries are read for each, and
//! masks choose among them.

use super::edwards::{Cached, Extended, Projective};
use super::field::{Factor, LIMBS};
use super::fraction::Fraction;
use super::words::Words;
use crate::crypto::lanes::{LANES, Lanes, Mask, Row};

/// Places of a word.
const PLACES: u32 = 64;
/// Entries of the table: one for each choice of all signs but that of q3.
const ENTRIES: usize = 8;

/// What the scalars' digits can call for of a point, in eight lanes.
#[derive(Clone, Debug)]
pub(super) struct Table([[[Row; LIMBS]; 4]; ENTRIES]);

impl Table {
    /// Room for a table.
    pub(super) const EMPTY: Table = Table([[[Row([0; LANES]); LIMBS]; 4]; ENTRIES]);

    /// Becomes the table of q = 8 `point`.
    ///
    /// Of an entry's number, bit 0 says whether q2 is added, 1 whether q1 is, 2 whether q0 is.
    #[inline(always)]
    pub(super) fn fill<L: Lanes>(&mut self, point: &Projective<L>) {
        let (mut point, proof) = (*point, point.proof());
        let mut teeth = [point.extended(); 4];
        for (tooth, doublings) in teeth.iter_mut().zip([3, PLACES, PLACES, PLACES]) {
            for _ in 0..doublings {
                point = point.double().projective();
            }
            *tooth = point.extended();
        }
        self.write(0, &teeth[3].factors);
        for (bit, tooth) in [teeth[2], teeth[1], teeth[0]].iter().enumerate() {
            let (tooth, half) = (tooth.cached(), 1 << bit);
            for entry in (0..2 * half).rev() {
                let negative = if entry < half { Mask::MAX } else { 0 };
                let sum = Extended { factors: self.read(proof, entry % half) };
                self.write(entry, &sum.add(&tooth, negative).extended().factors);
            }
        }
        for entry in 0..ENTRIES {
            let sum = Extended { factors: self.read::<L>(proof, entry) };
            self.write(entry, &sum.cached().factors);
        }
    }

    #[inline(always)]
    fn read<L: Lanes>(&self, proof: L::Proof, entry: usize) -> [Factor<L>; 4] {
        let mut factors = [Factor::zero(proof); 4];
        for (factor, rows) in factors.iter_mut().zip(&self.0[entry]) {
            *factor = Factor::load(proof, rows);
        }
        factors
    }

    #[inline(always)]
    fn write<L: Lanes>(&mut self, entry: usize, factors: &[Factor<L>; 4]) {
        for (factor, rows) in factors.iter().zip(&mut self.0[entry]) {
            factor.store(rows);
        }
    }

    /// The points multiplied by scalars with these digits, as u-coordinates.
    #[inline(always)]
    pub(super) fn multiply<L: Lanes>(&self, proof: L::Proof, signs: &Words) -> Fraction<L> {
        let mut product = Projective::neutral(proof);
        for place in (0..PLACES).rev() {
            let sign = |tooth| signs.test::<L>(proof, PLACES * tooth + place);
            let negative = !sign(3);
            let entry = self.entry(proof, [sign(2), sign(1), sign(0)].map(|sign| sign ^ negative));
            product = product.double().extended().add(&entry, negative).projective();
        }
        product.u()
    }

    /// In each lane the entry with the number that these are the bits of.
    #[inline(always)]
    fn entry<L: Lanes>(&self, proof: L::Proof, number: [Mask; 3]) -> Cached<L> {
        let mut factors = [Factor::zero(proof); 4];
        for (f, factor) in factors.iter_mut().enumerate() {
            let mut limbs = [L::splat(proof, 0); LIMBS];
            for (k, limb) in limbs.iter_mut().enumerate() {
                let row = |entry: usize| L::load(proof, &self.0[entry][f][k]);
                let pair = |entry| L::choose(number[0], row(entry + 1), row(entry));
                let four = |entry| L::choose(number[1], pair(entry + 2), pair(entry));
                *limb = L::choose(number[2], four(4), four(0));
            }
            *factor = Factor::from_limbs(limbs);
        }
        Cached { factors }
    }
}
