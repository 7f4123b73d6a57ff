//! HMAC and HKDF job by job on the bare compression of the crate `sha2`, which uses the SHA
//! extensions where the processor has them.
//!
//! The blocks are laid out here: what is constant was prepared, and nothing is copied but what
//! changes.

use super::constants::{
    BLOCK_BYTES, Block, Constants, DIGEST_BYTES, END, Expansion, Keyed, LENGTH_BYTES, State,
    length_behind_key,
};
use sha2::block_api::compress256;
use std::slice::from_ref;
use zeroize::{Zeroize, zeroize_bytes};

/// HMAC of `message` under `key` of at most one block.
pub(super) fn hmac(key: &[u8], message: &[u8], tag: &mut [u8; DIGEST_BYTES]) {
    Hmac::new(Keyed::new(key)).tag(message, tag);
}

/// Fills `keys` from `secret`.
pub(super) fn derive(constants: &Constants, secret: &[u8], keys: &mut [u8]) {
    let mut pseudorandom = [0; DIGEST_BYTES];
    Hmac::new(constants.salted.clone()).tag(secret, &mut pseudorandom);
    let mut hmac = Hmac::new(Keyed::new(&pseudorandom));
    zeroize_bytes(&mut pseudorandom);
    for (index, expansion) in constants.expansions.iter().enumerate() {
        let (done, left) = keys.split_at_mut(DIGEST_BYTES * index);
        let last = done.last_chunk::<DIGEST_BYTES>().map_or(&[][..], |last| last);
        let bytes = left.len().min(DIGEST_BYTES);
        hmac.expand(expansion, last, &mut left[..bytes]);
    }
}

/// HMAC under one key, with the memory of one hash; wiped on drop.
struct Hmac {
    keyed: Keyed,
    state: State,
    block: Block,
}

impl Hmac {
    fn new(keyed: Keyed) -> Self {
        Hmac { keyed, state: [0; 8], block: [0; BLOCK_BYTES] }
    }

    /// HMAC of any message.
    fn tag(&mut self, message: &[u8], tag: &mut [u8]) {
        self.state = self.keyed.inner;
        let (blocks, rest) = message.as_chunks();
        compress256(&mut self.state, blocks);
        self.compress_end(rest, message.len());
        self.finish(tag);
    }

    /// FIPS 180-4, 5.1.1: `rest`, with which a message of `bytes` bytes ends, and its padding.
    fn compress_end(&mut self, rest: &[u8], bytes: usize) {
        self.block = [0; BLOCK_BYTES];
        self.block[..rest.len()].copy_from_slice(rest);
        self.block[rest.len()] = END;
        if rest.len() >= LENGTH_OFFSET {
            compress256(&mut self.state, from_ref(&self.block));
            self.block = [0; BLOCK_BYTES];
        }
        self.block[LENGTH_OFFSET..].copy_from_slice(&length_behind_key(bytes));
        compress256(&mut self.state, from_ref(&self.block));
    }

    /// HMAC of `last`, info and counter: one output of HKDF's expansion, or the front of it.
    fn expand(&mut self, expansion: &Expansion, last: &[u8], out: &mut [u8]) {
        let Some((first, others)) = expansion.blocks.split_first() else { return };
        self.block = *first;
        self.block[..last.len()].copy_from_slice(last);
        self.state = self.keyed.inner;
        compress256(&mut self.state, from_ref(&self.block));
        compress256(&mut self.state, others);
        self.finish(out);
    }

    /// The outer hash, over the digest of the inner one.
    fn finish(&mut self, tag: &mut [u8]) {
        let mut inner = [0; DIGEST_BYTES];
        write_digest(&self.state, &mut inner);
        self.state = self.keyed.outer;
        self.compress_end(&inner, DIGEST_BYTES);
        zeroize_bytes(&mut inner);
        write_digest(&self.state, tag);
    }
}

impl Drop for Hmac {
    fn drop(&mut self) {
        self.state.zeroize();
        zeroize_bytes(&mut self.block);
    }
}

/// Where the last block has its message's length.
const LENGTH_OFFSET: usize = BLOCK_BYTES - LENGTH_BYTES;

/// The words of `state`, as far as `out` reaches.
fn write_digest(state: &State, out: &mut [u8]) {
    for (bytes, word) in out.chunks_mut(size_of::<u32>()).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes()[..bytes.len()]);
    }
}
