//! The AES-128 stream in counter mode (NIST SP 800-38A) from a zero counter block: every key is
//! used once.

use aes::Aes128;
use ctr::Ctr64BE;
use ctr::cipher::{KeyIvInit, StreamCipher};

/// For each job (key, text): XORs the key's stream into the text.
pub fn xor<'a>(jobs: impl Iterator<Item = (&'a [u8; 16], &'a mut [u8])>) {
    for (key, text) in jobs {
        Ctr64BE::<Aes128>::new(key.into(), &[0; 16].into()).apply_keystream(text);
    }
}
