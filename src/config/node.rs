//! The file of a node, `mixline.toml`.

use super::error::Source;
use super::mix::MixText;
use super::port::{PortOptions, PortText};
use super::replay::ReplayText;
use super::values::{self, Count, Prefix};
use super::{ConfigError, authority, directory, read};
use crate::directory::AuthorityAddress;
use crate::pki::{Epochs, Role, is_name};
use crate::pool::Strategy;
use crate::replay::Plan;
use crate::store;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

/// Fewest slots: a full batch on each of a few workers, and some packets in the mix.
const SLOTS_MIN: usize = 1024;
/// Most slots: what 32-bit slot numbers and the memory of today's machines hold.
pub(super) const SLOTS_MAX: usize = 1 << 26;
/// Slots of a node that says nothing: about 90 MB at the default geometry.
const SLOTS_DEFAULT: usize = 1 << 16;
/// Most workers: more cores than any machine gives one node.
const WORKERS_MAX: usize = 1024;
/// Most addresses that a node serves; a descriptor has room for more.
const LISTEN_MAX: usize = 1;

/// Most mailboxes of a gateway, and letters of a mailbox: what one machine keeps.
const MAILBOXES_MAX: usize = 1 << 24;
/// Fewest bytes of a mailbox: a few letters.
const BYTES_MIN: usize = 4096;
/// Most bytes of a mailbox.
const BYTES_MAX: usize = 1 << 40;

/// The options of a node, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFile {
    /// The file with the trust anchor.
    pub network: PathBuf,
    /// The consensus to start from; with authorities, the file that keeps the last one.
    pub consensus: PathBuf,
    /// How the node takes part in a network that has authorities; without, the consensus' file is
    /// all that it knows.
    pub membership: Option<Membership>,
    /// The folder of the node's keys.
    pub keys: PathBuf,
    /// The addresses to bind, at least one.
    pub listen: Vec<SocketAddr>,
    /// The threads that process packets.
    pub workers: Workers,
    /// How packets come in and go out.
    pub port: PortOptions,
    /// Packets that fit into memory, on all workers together, beside those in flight between
    /// threads.
    pub slots: usize,
    /// Packets that may wait in the mix at the same time; fewer than the slots.
    pub packets_max: usize,
    /// Who decides when they leave.
    pub strategy: Strategy,
    /// What a gateway does for its users.
    pub gateway: GatewayOptions,
    /// The folder of mix keys and replay tables, if it is named.
    pub replay_folder: Option<PathBuf>,
    /// How large replay tables are.
    pub replay: Plan,
    /// How exactly the node says what it counted.
    pub detail: Detail,
    /// Where it says so, if anywhere.
    pub metrics: Option<Metrics>,
    /// What is logged.
    pub log: LogLevel,
}

impl NodeFile {
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
        let Text { node, directory, workers, port, memory, mix, gateway, replay, metrics, log } =
            source.parse()?;
        let membership = membership(&node, &directory, source)?;
        let epochs = membership.as_ref().map(|membership| membership.epochs);
        Ok(NodeFile {
            replay: replay.plan(epochs, source)?,
            membership,
            network: source.beside(&node.network),
            consensus: source.beside(&node.consensus),
            keys: source.beside(&node.keys),
            listen: listen(&node.listen, "node.listen", source)?,
            workers: Workers { count: workers.count.map(|count| count.0), pin: workers.pin },
            port: port.check(),
            slots: memory.slots.0,
            packets_max: mix.packets_max(memory.slots.0, source)?,
            strategy: mix.strategy(source)?,
            gateway: gateway.check(source),
            replay_folder: replay.folder.map(|folder| source.beside(&folder)),
            detail: metrics.detail,
            metrics: metrics_listener(&metrics, source)?,
            log: log.level,
        })
    }
}

/// What a node says of itself to its authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// Who hears it, and is asked for the consensus; at least one.
    pub authorities: Vec<AuthorityAddress>,
    /// The network's epochs.
    pub epochs: Epochs,
    /// The node's name, which no other one has.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Where others reach it.
    pub addresses: Vec<SocketAddr>,
}

/// The threads that process packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// How many; without a number, one a core.
    pub count: Option<usize>,
    /// Whether each stays on a core of its own.
    pub pin: bool,
}

/// What a gateway does for its users; a mix has no use of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayOptions {
    /// The folder of the mailboxes.
    pub folder: PathBuf,
    /// Limits of the mailboxes.
    pub store: store::Options,
    /// Whether it answers only those who hold its key.
    pub unlisted: bool,
}

/// Where a node says how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Who may ask besides this machine itself.
    pub allow: Vec<Prefix>,
}

/// How exactly a node says what it counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Detail {
    /// Nothing that could help an observer of the network.
    #[default]
    Private,
    /// Exact totals: refused unless all nodes of the network have addresses of laboratories.
    Lab,
}

/// Whether no stranger can be behind the address: on loopback, or of the ranges for benchmarks
/// (198.18.0.0/15 and 2001:2::/48, RFC 2544 and 5180), which no network routes.
pub fn is_of_laboratory(ip: IpAddr) -> bool {
    match ip {
        _ if ip.is_loopback() => true,
        IpAddr::V4(ip) => matches!(ip.octets(), [198, 18 | 19, ..]),
        IpAddr::V6(ip) => matches!(ip.segments(), [0x2001, 2, 0, ..]),
    }
}

/// The least important lines that are still logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What stopped something from working.
    Error,
    /// And what may.
    Warn,
    /// And what an operator wants to know.
    #[default]
    Info,
    /// And what helps to find a fault.
    Debug,
    /// And every step.
    Trace,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    node: NodeText,
    #[serde(default)]
    directory: directory::NodeDirectoryText,
    #[serde(default)]
    workers: WorkersText,
    #[serde(default)]
    port: PortText,
    #[serde(default)]
    memory: MemoryText,
    #[serde(default)]
    mix: MixText,
    #[serde(default)]
    gateway: GatewayText,
    #[serde(default)]
    replay: ReplayText,
    #[serde(default)]
    metrics: MetricsText,
    #[serde(default)]
    log: LogText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeText {
    #[serde(deserialize_with = "values::path")]
    network: PathBuf,
    #[serde(deserialize_with = "values::path")]
    consensus: PathBuf,
    #[serde(default = "keys_default", deserialize_with = "values::path")]
    keys: PathBuf,
    listen: Spanned<Vec<Spanned<String>>>,
    name: Option<Spanned<String>>,
    role: Option<RoleText>,
    addresses: Option<Spanned<Vec<Spanned<String>>>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoleText {
    Mix,
    Gateway,
}

fn keys_default() -> PathBuf {
    "keys".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WorkersText {
    count: Option<Count<1, WORKERS_MAX>>,
    pin: bool,
}

impl Default for WorkersText {
    fn default() -> Self {
        WorkersText { count: None, pin: true }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MemoryText {
    slots: Count<SLOTS_MIN, SLOTS_MAX>,
}

impl Default for MemoryText {
    fn default() -> Self {
        MemoryText { slots: Count(SLOTS_DEFAULT) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GatewayText {
    #[serde(deserialize_with = "values::path")]
    folder: PathBuf,
    mailboxes: Count<1, MAILBOXES_MAX>,
    letters: Count<1, MAILBOXES_MAX>,
    bytes: Count<BYTES_MIN, BYTES_MAX>,
    #[serde(deserialize_with = "values::span")]
    expiry: Duration,
    unlisted: bool,
}

impl Default for GatewayText {
    fn default() -> Self {
        let store::Options { mailboxes_max, letters_max, bytes_max, expiry } =
            store::Options::default();
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        GatewayText {
            folder: "mailboxes".into(),
            mailboxes: Count(mailboxes_max),
            letters: Count(count(letters_max)),
            bytes: Count(count(bytes_max)),
            expiry,
            unlisted: false,
        }
    }
}

impl GatewayText {
    fn check(self, source: Source<'_>) -> GatewayOptions {
        GatewayOptions {
            folder: source.beside(&self.folder),
            store: store::Options {
                mailboxes_max: self.mailboxes.0,
                letters_max: self.letters.0 as u64,
                bytes_max: self.bytes.0 as u64,
                expiry: self.expiry,
            },
            unlisted: self.unlisted,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MetricsText {
    detail: Detail,
    listen: Option<Spanned<String>>,
    allow: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogText {
    level: LogLevel,
}

fn listen(
    written: &Spanned<Vec<Spanned<String>>>,
    key: &str,
    source: Source<'_>,
) -> Result<Vec<SocketAddr>, ConfigError> {
    let count = written.get_ref().len();
    if !(1..=LISTEN_MAX).contains(&count) {
        let message = format!("{count} addresses in `{key}`: use {LISTEN_MAX}");
        return Err(source.fault(written.span(), message));
    }
    values::each(written.get_ref(), key, source, values::listen)
}

fn membership(
    node: &NodeText,
    directory: &directory::NodeDirectoryText,
    source: Source<'_>,
) -> Result<Option<Membership>, ConfigError> {
    let Some(written) = &directory.authorities else { return Ok(None) };
    let missing = |key: &str| {
        let message = format!("a node with `directory.authorities` needs `node.{key}`");
        source.fault(written.span(), message)
    };
    let name = node.name.as_ref().ok_or_else(|| missing("name"))?;
    if !is_name(name.get_ref()) {
        let message = "a node's name has 1 to 63 lowercase letters, digits and inner hyphens";
        return Err(source.fault(name.span(), message.to_owned()));
    }
    let role = match node.role.ok_or_else(|| missing("role"))? {
        RoleText::Mix => Role::Mix,
        RoleText::Gateway => Role::Gateway,
    };
    let addresses = match &node.addresses {
        Some(addresses) => listen(addresses, "node.addresses", source)?,
        None => listen(&node.listen, "node.listen", source)?,
    };
    Ok(Some(Membership {
        authorities: directory::authorities(Some(written), source)?,
        epochs: authority::epochs(&directory.epoch, source)?,
        name: name.get_ref().clone(),
        role,
        addresses,
    }))
}

/// Who may ask for metrics is said in full: on loopback this machine, elsewhere those named.
fn metrics_listener(
    metrics: &MetricsText,
    source: Source<'_>,
) -> Result<Option<Metrics>, ConfigError> {
    let allow = values::each(&metrics.allow, "metrics.allow", source, values::prefix)?;
    let Some(written) = &metrics.listen else { return Ok(None) };
    let fault = |message: &str| Err(source.fault(written.span(), message.to_owned()));
    let listen = match values::listen(written.get_ref()) {
        Ok(listen) => listen,
        Err(message) => return fault(&format!("{message} in `metrics.listen`")),
    };
    if !listen.ip().is_loopback() && allow.is_empty() {
        return fault(
            "`metrics.listen` is not on loopback: name those who may ask in `metrics.allow`, or \
             listen on 127.0.0.1",
        );
    }
    if !listen.ip().is_loopback() && metrics.detail == Detail::Lab {
        return fault("`metrics.detail` \"lab\" is refused unless `metrics.listen` is on loopback");
    }
    Ok(Some(Metrics { listen, allow }))
}
