//! Mailboxes: a pair of keys, and the address that others write to.
//!
//! An address says nothing about its owner but the gateway where the mailbox lies. People copy
//! addresses by hand: a checksum finds what they mistype before anything is sent to nobody.

use super::keys::{KeyFile, Kind};
use super::{KeyError, NodeId, SigningKey};
use crate::crypto::random::Rng;
use crate::crypto::{sha256, x25519};
use data_encoding::BASE32_NOPAD_NOCASE;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use zeroize::Zeroizing;

const MAILBOX: Kind = Kind { name: "mailbox keys 1", bytes: 64 };
/// Bytes of the three keys in an address.
const KEYS_BYTES: usize = 3 * 32;
/// Bytes of the checksum: one mistake in four thousand million goes unseen.
const CHECKSUM_BYTES: usize = 4;
/// Characters of an address: five bits each, none left over.
const ADDRESS_CHARS: usize = (KEYS_BYTES + CHECKSUM_BYTES) * 8 / 5;

const _: () = assert!(ADDRESS_CHARS * 5 == (KEYS_BYTES + CHECKSUM_BYTES) * 8);

/// The secret keys of a mailbox.
#[derive(Debug)]
pub struct MailboxKeys {
    /// Proves to the gateway that the mailbox is ours.
    pub signing: SigningKey,
    /// Opens the envelopes that arrive.
    pub sealing: x25519::Secret,
}

impl MailboxKeys {
    /// New keys.
    pub fn generate(rng: &mut Rng) -> Self {
        MailboxKeys { signing: SigningKey::generate(rng), sealing: x25519::Secret::random(rng) }
    }

    /// Loads the keys from `path`.
    ///
    /// # Errors
    /// When the file is missing, readable by others, or no mailbox key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let bytes = file(path).read()?;
        let (mut signing, mut sealing) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        signing.copy_from_slice(&bytes[..32]);
        sealing.copy_from_slice(&bytes[32..]);
        Ok(MailboxKeys {
            signing: SigningKey::from_secret(&signing),
            sealing: x25519::Secret::from_bytes(*sealing),
        })
    }

    /// Stores the keys in the new file `path`.
    ///
    /// # Errors
    /// When the file exists already or cannot be made.
    pub fn create(&self, path: &Path) -> Result<(), KeyError> {
        let mut bytes = Zeroizing::new([0; 64]);
        bytes[..32].copy_from_slice(self.signing.secret());
        bytes[32..].copy_from_slice(self.sealing.as_bytes());
        file(path).create(&*bytes)
    }

    /// The address of this mailbox at `gateway`.
    pub fn address(&self, gateway: NodeId) -> MailboxAddress {
        let (signing, sealing) = (self.signing.public(), self.sealing.public());
        MailboxAddress { gateway, signing, sealing }
    }
}

fn file(path: &Path) -> KeyFile {
    KeyFile { path: path.to_path_buf(), kind: MAILBOX, is_credential: false }
}

/// Where a mailbox lies, and the keys to write to it: 160 characters of base32.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MailboxAddress {
    /// The gateway that keeps it.
    pub gateway: NodeId,
    /// Ed25519: its owner proves possession of the secret half.
    pub signing: [u8; 32],
    /// X25519: envelopes are sealed to it.
    pub sealing: [u8; 32],
}

impl MailboxAddress {
    fn checksum(&self) -> [u8; CHECKSUM_BYTES] {
        let domain = b"mixline mailbox address v1";
        let hash = sha256::digest(&[domain, &self.gateway.0, &self.signing, &self.sealing]);
        let mut checksum = [0; CHECKSUM_BYTES];
        checksum.copy_from_slice(&hash[..CHECKSUM_BYTES]);
        checksum
    }
}

impl fmt::Display for MailboxAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = [self.gateway.0, self.signing, self.sealing].concat();
        let upper = BASE32_NOPAD_NOCASE.encode(&[&keys[..], &self.checksum()].concat());
        out.write_str(&upper.to_ascii_lowercase())
    }
}

impl fmt::Debug for MailboxAddress {
    /// Nothing of it: who writes to whom does not belong into a log by accident.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("MailboxAddress")
    }
}

/// Why a text is no mailbox address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxAddressError {
    /// Cut off, or more than an address.
    #[error("a mailbox address has {ADDRESS_CHARS} characters, this has {chars}: copy all of it")]
    Length {
        /// How many there are.
        chars: usize,
    },
    /// A character that base32 does not have.
    #[error("character {position} of the mailbox address is not one of a-z and 2-7")]
    Character {
        /// Its place, the first being 1.
        position: usize,
    },
    /// The characters are allowed, but do not belong together.
    #[error("the mailbox address has a typing error: its checksum does not match")]
    Checksum,
}

impl FromStr for MailboxAddress {
    type Err = MailboxAddressError;

    fn from_str(text: &str) -> Result<Self, MailboxAddressError> {
        let text = text.trim();
        let chars = text.chars().count();
        if let Some(position) = text.chars().position(|c| !is_base32(c)) {
            return Err(MailboxAddressError::Character { position: position + 1 });
        }
        if chars != ADDRESS_CHARS {
            return Err(MailboxAddressError::Length { chars });
        }
        let bytes = BASE32_NOPAD_NOCASE
            .decode(text.as_bytes())
            .map_err(|_| MailboxAddressError::Length { chars })?;
        from_bytes(&bytes).ok_or(MailboxAddressError::Checksum)
    }
}

fn is_base32(c: char) -> bool {
    c.is_ascii_alphabetic() || ('2'..='7').contains(&c)
}

fn from_bytes(bytes: &[u8]) -> Option<MailboxAddress> {
    let (gateway, rest) = bytes.split_first_chunk()?;
    let (signing, rest) = rest.split_first_chunk()?;
    let (sealing, checksum) = rest.split_first_chunk()?;
    let (gateway, signing, sealing) = (NodeId(*gateway), *signing, *sealing);
    let address = MailboxAddress { gateway, signing, sealing };
    (address.checksum() == checksum).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> MailboxAddress {
        MailboxKeys::generate(&mut Rng::from_seed([1; 32])).address(NodeId([2; 32]))
    }

    #[test]
    fn an_address_is_the_same_after_text_and_back_in_any_case() {
        let text = address().to_string();
        assert_eq!(text.len(), 160);
        assert_eq!(text, text.to_lowercase());
        assert_eq!(text.parse(), Ok(address()));
        assert_eq!(format!(" {}\n", text.to_uppercase()).parse(), Ok(address()));
    }

    #[test]
    fn every_single_mistyped_character_and_every_swap_is_found() {
        let text = address().to_string();
        for place in 0..text.len() {
            let mut typed = text.clone().into_bytes();
            typed[place] = if typed[place] == b'a' { b'b' } else { b'a' };
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(typed.parse::<MailboxAddress>(), Err(MailboxAddressError::Checksum));
            let mut swapped = text.clone().into_bytes();
            swapped.swap(place, (place + 1) % text.len());
            let swapped = String::from_utf8(swapped).unwrap();
            assert!(swapped == text || swapped.parse::<MailboxAddress>().is_err());
        }
    }

    #[test]
    fn a_cut_address_and_a_foreign_character_are_named() {
        let text = address().to_string();
        let cut = text[..150].parse::<MailboxAddress>();
        assert_eq!(cut, Err(MailboxAddressError::Length { chars: 150 }));
        let foreign = format!("{}1{}", &text[..8], &text[9..]).parse::<MailboxAddress>();
        assert_eq!(foreign, Err(MailboxAddressError::Character { position: 9 }));
        let wide = "é".repeat(80).parse::<MailboxAddress>();
        assert_eq!(wide, Err(MailboxAddressError::Character { position: 1 }));
    }

    #[test]
    fn stored_mailbox_keys_have_the_same_address_when_loaded() {
        let unique = format!("mixline-mailbox-{}.key", std::process::id());
        let path = std::env::temp_dir().join(unique);
        let keys = MailboxKeys::generate(&mut Rng::from_seed([3; 32]));
        keys.create(&path).unwrap();
        let loaded = MailboxKeys::load(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(loaded.unwrap().address(NodeId([0; 32])), keys.address(NodeId([0; 32])));
    }
}
