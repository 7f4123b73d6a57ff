//! Values with a meaning: each refuses what it cannot be, and says what it could.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A path that is not empty.
pub(super) fn path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() || text.contains('\0') {
        return Err(D::Error::custom("the path is empty: name a file or a folder"));
    }
    Ok(PathBuf::from(text))
}

/// An address to bind: its port is not 0, because the network must know it beforehand.
#[derive(Debug)]
pub(super) struct Listen(pub(super) SocketAddr);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let address: Option<SocketAddr> = text.parse().ok();
        address.filter(|address| address.port() != 0).map(Listen).ok_or_else(|| {
            let remedy = "use \"192.0.2.1:7700\" or \"[2001:db8::1]:7700\", with a port above 0";
            D::Error::custom(format!("{text:?} is no address and port: {remedy}"))
        })
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count<const MIN: usize, const MAX: usize>(pub(super) usize);

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(from)?;
        let count = usize::try_from(number).ok().filter(|count| (MIN..=MAX).contains(count));
        let refused = || D::Error::custom(format!("{number} is out of range: use {MIN} to {MAX}"));
        count.map(Count).ok_or_else(refused)
    }
}

/// A 32-byte public key in hexadecimal.
#[derive(Debug)]
pub(super) struct PublicKey(pub(super) [u8; 32]);

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let refused = || D::Error::custom("not a public key: it has 64 hexadecimal digits");
        crate::pki::key_from_hex(&text).map(PublicKey).ok_or_else(refused)
    }
}
