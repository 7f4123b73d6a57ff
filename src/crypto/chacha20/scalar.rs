//! ChaCha20 by the assembly of `aws-lc`, text by text.

#![allow(unsafe_code)]

pub(super) fn xor(key: &[u8; 32], text: &mut [u8]) {
    const NONCE: [u8; 12] = [0; 12];
    let text_ptr = text.as_mut_ptr();
    // SAFETY: key and nonce have the lengths that the function takes, 32 and 12 bytes; it may
    // write where it reads, and does both within the text.
    unsafe {
        aws_lc_sys::CRYPTO_chacha_20(
            text_ptr,
            text_ptr,
            text.len(),
            key.as_ptr(),
            NONCE.as_ptr(),
            0,
        );
    }
}
