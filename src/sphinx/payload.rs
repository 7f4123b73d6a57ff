//! The payload delta: padding, keys, layers.
//!
//! A plaintext is 16 zeros, the message, 0x01, zeros to the end. The zeros in front are the
//! recipient's integrity check: a payload that was changed on its way comes out random.

use super::geometry::PAYLOAD_OVERHEAD_BYTES;
use crate::crypto::lioness;
use crate::crypto::sha256::Hkdf;
use crate::crypto::tier::Tier;
use std::iter::once;
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// The zeros in front of a message.
const ZEROS_BYTES: usize = 16;
/// What stands behind a message.
const END: u8 = 1;

const _: () = assert!(ZEROS_BYTES + 1 == PAYLOAD_OVERHEAD_BYTES);

/// What a payload key of the seed versions grows from.
pub(super) type Seed = [u8; 16];

static SEEDED_KEYS: LazyLock<Hkdf<{ lioness::KEY_BYTES }>> = LazyLock::new(|| {
    Hkdf::new(
        b"sphinx-payload-key-V01-CS01-HKDF:SHA256-SALT",
        b"sphinx-payload-key-V01-CS01-HKDF:SHA256-INFO",
    )
});

/// The message in an opened payload; nothing if the payload was changed on its way, or is a reply
/// that only its reply block's creator can open.
pub fn open(payload: &[u8]) -> Option<&[u8]> {
    let (zeros, padded) = payload.split_at_checked(ZEROS_BYTES)?;
    if zeros.iter().any(|&byte| byte != 0) {
        return None;
    }
    let end = padded.iter().rposition(|&byte| byte == END)?;
    Some(&padded[..end])
}

/// Writes `message` as a plaintext that fills `payload`; the caller has checked that it fits.
pub(super) fn pad(message: &[u8], payload: &mut [u8]) {
    let (zeros, padded) = payload.split_at_mut(ZEROS_BYTES);
    let (text, end) = padded.split_at_mut(message.len());
    zeros.fill(0);
    text.copy_from_slice(message);
    end.fill(0);
    end[0] = END;
}

/// For each job (seed, key): derives the payload key.
pub(super) fn derive_keys<'a>(
    tier: Tier,
    jobs: impl Iterator<Item = (&'a Seed, &'a mut lioness::Key)>,
) {
    SEEDED_KEYS.derive(tier, jobs);
}

/// The payload key that grows from `seed`.
pub(super) fn seeded_key(tier: Tier, seed: &Seed) -> Zeroizing<lioness::Key> {
    let mut key = Zeroizing::new([0; lioness::KEY_BYTES]);
    derive_keys(tier, once((seed, &mut *key)));
    key
}

/// Puts one layer around `payload`.
pub(super) fn add_layer(tier: Tier, key: &lioness::Key, payload: &mut [u8]) {
    lioness::encrypt(tier, once((key, payload)));
}

/// Takes one layer off `payload`.
pub(super) fn remove_layer(tier: Tier, key: &lioness::Key, payload: &mut [u8]) {
    lioness::decrypt(tier, once((key, payload)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_at_every_length_that_fits() {
        for length in 0..=64 - PAYLOAD_OVERHEAD_BYTES {
            let message = vec![END; length];
            let mut payload = [0xff; 64];
            pad(&message, &mut payload);
            assert_eq!(open(&payload), Some(&message[..]));
        }
    }

    #[test]
    fn a_payload_with_any_front_zero_changed_stays_closed() {
        let mut payload = [0; 64];
        pad(b"message", &mut payload);
        for position in 0..ZEROS_BYTES {
            payload[position] = 0x80;
            assert_eq!(open(&payload), None);
            payload[position] = 0;
        }
        assert!(open(&payload).is_some());
    }

    #[test]
    fn payloads_too_short_or_without_an_end_stay_closed() {
        assert_eq!(open(&[0; 15]), None);
        assert_eq!(open(&[0; 16]), None);
        assert_eq!(open(&[0; 64]), None);
        assert_eq!(open(&[]), None);
    }
}
