//! The envelope: a message sealed end to end, so that no gateway can read it.
//!
//! | bytes | field |
//! | --- | --- |
//! | 32 | ephemeral X25519 key |
//! | 16 | message id |
//! | 2, 2 | part and number of parts, little-endian |
//! | n | the message |
//! | 16 | tag |
//!
//! All behind the ephemeral key is AES-256-GCM ciphertext. Its key is
//! HKDF-SHA256(secret of ephemeral and recipient, salt: both public keys) and is used once, so the
//! nonce is zero. The sender stays unknown to the recipient: nothing in here is signed.

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::crypto::aead::{self, NONCE_BYTES, TAG_BYTES};
use crate::crypto::random::Rng;
use crate::crypto::{sha256, x25519};

const EPHEMERAL_BYTES: usize = 32;
const ID_BYTES: usize = 16;
const HEAD_BYTES: usize = ID_BYTES + 2 + 2;
const LABEL: &[u8] = b"mixline envelope 1";

/// Bytes that an envelope adds to its message.
pub const OVERHEAD_BYTES: usize = EPHEMERAL_BYTES + HEAD_BYTES + TAG_BYTES;

/// Names a message, so that a copy is known for one.
pub type MessageId = [u8; ID_BYTES];

/// One part of a message, as the recipient opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The message it belongs to.
    pub id: MessageId,
    /// Which part this is.
    pub number: u16,
    /// How many there are.
    pub count: u16,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// Why an envelope could not be opened: it is damaged, or for somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the envelope is damaged or not for this mailbox")]
pub struct NotOpened;

/// Seals `part` to the holder of `recipient`.
///
/// # Errors
/// When `recipient` is no usable key (a point of low order).
pub fn seal(part: &Part, recipient: &[u8; 32], rng: &mut Rng) -> Result<Vec<u8>, NotOpened> {
    let ephemeral = x25519::Secret::random(rng);
    let public = ephemeral.public();
    let key = key(&ephemeral, recipient, &public, recipient)?;
    let mut plain = Vec::with_capacity(HEAD_BYTES + part.content.len());
    plain.extend_from_slice(&part.id);
    plain.extend_from_slice(&part.number.to_le_bytes());
    plain.extend_from_slice(&part.count.to_le_bytes());
    plain.extend_from_slice(&part.content);
    let mut sealed = vec![0; EPHEMERAL_BYTES + plain.len() + TAG_BYTES];
    sealed[..EPHEMERAL_BYTES].copy_from_slice(&public);
    let (body, tag) = sealed[EPHEMERAL_BYTES..].split_last_chunk_mut().ok_or(NotOpened)?;
    aead::Key::new(&key).seal(&[0; NONCE_BYTES], &[], &plain, body, tag);
    Ok(sealed)
}

/// Opens an envelope with the mailbox's secret.
///
/// # Errors
/// One for all causes: too short, damaged, sealed to another key.
pub fn open(sealed: &[u8], secret: &x25519::Secret) -> Result<Part, NotOpened> {
    let (ephemeral, rest) = sealed.split_first_chunk::<EPHEMERAL_BYTES>().ok_or(NotOpened)?;
    let plain_bytes = rest.len().checked_sub(TAG_BYTES).ok_or(NotOpened)?;
    let (body, tag) = rest.split_at(plain_bytes);
    let key = key(secret, ephemeral, ephemeral, &secret.public())?;
    let mut plain = vec![0; plain_bytes];
    aead::Key::new(&key)
        .open(&[0; NONCE_BYTES], &[], body, tag, &mut plain)
        .map_err(|aead::Forged| NotOpened)?;
    let (id, rest) = plain.split_first_chunk::<ID_BYTES>().ok_or(NotOpened)?;
    let (number, rest) = rest.split_first_chunk::<2>().ok_or(NotOpened)?;
    let (count, content) = rest.split_first_chunk::<2>().ok_or(NotOpened)?;
    Ok(Part {
        id: *id,
        number: u16::from_le_bytes(*number),
        count: u16::from_le_bytes(*count),
        content: content.to_vec(),
    })
}

fn key(
    secret: &x25519::Secret,
    other: &[u8; 32],
    ephemeral: &[u8; 32],
    recipient: &[u8; 32],
) -> Result<Zeroizing<[u8; 32]>, NotOpened> {
    let shared = Zeroizing::new(secret.multiply(other));
    if shared.ct_eq(&[0; 32]).into() {
        return Err(NotOpened);
    }
    let salt = [&ephemeral[..], &recipient[..]].concat();
    let prk = Zeroizing::new(sha256::hmac(&salt, &[&*shared]));
    Ok(Zeroizing::new(sha256::hmac(&*prk, &[LABEL, &[1]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(content: &[u8]) -> Part {
        Part { id: [7; 16], number: 0, count: 1, content: content.to_vec() }
    }

    #[test]
    fn what_was_sealed_opens_with_the_right_secret_only() {
        let mut rng = Rng::from_seed([1; 32]);
        let (secret, other) = (x25519::Secret::random(&mut rng), x25519::Secret::random(&mut rng));
        let sealed = seal(&part(b"hello"), &secret.public(), &mut rng).unwrap();
        assert_eq!(sealed.len(), 5 + OVERHEAD_BYTES);
        assert_eq!(open(&sealed, &secret), Ok(part(b"hello")));
        assert_eq!(open(&sealed, &other), Err(NotOpened));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let mut rng = Rng::from_seed([2; 32]);
        let secret = x25519::Secret::random(&mut rng);
        let sealed = seal(&part(b"x"), &secret.public(), &mut rng).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&changed, &secret), Err(NotOpened), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(open(&sealed[..length], &secret), Err(NotOpened), "length {length}");
        }
    }

    #[test]
    fn a_recipient_key_of_low_order_is_refused() {
        let mut rng = Rng::from_seed([3; 32]);
        assert_eq!(seal(&part(b"x"), &[0; 32], &mut rng), Err(NotOpened));
    }
}
