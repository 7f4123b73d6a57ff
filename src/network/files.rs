//! The folder of a network: what lies where in it, and how the files are written.

use super::{InitError, Seat};
use crate::config::{
    self, AUTHORITY_KEYS, CLIENT_KEYS, NETWORK_KEYS, NODE_KEYS, PortMode, is_of_laboratory,
};
use crate::pki::{
    Epochs, KeyFolder, MailboxKeys, NodeId, Parameters, Rate, SigningKey, TrustAnchor,
};
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
    /// The authority's address and the network's epochs, if there is a directory.
    directory: Option<(SocketAddr, Epochs)>,
}

/// Where the node at `address` shows its metrics: never to other machines.
pub fn metrics_at(address: SocketAddr) -> SocketAddr {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let ip = if address.ip().is_loopback() { address.ip() } else { loopback };
    SocketAddr::new(ip, METRICS_PORT)
}

impl Files {
    /// The folder `root`, made if there is none, refused unless it is empty.
    pub(super) fn create(
        root: &Path,
        directory: Option<(SocketAddr, Epochs)>,
    ) -> Result<Self, InitError> {
        let failed = |source| InitError::Io { path: root.to_path_buf(), source };
        fs::create_dir_all(root).map_err(failed)?;
        if fs::read_dir(root).map_err(failed)?.next().is_some() {
            return Err(InitError::Occupied(root.to_path_buf()));
        }
        // Configurations name files relative to themselves, which works wherever they are moved
        // together; the folder itself is named in full, so that messages can be followed.
        let root = root.canonicalize().map_err(failed)?;
        Ok(Files { root, directory })
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

    /// The configuration of the authority.
    pub(super) fn authority_config(&self) -> PathBuf {
        self.root.join("authority").join("mixline-authority.toml")
    }

    /// The folder of a node's keys.
    pub(super) fn keys(&self, name: &str) -> KeyFolder {
        KeyFolder::with_credentials(&self.node(name).join("keys"), None)
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

    /// Writes the configuration of the directory's authority, and its key.
    pub(super) fn write_authority(
        &self,
        key: &SigningKey,
        parameters: &Parameters,
        seats: impl Iterator<Item = (NodeId, u8)>,
    ) -> Result<(), InitError> {
        let Some((address, epochs)) = self.directory else { return Ok(()) };
        let keys = KeyFolder::with_credentials(&self.root.join("authority").join("keys"), None);
        keys.create()?;
        keys.create_authority_key("authority", key)?;
        let seats =
            seats.map(|(node, layer)| format!("\n  {{ node = \"{node}\", layer = {layer} }},"));
        let rates = &parameters.rates;
        let values = [
            ("authority.network", quoted("../network.toml")),
            ("authority.keys", quoted("keys")),
            ("authority.listen", quoted(&address.to_string())),
            ("authority.state", quoted("state")),
            ("network.epoch", seconds(epochs)),
            ("network.layers", parameters.layers.to_string()),
            ("network.delay_mean", quoted(&format!("{}ns", parameters.delay_mean.0))),
            ("network.payload_bytes", parameters.geometry.payload_bytes().to_string()),
            ("rates.payload", per_second(rates.payload)),
            ("rates.client_loop", per_second(rates.client_loop)),
            ("rates.client_drop", per_second(rates.client_drop)),
            ("rates.mix_loop", per_second(rates.mix_loop)),
            ("rates.gateway_loop", per_second(rates.gateway_loop)),
            ("admission.seats", format!("[{}\n]", seats.collect::<String>())),
        ];
        let text = config::example("A mixline directory authority.", AUTHORITY_KEYS, &values);
        write_new(&self.authority_config(), text.as_bytes())?;
        config::AuthorityFile::load(&self.authority_config())?;
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
        seat: &Seat,
        port: PortMode,
        workers: usize,
    ) -> Result<KeyFolder, InitError> {
        let Seat { name, role, address, .. } = seat;
        let node = self.node(name);
        fs::create_dir_all(&node).map_err(|source| InitError::Io { path: node, source })?;
        let keys = self.keys(name);
        keys.create()?;
        let consensus = if self.directory.is_some() { "" } else { "../../" };
        let detail = if is_of_laboratory(address.ip()) { "lab" } else { "private" };
        let mut values = vec![
            ("node.network", quoted("../../network.toml")),
            ("node.consensus", quoted(&format!("{consensus}consensus.cbor"))),
            ("node.keys", quoted("keys")),
            ("node.listen", format!("[\"{address}\"]")),
            ("workers.count", workers.to_string()),
            ("workers.pin", "false".into()),
            ("memory.slots", SLOTS.to_string()),
            ("metrics.detail", quoted(detail)),
            ("metrics.listen", quoted(&metrics_at(*address).to_string())),
            ("mix.packets_max", (SLOTS / 4 * 3).to_string()),
        ];
        if port != PortMode::Auto {
            values.push(("port.mode", quoted(port.as_str())));
        }
        if let Some((_, epochs)) = self.directory {
            values.push(("node.name", quoted(name)));
            values.push(("node.role", quoted(&role.to_string())));
            values.push(("directory.epoch", seconds(epochs)));
        }
        values.extend(self.authorities());
        let heading = format!("The mixline node {name}.");
        let text = config::example(&heading, NODE_KEYS, &values);
        write_new(&self.node_config(name), text.as_bytes())?;
        config::NodeFile::load(&self.node_config(name))?;
        Ok(keys)
    }

    /// Where documents are fetched, if there is a directory.
    fn authorities(&self) -> Option<(&'static str, String)> {
        let (address, _) = self.directory?;
        Some(("directory.authorities", format!("[\"http://{address}\"]")))
    }

    /// Writes the client's configuration, and its mailbox's keys.
    pub(super) fn write_client(&self, keys: &MailboxKeys, gateway: &str) -> Result<(), InitError> {
        keys.create(&self.root.join("mailbox.key"))?;
        let mut values = vec![
            ("client.network", quoted("network.toml")),
            ("client.consensus", quoted("consensus.cbor")),
            ("client.gateway", quoted(gateway)),
            ("client.mailbox", quoted("mailbox.key")),
        ];
        values.extend(self.authorities());
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

fn seconds(epochs: Epochs) -> String {
    format!("\"{}s\"", epochs.length_s())
}

fn per_second(rate: Rate) -> String {
    format!("{}.{:03}", rate.milli / 1000, rate.milli % 1000)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), InitError> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(bytes))
        .map_err(|source| InitError::Io { path: path.to_path_buf(), source })
}
