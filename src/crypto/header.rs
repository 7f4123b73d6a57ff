//! AES-256 on single blocks, for the 16-byte header of a datagram.
//!
//! The `aes` crate takes about 200 ticks for a lone block; these few lines on AES-NI take 44, and
//! 11 when blocks under different keys overlap, which is what trying three keys does. A machine
//! without AES-NI gets the crate. A direction needs only one of the two schedules (240 bytes).

#![allow(unsafe_code)]

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use zeroize::Zeroize;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 16;
/// Round keys of AES-256 (FIPS 197: 14 rounds and the first whitening).
const ROUND_KEYS: usize = 15;

/// Encrypts blocks under one key.
pub struct Encryptor(Schedule<aes::Aes256Enc>);

/// Decrypts blocks under one key.
pub struct Decryptor(Schedule<aes::Aes256Dec>);

impl std::fmt::Debug for Encryptor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Encryptor")
    }
}

impl std::fmt::Debug for Decryptor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Decryptor")
    }
}

impl Encryptor {
    /// Expands `key` for this machine.
    pub fn new(key: &[u8; 32]) -> Self {
        match ni::RoundKeys::encryption(key) {
            Some(keys) => Encryptor(Schedule::Ni(keys)),
            None => Self::portable(key),
        }
    }

    fn portable(key: &[u8; 32]) -> Self {
        Encryptor(Schedule::Portable(Box::new(aes::Aes256Enc::new(&(*key).into()))))
    }

    /// Encrypts `block` in place.
    #[inline]
    pub fn encrypt(&self, block: &mut [u8; BLOCK_BYTES]) {
        match &self.0 {
            Schedule::Ni(keys) => keys.encrypt(block),
            Schedule::Portable(cipher) => cipher.encrypt_block(block.into()),
        }
    }
}

impl Decryptor {
    /// Expands `key` for this machine.
    pub fn new(key: &[u8; 32]) -> Self {
        match ni::RoundKeys::decryption(key) {
            Some(keys) => Decryptor(Schedule::Ni(keys)),
            None => Self::portable(key),
        }
    }

    fn portable(key: &[u8; 32]) -> Self {
        Decryptor(Schedule::Portable(Box::new(aes::Aes256Dec::new(&(*key).into()))))
    }

    /// Decrypts `block` in place.
    #[inline]
    pub fn decrypt(&self, block: &mut [u8; BLOCK_BYTES]) {
        match &self.0 {
            Schedule::Ni(keys) => keys.decrypt(block),
            Schedule::Portable(cipher) => cipher.decrypt_block(block.into()),
        }
    }
}

/// An expanded key of the backend that the machine has.
#[expect(clippy::large_enum_variant, reason = "the usual variant saves an indirection")]
enum Schedule<P> {
    Ni(ni::RoundKeys),
    /// Wipes itself (the crate's `zeroize` feature).
    Portable(Box<P>),
}

/// The backend of x86-64 with AES-NI.
#[cfg(target_arch = "x86_64")]
mod ni {
    use super::{BLOCK_BYTES, ROUND_KEYS, Zeroize};
    use core::arch::x86_64::{
        __m128i, _mm_aesdec_si128, _mm_aesdeclast_si128, _mm_aesenc_si128, _mm_aesenclast_si128,
        _mm_aesimc_si128, _mm_aeskeygenassist_si128, _mm_loadu_si128, _mm_setzero_si128,
        _mm_shuffle_epi32, _mm_slli_si128, _mm_storeu_si128, _mm_xor_si128,
    };

    /// Round keys in the order of use. One exists only where AES-NI does: the constructors check.
    pub(super) struct RoundKeys([__m128i; ROUND_KEYS]);

    impl Drop for RoundKeys {
        fn drop(&mut self) {
            self.0.zeroize();
        }
    }

    impl RoundKeys {
        /// The schedule of encryption, if this machine has AES-NI.
        pub(super) fn encryption(key: &[u8; 32]) -> Option<Self> {
            // SAFETY: `expand` needs AES-NI, which the condition has just found.
            is_x86_feature_detected!("aes").then(|| unsafe { expand(key) })
        }

        /// The schedule of decryption (FIPS 197, 5.3.5: the equivalent inverse cipher).
        pub(super) fn decryption(key: &[u8; 32]) -> Option<Self> {
            let keys = Self::encryption(key)?;
            // SAFETY: `keys` exists, so the machine has AES-NI.
            Some(unsafe { invert(&keys) })
        }

        #[inline]
        pub(super) fn encrypt(&self, block: &mut [u8; BLOCK_BYTES]) {
            // SAFETY: `self` exists, so the machine has AES-NI.
            unsafe { encrypt(&self.0, block) }
        }

        #[inline]
        pub(super) fn decrypt(&self, block: &mut [u8; BLOCK_BYTES]) {
            // SAFETY: `self` exists, so the machine has AES-NI.
            unsafe { decrypt(&self.0, block) }
        }
    }

    fn load(bytes: &[u8; BLOCK_BYTES]) -> __m128i {
        // SAFETY: the reference covers the 16 bytes; the load asks for no alignment.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    fn store(value: __m128i, bytes: &mut [u8; BLOCK_BYTES]) {
        // SAFETY: the reference covers the 16 bytes; the store asks for no alignment.
        unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), value) }
    }

    /// One step of the key expansion: the running XOR over the words of `before`, then `assist`.
    #[target_feature(enable = "aes,sse2")]
    fn step(before: __m128i, assist: __m128i) -> __m128i {
        let once = _mm_xor_si128(before, _mm_slli_si128::<4>(before));
        let twice = _mm_xor_si128(once, _mm_slli_si128::<8>(once));
        _mm_xor_si128(twice, assist)
    }

    /// An even round key: from RotWord, SubWord and the round constant of the last word.
    #[target_feature(enable = "aes,sse2")]
    fn even<const CONSTANT: i32>(keys: &mut [__m128i; ROUND_KEYS], round: usize) {
        let assist = _mm_aeskeygenassist_si128::<CONSTANT>(keys[round - 1]);
        keys[round] = step(keys[round - 2], _mm_shuffle_epi32::<0xff>(assist));
    }

    /// An odd round key: from SubWord of the last word alone.
    #[target_feature(enable = "aes,sse2")]
    fn odd(keys: &mut [__m128i; ROUND_KEYS], round: usize) {
        let assist = _mm_aeskeygenassist_si128::<0>(keys[round - 1]);
        keys[round] = step(keys[round - 2], _mm_shuffle_epi32::<0xaa>(assist));
    }

    /// The key expansion of AES-256 (FIPS 197, 5.2).
    #[target_feature(enable = "aes,sse2")]
    fn expand(key: &[u8; 32]) -> RoundKeys {
        let (halves, _) = key.as_chunks::<BLOCK_BYTES>();
        let mut keys = [_mm_setzero_si128(); ROUND_KEYS];
        keys[0] = load(&halves[0]);
        keys[1] = load(&halves[1]);
        even::<0x01>(&mut keys, 2);
        odd(&mut keys, 3);
        even::<0x02>(&mut keys, 4);
        odd(&mut keys, 5);
        even::<0x04>(&mut keys, 6);
        odd(&mut keys, 7);
        even::<0x08>(&mut keys, 8);
        odd(&mut keys, 9);
        even::<0x10>(&mut keys, 10);
        odd(&mut keys, 11);
        even::<0x20>(&mut keys, 12);
        odd(&mut keys, 13);
        even::<0x40>(&mut keys, 14);
        RoundKeys(keys)
    }

    #[target_feature(enable = "aes,sse2")]
    fn invert(encryption: &RoundKeys) -> RoundKeys {
        let mut keys = encryption.0;
        keys.reverse();
        for key in &mut keys[1..ROUND_KEYS - 1] {
            *key = _mm_aesimc_si128(*key);
        }
        RoundKeys(keys)
    }

    #[inline]
    #[target_feature(enable = "aes,sse2")]
    fn encrypt(keys: &[__m128i; ROUND_KEYS], block: &mut [u8; BLOCK_BYTES]) {
        let mut state = _mm_xor_si128(load(block), keys[0]);
        for key in &keys[1..ROUND_KEYS - 1] {
            state = _mm_aesenc_si128(state, *key);
        }
        store(_mm_aesenclast_si128(state, keys[ROUND_KEYS - 1]), block);
    }

    #[inline]
    #[target_feature(enable = "aes,sse2")]
    fn decrypt(keys: &[__m128i; ROUND_KEYS], block: &mut [u8; BLOCK_BYTES]) {
        let mut state = _mm_xor_si128(load(block), keys[0]);
        for key in &keys[1..ROUND_KEYS - 1] {
            state = _mm_aesdec_si128(state, *key);
        }
        store(_mm_aesdeclast_si128(state, keys[ROUND_KEYS - 1]), block);
    }
}

/// On other machines there is no AES-NI, and so no value of this type.
#[cfg(not(target_arch = "x86_64"))]
mod ni {
    use super::BLOCK_BYTES;

    pub(super) enum RoundKeys {}

    impl RoundKeys {
        pub(super) fn encryption(_: &[u8; 32]) -> Option<Self> {
            None
        }

        pub(super) fn decryption(_: &[u8; 32]) -> Option<Self> {
            None
        }

        pub(super) fn encrypt(&self, _: &mut [u8; BLOCK_BYTES]) {
            match *self {}
        }

        pub(super) fn decrypt(&self, _: &mut [u8; BLOCK_BYTES]) {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;

    /// FIPS 197, appendix C.3.
    #[test]
    fn it_agrees_with_the_standards_example() {
        let key = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let plain = std::array::from_fn(|at| u8::try_from(at * 0x11).unwrap());
        let cipher = 0x8ea2b7ca516745bfeafc49904b496089_u128.to_be_bytes();
        for sealer in [Encryptor::new(&key), Encryptor::portable(&key)] {
            let mut block = plain;
            sealer.encrypt(&mut block);
            assert_eq!(block, cipher);
        }
        for opener in [Decryptor::new(&key), Decryptor::portable(&key)] {
            let mut block = cipher;
            opener.decrypt(&mut block);
            assert_eq!(block, plain);
        }
    }

    #[test]
    fn the_backends_agree_on_random_keys_and_blocks() {
        let mut rng = Rng::from_seed([1; 32]);
        for _ in 0..2000 {
            let (key, block) = (rng.bytes(), rng.bytes());
            let (mut fast, mut slow) = (block, block);
            Encryptor::new(&key).encrypt(&mut fast);
            Encryptor::portable(&key).encrypt(&mut slow);
            assert_eq!(fast, slow);
            Decryptor::new(&key).decrypt(&mut fast);
            Decryptor::portable(&key).decrypt(&mut slow);
            assert_eq!((fast, slow), (block, block));
        }
    }
}
