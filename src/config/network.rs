//! The file of a network, `network.toml`: its trust anchor.

use super::error::Source;
use super::values::{self, Count};
use super::{ConfigError, read};
use crate::pki::{AnchorError, TrustAnchor};
use serde::Deserialize;
use std::path::Path;
use toml::Spanned;

/// Reads and checks the trust anchor in the file `path`.
///
/// # Errors
/// When it cannot be read or is no trust anchor.
pub fn load_anchor(path: &Path) -> Result<TrustAnchor, ConfigError> {
    parse_anchor(&read(path)?, path)
}

/// Checks `text`, the contents of the file `path`.
///
/// # Errors
/// When it is no trust anchor.
pub fn parse_anchor(text: &str, path: &Path) -> Result<TrustAnchor, ConfigError> {
    let source = Source { path, text };
    let Text { network } = source.parse()?;
    let keys = network.authorities.get_ref();
    let keys = values::each(keys, "network.authorities", source, values::public_key)?;
    let threshold = network.threshold.as_ref().map(|threshold| threshold.get_ref().0);
    TrustAnchor::new(network.name.get_ref(), keys, threshold).map_err(|error| {
        let span = match (&error, &network.threshold) {
            (AnchorError::Name(_), _) => network.name.span(),
            (AnchorError::Threshold { .. }, Some(threshold)) => threshold.span(),
            _ => network.authorities.span(),
        };
        source.fault(span, error.to_string())
    })
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    network: NetworkText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkText {
    name: Spanned<String>,
    authorities: Spanned<Vec<Spanned<String>>>,
    threshold: Option<Spanned<Count<1, 64>>>,
}
