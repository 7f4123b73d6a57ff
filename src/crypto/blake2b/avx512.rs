//! Keyed BLAKE2b of up to sixteen messages of one length at a time, eight a vector.
//!
//! A vector holds one 64-bit word of eight states or message blocks. The rounds are then those of
//! RFC 7693, 3.2, word by word.

#![allow(unsafe_code)]

use super::{Job, serial};
use crate::crypto::for_groups;
use crate::crypto::vectors::wide::{
    Wide, add_u64 as add, rotate_right_u64 as ror, splat_u64 as splat, splats_u64 as splats, xor,
};
use crate::crypto::vectors::{Avx512, VECTOR_BYTES, load_u64, store_u64};
use arrayvec::ArrayVec;

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
/// RFC 7693, 2.7: the order in which the twelve rounds take the words of a block; the last two
/// are as the first two.
const SIGMA: [[usize; 16]; 12] = [
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
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
];

/// Messages of one vector.
const LANES: usize = 8;
/// Messages of the vectors that go side by side.
const JOBS_MAX: usize = 2 * LANES;

/// The words of the states of `8 * G` hashes.
type State<const G: usize> = [Wide<G>; 8];
/// The words of `8 * G` blocks, or what a compression works on.
type Words<const G: usize> = [Wide<G>; 16];

/// Groups of messages of one length go through the kernel, a message alone, for which it takes as
/// long as for eight, and groups of several lengths, which no packet makes, one by one.
pub(super) fn keyed<'a>(_: Avx512, jobs: impl Iterator<Item = Job<'a>>) {
    for_groups::<_, JOBS_MAX>(jobs, |group| {
        let bytes = group[0].1.len();
        let is_mixed = group.iter().any(|(_, message, _)| message.len() != bytes);
        if group.len() == 1 || is_mixed {
            group.iter_mut().for_each(|(key, message, digest)| serial::keyed(key, message, digest));
            return;
        }
        let keys: ArrayVec<&[u8], JOBS_MAX> = group.iter().map(|(key, ..)| &key[..]).collect();
        let messages: ArrayVec<&[u8], JOBS_MAX> = group.iter().map(|job| job.1).collect();
        let mut digests: ArrayVec<&mut [u8], JOBS_MAX> =
            group.iter_mut().map(|(.., digest)| &mut digest[..]).collect();
        if keys.len() <= LANES {
            // SAFETY: the proof says that the machine has these features.
            unsafe { digest_group::<1>(&keys, &messages, &mut digests) }
        } else {
            // SAFETY: as above.
            unsafe { digest_group::<2>(&keys, &messages, &mut digests) }
        }
    });
}

/// RFC 7693, 3.3, on messages of one length: the key fills a block of its own in front.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
fn digest_group<const G: usize>(keys: &[&[u8]], messages: &[&[u8]], digests: &mut [&mut [u8]]) {
    let bytes = messages[0].len();
    let mut state: State<G> = splats(&INITIAL);
    state[0] = xor(state[0], splat(PARAMETERS));

    let mut block = [splat(0); 16];
    block[..8].copy_from_slice(&load_u64::<G>(keys, 0..VECTOR_BYTES));
    compress(&mut state, &block, BLOCK_BYTES, bytes == 0);

    for start in (0..bytes).step_by(BLOCK_BYTES) {
        let end = bytes.min(start + BLOCK_BYTES);
        let middle = end.min(start + VECTOR_BYTES);
        block[..8].copy_from_slice(&load_u64::<G>(messages, start..middle));
        block[8..].copy_from_slice(&load_u64::<G>(messages, middle..end));
        compress(&mut state, &block, BLOCK_BYTES + end, end == bytes);
    }
    store_u64(&state, digests, 0);
}

/// RFC 7693, 3.2: F, where `bytes` counts the key's block and all of the message so far.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
fn compress<const G: usize>(state: &mut State<G>, block: &Words<G>, bytes: usize, is_last: bool) {
    let mut v = [splat(0); 16];
    v[..8].copy_from_slice(state);
    v[8..].copy_from_slice(&splats::<G, 8>(&INITIAL));
    v[12] = xor(v[12], splat(bytes as u64));
    if is_last {
        v[14] = xor(v[14], splat(u64::MAX));
    }
    // A loop: unrolled, the processor would spend its time on fetching instructions.
    for order in &SIGMA {
        round(&mut v, block, order);
    }
    for i in 0..8 {
        state[i] = xor(state[i], xor(v[i], v[8 + i]));
    }
}

/// One of the rounds, which takes the words of the block in this order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn round<const G: usize>(v: &mut Words<G>, block: &Words<G>, order: &[usize; 16]) {
    // The mask only tells the compiler that there is such a word.
    let word = |place: usize| block[order[place] & 15];
    mix::<0, 4, 8, 12, G>(v, word(0), word(1));
    mix::<1, 5, 9, 13, G>(v, word(2), word(3));
    mix::<2, 6, 10, 14, G>(v, word(4), word(5));
    mix::<3, 7, 11, 15, G>(v, word(6), word(7));
    mix::<0, 5, 10, 15, G>(v, word(8), word(9));
    mix::<1, 6, 11, 12, G>(v, word(10), word(11));
    mix::<2, 7, 8, 13, G>(v, word(12), word(13));
    mix::<3, 4, 9, 14, G>(v, word(14), word(15));
}

/// RFC 7693, 3.1: G, on the words at these places.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn mix<const A: usize, const B: usize, const C: usize, const D: usize, const G: usize>(
    v: &mut Words<G>,
    x: Wide<G>,
    y: Wide<G>,
) {
    v[A] = add(add(v[A], x), v[B]);
    v[D] = ror::<32, G>(xor(v[D], v[A]));
    v[C] = add(v[C], v[D]);
    v[B] = ror::<24, G>(xor(v[B], v[C]));
    v[A] = add(add(v[A], y), v[B]);
    v[D] = ror::<16, G>(xor(v[D], v[A]));
    v[C] = add(v[C], v[D]);
    v[B] = ror::<63, G>(xor(v[B], v[C]));
}
