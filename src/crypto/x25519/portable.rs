//! The kernels over plain words: for tests that look into them, and where no other may run.
//!
//! Nothing goes to the scalar backend here, not even a lone point.

use super::kernels::{self, Group, Kernels};
use super::prepared::Prepared;
use super::{Backend, Point, Points, batch, ladder};
use crate::crypto::lanes::portable::Portable;

/// The lanes: with bounds asserted where debug assertions are.
pub(super) type Vectors = Portable<false>;

/// As [`multiply_each`](super::multiply_each) of a tier.
pub fn multiply_each<'a>(jobs: impl Iterator<Item = (&'a [u8; 32], &'a Point, &'a mut Point)>) {
    batch::multiply_each::<Vectors>(jobs);
}

/// As [`Points::new`] of a tier.
pub fn points(lanes: usize) -> Points {
    Points(Backend::Portable(Prepared::new(lanes)))
}

impl<const CHECKED: bool> Kernels for Portable<CHECKED> {
    const LEAVES_SINGLES: bool = false;

    fn multiply(groups: &mut [ladder::Group]) {
        kernels::multiply::<Self>(groups);
    }

    fn prepare(groups: &mut [&mut Group]) {
        kernels::prepare::<Self>(groups);
    }

    fn multiply_prepared(groups: &mut [&mut Group]) {
        kernels::multiply_prepared::<Self>(groups);
    }
}
