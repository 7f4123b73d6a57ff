//! The compression of SHA-256 (FIPS 180-4, 6.2.2), sixteen at a time: vector i holds word i of all
//! sixteen states or blocks.
//!
//! It has three forms, for what is known of the block before. Each is a function of its own and
//! loops where it can: together they stay in the instruction cache.

use crate::crypto::lanes::Vector;
use crate::crypto::sha256::constants::{
    DIGEST_BYTES, END, ROUND_CONSTANTS, Schedule, bits_behind_key,
};
use std::arch::x86_64::*;

/// The words of sixteen hashes between two blocks.
pub(super) type State = [Vector; 8];
/// The words of sixteen blocks.
pub(super) type Words = [Vector; 16];

/// Runs `body` for each place of a block, a constant in it: so words and states stay in registers.
macro_rules! each_place {
    ($place:ident => $body:expr) => {
        each_place!($place => $body; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($place:ident => $body:expr; $($number:literal)*) => {
        $({
            const $place: usize = $number;
            $body;
        })*
    };
}

/// Any block.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
pub(super) fn compress(state: &mut State, block: &Words) {
    let (mut working, mut words) = (*state, *block);
    for start in [0, 16, 32] {
        scheduling_rounds(&mut working, &mut words, start);
    }
    last_rounds(&mut working, &words);
    add_to(state, &working);
}

/// The block of HMAC's outer hash: a digest, and the padding that follows it. Of the first
/// sixteen words to be scheduled, the compiler computes beforehand what is constant.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
pub(super) fn compress_digest(state: &mut State, digest: &State) {
    let mut working = *state;
    let mut words = [_mm512_setzero_si512(); 16];
    words[..8].copy_from_slice(digest);
    words[8] = splat((END as u32) << 24);
    words[15] = splat(bits_behind_key(DIGEST_BYTES) as u32);
    scheduling_rounds(&mut working, &mut words, 0);
    for start in [16, 32] {
        scheduling_rounds(&mut working, &mut words, start);
    }
    last_rounds(&mut working, &words);
    add_to(state, &working);
}

/// A block that is the same in all lanes and was scheduled before.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
pub(super) fn compress_scheduled(state: &mut State, schedule: &Schedule) {
    let mut working = *state;
    for words in schedule.as_chunks::<16>().0 {
        each_place!(I => working = round(working, splat(words[I])));
    }
    add_to(state, &working);
}

/// The sixteen rounds from `start` on; leaves the schedule's next sixteen words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn scheduling_rounds(working: &mut State, words: &mut Words, start: usize) {
    let constants: &[u32; 16] = &ROUND_CONSTANTS[start..].as_chunks().0[0];
    each_place!(I => {
        *working = round(*working, add(words[I], splat(constants[I])));
        words[I] = next_word::<I>(words);
    });
}

/// The last sixteen rounds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn last_rounds(working: &mut State, words: &Words) {
    each_place!(I => {
        *working = round(*working, add(words[I], splat(ROUND_CONSTANTS[48 + I])));
    });
}

/// Step 3: one round, given W(t) + K(t). The sums are such that the new `e`, which the next round
/// waits for, is three additions behind the old one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn round([a, b, c, d, e, f, g, h]: State, word: Vector) -> State {
    let sum_1 = xor3(ror::<6>(e), ror::<11>(e), ror::<25>(e));
    let choice = _mm512_ternarylogic_epi32::<0b1100_1010>(e, f, g);
    let t1 = add(add(h, word), add(sum_1, choice));
    let sum_0 = xor3(ror::<2>(a), ror::<13>(a), ror::<22>(a));
    let majority = _mm512_ternarylogic_epi32::<0b1110_1000>(a, b, c);
    let t2 = add(sum_0, majority);
    [add(t1, t2), a, b, c, add(d, t1), e, f, g]
}

/// Step 1: W(t) from the sixteen words before it, which lie at their places modulo 16; `PLACE` is
/// that of W(t - 16) and W(t).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn next_word<const PLACE: usize>(words: &Words) -> Vector {
    let before = |t: usize| words[(PLACE + 16 - t) % 16];
    let (far, near) = (before(15), before(2));
    let sigma_0 = xor3(ror::<7>(far), ror::<18>(far), _mm512_srli_epi32::<3>(far));
    let sigma_1 = xor3(ror::<17>(near), ror::<19>(near), _mm512_srli_epi32::<10>(near));
    add(add(before(16), before(7)), add(sigma_0, sigma_1))
}

/// Step 4.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn add_to(state: &mut State, working: &State) {
    for (word, working) in state.iter_mut().zip(working) {
        *word = add(*word, *working);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn add(a: Vector, b: Vector) -> Vector {
    _mm512_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn xor(a: Vector, b: Vector) -> Vector {
    _mm512_xor_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn xor3(a: Vector, b: Vector, c: Vector) -> Vector {
    xor(xor(a, b), c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn ror<const BITS: i32>(word: Vector) -> Vector {
    _mm512_ror_epi32::<BITS>(word)
}

/// `word` in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn splat(word: u32) -> Vector {
    _mm512_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn splats(words: &[u32; 8]) -> State {
    let mut vectors = [_mm512_setzero_si512(); 8];
    for (vector, word) in vectors.iter_mut().zip(words) {
        *vector = splat(*word);
    }
    vectors
}
