//! Eight lanes of 64 bits: what the arithmetic of a kernel needs of a machine.
//!
//! A kernel is written once over the trait [`Lanes`] and lives twice: over AVX-512 for speed, and
//! over eight plain words for tools that know no AVX-512 (valgrind) and for asserting its bounds.
//!
//! All of it is inlined into the kernel's entry, a function with the target features: elsewhere
//! each intrinsic would be a call.

pub(super) mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;

use zeroize::Zeroize;

/// How many lanes there are.
pub(super) const LANES: usize = 8;

/// A set of lanes: bit i stands for lane i.
pub(super) type Mask = u8;

/// One word of each lane, aligned as a vector wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroize)]
#[repr(C, align(64))]
pub(super) struct Row(pub(super) [u64; LANES]);

/// A vector of eight lanes, which all do the same.
///
/// Sums and differences never wrap: the bounds that keep them from it are stated where they are
/// used.
pub(super) trait Lanes: Copy {
    /// Says that this machine has what these vectors run on. None is made without it, so that
    /// whoever has one may do all that vectors can.
    type Proof: Copy;

    /// What this vector was made with.
    fn proof(self) -> Self::Proof;
    /// The same word in every lane.
    fn splat(proof: Self::Proof, word: u64) -> Self;
    /// What `row` holds.
    fn load(proof: Self::Proof, row: &Row) -> Self;
    /// Writes all lanes to `row`.
    fn store(self, row: &mut Row);

    /// The sum.
    fn add(self, other: Self) -> Self;
    /// The difference.
    fn sub(self, other: Self) -> Self;
    /// The bits of both.
    fn and(self, other: Self) -> Self;
    /// The bits of either.
    fn or(self, other: Self) -> Self;
    /// Moves `bits` up; what leaves the word is lost. The distance is public.
    fn shl(self, bits: u32) -> Self;
    /// Moves `bits` down; what leaves the word is lost. The distance is public.
    fn shr(self, bits: u32) -> Self;

    /// Adds the low 52 bits of the product of the low 52 bits of `a` and `b`.
    fn add_product_low(self, a: Self, b: Self) -> Self;
    /// Adds the high 52 bits of the product of the low 52 bits of `a` and `b`.
    fn add_product_high(self, a: Self, b: Self) -> Self;

    /// The lanes that are zero.
    fn zeros(self) -> Mask;
    /// The lanes where `bit`, a public number below 64, is set.
    fn test(self, bit: u32) -> Mask;
    /// `yes` in the lanes of `mask`, `no` in the others.
    fn choose(mask: Mask, yes: Self, no: Self) -> Self;
    /// Lane i gets what lane i XOR `DISTANCE` (1, 2 or 4) had.
    fn exchange<const DISTANCE: usize>(self) -> Self;

    /// States that every lane is below `limit`; a checking instance asserts it.
    fn bound(self, limit: u64);

    /// Calls `part` of a kernel, which is `inline(always)`, as a function of its own: what many
    /// places use, but not the hottest, should lie in the instruction cache once.
    fn outlined<A, R>(proof: Self::Proof, part: impl FnOnce(A) -> R, argument: A) -> R;
}
