//! The reference: `x25519-dalek`.

use super::Point;
use curve25519_dalek::MontgomeryPoint;

/// The clamped scalar times `point`.
pub(super) fn multiply(scalar: &[u8; 32], point: &Point) -> Point {
    x25519_dalek::x25519(*scalar, *point)
}

/// Whether `point` lies on the curve and not on its twist.
pub(super) fn is_on_curve(point: &Point) -> bool {
    MontgomeryPoint(*point).to_edwards(0).is_some()
}
