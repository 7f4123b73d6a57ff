//! Eight lanes in eight words, for machines and tools that know no AVX-512, and to check bounds.

use super::{LANES, Lanes, Mask, Row};
use std::hint::black_box;

/// Eight words. With `CHECKED` (or debug assertions) every stated bound is asserted, and that no
/// sum, difference or product leaves its word. No branch depends on a lane otherwise.
#[derive(Clone, Copy, Debug)]
pub(in crate::crypto) struct Portable<const CHECKED: bool>([u64; LANES]);

/// Every machine can do this.
#[derive(Clone, Copy, Debug)]
pub(in crate::crypto) struct Anywhere;

/// What an IFMA multiplication sees of its operands.
const LOW_52: u64 = (1 << 52) - 1;

impl<const CHECKED: bool> Portable<CHECKED> {
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(u64, u64) -> u64) -> Self {
        Portable(std::array::from_fn(|lane| operation(self.0[lane], other.0[lane])))
    }

    #[inline(always)]
    fn checks() -> bool {
        CHECKED || cfg!(debug_assertions)
    }

    #[inline(always)]
    fn sum(a: u64, b: u64) -> u64 {
        let (sum, wraps) = a.overflowing_add(b);
        assert!(!(Self::checks() && wraps), "{a:#x} + {b:#x} wraps");
        sum
    }

    #[inline(always)]
    fn difference(a: u64, b: u64) -> u64 {
        let (difference, wraps) = a.overflowing_sub(b);
        assert!(!(Self::checks() && wraps), "{a:#x} - {b:#x} wraps");
        difference
    }
}

/// The lanes for which `bit` gives 1 and not 0.
#[inline(always)]
fn mask_of(bit: impl Fn(usize) -> u64) -> Mask {
    let mut mask = 0;
    for lane in 0..LANES {
        mask |= bit(lane) << lane;
    }
    mask.to_le_bytes()[0]
}

/// All ones where `mask` has `lane`, else zero. The compiler must not see that there are but two
/// cases: it would make a jump of the choice.
#[inline(always)]
fn ones(mask: Mask, lane: usize) -> u64 {
    black_box(u64::from(mask >> lane & 1)).wrapping_neg()
}

#[inline(always)]
fn product(a: u64, b: u64) -> u128 {
    u128::from(a & LOW_52) * u128::from(b & LOW_52)
}

#[expect(clippy::cast_possible_truncation, reason = "52 bits are kept of a product of 104")]
#[inline(always)]
fn low_52(product: u128) -> u64 {
    product as u64 & LOW_52
}

impl<const CHECKED: bool> Lanes for Portable<CHECKED> {
    type Proof = Anywhere;

    #[inline(always)]
    fn proof(self) -> Anywhere {
        Anywhere
    }

    #[inline(always)]
    fn splat(_: Anywhere, word: u64) -> Self {
        Portable([word; LANES])
    }

    #[inline(always)]
    fn load(_: Anywhere, row: &Row) -> Self {
        Portable(row.0)
    }

    #[inline(always)]
    fn store(self, row: &mut Row) {
        row.0 = self.0;
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, Self::sum)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, Self::difference)
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        Portable(self.0.map(|word| word << bits))
    }

    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        Portable(self.0.map(|word| word >> bits))
    }

    #[inline(always)]
    fn add_product_low(self, a: Self, b: Self) -> Self {
        self.add(a.zip(b, |a, b| low_52(product(a, b))))
    }

    #[inline(always)]
    fn add_product_high(self, a: Self, b: Self) -> Self {
        self.add(a.zip(b, |a, b| low_52(product(a, b) >> 52)))
    }

    #[inline(always)]
    fn zeros(self) -> Mask {
        // The top bit of x | -x is set unless x is zero.
        mask_of(|lane| (self.0[lane] | self.0[lane].wrapping_neg()) >> 63 ^ 1)
    }

    #[inline(always)]
    fn test(self, bit: u32) -> Mask {
        mask_of(|lane| self.0[lane] >> bit & 1)
    }

    #[inline(always)]
    fn choose(mask: Mask, yes: Self, no: Self) -> Self {
        Portable(std::array::from_fn(|lane| {
            let ones = ones(mask, lane);
            yes.0[lane] & ones | no.0[lane] & !ones
        }))
    }

    #[inline(always)]
    fn exchange<const DISTANCE: usize>(self) -> Self {
        Portable(std::array::from_fn(|lane| self.0[lane ^ DISTANCE]))
    }

    #[inline(always)]
    fn bound(self, limit: u64) {
        if Self::checks() {
            for lane in self.0 {
                assert!(lane < limit, "{lane:#x} is not below {limit:#x}");
            }
        }
    }

    #[inline(always)]
    fn outlined<A, R>(_: Anywhere, part: impl FnOnce(A) -> R, argument: A) -> R {
        part(argument)
    }
}
