//! One TOML file to checked option structs.
//!
//! A file is parsed once: a key that is unknown, missing, or has a bad value is refused with its
//! file, line and column and the remedy; what comes out needs no further check. Secrets are never
//! in these files. Paths are relative to the file that names them.

mod authority;
mod client;
mod directory;
mod error;
mod keys;
mod mix;
mod network;
mod node;
mod port;
mod replay;
mod values;

pub use authority::AuthorityFile;
pub use client::{ClientFile, GatewayChoice, GatewayChoiceError};
pub use error::{ConfigError, Fault};
pub use keys::{AUTHORITY_KEYS, CLIENT_KEYS, Change, Key, NETWORK_KEYS, NODE_KEYS, example};
pub use network::{load_anchor, parse_anchor};
pub use node::{
    Detail, GatewayOptions, LogLevel, Membership, Metrics, NodeFile, Workers, is_of_laboratory,
};
pub use port::{PortMode, PortOptions};
pub use values::Prefix;

use std::path::Path;

/// Reads the text of a configuration file.
fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::from_io(path, source))
}
