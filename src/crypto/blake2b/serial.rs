//! Keyed BLAKE2b by the crate `blake2`, message by message: the reference.

use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::{KeyInit, Mac};

pub(super) fn keyed(key: &[u8; 64], message: &[u8], digest: &mut [u8; 32]) {
    let mut mac = Blake2bMac::<U32>::new(key.into());
    mac.update(message);
    *digest = mac.finalize().into_bytes().into();
}
