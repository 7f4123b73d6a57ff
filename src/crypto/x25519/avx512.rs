//! The kernels over AVX-512 with IFMA.

#![allow(unsafe_code)]

use super::kernels::{self, Group, Kernels};
use super::ladder;
use crate::crypto::lanes::avx512::Ifma;
use crate::crypto::vectors::Avx512;

impl Kernels for Ifma {
    const LEAVES_SINGLES: bool = true;

    fn multiply(proof: Avx512, groups: &mut [ladder::Group]) {
        // SAFETY: the proof says that the machine has these features.
        unsafe { multiply(proof, groups) }
    }

    fn prepare(proof: Avx512, groups: &mut [&mut Group]) {
        // SAFETY: as above.
        unsafe { prepare(proof, groups) }
    }

    fn multiply_prepared(proof: Avx512, groups: &mut [&mut Group]) {
        // SAFETY: as above.
        unsafe { multiply_prepared(proof, groups) }
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn multiply(proof: Avx512, groups: &mut [ladder::Group]) {
    kernels::multiply::<Ifma>(proof, groups);
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn prepare(proof: Avx512, groups: &mut [&mut Group]) {
    kernels::prepare::<Ifma>(proof, groups);
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn multiply_prepared(proof: Avx512, groups: &mut [&mut Group]) {
    kernels::multiply_prepared::<Ifma>(proof, groups);
}
