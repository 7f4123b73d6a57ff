//! SHA-256, HMAC-SHA256 (RFC 2104) and HKDF-SHA256 (RFC 5869).

use super::tier::Tier;
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
/// Unlike [`hmac()`] it never allocates: it is made for the packet path.
pub fn hmac_each<'a, const K: usize>(
    _tier: Tier,
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
        _tier: Tier,
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

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;
    use std::iter::once;

    /// RFC 4231, test cases 1 and 3.
    #[test]
    fn both_hmacs_are_those_of_rfc_4231() {
        let first = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        let third = "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe";
        let mut tags = [[0; 32]; 2];
        let [one, three] = &mut tags;
        let jobs = [(&[0x0b; 20], &b"Hi There"[..], one), (&[0xaa; 20], &[0xdd; 50], three)];
        hmac_each(Tier::SERIAL, jobs.into_iter());
        assert_eq!(tags.map(|tag| HEXLOWER.encode(&tag)), [first, third]);
        assert_eq!(HEXLOWER.encode(&hmac(&[0x0b; 20], &[b"Hi ", b"There"])), first);
        assert_eq!(HEXLOWER.encode(&hmac(&[0xaa; 20], &[&[0xdd; 50]])), third);
    }

    /// RFC 5869, A.1 and A.3.
    #[test]
    fn derived_keys_are_those_of_rfc_5869() {
        let secret = [0x0b; 22];
        let salt: [u8; 13] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        let info = &[0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9];
        let mut keys = [0; 42];
        Hkdf::new(&salt, info).derive(Tier::SERIAL, once((&secret, &mut keys)));
        let basic = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf\
                     34007208d5b887185865";
        assert_eq!(HEXLOWER.encode(&keys), basic);
        Hkdf::new(b"", b"").derive(Tier::SERIAL, once((&secret, &mut keys)));
        let no_salt = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d\
                       9d201395faa4b61a96c8";
        assert_eq!(HEXLOWER.encode(&keys), no_salt);
    }

    /// FIPS 180-2, B.1.
    #[test]
    fn the_digest_of_abc_is_that_of_fips_180() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(HEXLOWER.encode(&digest(&[b"a", b"bc"])), expected);
    }
}
