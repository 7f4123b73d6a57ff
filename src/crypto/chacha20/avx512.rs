//! ChaCha20, sixteen blocks of a stream at a time, two streams side by side.
//!
//! A vector holds one 32-bit word of the sixteen states, which differ in their counters alone. The
//! rounds are then those of RFC 8439, 2.3, word by word.

#![allow(unsafe_code)]

use crate::crypto::for_groups;
use crate::crypto::vectors::wide::{
    Wide, add_u32 as add, rotate_left_u32 as rol, splat_u32 as splat, splats_u32 as splats, xor,
};
use crate::crypto::vectors::{Avx512, VECTOR_BYTES, load, store, transpose_u32};
use std::arch::x86_64::*;

/// Blocks of 64 bytes, each as long as a vector.
const BLOCKS: usize = 16;
/// RFC 8439, 2.3: "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
/// Where the state has the key, and behind it the block counter, then the nonce: three zeros.
const KEY: usize = 4;
const COUNTER: usize = 12;

/// The words of `16 * G` states.
type State<const G: usize> = [Wide<G>; 16];
/// A key, and the text to XOR its stream into.
type Job<'a> = (&'a [u8; 32], &'a mut [u8]);

pub(super) fn xor_each<'a>(_: Avx512, jobs: impl Iterator<Item = Job<'a>>) {
    for_groups::<_, 2>(jobs, |group| {
        if let Ok(two) = <&mut [Job<'a>; 2]>::try_from(&mut *group) {
            // SAFETY: the proof says that the machine has these features.
            unsafe { xor_group(two) }
        } else if let Ok(one) = <&mut [Job<'a>; 1]>::try_from(group) {
            // SAFETY: as above.
            unsafe { xor_group(one) }
        }
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
fn xor_group<const G: usize>(group: &mut [Job<'_>; G]) {
    let mut start = first_state(group);
    let bytes = group.iter().map(|(_, text)| text.len()).max().unwrap_or_default();
    for offset in (0..bytes).step_by(BLOCKS * VECTOR_BYTES) {
        let streams = blocks(&start);
        for (g, (_, text)) in group.iter_mut().enumerate() {
            let mut words = [_mm512_setzero_si512(); 16];
            for (word, beside) in words.iter_mut().zip(&streams) {
                *word = beside[g];
            }
            let text = text.get_mut(offset..).unwrap_or_default();
            for (bytes, block) in text.chunks_mut(VECTOR_BYTES).zip(transpose_u32(words)) {
                store(bytes, _mm512_xor_si512(load(bytes), block));
            }
        }
        start[COUNTER] = add(start[COUNTER], splat(16));
    }
}

/// RFC 8439, 2.3: constants, keys, counters 0 to 15, zero nonces.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn first_state<const G: usize>(group: &[Job<'_>; G]) -> State<G> {
    let mut state = [splat(0); 16];
    state[..KEY].copy_from_slice(&splats(&CONSTANTS));
    for (g, (key, _)) in group.iter().enumerate() {
        for (beside, word) in state[KEY..COUNTER].iter_mut().zip(key.as_chunks().0) {
            [beside[g]] = splat(u32::from_le_bytes(*word));
        }
    }
    state[COUNTER] = [_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0); G];
    state
}

/// The words of the next sixteen blocks: ten double rounds, then the start once more.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn blocks<const G: usize>(start: &State<G>) -> State<G> {
    let mut state = *start;
    for _ in 0..10 {
        quarter_round::<0, 4, 8, 12, G>(&mut state);
        quarter_round::<1, 5, 9, 13, G>(&mut state);
        quarter_round::<2, 6, 10, 14, G>(&mut state);
        quarter_round::<3, 7, 11, 15, G>(&mut state);
        quarter_round::<0, 5, 10, 15, G>(&mut state);
        quarter_round::<1, 6, 11, 12, G>(&mut state);
        quarter_round::<2, 7, 8, 13, G>(&mut state);
        quarter_round::<3, 4, 9, 14, G>(&mut state);
    }
    for (word, start) in state.iter_mut().zip(start) {
        *word = add(*word, *start);
    }
    state
}

/// RFC 8439, 2.1, on the words at these places.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn quarter_round<const A: usize, const B: usize, const C: usize, const D: usize, const G: usize>(
    state: &mut State<G>,
) {
    state[A] = add(state[A], state[B]);
    state[D] = rol::<16, G>(xor(state[D], state[A]));
    state[C] = add(state[C], state[D]);
    state[B] = rol::<12, G>(xor(state[B], state[C]));
    state[A] = add(state[A], state[B]);
    state[D] = rol::<8, G>(xor(state[D], state[A]));
    state[C] = add(state[C], state[D]);
    state[B] = rol::<7, G>(xor(state[B], state[C]));
}
