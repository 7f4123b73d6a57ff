//! HMAC and HKDF of up to 32 jobs at a time, sixteen a vector.

#![allow(unsafe_code)]

mod compression;

use super::constants::{
    self, BLOCK_BYTES, Constants, DIGEST_BYTES, END, Expansion, INITIAL, INNER_PAD, LENGTH_BYTES,
    OUTER_PAD, length_behind_key,
};
use super::{MacJob, scalar};
use crate::crypto::for_groups;
use crate::crypto::vectors::wide::{Wide, splat_u32 as splat, splats_u32 as splats, xor};
use crate::crypto::vectors::{Avx512, Vector, load_u32, store_u32};
use arrayvec::ArrayVec;
use compression::{State, Words, compress, compress_scheduled};
use std::arch::x86_64::*;
use std::ops::Range;

/// Jobs of one vector.
const LANES: usize = 16;
/// Jobs of the vectors that go side by side.
const JOBS_MAX: usize = 2 * LANES;
/// So few messages are faster one by one: measured, the kernel takes as long for a vector of them
/// as the SHA extensions for 7.
const SCALAR_MESSAGES_MAX: usize = 7;
/// The same of secrets, where the kernel gains from prepared schedules: as long as for 5.3.
const SCALAR_SECRETS_MAX: usize = 5;

/// Groups of messages of one length go through the kernel; few messages, and groups of several
/// lengths, which no packet makes, one by one.
pub(super) fn hmac_each<'a>(_: Avx512, jobs: impl Iterator<Item = MacJob<'a>>) {
    for_groups::<_, JOBS_MAX>(jobs, |group| {
        let bytes = group[0].1.len();
        let is_mixed = group.iter().any(|(_, message, _)| message.len() != bytes);
        if group.len() <= SCALAR_MESSAGES_MAX || is_mixed {
            group.iter_mut().for_each(|(key, message, tag)| scalar::hmac(key, message, tag));
            return;
        }
        let keys: ArrayVec<&[u8], JOBS_MAX> = group.iter().map(|(key, ..)| *key).collect();
        let messages: ArrayVec<&[u8], JOBS_MAX> = group.iter().map(|job| job.1).collect();
        let mut tags: ArrayVec<&mut [u8], JOBS_MAX> =
            group.iter_mut().map(|(.., tag)| &mut tag[..]).collect();
        if keys.len() <= LANES {
            // SAFETY: the proof says that the machine has these features.
            unsafe { tag_group::<1>(&keys, &messages, &mut tags) }
        } else {
            // SAFETY: as above.
            unsafe { tag_group::<2>(&keys, &messages, &mut tags) }
        }
    });
}

/// For each job (secret, keys): fills the keys. All secrets have one length, all keys the one that
/// the constants are for.
pub(super) fn derive<'a>(
    _: Avx512,
    constants: &Constants,
    jobs: impl Iterator<Item = (&'a [u8], &'a mut [u8])>,
) {
    for_groups::<_, JOBS_MAX>(jobs, |group| {
        if group.len() <= SCALAR_SECRETS_MAX {
            group.iter_mut().for_each(|(secret, keys)| scalar::derive(constants, secret, keys));
            return;
        }
        let secrets: ArrayVec<&[u8], JOBS_MAX> = group.iter().map(|(secret, _)| *secret).collect();
        let mut keys: ArrayVec<&mut [u8], JOBS_MAX> =
            group.iter_mut().map(|(_, keys)| &mut **keys).collect();
        if secrets.len() <= LANES {
            // SAFETY: the proof says that the machine has these features.
            unsafe { derive_group::<1>(constants, &secrets, &mut keys) }
        } else {
            // SAFETY: as above.
            unsafe { derive_group::<2>(constants, &secrets, &mut keys) }
        }
    });
}

/// HMAC of messages of one length.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
fn tag_group<const G: usize>(keys: &[&[u8]], messages: &[&[u8]], tags: &mut [&mut [u8]]) {
    let keyed = Keyed::<G>::new(&load_words(keys, 0..keys[0].len()));
    store_words(&mut beside_zeros(&keyed.tag(messages)), tags, 0);
}

/// RFC 5869, 2.2 and 2.3: the salt's HMAC of a secret is the key under which the keys are
/// expanded.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
fn derive_group<const G: usize>(constants: &Constants, secrets: &[&[u8]], keys: &mut [&mut [u8]]) {
    let salted = Keyed::<G>::splat(&constants.salted);
    let keyed = Keyed::new(&beside_zeros(&salted.tag(secrets)));
    let mut last = [splat(0); 8];
    // Two outputs of 32 bytes make a row of 64.
    for (pair, start) in constants.expansions.chunks(2).zip((0..).step_by(2 * DIGEST_BYTES)) {
        let mut outputs = [splat(0); 16];
        for (output, expansion) in outputs.as_chunks_mut().0.iter_mut().zip(pair) {
            last = keyed.expand(expansion, &last);
            *output = last;
        }
        store_words(&mut outputs, keys, start);
    }
}

/// The states of HMAC's two hashes behind the keys' blocks.
struct Keyed<const G: usize> {
    inner: State<G>,
    outer: State<G>,
}

impl<const G: usize> Keyed<G> {
    /// For keys that lie in `block` with zeros behind them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn new(block: &Words<G>) -> Self {
        Keyed { inner: behind(block, INNER_PAD), outer: behind(block, OUTER_PAD) }
    }

    /// For one key in all lanes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn splat(keyed: &constants::Keyed) -> Self {
        Keyed { inner: splats(&keyed.inner), outer: splats(&keyed.outer) }
    }

    /// HMAC of messages of one length.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn tag(&self, messages: &[&[u8]]) -> State<G> {
        let bytes = messages[0].len();
        let mut state = self.inner;
        let padded_bytes = bytes + size_of_val(&END) + LENGTH_BYTES;
        for start in (0..padded_bytes).step_by(BLOCK_BYTES) {
            let part = start.min(bytes)..bytes.min(start + BLOCK_BYTES);
            let mut block = load_words(messages, part);
            if (start..start + BLOCK_BYTES).contains(&bytes) {
                let [place, byte] = [(bytes - start) / 4, bytes % 4];
                block[place] = xor(block[place], splat(u32::from(END) << (24 - 8 * byte)));
            }
            if start + BLOCK_BYTES >= padded_bytes {
                block[14..].copy_from_slice(&length_words(bytes));
            }
            compress(&mut state, &mut block);
        }
        self.finish(&state)
    }

    /// HMAC of `last`, info and counter: one output of HKDF's expansion.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn expand(&self, expansion: &Expansion, last: &State<G>) -> State<G> {
        let mut state = self.inner;
        if let Some(words) = &expansion.open {
            let mut block = splats(words);
            block[..8].copy_from_slice(last);
            compress(&mut state, &mut block);
        }
        for schedule in &expansion.schedules {
            compress_scheduled(&mut state, schedule);
        }
        self.finish(&state)
    }

    /// The outer hash, over the digests of the inner one.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn finish(&self, inner: &State<G>) -> State<G> {
        let mut block = beside_zeros(inner);
        block[8] = splat(u32::from_be_bytes([END, 0, 0, 0]));
        block[14..].copy_from_slice(&length_words(DIGEST_BYTES));
        let mut state = self.outer;
        compress(&mut state, &mut block);
        state
    }
}

/// The states behind the keys' blocks under `pad`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn behind<const G: usize>(block: &Words<G>, pad: u8) -> State<G> {
    let mut padded = *block;
    for word in &mut padded {
        *word = xor(*word, splat(u32::from_ne_bytes([pad; 4])));
    }
    let mut state = splats(&INITIAL);
    compress(&mut state, &mut padded);
    state
}

/// A block that begins with `words`, zeros behind them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn beside_zeros<const G: usize>(words: &State<G>) -> Words<G> {
    let mut block = [splat(0); 16];
    block[..8].copy_from_slice(words);
    block
}

/// The last two words of what follows a key's block and so many bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn length_words<const G: usize>(message_bytes: usize) -> [Wide<G>; 2] {
    let [a, b, c, d, e, f, g, h] = length_behind_key(message_bytes);
    splats(&[u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])])
}

/// The words of a hash have the byte order of the network.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn load_words<const G: usize>(rows: &[&[u8]], bytes: Range<usize>) -> Words<G> {
    let mut words = load_u32(rows, bytes);
    for word in words.as_flattened_mut() {
        *word = swap_bytes(*word);
    }
    words
}

/// Undoes [`load_words`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn store_words<const G: usize>(words: &mut Words<G>, rows: &mut [&mut [u8]], start: usize) {
    for word in words.as_flattened_mut() {
        *word = swap_bytes(*word);
    }
    store_u32(words, rows, start);
}

/// Turns each word of 32 bits round.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn swap_bytes(words: Vector) -> Vector {
    let order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(order))
}
