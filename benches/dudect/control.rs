//! What the processor itself tells of the words it works on.
//!
//! Additions, XORs and rotations in registers: no branch, no address, no memory. What the test
//! finds here is no fault of a kernel, and the kernels cannot be told from it.

#![allow(unsafe_code)]

use super::kernels::Secrets;
use mixline::crypto::tier::Tier;

/// Rounds of a call: about as long as a kernel.
const ROUNDS: usize = 500;

/// The control on the widest registers of `tier`.
pub(super) fn run(tier: Tier, secrets: &Secrets) {
    #[cfg(target_arch = "x86_64")]
    if tier.name() == mixline::crypto::tier::Name::Avx512 {
        // SAFETY: the tier exists only where the processor has AVX-512.
        return unsafe { wide(secrets) };
    }
    rounds(secrets);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn wide(secrets: &Secrets) {
    rounds(secrets);
}

#[inline(always)]
fn rounds(secrets: &Secrets) {
    use std::hint::black_box;
    let row = |row: usize| std::array::from_fn(|word| word_of(&secrets[row], word));
    let mut rows: [[u32; 16]; 8] = std::array::from_fn(row);
    for _ in 0..ROUNDS {
        for row in 0..8 {
            let (near, far) = (rows[(row + 3) % 8], rows[(row + 5) % 8]);
            rows[row] = std::array::from_fn(|word| {
                (rows[row][word].rotate_left(7) ^ far[word]).wrapping_add(near[word])
            });
        }
    }
    black_box(&mut rows);
}

fn word_of(secret: &[u8; 64], word: usize) -> u32 {
    u32::from_le_bytes(secret.as_chunks().0[word])
}
