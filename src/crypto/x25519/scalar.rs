//! The fastest for single points: the assembly of `aws-lc`.

#![allow(unsafe_code)]

use super::Point;

/// The clamped scalar times `point`.
pub(super) fn multiply(scalar: &[u8; 32], point: &Point) -> Point {
    let mut product = [0; 32];
    // SAFETY: each of the pointers is to 32 bytes, read or written whole; no state is shared.
    // What it returns, 0, says only that the product is all zero.
    unsafe { aws_lc_sys::X25519(product.as_mut_ptr(), scalar.as_ptr(), point.as_ptr()) };
    product
}
