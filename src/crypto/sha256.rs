//! SHA-256, HMAC-SHA256 (RFC 2104) and HKDF-SHA256 (RFC 5869).

#[cfg(target_arch = "x86_64")]
mod avx512;
mod constants;
mod scalar;
mod serial;

use super::tier::{Name, Tier};
use aws_lc_rs::{digest, hmac as lc};
use constants::{BLOCK_BYTES, Constants, DIGEST_BYTES};

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

/// Key of at most one block, message, tag.
type MacJob<'a> = (&'a [u8], &'a [u8], &'a mut [u8; 32]);

/// For each job (key, message, tag): writes the message's HMAC-SHA256.
///
/// Unlike [`hmac()`] it never allocates: it is made for the packet path.
pub fn hmac_each<'a, const K: usize>(
    tier: Tier,
    jobs: impl Iterator<Item = (&'a [u8; K], &'a [u8], &'a mut [u8; 32])>,
) {
    const { assert!(K <= BLOCK_BYTES, "RFC 2104, section 2: a longer key is hashed first") };
    let jobs = jobs.map(|(key, message, tag)| (&key[..], message, tag));
    #[cfg(target_arch = "x86_64")]
    if let Some(proof) = super::lanes::Avx512::of(tier) {
        return avx512::hmac_each(proof, jobs);
    }
    for (key, message, tag) in jobs {
        match tier.name() {
            Name::Serial => serial::hmac(key, message, tag),
            Name::Scalar | Name::Avx512 => scalar::hmac(key, message, tag),
        }
    }
}

/// HKDF-SHA256 with the salt and the info of one use, for keys of `N` bytes: all that depends on
/// no secret is hashed once.
pub struct Hkdf<const N: usize> {
    reference: serial::Hkdf,
    constants: Constants,
}

impl<const N: usize> Hkdf<N> {
    /// For this `salt` (at most 64 bytes) and `info`.
    pub fn new(salt: &[u8], info: &[u8]) -> Self {
        const { assert!(N <= 255 * DIGEST_BYTES, "RFC 5869, 2.3: the counter is one byte") };
        Hkdf { reference: serial::Hkdf::new(salt, info), constants: Constants::new(salt, info, N) }
    }

    /// For each job (secret, keys): fills the keys from the secret.
    pub fn derive<'a, const K: usize>(
        &self,
        tier: Tier,
        jobs: impl Iterator<Item = (&'a [u8; K], &'a mut [u8; N])>,
    ) {
        let jobs = jobs.map(|(secret, keys)| (&secret[..], &mut keys[..]));
        #[cfg(target_arch = "x86_64")]
        if let Some(proof) = super::lanes::Avx512::of(tier) {
            return avx512::derive(proof, &self.constants, jobs);
        }
        for (secret, keys) in jobs {
            match tier.name() {
                Name::Serial => self.reference.derive(secret, keys),
                Name::Scalar | Name::Avx512 => scalar::derive(&self.constants, secret, keys),
            }
        }
    }
}

impl<const N: usize> std::fmt::Debug for Hkdf<N> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Hkdf")
    }
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
