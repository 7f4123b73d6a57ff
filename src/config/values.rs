//! Values with a meaning: each refuses what it cannot be, and says what it could.

use super::ConfigError;
use super::error::Source;
use crate::pki::Rate;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;

/// The shortest span that anything takes.
const SPAN_MIN: Duration = Duration::from_secs(60);
/// The length of an epoch in networks for use.
const EPOCH_DEFAULT: Duration = Duration::from_secs(20 * 60);

/// A path that is not empty.
pub(super) fn path<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() || text.contains('\0') {
        return Err(D::Error::custom("the path is empty: name a file or a folder"));
    }
    Ok(PathBuf::from(text))
}

/// A span as people write it, of at least a minute.
pub(super) fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let span = humantime::parse_duration(&text).ok();
    let remedy = "use \"30d\" or \"12h\", at least a minute";
    let refused = || D::Error::custom(format!("{text:?} is no span of time: {remedy}"));
    span.filter(|span| *span >= SPAN_MIN).ok_or_else(refused)
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

/// A span of time, written as "200ms" or "2m".
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) Duration);

impl Span {
    pub(super) const fn from_millis(count: u64) -> Self {
        Span(Duration::from_millis(count))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let refused = |error| {
            D::Error::custom(format!("{text:?} is no span: {error}: use \"200ms\", \"2m\""))
        };
        humantime::parse_duration(&text).map(Span).map_err(refused)
    }
}

/// The length of epochs where none is written.
pub(super) fn epoch_default() -> Spanned<Span> {
    Spanned::new(0..0, Span(EPOCH_DEFAULT))
}

/// A rate, written as a number a second, exact to the thousandth.
pub(super) fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<Rate, D::Error> {
    let per_second = f64::deserialize(from)?;
    let milli = (per_second * 1000.0).round();
    if !(0.0..=f64::from(u32::MAX)).contains(&milli) {
        return Err(D::Error::custom(format!("{per_second} is no rate: use 0 or more a second")));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    let milli = milli as u32;
    Ok(Rate { milli })
}

/// An address to bind: its port is not 0, because the network must know it beforehand.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let address: Option<SocketAddr> = text.parse().ok();
    address.filter(|address| address.port() != 0).ok_or_else(|| {
        let remedy = "use \"192.0.2.1:7700\" or \"[2001:db8::1]:7700\", with a port above 0";
        format!("{text:?} is no address and port: {remedy}")
    })
}

/// Addresses with the same first bits, as "192.0.2.0/24"; a single one, as "192.0.2.1".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |own: u128, other: u128, width: u8| {
            let rest = u32::from(width - self.bits);
            (own ^ other).checked_shr(rest).unwrap_or(0) == 0
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same(u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

/// Addresses that may do something.
pub(super) fn prefix(text: &str) -> Result<Prefix, String> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(at, bits)| (at, Some(bits)));
    let parsed = address.parse().ok().and_then(|address: IpAddr| {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(width), |bits| bits.parse().ok())?;
        (bits <= width).then_some(Prefix { address, bits })
    });
    parsed.ok_or_else(|| {
        format!("{text:?} is no address: use \"192.0.2.1\", \"192.0.2.0/24\" or \"2001:db8::/32\"")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_contains_the_addresses_that_begin_like_it() {
        let contains =
            |text: &str, address: &str| prefix(text).unwrap().contains(address.parse().unwrap());
        assert!(contains("192.0.2.0/24", "192.0.2.255") && !contains("192.0.2.0/24", "192.0.3.0"));
        assert!(contains("192.0.2.1", "192.0.2.1") && !contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(contains("0.0.0.0/0", "255.1.2.3") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "2001:db8::1") && !contains("2001:db8::/32", "2001:db9::1"));
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in ["", "192.0.2.0/33", "192.0.2/24", "::/129", "a/8", "10.0.0.0/", "10.0.0.0/-1"]
        {
            assert!(prefix(text).is_err(), "{text}");
        }
    }
}
