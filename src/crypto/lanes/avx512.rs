//! Eight lanes in a vector of 512 bits: AVX-512 with IFMA, whose multiplication is of 52 bits.

#![allow(unsafe_code)]

use super::{Lanes, Mask, Row};
use core::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_load_si512, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_mask_blend_epi64, _mm512_or_si512, _mm512_permutex_epi64,
    _mm512_set1_epi64, _mm512_shuffle_i64x2, _mm512_sllv_epi64, _mm512_srlv_epi64,
    _mm512_store_si512, _mm512_sub_epi64, _mm512_test_epi64_mask, _mm512_testn_epi64_mask,
};

/// The vector. It is named only by entries of kernels, and these are called only where a
/// [`Tier`](crate::crypto::tier::Tier) says that the machine has AVX-512 with IFMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512i);

/// The intrinsic's result as a vector of ours.
macro_rules! avx512 {
    ($intrinsic:ident $(::<$constant:literal>)? ($($argument:expr),*)) => {
        // SAFETY: the machine has AVX-512 with IFMA: see `Avx512`.
        Avx512(unsafe { $intrinsic $(::<$constant>)? ($($argument),*) })
    };
}

impl Lanes for Avx512 {
    #[inline(always)]
    fn splat(word: u64) -> Self {
        avx512!(_mm512_set1_epi64(word.cast_signed()))
    }

    #[inline(always)]
    fn load(row: &Row) -> Self {
        // `Row` has the alignment and the size of a vector.
        avx512!(_mm512_load_si512((&raw const *row).cast()))
    }

    #[inline(always)]
    fn store(self, row: &mut Row) {
        // SAFETY: as above; `Row` has the alignment and the size of a vector.
        unsafe { _mm512_store_si512((&raw mut *row).cast(), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        avx512!(_mm512_add_epi64(self.0, other.0))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        avx512!(_mm512_sub_epi64(self.0, other.0))
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        avx512!(_mm512_and_si512(self.0, other.0))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        avx512!(_mm512_or_si512(self.0, other.0))
    }

    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        avx512!(_mm512_sllv_epi64(self.0, Self::splat(u64::from(bits)).0))
    }

    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        avx512!(_mm512_srlv_epi64(self.0, Self::splat(u64::from(bits)).0))
    }

    #[inline(always)]
    fn add_product_low(self, a: Self, b: Self) -> Self {
        avx512!(_mm512_madd52lo_epu64(self.0, a.0, b.0))
    }

    #[inline(always)]
    fn add_product_high(self, a: Self, b: Self) -> Self {
        avx512!(_mm512_madd52hi_epu64(self.0, a.0, b.0))
    }

    #[inline(always)]
    fn zeros(self) -> Mask {
        // SAFETY: the machine has AVX-512: see `Avx512`.
        unsafe { _mm512_testn_epi64_mask(self.0, self.0) }
    }

    #[inline(always)]
    fn test(self, bit: u32) -> Mask {
        // SAFETY: the machine has AVX-512: see `Avx512`.
        unsafe { _mm512_test_epi64_mask(self.0, Self::splat(1 << bit).0) }
    }

    #[inline(always)]
    fn choose(mask: Mask, yes: Self, no: Self) -> Self {
        avx512!(_mm512_mask_blend_epi64(mask, no.0, yes.0))
    }

    #[inline(always)]
    fn exchange<const DISTANCE: usize>(self) -> Self {
        match DISTANCE {
            1 => avx512!(_mm512_permutex_epi64::<0b10_11_00_01>(self.0)),
            2 => avx512!(_mm512_permutex_epi64::<0b01_00_11_10>(self.0)),
            _ => avx512!(_mm512_shuffle_i64x2::<0b01_00_11_10>(self.0, self.0)),
        }
    }

    #[inline(always)]
    fn bound(self, _limit: u64) {}

    #[inline(always)]
    fn outlined<A, R>(part: impl FnOnce(A) -> R, argument: A) -> R {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
        fn out_of_line<A, R>(part: impl FnOnce(A) -> R, argument: A) -> R {
            part(argument)
        }
        // SAFETY: the machine has these: see `Avx512`.
        unsafe { out_of_line(part, argument) }
    }
}
