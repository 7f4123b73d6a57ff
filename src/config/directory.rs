//! The table `[directory]`, where a node or a client finds its documents.

use super::ConfigError;
use super::error::Source;
use super::values::{self, Span};
use crate::directory::AuthorityAddress;
use serde::Deserialize;
use toml::Spanned;

/// The most authorities that are asked.
const AUTHORITIES_MAX: usize = 64;

/// The table of a node.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NodeDirectoryText {
    pub(super) authorities: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) epoch: Spanned<Span>,
}

impl Default for NodeDirectoryText {
    fn default() -> Self {
        NodeDirectoryText { authorities: None, epoch: values::epoch_default() }
    }
}

/// The table of a client.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClientDirectoryText {
    pub(super) authorities: Option<Spanned<Vec<Spanned<String>>>>,
}

/// The authorities' addresses; none if the key is not there.
pub(super) fn authorities(
    written: Option<&Spanned<Vec<Spanned<String>>>>,
    source: Source<'_>,
) -> Result<Vec<AuthorityAddress>, ConfigError> {
    let Some(written) = written else { return Ok(Vec::new()) };
    let count = written.get_ref().len();
    if !(1..=AUTHORITIES_MAX).contains(&count) {
        let message =
            format!("{count} addresses in `directory.authorities`: use 1 to {AUTHORITIES_MAX}");
        return Err(source.fault(written.span(), message));
    }
    values::each(written.get_ref(), "directory.authorities", source, |text| {
        text.parse().map_err(|error: crate::directory::AuthorityAddressError| error.to_string())
    })
}
