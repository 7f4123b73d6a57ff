//! ChaCha20 by the crate `chacha20`, text by text: the reference.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};

pub(super) fn xor(key: &[u8; 32], text: &mut [u8]) {
    ChaCha20::new(key.into(), &[0; 12].into()).apply_keystream(text);
}
