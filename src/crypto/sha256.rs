//! SHA-256, HMAC-SHA256 (RFC 2104) and HKDF-SHA256 (RFC 5869).

use aws_lc_rs::{digest, hmac as lc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// SHA-256 over the concatenation of `parts`.
pub fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// HMAC-SHA256 under `key` over the concatenation of `parts`.
pub fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = lc::Context::with_key(&lc::Key::new(lc::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// For each job (key, message, tag): writes the message's HMAC-SHA256.
///
/// Unlike [`hmac`] it never allocates: it is made for the packet path.
pub fn hmac_each<'a, const K: usize>(
    jobs: impl Iterator<Item = (&'a [u8; K], &'a [u8], &'a mut [u8; 32])>,
) {
    for (key, message, tag) in jobs {
        *tag = keyed(key).chain_update(message).finalize().into_bytes().into();
    }
}

/// HKDF-SHA256 with the salt and the info of one use, the salt's blocks hashed once.
pub struct Hkdf {
    salted: Hmac<Sha256>,
    info: &'static [u8],
}

impl Hkdf {
    /// For this `salt` (at most 64 bytes) and `info`.
    pub fn new(salt: &[u8], info: &'static [u8]) -> Self {
        Hkdf { salted: keyed(salt), info }
    }

    /// For each job (secret, keys): fills the keys from the secret.
    pub fn derive<'a, const K: usize, const N: usize>(
        &self,
        jobs: impl Iterator<Item = (&'a [u8; K], &'a mut [u8; N])>,
    ) {
        const { assert!(N <= 255 * 32, "RFC 5869, 2.3: the block counter is one byte") };
        for (secret, keys) in jobs {
            let extract = self.salted.clone().chain_update(secret);
            let pseudorandom = Zeroizing::new(<[u8; 32]>::from(extract.finalize().into_bytes()));
            self.expand(&keyed(&*pseudorandom), keys);
        }
    }

    /// T(i) = HMAC(key, T(i-1) | info | i); the keys are T(1) | T(2) | ...
    fn expand(&self, key: &Hmac<Sha256>, keys: &mut [u8]) {
        let mut last = Zeroizing::new([0; 32]);
        for (index, out) in (1..=255u8).zip(keys.chunks_mut(32)) {
            let mut block = key.clone();
            if index > 1 {
                block.update(&*last);
            }
            *last =
                block.chain_update(self.info).chain_update([index]).finalize().into_bytes().into();
            out.copy_from_slice(&last[..out.len()]);
        }
    }
}

impl std::fmt::Debug for Hkdf {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Hkdf")
    }
}

/// HMAC under a key of at most one block.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    block[..key.len()].copy_from_slice(key);
    Hmac::new((&*block).into())
}
