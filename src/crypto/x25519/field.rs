//! The field of p = 2^255 - 19, in eight lanes.
//!
//! An element is a0 + a1 2^52 + a2 2^104 + a3 2^156 + a4 2^208: five limbs in the radix of IFMA,
//! which multiplies the low 52 bits of two words and adds either half of the product to a third.
//! That is five bits more than an element needs, and 2^260 = 32 * 2^255 = 608 mod p.
//!
//! Reduction is lazy, and the types say how far it has gone:
//! - a [`Sum`] has limbs of up to 60 bits. It can be added, subtracted, and carried.
//! - a [`Factor`] is carried: the low 52 bits of its limbs are the element. What lies above them
//!   is garbage that IFMA does not see, so no instruction is spent on it. It can be multiplied.
//!
//! The product of two factors is a sum whose limbs are below [`PRODUCT_LIMIT`].

use super::curve::A;
use crate::crypto::lanes::{Lanes, Mask, Row};

/// Limbs of an element.
pub(super) const LIMBS: usize = 5;

/// Bits of a limb, and all of them set.
const RADIX_BITS: u32 = 52;
const RADIX_MASK: u64 = (1 << RADIX_BITS) - 1;
/// Bits of the top limb of an element below 2^255, and all of them set.
const TOP_BITS: u32 = 255 - 4 * RADIX_BITS;
const TOP_MASK: u64 = (1 << TOP_BITS) - 1;
/// 2^255 mod p and 2^260 mod p.
const FOLD_255: u64 = 19;
const FOLD_260: u64 = 32 * FOLD_255;

/// Limbs of a product are below: ten halves of 52 bits and one of ten bits (see [`fold`]).
const PRODUCT_LIMIT: u64 = 11 << RADIX_BITS;
/// Limbs of what is carried are below.
const SUM_LIMIT: u64 = 1 << 60;
/// The top limb of a factor is below: 47 bits, and what came from the limb below it.
const TOP_LIMIT: u64 = (1 << TOP_BITS) + (SUM_LIMIT >> RADIX_BITS) + 1;

/// The last column of a product is below. It is the high half of the product of the top limbs, at
/// most (2^47 + 2^8)^2 / 2^52, which is 2^42 + 16 without its fraction, and a carry of at most 1:
/// the column before it holds one low half, and two high halves of products with a top limb.
const TOP_COLUMN_LIMIT: u64 = (1 << 42) + 18;
const _: () = assert!(TOP_LIMIT - 1 == (1 << 47) + (1 << 8));
const _: () = assert!(FOLD_260 * TOP_COLUMN_LIMIT <= 1 << RADIX_BITS);

/// 1024 p in limbs, each above those of the sum of two products: 2^57 - 19 * 1024 for the lowest,
/// 2^57 - 32 for the others, since 2^265 - 32 = 32 (2^52 - 1) (1 + 2^52 + ... + 2^208).
const MULTIPLE_OF_P: [u64; LIMBS] = {
    let mut limbs = [(1 << 57) - 32; LIMBS];
    limbs[0] = (1 << 57) - (FOLD_255 << 10);
    limbs
};
const _: () = assert!(MULTIPLE_OF_P[0] > 2 * PRODUCT_LIMIT);

/// What RFC 7748, section 5, calls a24.
const A24: u64 = (A - 2) / 4;

/// An element in each lane, of whose limbs every bit counts.
#[derive(Clone, Copy)]
pub(super) struct Sum<L>([L; LIMBS]);

/// An element in each lane, of whose limbs the low 52 bits count.
#[derive(Clone, Copy)]
pub(super) struct Factor<L>([L; LIMBS]);

impl<L: Lanes> Sum<L> {
    /// The same number below 2^52 in every lane.
    #[inline(always)]
    pub(super) fn small(proof: L::Proof, number: u64) -> Self {
        let mut limbs = [L::splat(proof, 0); LIMBS];
        limbs[0] = L::splat(proof, number);
        Sum(limbs)
    }

    /// What its vectors were made with.
    #[inline(always)]
    pub(super) fn proof(&self) -> L::Proof {
        self.0[0].proof()
    }

    /// The sum.
    #[inline(always)]
    pub(super) fn add(&self, other: &Self) -> Self {
        let mut sum = *self;
        for k in 0..LIMBS {
            sum.0[k] = self.0[k].add(other.0[k]);
        }
        sum
    }

    /// The difference. `other` is at most the sum of two products.
    #[inline(always)]
    pub(super) fn sub(&self, other: &Self) -> Self {
        let (mut difference, proof) = (*self, self.proof());
        for (k, multiple) in MULTIPLE_OF_P.into_iter().enumerate() {
            other.0[k].bound(2 * PRODUCT_LIMIT);
            difference.0[k] = self.0[k].add(L::splat(proof, multiple)).sub(other.0[k]);
        }
        difference
    }

    /// Adds (A - 2) / 4 times `factor`.
    #[inline(always)]
    pub(super) fn add_a24_times(&self, factor: &Factor<L>) -> Self {
        let (mut sum, proof) = (*self, factor.proof());
        let a24 = L::splat(proof, A24);
        for k in 0..LIMBS {
            sum.0[k] = sum.0[k].add_product_low(factor.0[k], a24);
        }
        for k in 1..LIMBS {
            sum.0[k] = sum.0[k].add_product_high(factor.0[k - 1], a24);
        }
        let over = L::splat(proof, 0).add_product_high(factor.0[4], a24);
        sum.0[0] = sum.0[0].add_product_low(over, L::splat(proof, FOLD_260));
        sum
    }

    /// Makes it a factor: what exceeds 52 bits moves on to the next limb, what exceeds 2^255 comes
    /// back to the lowest, 19-fold.
    #[inline(always)]
    pub(super) fn carry(&self) -> Factor<L> {
        let (mut limbs, proof) = (self.0, self.proof());
        limbs.iter().for_each(|limb| limb.bound(SUM_LIMIT));
        let over = limbs[4].shr(TOP_BITS);
        limbs[0] = limbs[0].add_product_low(over, L::splat(proof, FOLD_255));
        limbs[4] = limbs[4].and(L::splat(proof, TOP_MASK));
        for k in 1..LIMBS {
            limbs[k] = limbs[k].add(limbs[k - 1].shr(RADIX_BITS));
        }
        limbs[4].bound(TOP_LIMIT);
        Factor(limbs)
    }

    /// The lanes where it is 0 mod p.
    #[inline(always)]
    pub(super) fn zeros(&self) -> Mask {
        let [a, b, c, d, e] = self.carry().canonical();
        a.or(b).or(c.or(d)).or(e).zeros()
    }
}

impl<L: Lanes> Factor<L> {
    /// What its vectors were made with.
    #[inline(always)]
    pub(super) fn proof(&self) -> L::Proof {
        self.0[0].proof()
    }

    /// A constant, the same in every lane.
    #[inline(always)]
    pub(super) fn constant(proof: L::Proof, limbs: &[u64; LIMBS]) -> Self {
        let mut factor = [L::splat(proof, 0); LIMBS];
        for k in 0..LIMBS {
            factor[k] = L::splat(proof, limbs[k]);
        }
        Factor(factor)
    }

    /// Zero.
    #[inline(always)]
    pub(super) fn zero(proof: L::Proof) -> Self {
        Self::constant(proof, &[0; LIMBS])
    }

    /// One.
    #[inline(always)]
    pub(super) fn one(proof: L::Proof) -> Self {
        Self::constant(proof, &[1, 0, 0, 0, 0])
    }

    /// From limbs that other factors have.
    #[inline(always)]
    pub(super) fn from_limbs(limbs: [L; LIMBS]) -> Self {
        Factor(limbs)
    }

    /// What [`Factor::store`] wrote.
    #[inline(always)]
    pub(super) fn load(proof: L::Proof, rows: &[Row; LIMBS]) -> Self {
        let mut limbs = [L::splat(proof, 0); LIMBS];
        for (limb, row) in limbs.iter_mut().zip(rows) {
            *limb = L::load(proof, row);
        }
        Factor(limbs)
    }

    /// Writes its limbs, garbage included.
    #[inline(always)]
    pub(super) fn store(&self, rows: &mut [Row; LIMBS]) {
        for (limb, row) in self.0.iter().zip(rows) {
            limb.store(row);
        }
    }

    /// From a number below 2^256, of which the top bit is ignored (RFC 7748, section 5); p and
    /// what lies above it are reduced by the arithmetic.
    #[inline(always)]
    pub(super) fn from_words(words: [L; 4]) -> Self {
        let [a, b, c, d] = words;
        let proof = a.proof();
        let radix = L::splat(proof, RADIX_MASK);
        Factor([
            a.and(radix),
            a.shr(52).or(b.shl(12)).and(radix),
            b.shr(40).or(c.shl(24)).and(radix),
            c.shr(28).or(d.shl(36)).and(radix),
            d.shr(16).and(L::splat(proof, TOP_MASK)),
        ])
    }

    /// The number below p.
    #[inline(always)]
    pub(super) fn to_words(self) -> [L; 4] {
        let [a, b, c, d, e] = self.canonical();
        [a.or(b.shl(52)), b.shr(12).or(c.shl(40)), c.shr(24).or(d.shl(28)), d.shr(36).or(e.shl(16))]
    }

    /// Without the garbage, to be added or subtracted.
    #[inline(always)]
    pub(super) fn sum(&self) -> Sum<L> {
        let mut limbs = self.0;
        let radix = L::splat(self.proof(), RADIX_MASK);
        for limb in &mut limbs[..4] {
            *limb = limb.and(radix);
        }
        Sum(limbs)
    }

    /// The limbs of the number below p. A factor is below 2^255 + 2^217 < 2 p, so that p is to be
    /// taken off at most once: when adding 19 reaches 2^255.
    #[inline(always)]
    fn canonical(&self) -> [L; LIMBS] {
        let (mut limbs, proof) = (self.sum().0, self.proof());
        let mut carry = L::splat(proof, FOLD_255);
        for limb in &limbs[..4] {
            carry = limb.add(carry).shr(RADIX_BITS);
        }
        carry = limbs[4].add(carry).shr(TOP_BITS);
        carry.bound(2);
        limbs[0] = limbs[0].add_product_low(carry, L::splat(proof, FOLD_255));
        for k in 0..4 {
            limbs[k + 1] = limbs[k + 1].add(limbs[k].shr(RADIX_BITS));
            limbs[k] = limbs[k].and(L::splat(proof, RADIX_MASK));
        }
        limbs[4] = limbs[4].and(L::splat(proof, TOP_MASK));
        limbs
    }

    /// The product: 25 products of limbs, in rows; the half above 2^52 belongs one column higher.
    #[inline(always)]
    pub(super) fn multiply(&self, other: &Self) -> Sum<L> {
        let (a, b) = (&self.0, &other.0);
        let mut columns = [L::splat(self.proof(), 0); 2 * LIMBS];
        for i in 0..LIMBS {
            for j in 0..LIMBS {
                columns[i + j] = columns[i + j].add_product_low(a[i], b[j]);
            }
            for j in 0..LIMBS {
                columns[i + j + 1] = columns[i + j + 1].add_product_high(a[i], b[j]);
            }
        }
        fold(columns)
    }

    /// The square: the ten products of different limbs are doubled, the five squares added.
    #[inline(always)]
    pub(super) fn square(&self) -> Sum<L> {
        let a = &self.0;
        let mut columns = [L::splat(self.proof(), 0); 2 * LIMBS];
        for i in 0..LIMBS {
            for j in i + 1..LIMBS {
                columns[i + j] = columns[i + j].add_product_low(a[i], a[j]);
            }
            for j in i + 1..LIMBS {
                columns[i + j + 1] = columns[i + j + 1].add_product_high(a[i], a[j]);
            }
        }
        for column in &mut columns[1..9] {
            *column = column.add(*column);
        }
        for i in 0..LIMBS {
            columns[2 * i] = columns[2 * i].add_product_low(a[i], a[i]);
            columns[2 * i + 1] = columns[2 * i + 1].add_product_high(a[i], a[i]);
        }
        fold(columns)
    }

    /// `yes` in the lanes of `mask`, `no` in the others.
    #[inline(always)]
    pub(super) fn choose(mask: Mask, yes: &Self, no: &Self) -> Self {
        let mut chosen = *no;
        for k in 0..LIMBS {
            chosen.0[k] = L::choose(mask, yes.0[k], no.0[k]);
        }
        chosen
    }

    /// Lane i gets what lane i XOR `DISTANCE` had.
    #[inline(always)]
    pub(super) fn exchange<const DISTANCE: usize>(&self) -> Self {
        let mut limbs = self.0;
        for limb in &mut limbs {
            *limb = limb.exchange::<DISTANCE>();
        }
        Factor(limbs)
    }
}

/// Brings ten columns back to five limbs: column k + 5 belongs to limb k, 608-fold.
///
/// A column holds at most five low and four high halves, or the reverse: below 9 * 2^52. The upper
/// columns are carried to 52 bits first, all but the last, which has no column to carry to. It is
/// below [`TOP_COLUMN_LIMIT`], so that 608 times it has no high half. A limb is then its column, a
/// low half and a high half of 608 times 52 bits: below 9 * 2^52 + 2^52 + 608.
#[inline(always)]
fn fold<L: Lanes>(mut columns: [L; 2 * LIMBS]) -> Sum<L> {
    for k in LIMBS..2 * LIMBS - 1 {
        columns[k + 1] = columns[k + 1].add(columns[k].shr(RADIX_BITS));
    }
    columns[9].bound(TOP_COLUMN_LIMIT);
    let proof = columns[0].proof();
    let factor = L::splat(proof, FOLD_260);
    let mut limbs = [L::splat(proof, 0); LIMBS];
    for k in 0..LIMBS {
        limbs[k] = columns[k].add_product_low(columns[k + LIMBS], factor);
    }
    for k in 1..LIMBS {
        limbs[k] = limbs[k].add_product_high(columns[k + LIMBS - 1], factor);
    }
    limbs.iter().for_each(|limb| limb.bound(PRODUCT_LIMIT));
    Sum(limbs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::lanes::LANES;
    use crate::crypto::lanes::portable::{Anywhere, Portable};
    use crate::crypto::random::Rng;
    use crate::crypto::x25519::{by_hand, curve};

    type Checked = Portable<true>;

    /// The number below p in the first lane; all lanes are alike.
    fn number(factor: Factor<Checked>) -> [u64; 4] {
        factor.to_words().map(|words| {
            let mut row = Row::default();
            words.store(&mut row);
            assert_eq!(row.0, [row.0[0]; LANES]);
            row.0[0]
        })
    }

    fn factor(number: &[u64; 4]) -> Factor<Checked> {
        Factor::from_words(number.map(|word| Checked::splat(Anywhere, word)))
    }

    /// Numbers mod p at the edges of it and of limbs, and any.
    fn numbers() -> Vec<[u64; 4]> {
        let mut rng = Rng::from_seed([1; 32]);
        let p = curve::P;
        let mut numbers = vec![[0; 4], [1, 0, 0, 0], [p[0] - 1, p[1], p[2], p[3]]];
        numbers.push([u64::MAX, u64::MAX, u64::MAX, u64::MAX >> 2]);
        for limb in 1..5 {
            let (word, bit) = (52 * limb / 64, 52 * limb % 64);
            let mut edge = [0; 4];
            edge[word] = 1 << bit;
            numbers.push(edge);
            numbers.push(by_hand::difference(&edge, &[1, 0, 0, 0]));
        }
        for _ in 0..20 {
            numbers.push(std::array::from_fn(|k| rng.next_u64() >> (2 * u32::from(k == 3))));
        }
        numbers
    }

    /// A factor with the largest limbs that carrying can leave, and garbage above them.
    fn largest() -> Factor<Checked> {
        let mut limbs = [Checked::splat(Anywhere, u64::MAX); LIMBS];
        limbs[4] = Checked::splat(Anywhere, TOP_LIMIT - 1);
        Factor(limbs)
    }

    #[test]
    fn arithmetic_agrees_with_that_by_hand() {
        for a in numbers() {
            for b in numbers() {
                let (x, y) = (factor(&a), factor(&b));
                assert_eq!(number(x.multiply(&y).carry()), by_hand::product(&a, &b));
                assert_eq!(number(x.sum().add(&y.sum()).carry()), by_hand::sum(&a, &b));
                let difference = x.sum().sub(&y.sum()).carry();
                assert_eq!(number(difference), by_hand::difference(&a, &b));
                let scaled = by_hand::product(&b, &[A24, 0, 0, 0]);
                let sum = x.sum().add_a24_times(&y).carry();
                assert_eq!(number(sum), by_hand::sum(&a, &scaled));
            }
            assert_eq!(number(factor(&a).square().carry()), by_hand::product(&a, &a));
            assert_eq!(factor(&a).sum().zeros() == Mask::MAX, a == [0; 4]);
        }
    }

    #[test]
    fn numbers_from_p_on_are_reduced_and_bit_255_is_ignored() {
        for above in 0..19 {
            let words = [curve::P[0] + above, u64::MAX, u64::MAX, u64::MAX];
            assert_eq!(number(factor(&words)), [above, 0, 0, 0]);
        }
    }

    /// What every bound asserts is asserted here, of the largest limbs there can be.
    #[test]
    fn the_largest_limbs_stay_within_their_bounds() {
        let largest = largest();
        let product = largest.multiply(&largest);
        assert_eq!(number(product.carry()), number(largest.square().carry()));
        let sums = Sum([Checked::splat(Anywhere, 2 * PRODUCT_LIMIT - 1); LIMBS]);
        let difference = Sum([Checked::splat(Anywhere, 0); LIMBS]).sub(&sums);
        let back = difference.add(&sums).carry();
        assert_eq!(number(back), [0; 4]);
        let carried = Sum([Checked::splat(Anywhere, SUM_LIMIT - 1); LIMBS]).carry();
        carried.multiply(&carried).add_a24_times(&largest).carry();
    }

    /// The deepest chain of sums in the formulas: f of a doubling, and e of a ladder's step.
    #[test]
    fn the_formulas_stay_within_what_can_be_carried() {
        let product = Sum([Checked::splat(Anywhere, PRODUCT_LIMIT - 1); LIMBS]);
        let zero = Sum([Checked::splat(Anywhere, 0); LIMBS]);
        let doubled = product.add(&product);
        doubled.sub(&zero).add(&doubled).carry();
        product.sub(&zero).add(&doubled).carry();
    }

    #[test]
    #[should_panic(expected = "is not below")]
    fn a_limb_beyond_its_bound_is_found() {
        Sum([Checked::splat(Anywhere, SUM_LIMIT); LIMBS]).carry();
    }

    #[test]
    #[should_panic(expected = "is not below")]
    fn a_subtrahend_beyond_its_bound_is_found() {
        let sums = Sum([Checked::splat(Anywhere, 2 * PRODUCT_LIMIT); LIMBS]);
        Sum([Checked::splat(Anywhere, 0); LIMBS]).sub(&sums);
    }
}
