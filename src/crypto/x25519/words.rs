//! Numbers of 256 bits in eight lanes, as they go into a kernel and come out of it.

use crate::crypto::lanes::{LANES, Lanes, Mask, Row};
use zeroize::Zeroize;

/// A number in each lane: four rows of words, the lowest first.
#[derive(Clone, Copy, Debug, Default, Zeroize)]
pub(super) struct Words([Row; 4]);

impl Words {
    /// Zeros.
    pub(super) const ZERO: Words = Words([Row([0; LANES]); 4]);

    /// Puts `number` into `lane`.
    pub(super) fn set(&mut self, lane: usize, number: &[u64; 4]) {
        for (row, word) in self.0.iter_mut().zip(number) {
            row.0[lane] = *word;
        }
    }

    /// The number in `lane`.
    pub(super) fn lane(&self, lane: usize) -> [u64; 4] {
        let [a, b, c, d] = &self.0;
        [a.0[lane], b.0[lane], c.0[lane], d.0[lane]]
    }

    /// Writes the number in `lane`, little-endian.
    pub(super) fn write(&self, lane: usize, bytes: &mut [u8; 32]) {
        for (bytes, row) in bytes.as_chunks_mut().0.iter_mut().zip(&self.0) {
            *bytes = row.0[lane].to_le_bytes();
        }
    }

    /// The lanes in which `bit` is set.
    #[inline(always)]
    pub(super) fn test<L: Lanes>(&self, proof: L::Proof, bit: u32) -> Mask {
        L::load(proof, &self.0[(bit / 64) as usize]).test(bit % 64)
    }

    /// The numbers as vectors.
    #[inline(always)]
    pub(super) fn load<L: Lanes>(&self, proof: L::Proof) -> [L; 4] {
        let [a, b, c, d] = &self.0;
        [L::load(proof, a), L::load(proof, b), L::load(proof, c), L::load(proof, d)]
    }

    /// Takes the numbers from vectors.
    #[inline(always)]
    pub(super) fn store<L: Lanes>(&mut self, numbers: [L; 4]) {
        for (row, words) in self.0.iter_mut().zip(numbers) {
            words.store(row);
        }
    }
}

/// The words of a number, little-endian.
pub(super) fn words_of(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}
