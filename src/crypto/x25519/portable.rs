//! The kernels over plain words: for tests that look into them, and where no other may run.
//!
//! Nothing goes to the scalar backend here, not even a lone point.

use super::kernels::{self, Group, Kernels};
use super::prepared::Prepared;
use super::{Backend, Point, Points, batch, ladder};
use crate::crypto::lanes::portable::{Anywhere, Portable};

/// The lanes: with bounds asserted where debug assertions are.
pub(super) type Vectors = Portable<false>;

/// As [`multiply_each`](super::multiply_each) of a tier.
pub fn multiply_each<'a>(jobs: impl Iterator<Item = (&'a [u8; 32], &'a Point, &'a mut Point)>) {
    batch::multiply_each::<Vectors>(Anywhere, jobs);
}

/// As [`Points::new`] of a tier.
pub fn points(lanes: usize) -> Points {
    Points(Backend::Portable(Prepared::new(lanes)))
}

impl<const CHECKED: bool> Kernels for Portable<CHECKED> {
    const LEAVES_SINGLES: bool = false;

    fn multiply(proof: Anywhere, groups: &mut [ladder::Group]) {
        kernels::multiply::<Self>(proof, groups);
    }

    fn prepare(proof: Anywhere, groups: &mut [&mut Group]) {
        kernels::prepare::<Self>(proof, groups);
    }

    fn multiply_prepared(proof: Anywhere, groups: &mut [&mut Group]) {
        kernels::multiply_prepared::<Self>(proof, groups);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;
    use crate::crypto::x25519::serial;

    /// All bounds, sums and differences of the kernels are asserted over these lanes.
    type Checked = Portable<true>;

    /// Any bytes, or all zeros or ones but for the lowest byte, or sparse ones.
    fn factor(rng: &mut Rng) -> [u8; 32] {
        let any: [u8; 32] = rng.bytes();
        let mut even = [if any[1] & 1 == 0 { 0 } else { 0xff }; 32];
        even[0] = any[2];
        match any[0] % 4 {
            0 => even,
            1 => any.map(|byte| if byte & 1 == 0 { 0 } else { 0xff }),
            _ => any,
        }
    }

    #[test]
    fn no_bound_is_broken_by_the_ladder() {
        let mut rng = Rng::from_seed([1; 32]);
        for size in 1..=33 {
            let factors: Vec<_> = (0..size).map(|_| (factor(&mut rng), factor(&mut rng))).collect();
            let mut products = vec![[0; 32]; size];
            let jobs = factors.iter().zip(&mut products);
            let jobs = jobs.map(|((scalar, point), product)| (scalar, point, product));
            batch::multiply_each::<Checked>(Anywhere, jobs);
            for ((scalar, point), product) in factors.iter().zip(&products) {
                assert_eq!(*product, serial::multiply(scalar, point));
            }
        }
    }

    #[test]
    fn no_bound_is_broken_by_the_comb() {
        let mut rng = Rng::from_seed([2; 32]);
        for size in 1..=33 {
            let mut prepared = Prepared::new(size);
            let points: Vec<_> = (0..size).map(|_| factor(&mut rng)).collect();
            points.iter().enumerate().for_each(|(lane, point)| prepared.load(lane, point));
            for _ in 0..2 {
                let scalars: Vec<_> = (0..size).map(|_| factor(&mut rng)).collect();
                let mut products = vec![[0; 32]; size];
                let jobs = scalars.iter().zip(&mut products).enumerate();
                let jobs = jobs.map(|(lane, (scalar, product))| (lane, scalar, product));
                prepared.multiply::<Checked>(Anywhere, jobs);
                for (lane, product) in products.iter().enumerate() {
                    assert_eq!(prepared.is_on_curve(lane), serial::is_on_curve(&points[lane]));
                    if prepared.is_on_curve(lane) {
                        assert_eq!(*product, serial::multiply(&scalars[lane], &points[lane]));
                    }
                }
            }
        }
    }
}
