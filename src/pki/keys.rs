//! Secret keys: what each is for, how it is made, and never how it looks.
//!
//! All are wiped when dropped and print only the name of their type. How they lie on disk is
//! `file`'s and `folder`'s business.

mod file;
mod folder;

pub use file::KeyError;
pub use folder::{EpochKeys, KeyFolder, NodeKeys};

pub(super) use file::{KeyFile, Kind};

use super::NodeId;
use crate::crypto::random::Rng;
use ed25519_dalek::Signer as _;
use std::fmt;
use zeroize::Zeroizing;

/// An Ed25519 key: the identity of a node, of an authority, or of a mailbox.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key.
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_secret(&Zeroizing::new(rng.bytes()))
    }

    /// The key whose 32-byte seed is `secret` (RFC 8032).
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(secret))
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The node whose identity this is.
    pub fn id(&self) -> NodeId {
        NodeId(self.public())
    }

    /// The secret seed.
    pub fn secret(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The signature of the concatenation of `domain`, which names the kind of message so that a
    /// signature for one kind is never one for another, and `message`.
    pub fn sign(&self, domain: &[u8], message: &[u8]) -> [u8; 64] {
        self.0.sign(&[domain, message].concat()).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SigningKey")
    }
}

/// Whether `signature` over `domain` and `message` is by the holder of `public`.
pub(super) fn is_signed(
    public: &[u8; 32],
    domain: &[u8],
    message: &[u8],
    signature: &[u8; 64],
) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    ed25519_dalek::VerifyingKey::from_bytes(public)
        .and_then(|key| key.verify_strict(&[domain, message].concat(), &signature))
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_its_domain_and_its_message_only() {
        let mut rng = Rng::from_seed([3; 32]);
        let (key, other) = (SigningKey::generate(&mut rng), SigningKey::generate(&mut rng));
        let signature = key.sign(b"a ", b"message");
        assert!(is_signed(&key.public(), b"a ", b"message", &signature));
        assert!(!is_signed(&key.public(), b"b ", b"message", &signature));
        assert!(!is_signed(&key.public(), b"a ", b"massage", &signature));
        assert!(!is_signed(&other.public(), b"a ", b"message", &signature));
    }

    #[test]
    fn secret_keys_print_only_the_name_of_their_type() {
        let mut rng = Rng::from_seed([4; 32]);
        assert_eq!(format!("{:?}", SigningKey::generate(&mut rng)), "SigningKey");
    }
}
