//! Keyed BLAKE2b of eight messages of one length at a time.
//!
//! Vector i holds 64-bit word i of all eight: of the state, or of the message block. The rounds
//! are then those of RFC 7693, 3.2, word by word.

#![allow(unsafe_code)]

use super::{Job, serial};
use crate::crypto::for_groups;
use crate::crypto::lanes::{Avx512, VECTOR_BYTES, Vector, load, store, transpose_u64};
use arrayvec::ArrayVec;
use std::arch::x86_64::*;

const LANES: usize = 8;
const BLOCK_BYTES: usize = 128;
/// RFC 7693, 2.6: the fractional parts of the square roots of the first eight primes.
const INITIAL: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];
/// RFC 7693, 2.5: fanout and depth 1, a key of 64 bytes, a digest of 32.
const PARAMETERS: u64 = 0x0101_0000 | 64 << 8 | 32;
/// RFC 7693, 2.7: the order in which the rounds take the words of a block; the last two rounds
/// are the first two again.
const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/// Groups of messages of one length go through the kernel, a message alone and groups of several
/// lengths, which no packet makes, one by one.
pub(super) fn keyed<'a>(_: Avx512, jobs: impl Iterator<Item = Job<'a>>) {
    for_groups(jobs, |mut group: ArrayVec<Job<'a>, LANES>| {
        let bytes = group[0].1.len();
        if group.len() == 1 || group.iter().any(|(_, message, _)| message.len() != bytes) {
            serial::keyed(group.into_iter());
        } else {
            // SAFETY: the proof says that the machine has these features.
            unsafe { digest_group(&mut group, bytes) }
        }
    });
}

/// RFC 7693, 3.3, on up to eight messages of `bytes` bytes: the key fills a block of its own in
/// front of the message.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
fn digest_group(group: &mut [Job<'_>], bytes: usize) {
    let mut state = splats(&INITIAL);
    state[0] = xor(state[0], splat(PARAMETERS));

    let mut block = [_mm512_setzero_si512(); 16];
    let (low, _) = block.split_at_mut(8);
    low.copy_from_slice(&columns(group.iter().map(|(key, ..)| &key[..])));
    compress(&mut state, &block, BLOCK_BYTES, bytes == 0);

    for start in (0..bytes).step_by(BLOCK_BYTES) {
        let end = bytes.min(start + BLOCK_BYTES);
        let middle = end.min(start + VECTOR_BYTES);
        let (low, high) = block.split_at_mut(8);
        low.copy_from_slice(&columns(group.iter().map(|job| &job.1[start..middle])));
        high.copy_from_slice(&columns(group.iter().map(|job| &job.1[middle..end])));
        compress(&mut state, &block, BLOCK_BYTES + end, end == bytes);
    }
    for (row, (.., digest)) in transpose_u64(state).into_iter().zip(group) {
        store(&mut digest[..], row);
    }
}

/// Word i of each row, for every i.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn columns<'a>(rows: impl Iterator<Item = &'a [u8]>) -> [Vector; 8] {
    let mut vectors = [_mm512_setzero_si512(); 8];
    for (vector, row) in vectors.iter_mut().zip(rows) {
        *vector = load(row);
    }
    transpose_u64(vectors)
}

/// RFC 7693, 3.2: F, where `bytes` counts the key's block and all of the message so far.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
fn compress(state: &mut [Vector; 8], block: &[Vector; 16], bytes: usize, is_last: bool) {
    let mut v = [_mm512_setzero_si512(); 16];
    v[..8].copy_from_slice(state);
    v[8..].copy_from_slice(&splats(&INITIAL));
    v[12] = xor(v[12], splat(bytes as u64));
    if is_last {
        v[14] = xor(v[14], splat(u64::MAX));
    }
    round::<0>(&mut v, block);
    round::<1>(&mut v, block);
    round::<2>(&mut v, block);
    round::<3>(&mut v, block);
    round::<4>(&mut v, block);
    round::<5>(&mut v, block);
    round::<6>(&mut v, block);
    round::<7>(&mut v, block);
    round::<8>(&mut v, block);
    round::<9>(&mut v, block);
    round::<10>(&mut v, block);
    round::<11>(&mut v, block);
    for i in 0..8 {
        state[i] = xor(state[i], xor(v[i], v[8 + i]));
    }
}

/// One of the twelve rounds; a constant, so that every word of the block has a fixed address.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn round<const ROUND: usize>(v: &mut [Vector; 16], block: &[Vector; 16]) {
    let s = SIGMA[ROUND % SIGMA.len()];
    mix(v, [0, 4, 8, 12], block[s[0]], block[s[1]]);
    mix(v, [1, 5, 9, 13], block[s[2]], block[s[3]]);
    mix(v, [2, 6, 10, 14], block[s[4]], block[s[5]]);
    mix(v, [3, 7, 11, 15], block[s[6]], block[s[7]]);
    mix(v, [0, 5, 10, 15], block[s[8]], block[s[9]]);
    mix(v, [1, 6, 11, 12], block[s[10]], block[s[11]]);
    mix(v, [2, 7, 8, 13], block[s[12]], block[s[13]]);
    mix(v, [3, 4, 9, 14], block[s[14]], block[s[15]]);
}

/// RFC 7693, 3.1: G.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn mix(v: &mut [Vector; 16], [a, b, c, d]: [usize; 4], x: Vector, y: Vector) {
    v[a] = add(add(v[a], x), v[b]);
    v[d] = _mm512_ror_epi64::<32>(xor(v[d], v[a]));
    v[c] = add(v[c], v[d]);
    v[b] = _mm512_ror_epi64::<24>(xor(v[b], v[c]));
    v[a] = add(add(v[a], y), v[b]);
    v[d] = _mm512_ror_epi64::<16>(xor(v[d], v[a]));
    v[c] = add(v[c], v[d]);
    v[b] = _mm512_ror_epi64::<63>(xor(v[b], v[c]));
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn add(a: Vector, b: Vector) -> Vector {
    _mm512_add_epi64(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn xor(a: Vector, b: Vector) -> Vector {
    _mm512_xor_si512(a, b)
}

/// `word` in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn splat(word: u64) -> Vector {
    _mm512_set1_epi64(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn splats(words: &[u64; 8]) -> [Vector; 8] {
    let mut vectors = [_mm512_setzero_si512(); 8];
    for (vector, word) in vectors.iter_mut().zip(words) {
        *vector = splat(*word);
    }
    vectors
}
