//! The table `[replay]` of a node's file: where keys and tables lie, and how large tables are.

use super::ConfigError;
use super::error::Source;
use super::values::{self, Count};
use crate::pki::Epochs;
use crate::replay::Plan;
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

/// Most packets of an epoch: ten hours at ten million a second.
const PACKETS_MAX: usize = 360_000_000_000;
/// Packets where nothing is said, and no epoch ends: 23 MB.
const PACKETS_DEFAULT: u64 = 8_000_000;
/// Most packets a second: no machine takes in more.
const RATE_MAX: usize = 1_000_000_000;
/// Packets a second where nothing is said: 23 MB with epochs of 20 minutes.
const RATE_DEFAULT: u64 = 3400;

/// The table as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ReplayText {
    #[serde(deserialize_with = "values::some_path")]
    pub(super) folder: Option<PathBuf>,
    packets_per_second: Option<Spanned<Count<1, RATE_MAX>>>,
    packets_max: Option<Spanned<Count<1, PACKETS_MAX>>>,
}

impl ReplayText {
    /// How large tables are, in a network with these `epochs`, if it has any.
    pub(super) fn plan(
        &self,
        epochs: Option<Epochs>,
        source: Source<'_>,
    ) -> Result<Plan, ConfigError> {
        let fault = |at: &Spanned<_>, message: &str| source.fault(at.span(), message.to_owned());
        match (&self.packets_per_second, &self.packets_max, epochs) {
            (Some(rate), Some(_), _) => Err(fault(
                rate,
                "`replay.packets_per_second` and `replay.packets_max` both say how large a table \
                 is: remove one of them",
            )),
            (Some(rate), None, None) => Err(fault(
                rate,
                "without `directory.authorities` a key is in use for ever, whatever the rate: use \
                 `replay.packets_max`",
            )),
            (None, Some(packets), _) => Ok(Plan::Packets(packets.get_ref().0 as u64)),
            (None, None, None) => Ok(Plan::Packets(PACKETS_DEFAULT)),
            (rate, None, Some(epochs)) => Ok(Plan::Rate {
                per_second: rate.as_ref().map_or(RATE_DEFAULT, |rate| rate.get_ref().0 as u64),
                window_s: epochs.accept_window().0 / 1_000_000_000,
            }),
        }
    }
}
