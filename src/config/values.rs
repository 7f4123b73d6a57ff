//! Values with a meaning: each refuses what it cannot be, and says what it could.

use super::ConfigError;
use super::error::Source;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::PathBuf;
use toml::Spanned;

/// A path that is not empty.
pub(super) fn path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() || text.contains('\0') {
        return Err(D::Error::custom("the path is empty: name a file or a folder"));
    }
    Ok(PathBuf::from(text))
}

/// A path that is not empty, where one is written.
pub(super) fn some_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    path(from).map(Some)
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

/// An address to bind: its port is not 0, because the network must know it beforehand.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let address: Option<SocketAddr> = text.parse().ok();
    address.filter(|address| address.port() != 0).ok_or_else(|| {
        let remedy = "use \"192.0.2.1:7700\" or \"[2001:db8::1]:7700\", with a port above 0";
        format!("{text:?} is no address and port: {remedy}")
    })
}

/// A 32-byte public key in hexadecimal.
pub(super) fn public_key(text: &str) -> Result<[u8; 32], String> {
    let refused = || format!("{text:?} is no public key: it has 64 hexadecimal digits");
    crate::pki::key_from_hex(text).ok_or_else(refused)
}

/// Every text of the list under `key` as `parse` understands it; what it refuses is shown at the
/// text itself, which the deserializer could not.
pub(super) fn each<T>(
    list: &[Spanned<String>],
    key: &str,
    source: Source<'_>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ConfigError> {
    let refused = |text: &Spanned<String>, message: String| {
        source.fault(text.span(), format!("{message} in `{key}`"))
    };
    list.iter()
        .map(|text| parse(text.get_ref()).map_err(|message| refused(text, message)))
        .collect()
}
