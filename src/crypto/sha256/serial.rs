//! HMAC and HKDF by the crates `hmac` and `sha2`, job by job: the reference.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// HMAC of `message` under `key` of at most one block.
pub(super) fn hmac(key: &[u8], message: &[u8], tag: &mut [u8; 32]) {
    *tag = keyed(key).chain_update(message).finalize().into_bytes().into();
}

/// HKDF with one salt and one info.
pub(super) struct Hkdf {
    salted: Hmac<Sha256>,
    info: Box<[u8]>,
}

impl Hkdf {
    pub(super) fn new(salt: &[u8], info: &[u8]) -> Self {
        Hkdf { salted: keyed(salt), info: info.into() }
    }

    /// Fills `keys` from `secret`.
    pub(super) fn derive(&self, secret: &[u8], keys: &mut [u8]) {
        let extract = self.salted.clone().chain_update(secret);
        let pseudorandom = Zeroizing::new(<[u8; 32]>::from(extract.finalize().into_bytes()));
        self.expand(&keyed(&*pseudorandom), keys);
    }

    /// T(i) = HMAC(key, T(i-1) | info | i); the keys are T(1) | T(2) | ...
    fn expand(&self, key: &Hmac<Sha256>, keys: &mut [u8]) {
        let mut last = Zeroizing::new([0; 32]);
        for (counter, out) in (1..=255u8).zip(keys.chunks_mut(32)) {
            let mut block = key.clone();
            if counter > 1 {
                block.update(&*last);
            }
            block.update(&self.info);
            *last = block.chain_update([counter]).finalize().into_bytes().into();
            out.copy_from_slice(&last[..out.len()]);
        }
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = Zeroizing::new([0; 64]);
    block[..key.len()].copy_from_slice(key);
    Hmac::new((&*block).into())
}
