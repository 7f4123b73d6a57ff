//! The file of a client, `client.toml`.

use super::error::Source;
use super::values;
use super::{ConfigError, read};
use crate::pki::{NodeId, is_name};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The options of a client, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFile {
    /// The file with the trust anchor.
    pub network: PathBuf,
    /// The consensus to start from.
    pub consensus: PathBuf,
    /// The gateway to enter by; without, one is drawn from the consensus.
    pub gateway: Option<GatewayChoice>,
    /// The file of the mailbox's keys.
    pub mailbox: PathBuf,
}

impl ClientFile {
    /// Reads and checks the file `path`.
    ///
    /// # Errors
    /// When it cannot be read or says something that cannot be.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&read(path)?, path)
    }

    /// Checks `text`, the contents of the file `path`.
    ///
    /// # Errors
    /// When it says something that cannot be.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let source = Source { path, text };
        let Text { client } = source.parse()?;
        Ok(ClientFile {
            network: source.beside(&client.network),
            consensus: source.beside(&client.consensus),
            gateway: client.gateway,
            mailbox: source.beside(&client.mailbox),
        })
    }
}

/// A gateway, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayChoice {
    /// By its identity.
    Id(NodeId),
    /// By its name in the consensus.
    Name(String),
}

/// Why a text names no gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no gateway: use its name in the consensus, or the 64 hexadecimal digits of its \
     identity"
)]
pub struct GatewayChoiceError(String);

impl FromStr for GatewayChoice {
    type Err = GatewayChoiceError;

    fn from_str(text: &str) -> Result<Self, GatewayChoiceError> {
        match text.parse() {
            Ok(id) => Ok(GatewayChoice::Id(id)),
            Err(_) if is_name(text) => Ok(GatewayChoice::Name(text.to_owned())),
            Err(_) => Err(GatewayChoiceError(text.to_owned())),
        }
    }
}

impl fmt::Display for GatewayChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatewayChoice::Id(id) => id.fmt(out),
            GatewayChoice::Name(name) => out.write_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for GatewayChoice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    client: ClientText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientText {
    #[serde(deserialize_with = "values::path")]
    network: PathBuf,
    #[serde(deserialize_with = "values::path")]
    consensus: PathBuf,
    gateway: Option<GatewayChoice>,
    #[serde(default = "mailbox_default", deserialize_with = "values::path")]
    mailbox: PathBuf,
}

fn mailbox_default() -> PathBuf {
    "mailbox.key".into()
}
