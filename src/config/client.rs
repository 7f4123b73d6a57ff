//! The file of a client, `client.toml`.

use super::error::Source;
use super::values;
use super::{ConfigError, directory, read};
use crate::directory::{self as documents, AuthorityAddress};
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
    /// The consensus to start from; with authorities, the file that keeps the last one.
    pub consensus: PathBuf,
    /// Who is asked for the consensus; if nobody, the file says it.
    pub authorities: Vec<AuthorityAddress>,
    /// The gateway to enter by; without, one is drawn from the consensus.
    pub gateway: Option<GatewayChoice>,
    /// The file with the invitation to enter by: it names the gateway.
    pub invitation: Option<PathBuf>,
    /// The file of the mailbox's keys.
    pub mailbox: PathBuf,
    /// The file in which messages wait for a reader.
    pub spool: PathBuf,
    /// Where the daemon listens; without, a place is found by the name of this file.
    pub socket: Option<PathBuf>,
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
        let Text { client, directory } = source.parse()?;
        let authorities = directory::authorities(directory.authorities.as_ref(), source)?;
        Ok(ClientFile {
            network: source.beside(&client.network),
            consensus: source.beside(&client.consensus),
            authorities,
            gateway: client.gateway,
            invitation: client.invitation.map(|path| source.beside(&path)),
            mailbox: source.beside(&client.mailbox),
            spool: source.beside(&client.spool),
            socket: client.socket.map(|Socket(path)| source.beside(&path)),
        })
    }
}

impl ClientFile {
    /// Where the consensus is fetched; none if the file that has it is all there is.
    ///
    /// # Errors
    /// When the trust anchor cannot be loaded.
    pub fn directory(&self) -> Result<Option<documents::Options>, ConfigError> {
        if self.authorities.is_empty() {
            return Ok(None);
        }
        Ok(Some(documents::Options {
            anchor: super::load_anchor(&self.network)?,
            authorities: self.authorities.clone(),
            kept: self.consensus.clone(),
        }))
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
    #[serde(default)]
    directory: directory::ClientDirectoryText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientText {
    #[serde(deserialize_with = "values::path")]
    network: PathBuf,
    #[serde(deserialize_with = "values::path")]
    consensus: PathBuf,
    gateway: Option<GatewayChoice>,
    invitation: Option<PathBuf>,
    #[serde(default = "mailbox_default", deserialize_with = "values::path")]
    mailbox: PathBuf,
    #[serde(default = "spool_default", deserialize_with = "values::path")]
    spool: PathBuf,
    socket: Option<Socket>,
}

/// A path that is not empty.
#[derive(Deserialize)]
struct Socket(#[serde(deserialize_with = "values::path")] PathBuf);

fn spool_default() -> PathBuf {
    "spool.redb".into()
}

fn mailbox_default() -> PathBuf {
    "mailbox.key".into()
}
