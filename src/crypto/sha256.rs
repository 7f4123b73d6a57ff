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
    if let Some(proof) = super::vectors::Avx512::of(tier) {
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
    /// For this `salt` and `info`.
    ///
    /// # Panics
    /// When the salt is longer than 64 bytes.
    pub fn new(salt: &[u8], info: &[u8]) -> Self {
        const { assert!(N <= 255 * DIGEST_BYTES, "RFC 5869, 2.3: the counter is one byte") };
        assert!(salt.len() <= BLOCK_BYTES, "RFC 2104, section 2: a longer salt is hashed first");
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
        if let Some(proof) = super::vectors::Avx512::of(tier) {
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
    use crate::crypto::for_every_lane;
    use data_encoding::HEXLOWER;

    /// Known answers (key, message, tag): RFC 4231, test cases 1 to 5, of which the last has
    /// half a tag; 6 and 7 have longer keys.
    const MACS: [(&[u8], &[u8], &str); 5] = [
        (
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            &[0xaa; 20],
            &[0xdd; 50],
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
        ),
        (
            &[
                1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
                24, 25,
            ],
            &[0xcd; 50],
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        (&[0x0c; 20], b"Test With Truncation", "a3b6167473100ee06e0c796c2955552b"),
    ];

    /// The tag from lane `lane` of `batch`, whose other lanes have other keys and messages.
    fn tag_in_lane(tier: Tier, batch: usize, lane: usize, key: &[u8], message: &[u8]) -> [u8; 32] {
        let mut jobs = vec![([0x5c; BLOCK_BYTES], vec![0x36; message.len()], [0; 32]); batch];
        // A shorter key is one with zeros behind it.
        jobs[lane].0.fill(0);
        jobs[lane].0[..key.len()].copy_from_slice(key);
        jobs[lane].1.copy_from_slice(message);
        hmac_each(tier, jobs.iter_mut().map(|(key, message, tag)| (&*key, &message[..], tag)));
        jobs[lane].2
    }

    #[test]
    fn both_hmacs_are_those_of_rfc_4231() {
        for (key, message, expected) in MACS {
            let (front, back) = message.split_at(3);
            assert!(HEXLOWER.encode(&hmac(key, &[message])).starts_with(expected));
            assert!(HEXLOWER.encode(&hmac(key, &[front, back])).starts_with(expected));
            for_every_lane(|tier, batch, lane| {
                let tag = tag_in_lane(tier, batch, lane, key, message);
                let is_known = HEXLOWER.encode(&tag).starts_with(expected);
                assert!(is_known, "{tier:?} {batch} {lane}");
            });
        }
    }

    /// The keys from `secret` are the expected ones in every lane; the others have another secret.
    #[track_caller]
    fn assert_derived<const K: usize, const N: usize>(
        (salt, info, secret): (&[u8], &[u8], [u8; K]),
        expected: &str,
    ) {
        let hkdf = Hkdf::<N>::new(salt, info);
        for_every_lane(|tier, batch, lane| {
            let mut jobs = vec![([0x5c; K], [0; N]); batch];
            jobs[lane].0 = secret;
            hkdf.derive(tier, jobs.iter_mut().map(|(secret, keys)| (&*secret, keys)));
            assert_eq!(HEXLOWER.encode(&jobs[lane].1), expected, "{tier:?} {batch} {lane}");
        });
    }

    /// So many bytes that count up from `first`.
    fn counting<const N: usize>(first: u8) -> [u8; N] {
        std::array::from_fn(|index| first + u8::try_from(index).unwrap())
    }

    /// RFC 5869, A.1, A.2 but for its salt, which is longer than a block, and A.3.
    #[test]
    fn derived_keys_are_those_of_rfc_5869() {
        assert_derived::<22, 42>(
            (&counting::<13>(0), &counting::<10>(0xf0), [0x0b; 22]),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf\
             34007208d5b887185865",
        );
        assert_derived::<22, 42>(
            (b"", b"", [0x0b; 22]),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d\
             9d201395faa4b61a96c8",
        );
    }

    #[test]
    fn a_salt_may_fill_a_block() {
        Hkdf::<32>::new(&[1; BLOCK_BYTES], b"");
    }

    #[test]
    #[should_panic(expected = "a longer salt is hashed first")]
    fn a_salt_longer_than_a_block_is_refused() {
        Hkdf::<32>::new(&[1; BLOCK_BYTES + 1], b"");
    }

    /// FIPS 180-2, B.1.
    #[test]
    fn the_digest_of_abc_is_that_of_fips_180() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(HEXLOWER.encode(&digest(&[b"a", b"bc"])), expected);
    }
}
