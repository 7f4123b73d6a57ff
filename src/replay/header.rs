//! The first bytes of a table's file: whose it is, and the key that it belongs to.
//!
//! They are written once, before the file has its name, and checked as a whole. All numbers are
//! little-endian; the word of the state lies behind them and changes on its own.

use crate::crypto::sha256;
use crate::crypto::x25519::Secret;
use zeroize::Zeroizing;

/// Bytes of the text of a boot id, a UUID.
pub(super) const BOOT_ID_BYTES: usize = 36;
/// Bytes of a header with its checksum.
pub(super) const BYTES: usize = CHECKED_BYTES + 32;

const CHECKED_BYTES: usize = 8 + 8 + 8 + 8 + 32 + 16 + 32 + BOOT_ID_BYTES;
const MAGIC: [u8; 8] = *b"mixepoch";
const VERSION: u64 = 1;

/// What a table's file says about itself.
pub(super) struct Header {
    pub(super) epoch: u64,
    pub(super) lines: u64,
    pub(super) hash_key: Zeroizing<[u8; 16]>,
    pub(super) secret: Secret,
    /// The boot of the machine in which it was made.
    pub(super) boot_id: [u8; BOOT_ID_BYTES],
}

impl Header {
    /// The bytes of the file's beginning.
    pub(super) fn encode(&self) -> Zeroizing<[u8; BYTES]> {
        let mut bytes = Zeroizing::new([0; BYTES]);
        let parts: [&[u8]; 8] = [
            &MAGIC,
            &VERSION.to_le_bytes(),
            &self.epoch.to_le_bytes(),
            &self.lines.to_le_bytes(),
            &key_id(&self.secret),
            &*self.hash_key,
            self.secret.as_bytes(),
            &self.boot_id,
        ];
        let mut end = 0;
        for part in parts {
            bytes[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        let checksum = sha256::digest(&[&bytes[..end]]);
        bytes[end..].copy_from_slice(&checksum);
        bytes
    }

    /// The header that `bytes` spell; nothing if they were not written by [`Header::encode`].
    pub(super) fn decode(bytes: &[u8; BYTES]) -> Option<Self> {
        let (checked, checksum) = bytes.split_at(CHECKED_BYTES);
        if sha256::digest(&[checked])[..] != *checksum {
            return None;
        }
        let (magic, rest) = checked.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (epoch, rest) = rest.split_first_chunk()?;
        let (lines, rest) = rest.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk::<32>()?;
        let (hash_key, rest) = rest.split_first_chunk()?;
        let (secret, rest) = rest.split_first_chunk()?;
        let boot_id = rest.first_chunk()?;
        let secret = Secret::from_bytes(*secret);
        let is_ours = *magic == MAGIC && u64::from_le_bytes(*version) == VERSION;
        (is_ours && *id == key_id(&secret)).then(|| Header {
            epoch: u64::from_le_bytes(*epoch),
            lines: u64::from_le_bytes(*lines),
            hash_key: Zeroizing::new(*hash_key),
            secret,
            boot_id: *boot_id,
        })
    }
}

/// Names a key without saying it.
fn key_id(secret: &Secret) -> [u8; 32] {
    sha256::digest(&[&secret.public()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            epoch: 7,
            lines: 16,
            hash_key: Zeroizing::new([1; 16]),
            secret: Secret::from_bytes([2; 32]),
            boot_id: *b"01234567-89ab-cdef-0123-456789abcdef",
        }
    }

    #[test]
    fn a_header_is_the_same_after_bytes_and_back() {
        let header = header();
        let again = Header::decode(&header.encode()).unwrap();
        assert_eq!((again.epoch, again.lines, again.boot_id), (7, 16, header.boot_id));
        assert_eq!(again.hash_key, header.hash_key);
        assert_eq!(again.secret.as_bytes(), header.secret.as_bytes());
    }

    #[test]
    fn a_header_with_any_bit_changed_is_none() {
        let bytes = header().encode();
        for place in 0..BYTES {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << (place % 8);
            assert!(Header::decode(&changed).is_none(), "byte {place}");
        }
    }
}
