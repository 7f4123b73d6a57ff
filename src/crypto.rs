//! Primitives as safe facades over batches; no protocol.
//!
//! One backend per file below each facade, chosen once at run time; `serial` is the reference.
//! A batched primitive takes an iterator of jobs, each a tuple of borrowed inputs and the output
//! written in place: the caller leaves out what it has refused, a backend takes as many jobs at a
//! time as it has lanes.

pub mod tier;
pub mod wipe;
#[cfg(target_arch = "x86_64")]
mod vectors;
mod lanes;
pub mod random;
pub mod sha256;
pub mod x25519;
pub mod blake2b;
pub mod chacha20;
pub mod aes_ctr;
pub mod lioness;
pub mod aead;
pub mod header;
pub mod kem;

use arrayvec::ArrayVec;

/// Hands out `jobs` by groups of `JOBS` in their order, the last perhaps smaller, none empty.
pub(crate) fn for_groups<Job, const JOBS: usize>(
    mut jobs: impl Iterator<Item = Job>,
    mut each: impl FnMut(&mut [Job]),
) {
    let mut group = ArrayVec::<Job, JOBS>::new();
    loop {
        group.extend(jobs.by_ref().take(JOBS));
        if group.is_empty() {
            return;
        }
        each(&mut group);
        group.clear();
    }
}

/// The `N` bytes of `bytes` from `offset` on.
///
/// # Panics
/// When they are not there: offsets come from a format, lengths were checked before.
pub(crate) fn field<const N: usize>(bytes: &[u8], offset: usize) -> &[u8; N] {
    &bytes[offset..].as_chunks().0[0]
}

/// XORs `mask` into the first bytes of `out`, as far as both reach.
pub(crate) fn xor_into(out: &mut [u8], mask: &[u8]) {
    for (byte, mask) in out.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// Calls `check` with every tier, sizes of a batch for which every backend has a kernel of its own,
/// and every lane of them.
#[cfg(test)]
pub(crate) fn for_every_lane(mut check: impl FnMut(tier::Tier, usize, usize)) {
    for tier in tier::Tier::all() {
        for batch in [1, 8, 16, 32] {
            (0..batch).for_each(|lane| check(tier, batch, lane));
        }
    }
}
