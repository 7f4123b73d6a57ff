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

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn add_u32<const G: usize>(a: Wide<G>, b: Wide<G>) -> Wide<G> {
    let mut out = a;
    for i in 0..G {
        out[i] = _mm512_add_epi32(a[i], b[i]);
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn add_u64<const G: usize>(a: Wide<G>, b: Wide<G>) -> Wide<G> {
    let mut out = a;
    for i in 0..G {
        out[i] = _mm512_add_epi64(a[i], b[i]);
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn xor<const G: usize>(a: Wide<G>, b: Wide<G>) -> Wide<G> {
    let mut out = a;
    for i in 0..G {
        out[i] = _mm512_xor_si512(a[i], b[i]);
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn rotate_left_u32<const BITS: i32, const G: usize>(a: Wide<G>) -> Wide<G> {
    let mut out = a;
    for i in 0..G {
        out[i] = _mm512_rol_epi32::<BITS>(a[i]);
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn rotate_right_u32<const BITS: i32, const G: usize>(a: Wide<G>) -> Wide<G> {
    let mut out = a;
    for i in 0..G {
        out[i] = _mm512_ror_epi32::<BITS>(a[i]);
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn rotate_right_u64<const BITS: i32, const G: usize>(a: Wide<G>) -> Wide<G> {
    let mut out = a;
    for i in 0..G {
        out[i] = _mm512_ror_epi64::<BITS>(a[i]);
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn shift_right_u32<const BITS: u32, const G: usize>(a: Wide<G>) -> Wide<G> {
    let mut out = a;
    for i in 0..G {
        out[i] = _mm512_srli_epi32::<BITS>(a[i]);
    }
    out
}

/// For each bit the bit of `TABLE` at the place that the bits of a, b and c, in this order, spell.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::crypto) fn ternary<const TABLE: i32, const G: usize>(
    a: Wide<G>,
    b: Wide<G>,
    c: Wide<G>,
) -> Wide<G> {
    let mut out = a;
    for i in 0..G {
        out[i] = _mm512_ternarylogic_epi32::<TABLE>(a[i], b[i], c[i]);
    }
    out
}

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
