//! The kernels over AVX-512 with IFMA.

#![allow(unsafe_code)]

use super::kernels::{self, Group, Kernels};
use super::ladder;
use crate::crypto::lanes::avx512::Avx512;

impl Kernels for Avx512 {
    const LEAVES_SINGLES: bool = true;

    fn multiply(groups: &mut [ladder::Group]) {
        // SAFETY: the machine has AVX-512 with IFMA: see `Avx512`.
        unsafe { multiply(groups) }
    }

    fn prepare(groups: &mut [&mut Group]) {
        // SAFETY: as above.
        unsafe { prepare(groups) }
    }

    fn multiply_prepared(groups: &mut [&mut Group]) {
        // SAFETY: as above.
        unsafe { multiply_prepared(groups) }
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn multiply(groups: &mut [ladder::Group]) {
    kernels::multiply::<Avx512>(groups);
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn prepare(groups: &mut [&mut Group]) {
    kernels::prepare::<Avx512>(groups);
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512ifma")]
fn multiply_prepared(groups: &mut [&mut Group]) {
    kernels::multiply_prepared::<Avx512>(groups);
}
