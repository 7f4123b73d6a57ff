//! The file of a node, `mixline.toml`.

use super::error::Source;
use super::values::{self, Count, Prefix};
use super::{ConfigError, read};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// Fewest slots: a full batch on each of a few workers, and some packets in the mix.
const SLOTS_MIN: usize = 1024;
/// Most slots: what 32-bit slot numbers and the memory of today's machines hold.
const SLOTS_MAX: usize = 1 << 26;
/// Slots of a node that says nothing: about 90 MB at the default geometry.
const SLOTS_DEFAULT: usize = 1 << 16;
/// Most packets of an epoch: ten hours at ten million a second.
const REPLAY_PACKETS_MAX: usize = 360_000_000_000;
/// Packets of an epoch where nothing is said: 23 MB, 90 minutes at 1 500 a second.
const REPLAY_PACKETS_DEFAULT: usize = 8_000_000;
/// Most workers: more cores than any machine gives one node.
const WORKERS_MAX: usize = 1024;
/// Most addresses of a node, as in its descriptor.
const LISTEN_MAX: usize = 8;

/// The options of a node, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFile {
    /// The file with the trust anchor.
    pub network: PathBuf,
    /// The consensus to start from.
    pub consensus: PathBuf,
    /// The folder of the node's keys.
    pub keys: PathBuf,
    /// The addresses to bind, at least one.
    pub listen: Vec<SocketAddr>,
    /// The threads that process packets.
    pub workers: Workers,
    /// How packets come in and go out.
    pub port: PortMode,
    /// Packets that fit into memory, on all workers together.
    pub slots: usize,
    /// Packets that may wait in the mix at the same time; fewer than the slots.
    pub packets_max: usize,
    /// The folder of mix keys and replay tables, if it is named.
    pub replay_folder: Option<PathBuf>,
    /// Packets that one epoch may bring.
    pub replay_packets_max: u64,
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
        let Text { node, workers, port, memory, mix, replay, metrics, log } = source.parse()?;
        Ok(NodeFile {
            network: source.beside(&node.network),
            consensus: source.beside(&node.consensus),
            keys: source.beside(&node.keys),
            listen: listen(&node.listen, source)?,
            workers: Workers { count: workers.count.map(|count| count.0), pin: workers.pin },
            port: port.mode,
            slots: memory.slots.0,
            packets_max: packets_max(memory.slots.0, mix.packets_max.as_ref(), source)?,
            replay_folder: replay.folder.map(|folder| source.beside(&folder)),
            replay_packets_max: replay.packets_max.0 as u64,
            detail: metrics.detail,
            metrics: metrics_listener(&metrics, source)?,
            log: log.level,
        })
    }
}

/// The threads that process packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// How many; without a number, one a core.
    pub count: Option<usize>,
    /// Whether each stays on a core of its own.
    pub pin: bool,
}

/// How packets come in and go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortMode {
    /// The fastest that this machine offers.
    #[default]
    Auto,
    /// UDP sockets.
    Udp,
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
    /// Exact totals: refused unless all nodes of the network are on loopback.
    Lab,
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
    workers: WorkersText,
    #[serde(default)]
    port: PortText,
    #[serde(default)]
    memory: MemoryText,
    #[serde(default)]
    mix: MixText,
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

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PortText {
    mode: PortMode,
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

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MixText {
    packets_max: Option<Spanned<Count<1, SLOTS_MAX>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReplayText {
    #[serde(deserialize_with = "values::some_path")]
    folder: Option<PathBuf>,
    packets_max: Count<1, REPLAY_PACKETS_MAX>,
}

impl Default for ReplayText {
    fn default() -> Self {
        ReplayText { folder: None, packets_max: Count(REPLAY_PACKETS_DEFAULT) }
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
    source: Source<'_>,
) -> Result<Vec<SocketAddr>, ConfigError> {
    let count = written.get_ref().len();
    if !(1..=LISTEN_MAX).contains(&count) {
        let message = format!("{count} addresses in `node.listen`: use 1 to {LISTEN_MAX}");
        return Err(source.fault(written.span(), message));
    }
    values::each(written.get_ref(), "node.listen", source, values::listen)
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

/// The pool's quota: what was written, or three quarters of the slots. The rest is for packets
/// that are just received or sent, so that receiving never starves.
fn packets_max(
    slots: usize,
    written: Option<&Spanned<Count<1, SLOTS_MAX>>>,
    source: Source<'_>,
) -> Result<usize, ConfigError> {
    let Some(written) = written else { return Ok(slots / 4 * 3) };
    let packets_max = written.get_ref().0;
    if packets_max < slots {
        return Ok(packets_max);
    }
    let message = format!(
        "`mix.packets_max` is {packets_max}, but `memory.slots` is {slots}: \
         use fewer packets (three quarters of the slots) or more slots"
    );
    Err(source.fault(written.span(), message))
}
