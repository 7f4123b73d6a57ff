//! Eight lanes in a vector of 512 bits: AVX-512 with IFMA, whose multiplication is of 52 bits.

#![allow(unsafe_code)]

use super::{Lanes, Mask, Row};
use crate::crypto::vectors::Avx512;
use core::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_load_si512, _mm512_madd52hi_epu64,
    _mm512_madd52lo_epu64, _mm512_mask_blend_epi64, _mm512_or_si512, _mm512_permutex_epi64,
    _mm512_set1_epi64, _mm512_shuffle_i64x2, _mm512_sllv_epi64, _mm512_srlv_epi64,
    _mm512_store_si512, _mm512_sub_epi64, _mm512_test_epi64_mask, _mm512_testn_epi64_mask,
};

/// The vector. Each carries the proof that it was made with, which takes no room.
#[derive(Clone, Copy)]
pub(in crate::crypto) struct Ifma(__m512i, Avx512);

/// The intrinsic's result as a vector of ours, under a proof.
macro_rules! ifma {
    ($proof:expr, $intrinsic:ident $(::<$constant:literal>)? ($($argument:expr),*)) => {{
        let proof: Avx512 = $proof;
        // SAFETY: the proof says that the machine has AVX-512 with IFMA.
        Ifma(unsafe { $intrinsic $(::<$constant>)? ($($argument),*) }, proof)
    }};
}

impl Lanes for Ifma {
    type Proof = Avx512;

    #[inline(always)]
    fn proof(self) -> Avx512 {
        self.1
    }

    #[inline(always)]
    fn splat(proof: Avx512, word: u64) -> Self {
        ifma!(proof, _mm512_set1_epi64(word.cast_signed()))
    }

    #[inline(always)]
    fn load(proof: Avx512, row: &Row) -> Self {
        // `Row` has the alignment and the size of a vector.
        ifma!(proof, _mm512_load_si512((&raw const *row).cast()))
    }

    #[inline(always)]
    fn store(self, row: &mut Row) {
        // SAFETY: as its proof says; `Row` has the alignment and the size of a vector.
        unsafe { _mm512_store_si512((&raw mut *row).cast(), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        ifma!(self.1, _mm512_add_epi64(self.0, other.0))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        ifma!(self.1, _mm512_sub_epi64(self.0, other.0))
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        ifma!(self.1, _mm512_and_si512(self.0, other.0))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        ifma!(self.1, _mm512_or_si512(self.0, other.0))
    }

    #[inline(always)]
    fn shl(self, bits: u32) -> Self {
        ifma!(self.1, _mm512_sllv_epi64(self.0, Self::splat(self.1, u64::from(bits)).0))
    }

    #[inline(always)]
    fn shr(self, bits: u32) -> Self {
        ifma!(self.1, _mm512_srlv_epi64(self.0, Self::splat(self.1, u64::from(bits)).0))
    }

    #[inline(always)]
    fn add_product_low(self, a: Self, b: Self) -> Self {
        ifma!(self.1, _mm512_madd52lo_epu64(self.0, a.0, b.0))
    }

    #[inline(always)]
    fn add_product_high(self, a: Self, b: Self) -> Self {
        ifma!(self.1, _mm512_madd52hi_epu64(self.0, a.0, b.0))
    }

    #[inline(always)]
    fn zeros(self) -> Mask {
        // SAFETY: as its proof says.
        unsafe { _mm512_testn_epi64_mask(self.0, self.0) }
    }

    #[inline(always)]
    fn test(self, bit: u32) -> Mask {
        // SAFETY: as its proof says.
        unsafe { _mm512_test_epi64_mask(self.0, Self::splat(self.1, 1 << bit).0) }
    }

    #[inline(always)]
    fn choose(mask: Mask, yes: Self, no: Self) -> Self {
        ifma!(yes.1, _mm512_mask_blend_epi64(mask, no.0, yes.0))
    }

    #[inline(always)]
    fn exchange<const DISTANCE: usize>(self) -> Self {
        match DISTANCE {
            1 => ifma!(self.1, _mm512_permutex_epi64::<0b10_11_00_01>(self.0)),
            2 => ifma!(self.1, _mm512_permutex_epi64::<0b01_00_11_10>(self.0)),
            _ => ifma!(self.1, _mm512_shuffle_i64x2::<0b01_00_11_10>(self.0, self.0)),
        }
    }

    #[inline(always)]
    fn bound(self, _limit: u64) {}

    #[inline(always)]
    fn outlined<A, R>(_: Avx512, part: impl FnOnce(A) -> R, argument: A) -> R {
        #[inline(never)]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
        fn out_of_line<A, R>(part: impl FnOnce(A) -> R, argument: A) -> R {
            part(argument)
        }
        // SAFETY: the proof says that the machine has these features.
        unsafe { out_of_line(part, argument) }
    }
}
