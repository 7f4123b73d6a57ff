//! AES-256-GCM, out of place: a packet's two encryptions are also its two copies.
//!
//! The backend is `aws-lc-rs`, whose combined AES and GHASH assembly is much faster than `aes-gcm`
//! (`link_seal_open_1376` in `docs/performance.md`). Its context lies on the heap and is wiped when
//! it is freed.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce; one must never serve twice under a key.
pub const NONCE_BYTES: usize = 12;
/// Bytes of an authentication tag.
pub const TAG_BYTES: usize = 16;

/// The ciphertext, its tag, the nonce or the associated bytes are not what the sealer made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

/// A key of AES-256-GCM, expanded.
pub struct Key(LessSafeKey);

impl std::fmt::Debug for Key {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("aead::Key")
    }
}

impl Key {
    /// Expands `key`.
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        #[expect(clippy::expect_used, reason = "the only failure is another length")]
        let key = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes make an AES-256 key");
        Key(LessSafeKey::new(key))
    }

    /// Encrypts `plain` into `out`, of the same length, and the tag into `tag`.
    ///
    /// # Panics
    /// If the lengths of `plain` and `out` differ.
    pub fn seal(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        plain: &[u8],
        out: &mut [u8],
        tag: &mut [u8; TAG_BYTES],
    ) {
        let sealed = self.0.seal_out_of_place_scatter(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(aad),
            plain,
            out,
            &[],
            tag,
        );
        assert!(sealed.is_ok(), "plaintext and ciphertext have one length");
    }

    /// Encrypts `text` in place and returns the tag.
    ///
    /// # Panics
    /// Never for texts below 64 GiB.
    pub fn seal_in_place(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        text: &mut [u8],
    ) -> [u8; TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        #[expect(clippy::expect_used, reason = "the only failure is a text beyond 64 GiB")]
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), text).expect("short");
        let mut out = [0; TAG_BYTES];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Checks `tag` and decrypts `cipher` into `out`, of the same length.
    ///
    /// # Errors
    /// [`Forged`], and `out` then holds nothing of meaning; also when the lengths differ.
    pub fn open(
        &self,
        nonce: &[u8; NONCE_BYTES],
        aad: &[u8],
        cipher: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Result<(), Forged> {
        if cipher.len() != out.len() || tag.len() != TAG_BYTES {
            return Err(Forged);
        }
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), cipher, tag, out).map_err(|_| Forged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).unwrap()
    }

    /// Test case 16 of McGrew and Viega, "The Galois/Counter Mode of Operation" (2005).
    #[test]
    fn it_agrees_with_the_authors_vector() {
        let key = hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
        let nonce = hex("cafebabefacedbaddecaf888");
        let aad = hex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plain = hex(concat!(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
            "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
        ));
        let cipher = hex(concat!(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
            "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
        ));
        let key = Key::new(&key.try_into().unwrap());
        let nonce = nonce.try_into().unwrap();
        let (mut out, mut tag) = (vec![0; plain.len()], [0; TAG_BYTES]);
        key.seal(&nonce, &aad, &plain, &mut out, &mut tag);
        assert_eq!(out, cipher);
        assert_eq!(tag.to_vec(), hex("76fc6ece0f4e1768cddf8853bb2d551b"));
        let mut text = plain.clone();
        assert_eq!(key.seal_in_place(&nonce, &aad, &mut text), tag);
        assert_eq!(text, cipher);
        key.open(&nonce, &aad, &cipher, &tag, &mut out).unwrap();
        assert_eq!(out, plain);
    }

    #[test]
    fn one_changed_bit_anywhere_is_a_forgery() {
        let key = Key::new(&[7; 32]);
        let (mut cipher, mut tag, mut out) = ([0; 40], [0; 16], [0; 40]);
        key.seal(&[1; 12], b"aad", &[9; 40], &mut cipher, &mut tag);
        for bit in 0..(40 + 16) * 8 {
            let (mut cipher, mut tag) = (cipher, tag);
            match bit / 8 {
                byte @ 0..40 => cipher[byte] ^= 1 << (bit % 8),
                byte => tag[byte - 40] ^= 1 << (bit % 8),
            }
            assert_eq!(key.open(&[1; 12], b"aad", &cipher, &tag, &mut out), Err(Forged));
        }
        assert_eq!(key.open(&[2; 12], b"aad", &cipher, &tag, &mut out), Err(Forged));
        assert_eq!(key.open(&[1; 12], b"abd", &cipher, &tag, &mut out), Err(Forged));
        assert_eq!(key.open(&[1; 12], b"aad", &cipher, &tag[..15], &mut out), Err(Forged));
        assert_eq!(key.open(&[1; 12], b"aad", &cipher, &tag, &mut out[..39]), Err(Forged));
    }
}
