//! The trust anchor: the little that must be known beforehand to believe everything else.

use super::is_name;
use crate::crypto::sha256;
use data_encoding::HEXLOWER;
use ed25519_dalek::VerifyingKey;

/// More authorities than any network has: bounds the work that a document can ask for.
const AUTHORITIES_MAX: usize = 64;

/// Why a network's file makes no trust anchor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// The name is empty, too long, or has other characters than `a-z`, `0-9` and `-`.
    #[error("network name {0:?}: use 1 to 63 lowercase letters, digits and hyphens")]
    Name(String),
    /// No authority at all, or more than a network may have.
    #[error("{0} authorities: a network has 1 to {AUTHORITIES_MAX}")]
    Count(usize),
    /// Not the public key of anything.
    #[error("authority {}: not an Ed25519 public key", HEXLOWER.encode(.0))]
    Key([u8; 32]),
    /// The same authority twice.
    #[error("authority {} is named twice", HEXLOWER.encode(.0))]
    Repeated([u8; 32]),
    /// A threshold that nobody or everybody could reach.
    #[error(
        "threshold {threshold} of {authorities} authorities: allowed are {least} to {authorities}"
    )]
    Threshold {
        /// The threshold that was asked for.
        threshold: usize,
        /// How many authorities there are.
        authorities: usize,
        /// The least that keeps two halves of the authorities from signing two documents.
        least: usize,
    },
}

/// A network's name and the keys of its authorities, of whom `threshold` must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustAnchor {
    network: String,
    /// In ascending order.
    authorities: Vec<[u8; 32]>,
    threshold: usize,
}

impl TrustAnchor {
    /// The anchor of `network`; without a `threshold`, a majority must sign.
    ///
    /// # Errors
    /// When the name, a key or the threshold cannot be one.
    pub fn new(
        network: &str,
        mut authorities: Vec<[u8; 32]>,
        threshold: Option<usize>,
    ) -> Result<Self, AnchorError> {
        if !is_name(network) {
            return Err(AnchorError::Name(network.into()));
        }
        authorities.sort_unstable();
        check_keys(&authorities)?;
        let least = authorities.len() / 2 + 1;
        let threshold = threshold.unwrap_or(least);
        if !(least..=authorities.len()).contains(&threshold) {
            return Err(AnchorError::Threshold {
                threshold,
                authorities: authorities.len(),
                least,
            });
        }
        Ok(TrustAnchor { network: network.into(), authorities, threshold })
    }

    /// The network's name.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// The authorities' Ed25519 public keys, in ascending order.
    pub fn authorities(&self) -> &[[u8; 32]] {
        &self.authorities
    }

    /// How many authorities must sign.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The hash of name, keys and threshold: what tells this network from every other, also of
    /// the same name. Links prove to share it.
    pub fn genesis(&self) -> [u8; 32] {
        let name_bytes = (self.network.len() as u64).to_be_bytes();
        let threshold = (self.threshold as u64).to_be_bytes();
        let keys = self.authorities.concat();
        sha256::digest(&[
            b"mixline genesis v1",
            &name_bytes,
            self.network.as_bytes(),
            &threshold,
            &keys,
        ])
    }
}

/// Checks `keys`, which are in ascending order.
fn check_keys(keys: &[[u8; 32]]) -> Result<(), AnchorError> {
    if !(1..=AUTHORITIES_MAX).contains(&keys.len()) {
        return Err(AnchorError::Count(keys.len()));
    }
    for key in keys {
        if !VerifyingKey::from_bytes(key).is_ok_and(|key| !key.is_weak()) {
            return Err(AnchorError::Key(*key));
        }
    }
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(AnchorError::Repeated(pair[0])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;
    use crate::pki::SigningKey;

    fn keys<const N: usize>() -> Vec<[u8; 32]> {
        let mut rng = Rng::from_seed([1; 32]);
        (0..N).map(|_| SigningKey::generate(&mut rng).public()).collect()
    }

    #[test]
    fn a_majority_is_the_default_and_the_least() {
        assert_eq!(TrustAnchor::new("n", keys::<4>(), None).unwrap().threshold(), 3);
        let minority = TrustAnchor::new("n", keys::<4>(), Some(2));
        assert!(matches!(minority, Err(AnchorError::Threshold { least: 3, .. })));
        assert!(TrustAnchor::new("n", keys::<4>(), Some(5)).is_err());
    }

    #[test]
    fn the_order_of_the_authorities_does_not_change_the_network() {
        let mut turned = keys::<3>();
        turned.rotate_left(1);
        let anchor = |keys| TrustAnchor::new("n", keys, None).unwrap();
        assert_eq!(anchor(turned).genesis(), anchor(keys::<3>()).genesis());
        assert_ne!(anchor(keys::<2>()).genesis(), anchor(keys::<3>()).genesis());
    }

    #[test]
    fn repeated_and_impossible_keys_are_refused() {
        let twice = vec![keys::<1>()[0]; 2];
        assert!(matches!(TrustAnchor::new("n", twice, None), Err(AnchorError::Repeated(_))));
        // The identity element: everybody can sign for it.
        let mut weak = [0; 32];
        weak[0] = 1;
        assert_eq!(TrustAnchor::new("n", vec![weak], None), Err(AnchorError::Key(weak)));
    }
}
