//! Keyed BLAKE2b by the crate `blake2`, message by message: the reference.

use super::Job;
use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::{KeyInit, Mac};

pub(super) fn keyed<'a>(jobs: impl Iterator<Item = Job<'a>>) {
    for (key, message, digest) in jobs {
        let mut mac = Blake2bMac::<U32>::new(key.into());
        mac.update(message);
        *digest = mac.finalize().into_bytes().into();
    }
}
