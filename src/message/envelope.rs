//! The envelope: one part of a message sealed end to end, so that no gateway can read it.
//!
//! | bytes | field |
//! | --- | --- |
//! | 32 | ephemeral X25519 key |
//! | 16 | message id |
//! | 4, 4 | number of this part, from 0, and how many there are, little-endian |
//! | 4 | bytes of the whole message, little-endian |
//! | n | this part of the message, then zeros: n is the same for all parts of a network |
//! | 16 | tag |
//!
//! All behind the ephemeral key is AES-256-GCM ciphertext. Its key is
//! HKDF-SHA256(secret of ephemeral and recipient, salt: both public keys) and is used once, so the
//! nonce is zero. The sender stays unknown to the recipient: nothing in here is signed.
//!
//! An envelope is sealed anew for every packet. If a part that is sent again came in the same
//! envelope, who keeps an acknowledgement from its sender could watch mailboxes for the copy.

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::MessageId;
use super::fragment::Cut;
use crate::crypto::aead::{self, NONCE_BYTES, TAG_BYTES};
use crate::crypto::random::Rng;
use crate::crypto::{field, sha256, x25519};

const EPHEMERAL_BYTES: usize = 32;
/// Offsets in the plaintext.
const NUMBER: usize = size_of::<MessageId>();
const COUNT: usize = NUMBER + 4;
const LENGTH: usize = COUNT + 4;
const CONTENT: usize = LENGTH + 4;
const LABEL: &[u8] = b"mixline envelope 2";

/// Bytes that an envelope adds to a full part.
pub const OVERHEAD_BYTES: usize = EPHEMERAL_BYTES + CONTENT + TAG_BYTES;

/// One part of a message, as the recipient opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// The message it belongs to.
    pub id: MessageId,
    /// Which part this is.
    pub number: u32,
    /// How the message is cut.
    pub cut: Cut,
    /// Its bytes: as many as the cut gives this part.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = out.debug_struct("Part");
        out.field("number", &self.number).field("cut", &self.cut).finish_non_exhaustive()
    }
}

/// Why an envelope could not be opened: it is damaged, or for somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the envelope is damaged or not for this mailbox")]
pub struct NotOpened;

/// Whether something can be sealed to `recipient`: not to a point of low order, whose secrets
/// everybody knows.
pub fn is_usable(recipient: &[u8; 32]) -> bool {
    x25519::Secret::from_bytes([1; 32]).multiply(recipient) != [0; 32]
}

/// Seals `part` to the holder of `recipient`; all parts of one part length come out alike.
///
/// # Errors
/// When `recipient` is not usable.
///
/// # Panics
/// When the part has more bytes than its cut's parts.
pub fn seal(part: &Part, recipient: &[u8; 32], rng: &mut Rng) -> Result<Vec<u8>, NotOpened> {
    let ephemeral = x25519::Secret::random(rng);
    let public = ephemeral.public();
    let key = key(&ephemeral, recipient, &public, recipient)?;
    let mut sealed = vec![0; OVERHEAD_BYTES + part.cut.part_bytes()];
    let (head, tag) = sealed.split_at_mut(OVERHEAD_BYTES + part.cut.part_bytes() - TAG_BYTES);
    let (front, plain) = head.split_at_mut(EPHEMERAL_BYTES);
    front.copy_from_slice(&public);
    write(part, plain);
    tag.copy_from_slice(&aead::Key::new(&key).seal_in_place(&[0; NONCE_BYTES], &[], plain));
    Ok(sealed)
}

/// Opens an envelope with the mailbox's secret.
///
/// # Errors
/// One for all causes: too short, damaged, sealed to another key, or what its sender wrote is no
/// part of a message.
pub fn open(sealed: &[u8], secret: &x25519::Secret) -> Result<Part, NotOpened> {
    let (ephemeral, rest) = sealed.split_first_chunk::<EPHEMERAL_BYTES>().ok_or(NotOpened)?;
    let plain_bytes = rest.len().checked_sub(TAG_BYTES).ok_or(NotOpened)?;
    let (body, tag) = rest.split_at(plain_bytes);
    let key = key(secret, ephemeral, ephemeral, &secret.public())?;
    let mut plain = vec![0; plain_bytes];
    aead::Key::new(&key)
        .open(&[0; NONCE_BYTES], &[], body, tag, &mut plain)
        .map_err(|aead::Forged| NotOpened)?;
    read(plain).ok_or(NotOpened)
}

fn write(part: &Part, plain: &mut [u8]) {
    let message_bytes = u32::try_from(part.cut.message_bytes()).unwrap_or(u32::MAX);
    plain[..NUMBER].copy_from_slice(&part.id);
    plain[NUMBER..COUNT].copy_from_slice(&part.number.to_le_bytes());
    plain[COUNT..LENGTH].copy_from_slice(&part.cut.parts().to_le_bytes());
    plain[LENGTH..CONTENT].copy_from_slice(&message_bytes.to_le_bytes());
    plain[CONTENT..][..part.content.len()].copy_from_slice(&part.content);
}

/// The part in an opened envelope, if the numbers fit each other and the rest is zeros.
fn read(mut plain: Vec<u8>) -> Option<Part> {
    let part_bytes = plain.len().checked_sub(CONTENT)?;
    let number = |offset| u32::from_le_bytes(*field(&plain, offset));
    let cut = Cut::new(number(LENGTH) as usize, part_bytes)?;
    let (id, count, number) = (*field(&plain, 0), number(COUNT), number(NUMBER));
    let end = CONTENT + cut.range(number)?.len();
    if count != cut.parts() || plain[end..].iter().any(|&byte| byte != 0) {
        return None;
    }
    plain.truncate(end);
    plain.drain(..CONTENT);
    Some(Part { id, number, cut, content: plain })
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

    /// The last part of a message in parts of ten bytes.
    fn last_part(content: &[u8]) -> Part {
        let cut = Cut::new(20 + content.len(), 10).unwrap();
        Part { id: [7; 16], number: 2, cut, content: content.to_vec() }
    }

    #[test]
    fn what_was_sealed_opens_with_the_right_secret_only() {
        let mut rng = Rng::from_seed([1; 32]);
        let (secret, other) = (x25519::Secret::random(&mut rng), x25519::Secret::random(&mut rng));
        let sealed = seal(&last_part(b"hello"), &secret.public(), &mut rng).unwrap();
        assert_eq!(open(&sealed, &secret), Ok(last_part(b"hello")));
        assert_eq!(open(&sealed, &other), Err(NotOpened));
    }

    #[test]
    fn envelopes_of_a_full_and_of_a_short_part_have_one_length_and_no_byte_in_common() {
        let mut rng = Rng::from_seed([4; 32]);
        let public = x25519::Secret::random(&mut rng).public();
        let full = seal(&last_part(b"0123456789"), &public, &mut rng).unwrap();
        let short = seal(&last_part(b"0"), &public, &mut rng).unwrap();
        assert_eq!((full.len(), short.len()), (10 + OVERHEAD_BYTES, 10 + OVERHEAD_BYTES));
        let alike = full.iter().zip(&short).filter(|(a, b)| a == b).count();
        assert!(alike < 8, "{alike} bytes alike");
    }

    #[test]
    fn a_part_sealed_twice_is_not_known_again() {
        let mut rng = Rng::from_seed([5; 32]);
        let public = x25519::Secret::random(&mut rng).public();
        let [first, second] = [0; 2].map(|_| seal(&last_part(b"x"), &public, &mut rng).unwrap());
        let alike = first.iter().zip(&second).filter(|(a, b)| a == b).count();
        assert!(alike < 8, "{alike} bytes alike");
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_refused() {
        let mut rng = Rng::from_seed([2; 32]);
        let secret = x25519::Secret::random(&mut rng);
        let sealed = seal(&last_part(b"x"), &secret.public(), &mut rng).unwrap();
        // The top bit of a public key is no part of it, but the salt has it.
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
    fn numbers_that_do_not_fit_each_other_are_refused() {
        let mut good = vec![0; CONTENT + 10];
        write(&last_part(b"hello"), &mut good);
        assert_eq!(read(good.clone()), Some(last_part(b"hello")));
        for (offset, byte) in [(NUMBER, 3), (COUNT, 4), (LENGTH, 20), (LENGTH, 0), (LENGTH + 3, 1)]
        {
            let mut bad = good.clone();
            bad[offset] = byte;
            assert_eq!(read(bad), None, "{byte} at {offset}");
        }
        let mut padded = good.clone();
        padded[CONTENT + 9] = 1;
        assert_eq!(read(padded), None);
        assert_eq!(read(good[..CONTENT].to_vec()), None);
    }

    #[test]
    fn a_recipient_key_of_low_order_is_refused() {
        let mut rng = Rng::from_seed([3; 32]);
        assert!(!is_usable(&[0; 32]));
        assert_eq!(seal(&last_part(b"x"), &[0; 32], &mut rng), Err(NotOpened));
        assert!(is_usable(&x25519::Secret::random(&mut rng).public()));
    }
}
