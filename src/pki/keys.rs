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

/// Bytes of an ML-KEM-768 encapsulation (public) key (FIPS 203, table 3).
pub const KEM_PUBLIC_BYTES: usize = 1184;
/// Bytes of an ML-KEM-768 decapsulation (secret) key (FIPS 203, table 3).
pub const KEM_SECRET_BYTES: usize = 2400;
/// Where the public key lies in the secret one: behind the 1152 bytes of K-PKE's own secret
/// (FIPS 203, algorithm 16).
const KEM_PUBLIC_OFFSET: usize = 1152;

const _: () = assert!(KEM_PUBLIC_OFFSET + KEM_PUBLIC_BYTES + 64 == KEM_SECRET_BYTES);

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

/// An X25519 key: of a node's links, of an epoch's packets, or of a mailbox's envelopes.
pub struct AgreementKey {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl AgreementKey {
    /// A new key.
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_secret(&Zeroizing::new(rng.bytes()))
    }

    /// The key with these 32 secret bytes (clamped when used, RFC 7748).
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        let public = agreement_public(secret);
        AgreementKey { secret: Zeroizing::new(*secret), public }
    }

    /// The public key.
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// The secret bytes.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }
}

impl fmt::Debug for AgreementKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("AgreementKey")
    }
}

fn agreement_public(secret: &[u8; 32]) -> [u8; 32] {
    let secret = x25519_dalek::StaticSecret::from(*secret);
    x25519_dalek::PublicKey::from(&secret).to_bytes()
}

/// An ML-KEM-768 key: makes a link's handshake safe from later quantum computers.
pub struct KemKey {
    secret: Zeroizing<Box<[u8]>>,
}

impl KemKey {
    /// A new key, from the backend's own randomness.
    ///
    /// # Panics
    /// If the backend has no memory or randomness left: nothing is safe without it.
    pub fn generate() -> Self {
        KemKey { secret: kem_secret() }
    }

    /// The key with these [`KEM_SECRET_BYTES`] secret bytes; `None` for any other number.
    pub fn from_secret(secret: &[u8]) -> Option<Self> {
        (secret.len() == KEM_SECRET_BYTES).then(|| KemKey { secret: Zeroizing::new(secret.into()) })
    }

    /// The [`KEM_PUBLIC_BYTES`] of the public key.
    pub fn public(&self) -> &[u8] {
        &self.secret[KEM_PUBLIC_OFFSET..][..KEM_PUBLIC_BYTES]
    }

    /// The [`KEM_SECRET_BYTES`] of the secret key, in the expanded form of FIPS 203.
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }
}

impl fmt::Debug for KemKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KemKey")
    }
}

fn kem_secret() -> Zeroizing<Box<[u8]>> {
    use aws_lc_rs::kem;
    #[expect(clippy::expect_used, reason = "no key, no link: stop at once")]
    let key = kem::DecapsulationKey::generate(&kem::ML_KEM_768).expect("ML-KEM keys can be made");
    #[expect(clippy::expect_used, reason = "a key made here has bytes")]
    let bytes = key.key_bytes().expect("a new key can be written out");
    Zeroizing::new(bytes.as_ref().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::kem;

    #[test]
    fn a_stored_kem_key_opens_what_was_sealed_to_its_public_half() {
        let key = KemKey::from_secret(KemKey::generate().secret()).unwrap();
        let public = kem::EncapsulationKey::new(&kem::ML_KEM_768, key.public()).unwrap();
        let (ciphertext, sent) = public.encapsulate().unwrap();
        let secret = kem::DecapsulationKey::new(&kem::ML_KEM_768, key.secret()).unwrap();
        let received = secret.decapsulate(ciphertext).unwrap();
        assert_eq!(sent.as_ref(), received.as_ref());
    }

    #[test]
    fn an_agreement_key_has_the_public_half_of_rfc_7748() {
        let hex = |text| crate::pki::key_from_hex(text).unwrap();
        // Section 6.1: Alice's key pair.
        let secret = hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let public = hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        assert_eq!(*AgreementKey::from_secret(&secret).public(), public);
    }

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
        assert_eq!(format!("{:?}", AgreementKey::generate(&mut rng)), "AgreementKey");
        assert_eq!(format!("{:?}", KemKey::generate()), "KemKey");
    }
}
