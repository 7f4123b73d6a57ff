//! The file of a client, `client.toml`.

use super::values;
use super::{ConfigError, beside, from_toml, read};
use crate::pki::{NodeId, is_name};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::path::{Path, PathBuf};

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
        let Text { client } = from_toml(text, path)?;
        Ok(ClientFile {
            network: beside(path, &client.network),
            consensus: beside(path, &client.consensus),
            gateway: client.gateway,
            mailbox: beside(path, &client.mailbox),
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

impl<'de> Deserialize<'de> for GatewayChoice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if let Ok(id) = text.parse() {
            return Ok(GatewayChoice::Id(id));
        }
        if is_name(&text) {
            return Ok(GatewayChoice::Name(text));
        }
        let remedy = "use its name in the consensus, or the 64 hexadecimal digits of its identity";
        Err(D::Error::custom(format!("{text:?} is no gateway: {remedy}")))
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
