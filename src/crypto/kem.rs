//! ML-KEM-768 (FIPS 203), the post-quantum half of the link handshake, on `aws-lc-rs`.
//!
//! A secret key is stored in its expanded form of 2400 bytes, which contains the public key.

use aws_lc_rs::kem::{
    AlgorithmId, Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768, SharedSecret,
};
use zeroize::Zeroizing;

/// Bytes of a public key.
pub const PUBLIC_BYTES: usize = 1184;
/// Bytes of a ciphertext.
pub const CIPHERTEXT_BYTES: usize = 1088;
/// Bytes of a secret key in its expanded form.
pub const SECRET_BYTES: usize = 2400;
/// Bytes of a shared secret.
pub const SHARED_BYTES: usize = 32;
/// Where the public key lies in a secret one (FIPS 203, algorithm 16: dk = dk_PKE, ek, H(ek), z).
const PUBLIC_OFFSET: usize = 1152;

/// A shared secret; wiped when dropped.
pub type Shared = Zeroizing<[u8; SHARED_BYTES]>;

/// The bytes are no key, or no ciphertext, of ML-KEM-768.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A secret key with its public half. The backend wipes it when it is freed.
pub struct Secret {
    key: DecapsulationKey<AlgorithmId>,
    public: Box<[u8; PUBLIC_BYTES]>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("kem::Secret")
    }
}

impl Secret {
    /// A new key from the backend's own generator.
    ///
    /// # Panics
    /// If the backend is out of memory or randomness: nothing is safe without either.
    #[expect(clippy::expect_used, reason = "no memory or randomness, no node: stop at once")]
    pub fn generate() -> Self {
        let key = DecapsulationKey::generate(&ML_KEM_768).expect("the backend makes a key");
        let public = key.encapsulation_key().expect("a new key has its public half");
        let public = public.key_bytes().expect("a public key has bytes");
        let public = Box::new(*public.as_ref().first_chunk().expect("1184 bytes"));
        Secret { key, public }
    }

    /// The key that [`Secret::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] if the length is wrong or the halves do not belong together.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() != SECRET_BYTES {
            return Err(Malformed);
        }
        let public = bytes[PUBLIC_OFFSET..].first_chunk::<PUBLIC_BYTES>().ok_or(Malformed)?;
        let key = DecapsulationKey::new(&ML_KEM_768, bytes).map_err(|_| Malformed)?;
        let secret = Secret { key, public: Box::new(*public) };
        let (ciphertext, shared) = encapsulate(secret.public())?;
        if secret.decapsulate(&*ciphertext)? != shared {
            return Err(Malformed);
        }
        Ok(secret)
    }

    /// The expanded key, for a file that only the node can read.
    ///
    /// # Panics
    /// If the backend is out of memory.
    #[expect(clippy::expect_used, reason = "a key that was made or read has bytes")]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let bytes = self.key.key_bytes().expect("the key has bytes");
        Zeroizing::new(bytes.as_ref().to_vec())
    }

    /// The public half.
    pub fn public(&self) -> &[u8; PUBLIC_BYTES] {
        &self.public
    }

    /// The secret inside `ciphertext`. One that was made for another key, or changed, gives
    /// another secret, not an error (implicit rejection).
    ///
    /// # Errors
    /// [`Malformed`] if the length is wrong.
    pub fn decapsulate(&self, ciphertext: &[u8]) -> Result<Shared, Malformed> {
        if ciphertext.len() != CIPHERTEXT_BYTES {
            return Err(Malformed);
        }
        let shared = self.key.decapsulate(Ciphertext::from(ciphertext)).map_err(|_| Malformed)?;
        take(&shared)
    }
}

/// A fresh secret and the ciphertext that carries it to the holder of `public`.
///
/// # Errors
/// [`Malformed`] if `public` is no key (FIPS 203, 7.2: length and modulus).
pub fn encapsulate(public: &[u8]) -> Result<(Box<[u8; CIPHERTEXT_BYTES]>, Shared), Malformed> {
    let key = EncapsulationKey::new(&ML_KEM_768, public).map_err(|_| Malformed)?;
    let (ciphertext, shared) = key.encapsulate().map_err(|_| Malformed)?;
    let ciphertext = ciphertext.as_ref().first_chunk().ok_or(Malformed)?;
    Ok((Box::new(*ciphertext), take(&shared)?))
}

fn take(shared: &SharedSecret) -> Result<Shared, Malformed> {
    shared.as_ref().first_chunk().map(|bytes| Zeroizing::new(*bytes)).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ml_kem::kem::{Decapsulate as _, KeyExport as _};
    use ml_kem::{Ciphertext, DecapsulationKey, MlKem768};

    #[expect(deprecated, reason = "the expanded form is what the backend stores")]
    fn reference(seed: u8) -> (DecapsulationKey<MlKem768>, Vec<u8>) {
        use ml_kem::ExpandedKeyEncoding as _;
        let key = DecapsulationKey::<MlKem768>::from_seed([seed; 64].into());
        let bytes = key.to_expanded_bytes().to_vec();
        (key, bytes)
    }

    #[test]
    fn it_and_another_implementation_understand_each_other() {
        let (theirs, bytes) = reference(3);
        let ours = Secret::from_bytes(&bytes).unwrap();
        assert_eq!(ours.public()[..], theirs.encapsulation_key().to_bytes()[..]);
        let (ciphertext, shared) = encapsulate(ours.public()).unwrap();
        let ciphertext: Ciphertext<MlKem768> = ciphertext[..].try_into().unwrap();
        assert_eq!(theirs.decapsulate(&ciphertext)[..], shared[..]);
        let (ciphertext, shared) =
            theirs.encapsulation_key().encapsulate_deterministic(&[4; 32].into());
        assert_eq!(ours.decapsulate(&ciphertext).unwrap()[..], shared[..]);
    }

    #[test]
    fn a_stored_key_comes_back_whole() {
        let first = Secret::generate();
        let again = Secret::from_bytes(&first.to_bytes()).unwrap();
        assert_eq!(first.public(), again.public());
        let (ciphertext, shared) = encapsulate(again.public()).unwrap();
        assert_eq!(first.decapsulate(&*ciphertext).unwrap(), shared);
    }

    #[test]
    fn halves_of_different_keys_are_refused() {
        let (mut bytes, other) = (reference(1).1, reference(2).1);
        bytes[..PUBLIC_OFFSET].copy_from_slice(&other[..PUBLIC_OFFSET]);
        assert_eq!(Secret::from_bytes(&bytes).err(), Some(Malformed));
        assert_eq!(Secret::from_bytes(&bytes[1..]).err(), Some(Malformed));
    }

    #[test]
    fn what_is_no_key_or_ciphertext_is_refused() {
        assert_eq!(encapsulate(&[0xff; PUBLIC_BYTES]).err(), Some(Malformed));
        assert_eq!(encapsulate(&[0; PUBLIC_BYTES - 1]).err(), Some(Malformed));
        let secret = Secret::generate();
        assert_eq!(secret.decapsulate(&[0; CIPHERTEXT_BYTES + 1]).err(), Some(Malformed));
        assert!(secret.decapsulate(&[0; CIPHERTEXT_BYTES]).is_ok());
    }
}
