//! X25519 (RFC 7748): secrets, and multiplication of points.
//!
//! Low-order points are not refused here: whoever needs a contributory secret checks for the
//! all-zero result, because only the caller knows whose fault it is.

use super::random::Rng;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret scalar, clamped when it is used; wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The secret with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Secret(bytes)
    }

    /// A fresh secret.
    pub fn random(rng: &mut Rng) -> Self {
        Secret(rng.bytes())
    }

    /// The secret's bytes, unclamped, as they were given.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key: this secret times the base point.
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&StaticSecret::from(self.0)).to_bytes()
    }

    /// This secret times `point`; all zero when the point has low order.
    pub fn multiply(&self, point: &[u8; 32]) -> [u8; 32] {
        x25519_dalek::x25519(self.0, *point)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret")
    }
}
