//! X25519 (RFC 7748): the secret of a key pair.

use crate::crypto::random::Rng;
use aws_lc_rs::agreement::{PrivateKey, X25519};
use zeroize::Zeroizing;

/// A secret scalar; wiped when dropped.
pub struct Secret(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("x25519::Secret")
    }
}

impl Secret {
    /// The secret with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Secret(Zeroizing::new(bytes))
    }

    /// A fresh secret.
    pub fn random(rng: &mut Rng) -> Self {
        Self::from_bytes(rng.bytes())
    }

    /// The public key.
    ///
    /// # Panics
    /// Never: every 32 bytes are a secret.
    #[expect(clippy::expect_used, reason = "every 32 bytes are a secret")]
    pub fn public(&self) -> [u8; 32] {
        let key = PrivateKey::from_private_key(&X25519, self.as_bytes()).expect("32 bytes");
        let public = key.compute_public_key().expect("a key has a public half");
        *public.as_ref().first_chunk().expect("32 bytes")
    }

    /// The bytes, for a file that only the node can read.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
