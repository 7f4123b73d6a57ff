//! X25519 (RFC 7748): secrets, the points of a batch, products of scalars.
//!
//! Low-order points are not refused here: the caller checks for the all-zero result, because only
//! it knows whose fault that is.

use super::random::Rng;
use curve25519_dalek::{MontgomeryPoint, Scalar, scalar::clamp_integer};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A u-coordinate, little-endian.
pub type Point = [u8; 32];

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

    /// The secret's bytes as they were given, not clamped.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key: this secret times the base point.
    pub fn public(&self) -> Point {
        MontgomeryPoint::mul_base_clamped(self.0).to_bytes()
    }

    /// This secret times `point`; all zero when the point has low order.
    pub fn multiply(&self, point: &Point) -> Point {
        multiply(&self.0, point)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret")
    }
}

/// The points of one batch, each of which is multiplied twice: by a node's secret, then by the
/// blinding factor that this gave.
///
/// They have an owner, instead of being an argument, so that a backend may keep between the two
/// multiplications what it computed of a point (its chain of doublings is half of the work).
#[derive(Debug)]
pub struct Points(Box<[Point]>);

impl Points {
    /// Room for `lanes` points.
    pub fn new(lanes: usize) -> Self {
        Points(vec![[0; 32]; lanes].into())
    }

    /// Puts `point` into `lane`.
    pub fn load(&mut self, lane: usize, point: &Point) {
        self.0[lane] = *point;
    }

    /// For each job (lane, scalar, product): multiplies the lane's point by the clamped scalar.
    pub fn multiply<'a>(
        &mut self,
        jobs: impl Iterator<Item = (usize, &'a [u8; 32], &'a mut Point)>,
    ) {
        for (lane, scalar, product) in jobs {
            *product = multiply(scalar, &self.0[lane]);
        }
    }
}

/// A product of clamped scalars: multiplies a point by all of them at the price of one.
///
/// A sender's secret for a hop is that hop's key times its own scalar times every earlier blinding
/// factor. The product is kept as t, with 8t congruent to it modulo the order l of the base point.
/// Multiplying by 8t kills a point's torsion just as the clamped scalars do one after the other,
/// so the result is the same for every point on the curve. (On its twist, which has another order,
/// it is not: no honest key lies there.)
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Product(Scalar);

impl Product {
    /// The product of one scalar.
    pub fn new(secret: &Secret) -> Self {
        let mut clamped = clamp_integer(secret.0);
        let mut carry = 0;
        for byte in clamped.iter_mut().rev() {
            let low = *byte << 5;
            *byte = *byte >> 3 | carry;
            carry = low;
        }
        let product = Product(Scalar::from_bytes_mod_order(clamped));
        clamped.zeroize();
        product
    }

    /// Takes in one more scalar.
    pub fn include(&mut self, scalar: &[u8; 32]) {
        let mut factor = Scalar::from_bytes_mod_order(clamp_integer(*scalar));
        self.0 *= factor;
        factor.zeroize();
    }

    /// The product times `point`; all zero when the point has low order.
    pub fn multiply(&self, point: &Point) -> Point {
        let bytes = self.0.as_bytes();
        let bits = (0..253).rev().map(|bit| bytes[bit / 8] >> (bit % 8) & 1 == 1);
        let eightfold = bits.chain([false; 3]);
        MontgomeryPoint(*point).mul_bits_be(eightfold).to_bytes()
    }
}

impl std::fmt::Debug for Product {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Product")
    }
}

fn multiply(scalar: &[u8; 32], point: &Point) -> Point {
    MontgomeryPoint(*point).mul_clamped(*scalar).to_bytes()
}
