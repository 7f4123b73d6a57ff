//! AES-128 in counter mode, four blocks a vector, as many vectors at a time as the block of a
//! packet's header fills.

#![allow(unsafe_code)]

use crate::crypto::tier::Tier;
use crate::crypto::vectors::{Avx512, VECTOR_BYTES, Vector, load, store};
use std::arch::x86_64::*;

/// Vectors that go through the rounds together, so that none waits for the other.
const VECTORS: usize = 6;
const ROUNDS: usize = 10;

/// Proof that this machine has AES on vectors of 512 bits besides what the tier stands for.
#[derive(Clone, Copy)]
pub(super) struct Vaes(());

impl Vaes {
    pub(super) fn of(tier: Tier) -> Option<Self> {
        let has_aes = is_x86_feature_detected!("vaes") && is_x86_feature_detected!("aes");
        (Avx512::of(tier).is_some() && has_aes).then_some(Vaes(()))
    }
}

pub(super) fn xor(_: Vaes, key: &[u8; 16], text: &mut [u8]) {
    // SAFETY: the proof says that the machine has these features.
    unsafe { xor_stream(key, text) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
#[inline(never)]
fn xor_stream(key: &[u8; 16], text: &mut [u8]) {
    let keys = round_keys(key);
    // The counter is the second half of a block, here in the order of this machine.
    let mut counters = _mm512_set_epi64(3, 0, 2, 0, 1, 0, 0, 0);
    let four = _mm512_set_epi64(4, 0, 4, 0, 4, 0, 4, 0);
    for part in text.chunks_mut(VECTORS * VECTOR_BYTES) {
        let mut blocks = [_mm512_setzero_si512(); VECTORS];
        for block in &mut blocks {
            *block = _mm512_xor_si512(swap_bytes(counters), keys[0]);
            counters = _mm512_add_epi64(counters, four);
        }
        for key in &keys[1..ROUNDS] {
            for block in &mut blocks {
                *block = _mm512_aesenc_epi128(*block, *key);
            }
        }
        for (bytes, block) in part.chunks_mut(VECTOR_BYTES).zip(blocks) {
            let stream = _mm512_aesenclast_epi128(block, keys[ROUNDS]);
            store(bytes, _mm512_xor_si512(load(bytes), stream));
        }
    }
}

/// FIPS 197, 5.2: the key of each round, once for every block of a vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
fn round_keys(key: &[u8; 16]) -> [Vector; ROUNDS + 1] {
    let mut keys = [_mm_setzero_si128(); ROUNDS + 1];
    keys[0] = _mm512_castsi512_si128(load(key));
    keys[1] = next_key::<0x01>(keys[0]);
    keys[2] = next_key::<0x02>(keys[1]);
    keys[3] = next_key::<0x04>(keys[2]);
    keys[4] = next_key::<0x08>(keys[3]);
    keys[5] = next_key::<0x10>(keys[4]);
    keys[6] = next_key::<0x20>(keys[5]);
    keys[7] = next_key::<0x40>(keys[6]);
    keys[8] = next_key::<0x80>(keys[7]);
    keys[9] = next_key::<0x1b>(keys[8]);
    keys[10] = next_key::<0x36>(keys[9]);
    let mut vectors = [_mm512_setzero_si512(); ROUNDS + 1];
    for (vector, key) in vectors.iter_mut().zip(keys) {
        *vector = _mm512_broadcast_i32x4(key);
    }
    vectors
}

/// One round of the key expansion: every word is the sum of the words up to it and of the last
/// one, which was turned, substituted and given the round's constant.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
fn next_key<const CONSTANT: i32>(key: __m128i) -> __m128i {
    let last = _mm_shuffle_epi32::<0b11_11_11_11>(_mm_aeskeygenassist_si128::<CONSTANT>(key));
    let pairs = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
    let sums = _mm_xor_si128(pairs, _mm_slli_si128::<8>(pairs));
    _mm_xor_si128(sums, last)
}

/// Turns each word of 64 bits round.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
fn swap_bytes(words: Vector) -> Vector {
    let order = _mm_set_epi8(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(order))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::tier::Name;
    use data_encoding::HEXLOWER;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,vaes,aes")]
    fn last_round_key(key: &[u8; 16], out: &mut [u8; VECTOR_BYTES]) {
        store(out, round_keys(key)[ROUNDS]);
    }

    /// FIPS 197, A.1.
    #[test]
    fn the_last_round_key_is_that_of_fips_197() {
        let Some(Vaes(())) = Tier::of(Name::Avx512).and_then(Vaes::of) else { return };
        let mut key = [0; 16];
        HEXLOWER.decode_mut(b"2b7e151628aed2a6abf7158809cf4f3c", &mut key).unwrap();
        let mut last = [0; VECTOR_BYTES];
        // SAFETY: the machine has the features.
        unsafe { last_round_key(&key, &mut last) };
        assert_eq!(HEXLOWER.encode(&last), "d014f9a8c9ee2589e13f0cc8b6630ca6".repeat(4));
    }
}
