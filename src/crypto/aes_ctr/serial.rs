//! AES-128 in counter mode by the crates `aes` and `ctr`, text by text: the reference.

use aes::Aes128;
use ctr::Ctr64BE;
use ctr::cipher::{KeyIvInit, StreamCipher};

pub(super) fn xor(key: &[u8; 16], text: &mut [u8]) {
    Ctr64BE::<Aes128>::new(key.into(), &[0; 16].into()).apply_keystream(text);
}
