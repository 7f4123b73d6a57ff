//! Arithmetic on `G` vectors side by side.
//!
//! An operation on a vector takes longer than the processor needs to begin the next one: with two
//! vectors side by side, one goes on while the other waits for its own result. Where the jobs fill
//! but one vector, `G` is 1.

use super::Vector;
use std::arch::x86_64::*;

/// The same word of `16 * G` jobs, or of `8 * G` when the words have 64 bits.
pub(in crate::crypto) type Wide<const G: usize> = [Vector; G];

/// `word` in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn splat_u32<const G: usize>(word: u32) -> Wide<G> {
    [_mm512_set1_epi32(word.cast_signed()); G]
}

/// `word` in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn splat_u64<const G: usize>(word: u64) -> Wide<G> {
    [_mm512_set1_epi64(word.cast_signed()); G]
}

/// Defines an operation on vectors side by side: the intrinsic on each, with its constant if it has
/// one.
macro_rules! wide {
    ($name:ident $(<$constant:ident: $kind:ty>)? ($($word:ident),+) = $of_one:ident) => {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
        pub(in crate::crypto) fn $name<$(const $constant: $kind,)? const G: usize>(
            $($word: Wide<G>),+
        ) -> Wide<G> {
            let mut out = [_mm512_setzero_si512(); G];
            for i in 0..G {
                out[i] = $of_one$(::<$constant>)?($($word[i]),+);
            }
            out
        }
    };
}

wide!(add_u32(a, b) = _mm512_add_epi32);
wide!(add_u64(a, b) = _mm512_add_epi64);
wide!(xor(a, b) = _mm512_xor_si512);
wide!(rotate_left_u32<BITS: i32>(a) = _mm512_rol_epi32);
wide!(rotate_right_u32<BITS: i32>(a) = _mm512_ror_epi32);
wide!(rotate_right_u64<BITS: i32>(a) = _mm512_ror_epi64);
wide!(shift_right_u32<BITS: u32>(a) = _mm512_srli_epi32);
// For each bit the bit of `TABLE` at the place that the bits of a, b and c, in this order, spell.
wide!(ternary<TABLE: i32>(a, b, c) = _mm512_ternarylogic_epi32);

/// Each of `words` in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn splats_u32<const G: usize, const N: usize>(
    words: &[u32; N],
) -> [Wide<G>; N] {
    let mut out = [[_mm512_setzero_si512(); G]; N];
    for i in 0..N {
        out[i] = splat_u32(words[i]);
    }
    out
}

/// Each of `words` in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn splats_u64<const G: usize, const N: usize>(
    words: &[u64; N],
) -> [Wide<G>; N] {
    let mut out = [[_mm512_setzero_si512(); G]; N];
    for i in 0..N {
        out[i] = splat_u64(words[i]);
    }
    out
}
