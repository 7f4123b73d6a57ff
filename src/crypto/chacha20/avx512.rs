//! ChaCha20, sixteen blocks of one stream at a time.
//!
//! Vector i holds 32-bit word i of all sixteen states, which differ in their counters alone. The
//! rounds are then those of RFC 8439, 2.3, word by word.

#![allow(unsafe_code)]

use crate::crypto::lanes::{Avx512, VECTOR_BYTES, Vector, load, store, transpose_u32};
use std::arch::x86_64::*;

const BLOCKS: usize = 16;
/// RFC 8439, 2.3: "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
/// Where the state has the block counter; behind it the nonce, three words of zero.
const COUNTER: usize = 12;

type State = [Vector; 16];

pub(super) fn xor<'a>(_: Avx512, jobs: impl Iterator<Item = (&'a [u8; 32], &'a mut [u8])>) {
    for (key, text) in jobs {
        // SAFETY: the proof says that the machine has these features.
        unsafe { xor_stream(key, text) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
fn xor_stream(key: &[u8; 32], text: &mut [u8]) {
    let mut start = first_states(key);
    for part in text.chunks_mut(BLOCKS * VECTOR_BYTES) {
        for (bytes, stream) in part.chunks_mut(VECTOR_BYTES).zip(blocks(&start)) {
            store(bytes, _mm512_xor_si512(load(bytes), stream));
        }
        start[COUNTER] = add(start[COUNTER], splat(16));
    }
}

/// RFC 8439, 2.3: constants, key, counters 0 to 15, a zero nonce.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn first_states(key: &[u8; 32]) -> State {
    let mut states = [_mm512_setzero_si512(); 16];
    for (vector, constant) in states.iter_mut().zip(CONSTANTS) {
        *vector = splat(constant);
    }
    for (vector, word) in states[CONSTANTS.len()..].iter_mut().zip(key.as_chunks().0) {
        *vector = splat(u32::from_le_bytes(*word));
    }
    states[COUNTER] = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    states
}

/// The sixteen blocks of the stream, one a vector: ten double rounds, then the start once more.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn blocks(start: &State) -> [Vector; BLOCKS] {
    let mut state = *start;
    for _ in 0..10 {
        quarter_round(&mut state, [0, 4, 8, 12]);
        quarter_round(&mut state, [1, 5, 9, 13]);
        quarter_round(&mut state, [2, 6, 10, 14]);
        quarter_round(&mut state, [3, 7, 11, 15]);
        quarter_round(&mut state, [0, 5, 10, 15]);
        quarter_round(&mut state, [1, 6, 11, 12]);
        quarter_round(&mut state, [2, 7, 8, 13]);
        quarter_round(&mut state, [3, 4, 9, 14]);
    }
    for (word, start) in state.iter_mut().zip(start) {
        *word = add(*word, *start);
    }
    transpose_u32(state)
}

/// RFC 8439, 2.1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn quarter_round(state: &mut State, [a, b, c, d]: [usize; 4]) {
    state[a] = add(state[a], state[b]);
    state[d] = _mm512_rol_epi32::<16>(_mm512_xor_si512(state[d], state[a]));
    state[c] = add(state[c], state[d]);
    state[b] = _mm512_rol_epi32::<12>(_mm512_xor_si512(state[b], state[c]));
    state[a] = add(state[a], state[b]);
    state[d] = _mm512_rol_epi32::<8>(_mm512_xor_si512(state[d], state[a]));
    state[c] = add(state[c], state[d]);
    state[b] = _mm512_rol_epi32::<7>(_mm512_xor_si512(state[b], state[c]));
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn add(a: Vector, b: Vector) -> Vector {
    _mm512_add_epi32(a, b)
}

/// `word` in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn splat(word: u32) -> Vector {
    _mm512_set1_epi32(word.cast_signed())
}
