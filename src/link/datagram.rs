//! The one shape of a datagram: header 16, body, tag 16; every kind, every time the same size.
//!
//! The header is one block under a cipher of its own, so nothing on the wire is constant; it is
//! also the nonce of the body, so it is authenticated without being associated data:
//!
//! | offset | bytes | plaintext |
//! | --- | --- | --- |
//! | 0 | 8 | sequence number, little endian |
//! | 8 | 1 | kind |
//! | 9 | 1 | zero |
//! | 10 | 2 | length of what the body carries, little endian |
//! | 12 | 4 | zero |
//!
//! The block never repeats under a key, so the cipher is a permutation on fresh values and its
//! output is uniform; the zeros tell after one AES block whether a key fits.

use crate::crypto::aead::{self, Forged, NONCE_BYTES, TAG_BYTES};
use crate::crypto::header::{Decryptor, Encryptor};
use zeroize::Zeroizing;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of a datagram that are not body.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;
/// Session sequence numbers end here; a key is retired long before.
pub const SEQUENCE_MAX: u64 = 1 << 36;

/// A header in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Never twice under one key.
    pub sequence: u64,
    /// What the datagram is.
    pub kind: u8,
    /// Bytes of the body that mean something.
    pub length: u16,
}

impl Head {
    fn block(self) -> [u8; HEADER_BYTES] {
        let mut block = [0; HEADER_BYTES];
        block[..8].copy_from_slice(&self.sequence.to_le_bytes());
        block[8] = self.kind;
        block[10..12].copy_from_slice(&self.length.to_le_bytes());
        block
    }

    fn parse(block: [u8; HEADER_BYTES]) -> Option<Self> {
        let [s0, s1, s2, s3, s4, s5, s6, s7, kind, zero, l0, l1, z0, z1, z2, z3] = block;
        let sequence = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let head = Head { sequence, kind, length: u16::from_le_bytes([l0, l1]) };
        (zero | z0 | z1 | z2 | z3 == 0).then_some(head)
    }

    fn nonce(self) -> [u8; NONCE_BYTES] {
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&self.block()[..NONCE_BYTES]);
        nonce
    }
}

/// The two keys of one direction, not yet expanded; wiped when dropped.
pub struct Keys {
    /// Of the header block.
    pub header: Zeroizing<[u8; 32]>,
    /// Of the body.
    pub body: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("datagram::Keys")
    }
}

/// Seals the datagrams of one direction.
#[derive(Debug)]
pub struct Sealer {
    header: Encryptor,
    body: aead::Key,
}

/// Opens the datagrams of one direction.
#[derive(Debug)]
pub struct Opener {
    header: Decryptor,
    body: aead::Key,
}

impl Keys {
    /// The sending half.
    pub fn sealer(&self) -> Sealer {
        Sealer { header: Encryptor::new(&self.header), body: aead::Key::new(&self.body) }
    }

    /// The receiving half.
    pub fn opener(&self) -> Opener {
        Opener { header: Decryptor::new(&self.header), body: aead::Key::new(&self.body) }
    }
}

impl Sealer {
    /// Writes a whole datagram into `out`: `body` is followed by zeros up to the full size.
    ///
    /// # Panics
    /// If `out` is shorter than the body and the overhead.
    pub fn seal(&self, head: Head, body: &[u8], out: &mut [u8]) {
        assert!(out.len() >= body.len() + OVERHEAD_BYTES, "the body fits the datagram");
        let mut block = head.block();
        self.header.encrypt(&mut block);
        let (header, rest) = out.split_at_mut(HEADER_BYTES);
        header.copy_from_slice(&block);
        let (text, tag) = rest.split_at_mut(rest.len() - TAG_BYTES);
        let nonce = head.nonce();
        if let Some(tag) = tag.first_chunk_mut().filter(|_| body.len() == text.len()) {
            self.body.seal(&nonce, &[], body, text, tag);
        } else {
            let (front, padding) = text.split_at_mut(body.len());
            front.copy_from_slice(body);
            padding.fill(0);
            tag.copy_from_slice(&self.body.seal_in_place(&nonce, &[], text));
        }
    }
}

impl Opener {
    /// The header, if this key made it as far as its zeros can tell: an unrelated datagram passes
    /// once in 2^40 times here, and not once the kind, length and sequence number are checked.
    #[inline]
    pub fn head(&self, datagram: &[u8]) -> Option<Head> {
        let mut block = *datagram.first_chunk()?;
        self.header.decrypt(&mut block);
        Head::parse(block)
    }

    /// Checks the datagram under `head` and decrypts its body into `body`.
    ///
    /// # Errors
    /// [`Forged`], also when `body` has another size; `body` then holds nothing of meaning.
    #[inline]
    pub fn open(&self, head: Head, datagram: &[u8], body: &mut [u8]) -> Result<(), Forged> {
        let rest = datagram.get(HEADER_BYTES..).ok_or(Forged)?;
        let (text, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(Forged)?;
        self.body.open(&head.nonce(), &[], text, tag, body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys { header: Zeroizing::new([1; 32]), body: Zeroizing::new([2; 32]) }
    }

    fn head(sequence: u64) -> Head {
        Head { sequence, kind: 1, length: 90 }
    }

    #[test]
    fn a_short_body_is_padded_with_zeros() {
        let (mut short, mut long) = ([0; 200], [0; 200]);
        keys().sealer().seal(head(5), &[9; 90], &mut short);
        let mut body = [0; 168];
        body[..90].fill(9);
        keys().sealer().seal(head(5), &body, &mut long);
        assert_eq!(short, long);
        let mut out = [1; 168];
        let opener = keys().opener();
        assert_eq!(opener.head(&short), Some(head(5)));
        opener.open(head(5), &short, &mut out).unwrap();
        assert_eq!(out, body);
    }

    #[test]
    fn no_length_of_input_makes_it_panic() {
        let opener = keys().opener();
        let mut out = [0; 300];
        for size in 0..=300 {
            let _ = opener.head(&vec![0; size]);
            for body in [0, 1, size.saturating_sub(OVERHEAD_BYTES), 300] {
                assert!(opener.open(head(1), &vec![0; size], &mut out[..body]).is_err());
            }
        }
    }

    #[test]
    fn a_header_with_a_bit_where_zeros_belong_is_not_ours() {
        for byte in [9, 12, 13, 14, 15] {
            for bit in 0..8 {
                let mut block = head(3).block();
                block[byte] |= 1 << bit;
                assert_eq!(Head::parse(block), None);
            }
        }
        assert_eq!(Head::parse(head(3).block()), Some(head(3)));
    }
}
