//! The bare X25519 multiplication of `aws-lc`: its safe call computes the public key too.

#![allow(unsafe_code)]

/// `scalar` times `point`.
pub(crate) fn multiply(scalar: &[u8; 32], point: &[u8; 32]) -> [u8; 32] {
    let mut product = [0; 32];
    // SAFETY: the three arguments are 32 bytes each, to write, to read and to read.
    let has_order =
        unsafe { aws_lc_sys::X25519(product.as_mut_ptr(), scalar.as_ptr(), point.as_ptr()) };
    assert_eq!(has_order, 1, "no point here has low order");
    product
}
