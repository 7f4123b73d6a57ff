//! The folder of a network: what lies where in it, and how the files are written.

use super::InitError;
use crate::config::{self, CLIENT_KEYS, NETWORK_KEYS, NODE_KEYS};
use crate::pki::{KeyFolder, MailboxKeys, SigningKey, TrustAnchor};
use data_encoding::HEXLOWER;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Slots of a node that shares its machine with the whole network: about 23 MB.
const SLOTS: usize = 1 << 14;

/// The TCP port of every node's metrics.
const METRICS_PORT: u16 = 9477;

/// The folder of a network.
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    /// The folder `root`, made if there is none, refused unless it is empty.
    pub(super) fn create(root: &Path) -> Result<Self, InitError> {
        let failed = |source| InitError::Io { path: root.to_path_buf(), source };
        fs::create_dir_all(root).map_err(failed)?;
        if fs::read_dir(root).map_err(failed)?.next().is_some() {
            return Err(InitError::Occupied(root.to_path_buf()));
        }
        // Configurations name files relative to themselves, which works wherever they are moved
        // together; the folder itself is named in full, so that messages can be followed.
        let root = root.canonicalize().map_err(failed)?;
        Ok(Files { root })
    }

    /// The trust anchor's file.
    pub(super) fn anchor(&self) -> PathBuf {
        self.root.join("network.toml")
    }

    /// The consensus' file.
    pub(super) fn consensus(&self) -> PathBuf {
        self.root.join("consensus.cbor")
    }

    /// The client's configuration.
    pub(super) fn client(&self) -> PathBuf {
        self.root.join("client.toml")
    }

    /// The configuration of the node `name`.
    pub(super) fn node_config(&self, name: &str) -> PathBuf {
        self.node(name).join("mixline.toml")
    }

    fn node(&self, name: &str) -> PathBuf {
        self.root.join("nodes").join(name)
    }

    pub(super) fn write_authorities(&self, keys: &[SigningKey]) -> Result<(), InitError> {
        let folder = KeyFolder::with_credentials(&self.root.join("authorities"), None);
        folder.create()?;
        for (key, number) in keys.iter().zip(1..) {
            folder.create_authority_key(&format!("authority-{number}"), key)?;
        }
        Ok(())
    }

    pub(super) fn write_anchor(&self, anchor: &TrustAnchor) -> Result<(), InitError> {
        let keys = anchor.authorities().iter().map(|key| quoted(&HEXLOWER.encode(key)));
        let keys: Vec<_> = keys.collect();
        let values = [
            ("network.name", quoted(anchor.network())),
            ("network.authorities", format!("[{}]", keys.join(", "))),
            ("network.threshold", anchor.threshold().to_string()),
        ];
        let heading = "The trust anchor of a mixline network: the same file for all its nodes.";
        let text = config::example(heading, NETWORK_KEYS, &values);
        write_new(&self.anchor(), text.as_bytes())?;
        config::load_anchor(&self.anchor())?;
        Ok(())
    }

    pub(super) fn write_consensus(&self, bytes: &[u8]) -> Result<(), InitError> {
        write_new(&self.consensus(), bytes)
    }

    /// Writes a node's configuration, and makes the folder for its keys.
    pub(super) fn write_node(
        &self,
        name: &str,
        address: SocketAddr,
    ) -> Result<KeyFolder, InitError> {
        let keys = KeyFolder::with_credentials(&self.node(name).join("keys"), None);
        let node = self.node(name);
        fs::create_dir_all(&node).map_err(|source| InitError::Io { path: node, source })?;
        keys.create()?;
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let metrics_ip = if address.ip().is_loopback() { address.ip() } else { loopback };
        let values = [
            ("node.network", quoted("../../network.toml")),
            ("node.consensus", quoted("../../consensus.cbor")),
            ("node.keys", quoted("keys")),
            ("node.listen", format!("[\"{address}\"]")),
            ("workers.count", "1".into()),
            ("workers.pin", "false".into()),
            ("memory.slots", SLOTS.to_string()),
            ("metrics.detail", quoted(if address.ip().is_loopback() { "lab" } else { "private" })),
            ("metrics.listen", quoted(&SocketAddr::new(metrics_ip, METRICS_PORT).to_string())),
            ("mix.packets_max", (SLOTS / 4 * 3).to_string()),
        ];
        let heading = format!("The mixline node {name}.");
        let text = config::example(&heading, NODE_KEYS, &values);
        write_new(&self.node_config(name), text.as_bytes())?;
        config::NodeFile::load(&self.node_config(name))?;
        Ok(keys)
    }

    /// Writes the client's configuration, and its mailbox's keys.
    pub(super) fn write_client(&self, keys: &MailboxKeys, gateway: &str) -> Result<(), InitError> {
        keys.create(&self.root.join("mailbox.key"))?;
        let values = [
            ("client.network", quoted("network.toml")),
            ("client.consensus", quoted("consensus.cbor")),
            ("client.gateway", quoted(gateway)),
            ("client.mailbox", quoted("mailbox.key")),
        ];
        let text = config::example("A mixline client.", CLIENT_KEYS, &values);
        write_new(&self.client(), text.as_bytes())?;
        config::ClientFile::load(&self.client())?;
        Ok(())
    }
}

/// A TOML string; what is put into one here has no character that must be escaped.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), InitError> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(bytes))
        .map_err(|source| InitError::Io { path: path.to_path_buf(), source })
}
