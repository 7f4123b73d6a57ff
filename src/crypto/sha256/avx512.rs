//! HMAC and HKDF of sixteen jobs at a time.

#![allow(unsafe_code)]

mod compression;

use super::constants::{
    self, BLOCK_BYTES, Constants, DIGEST_BYTES, END, Expansion, INITIAL, INNER_PAD, LENGTH_BYTES,
    OUTER_PAD, bits_behind_key,
};
use super::{MacJob, scalar};
use crate::crypto::for_groups;
use crate::crypto::lanes::{Avx512, Vector, load, store, transpose_u32};
use arrayvec::ArrayVec;
use compression::{State, compress, compress_digest, compress_scheduled, splat, splats, xor};
use std::arch::x86_64::*;

const LANES: usize = 16;

/// Groups of messages of one length go through the kernel, few messages and groups of several
/// lengths, which no packet makes, one by one.
pub(super) fn hmac_each<'a>(_: Avx512, jobs: impl Iterator<Item = MacJob<'a>>) {
    for_groups(jobs, |mut group: ArrayVec<MacJob<'a>, LANES>| {
        let bytes = group[0].1.len();
        let is_mixed = group.iter().any(|(_, message, _)| message.len() != bytes);
        if group.len() <= SCALAR_JOBS_MAX || is_mixed {
            group.into_iter().for_each(|(key, message, tag)| scalar::hmac(key, message, tag));
        } else {
            // SAFETY: the proof says that the machine has these features.
            unsafe { tag_group(&mut group, bytes) }
        }
    });
}

/// A secret, and the keys to fill from it.
type Derivation<'a> = (&'a [u8], &'a mut [u8]);

/// All secrets have one length, all keys the one that the constants are for.
pub(super) fn derive<'a>(
    _: Avx512,
    constants: &Constants,
    jobs: impl Iterator<Item = Derivation<'a>>,
) {
    for_groups(jobs, |mut group: ArrayVec<Derivation<'a>, LANES>| {
        if group.len() <= SCALAR_JOBS_MAX {
            group.into_iter().for_each(|(secret, keys)| scalar::derive(constants, secret, keys));
        } else {
            // SAFETY: the proof says that the machine has these features.
            unsafe { derive_group(constants, &mut group) }
        }
    });
}

const SCALAR_JOBS_MAX: usize = 0;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
fn tag_group(group: &mut [MacJob<'_>], bytes: usize) {
    let keyed = Keyed::new(columns(group.iter().map(|(key, ..)| *key)));
    let mut tags = [_mm512_setzero_si512(); 16];
    tags[..8].copy_from_slice(&keyed.tag(group.iter().map(|(_, message, _)| *message), bytes));
    for (row, (.., tag)) in rows(tags).into_iter().zip(group) {
        store(&mut tag[..], row);
    }
}

/// RFC 5869, 2.2 and 2.3: the salt's HMAC of a secret is the key under which the keys are
/// expanded.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
fn derive_group(constants: &Constants, group: &mut [Derivation<'_>]) {
    let salted = Keyed::splat(&constants.salted);
    let secret_bytes = group[0].0.len();
    let mut key = [_mm512_setzero_si512(); 16];
    key[..8].copy_from_slice(&salted.tag(group.iter().map(|(secret, _)| *secret), secret_bytes));
    let keyed = Keyed::new(key);

    let mut last = [_mm512_setzero_si512(); 8];
    // Two outputs of 32 bytes make a row of 64.
    for (pair, start) in constants.expansions.chunks(2).zip((0..).step_by(2 * DIGEST_BYTES)) {
        let mut outputs = [_mm512_setzero_si512(); 16];
        for (output, expansion) in outputs.as_chunks_mut().0.iter_mut().zip(pair) {
            last = keyed.expand(expansion, &last);
            *output = last;
        }
        for (row, (_, keys)) in rows(outputs).into_iter().zip(&mut *group) {
            store(&mut keys[start..], row);
        }
    }
}

/// The states of HMAC's two hashes behind the keys' blocks.
struct Keyed {
    inner: State,
    outer: State,
}

impl Keyed {
    /// For keys that lie in `block` with zeros behind them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(block: [Vector; 16]) -> Self {
        Keyed { inner: behind(&block, INNER_PAD), outer: behind(&block, OUTER_PAD) }
    }

    /// For one key in all lanes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn splat(keyed: &constants::Keyed) -> Self {
        Keyed { inner: splats(&keyed.inner), outer: splats(&keyed.outer) }
    }

    /// HMAC of messages of `bytes` bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn tag<'a>(&self, messages: impl Iterator<Item = &'a [u8]> + Clone, bytes: usize) -> State {
        let mut state = self.inner;
        let padded_bytes = bytes + size_of_val(&END) + LENGTH_BYTES;
        for start in (0..padded_bytes).step_by(BLOCK_BYTES) {
            let part = start.min(bytes)..bytes.min(start + BLOCK_BYTES);
            let mut block = columns(messages.clone().map(|message| &message[part.clone()]));
            if (start..start + BLOCK_BYTES).contains(&bytes) {
                let [place, byte] = [(bytes - start) / 4, bytes % 4];
                block[place] = xor(block[place], splat(u32::from(END) << (24 - 8 * byte)));
            }
            if start + BLOCK_BYTES >= padded_bytes {
                let bits = bits_behind_key(bytes);
                block[14] = splat((bits >> 32) as u32);
                block[15] = splat(bits as u32);
            }
            compress(&mut state, &block);
        }
        self.finish(&state)
    }

    /// HMAC of `last`, info and counter: one output of HKDF's expansion.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn expand(&self, expansion: &Expansion, last: &State) -> State {
        let mut state = self.inner;
        if expansion.schedules.len() < expansion.blocks.len() {
            let mut block = columns(std::iter::repeat_n(&expansion.blocks[0][..], LANES));
            block[..8].copy_from_slice(last);
            compress(&mut state, &block);
        }
        for schedule in &expansion.schedules {
            compress_scheduled(&mut state, schedule);
        }
        self.finish(&state)
    }

    /// The outer hash, over the digests of the inner one.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn finish(&self, inner: &State) -> State {
        let mut state = self.outer;
        compress_digest(&mut state, inner);
        state
    }
}

/// The state behind a key's block under `pad`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn behind(block: &[Vector; 16], pad: u8) -> State {
    let pad = splat(u32::from_ne_bytes([pad; 4]));
    let mut padded = *block;
    for word in &mut padded {
        *word = xor(*word, pad);
    }
    let mut state = splats(&INITIAL);
    compress(&mut state, &padded);
    state
}

/// Word i of each row, for every i; the bytes of a word are in the order of the network.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn columns<'a>(rows: impl Iterator<Item = &'a [u8]>) -> [Vector; 16] {
    let mut vectors = [_mm512_setzero_si512(); 16];
    for (vector, row) in vectors.iter_mut().zip(rows) {
        *vector = swap_bytes(load(row));
    }
    transpose_u32(vectors)
}

/// The rows of which `columns` are the words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn rows(columns: [Vector; 16]) -> [Vector; 16] {
    let mut rows = transpose_u32(columns);
    for row in &mut rows {
        *row = swap_bytes(*row);
    }
    rows
}

/// Turns each word of 32 bits round.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn swap_bytes(words: Vector) -> Vector {
    let order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(order))
}
