//! Every key of every file: what it means, and when a change takes effect.
//!
//! The commented files that `network init` writes and the tables of `docs/configuration.md` both
//! come from here, so that they agree with each other.

use std::fmt::Write as _;

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At the next `mixline reload`.
    Reload,
    /// When the process is started again.
    Restart,
}

impl Change {
    /// The word in files and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Change::Reload => "reload",
            Change::Restart => "restart",
        }
    }
}

/// A key of a configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table that it stands in.
    pub table: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// A value for the example: the default where there is one.
    pub example: &'static str,
    /// The default in words, or that the key is required.
    pub default: &'static str,
    /// When a change takes effect.
    pub change: Change,
    /// What it does, in a sentence.
    pub meaning: &'static str,
}

const REQUIRED: &str = "required";

const fn key(table: &'static str, name: &'static str, example: &'static str) -> Key {
    Key { table, name, example, default: "", change: Change::Restart, meaning: "" }
}

impl Key {
    const fn required(self) -> Self {
        Key { default: REQUIRED, ..self }
    }

    const fn by_default(self, default: &'static str) -> Self {
        Key { default, ..self }
    }

    const fn reloads(self) -> Self {
        Key { change: Change::Reload, ..self }
    }

    const fn means(self, meaning: &'static str) -> Self {
        Key { meaning, ..self }
    }
}

/// The keys of a node's `mixline.toml`.
pub const NODE_KEYS: &[Key] = &[
    key("node", "network", "\"network.toml\"")
        .required()
        .means("File with the network's trust anchor: its name and its authorities' keys."),
    key("node", "consensus", "\"consensus.cbor\"")
        .required()
        .reloads()
        .means("File with the consensus: the nodes and parameters, signed by the authorities."),
    key("node", "keys", "\"keys\"")
        .by_default("\"keys\"")
        .means("Folder with the node's key files, mode 0600; $CREDENTIALS_DIRECTORY comes first."),
    key("node", "listen", "[\"192.0.2.1:7700\"]")
        .required()
        .means("Addresses and UDP ports to bind, 1 to 8: those that the consensus lists."),
    key("workers", "count", "4")
        .by_default("one a core")
        .means("Threads that process packets, 1 to 1024."),
    key("workers", "pin", "true")
        .by_default("true")
        .means("Whether each worker stays on a core; false where nodes share a machine."),
    key("port", "mode", "\"auto\"")
        .by_default("\"auto\"")
        .means("How packets come in and go out: \"auto\" (the fastest there is) or \"udp\"."),
    key("memory", "slots", "65536")
        .by_default("65536")
        .means("Packets that fit into memory, 1024 to 67108864; each takes about 1.4 kB."),
    key("mix", "packets_max", "49152")
        .by_default("three quarters of memory.slots")
        .means("Packets that may wait in the mix; above it, random ones are dropped."),
    key("replay", "folder", "\"/run/mixline\"")
        .by_default("below $RUNTIME_DIRECTORY, /run/mixline or /dev/shm")
        .means("Folder on a tmpfs for mix keys and replay tables, which must end with the power."),
    key("replay", "packets_max", "8000000")
        .by_default("8000000")
        .means("Packets of one epoch; each takes 2.9 bytes, in up to 3 tables at a time."),
    key("metrics", "detail", "\"private\"")
        .by_default("\"private\"")
        .means("\"lab\" counts exactly and prints totals; only where all nodes are on loopback."),
    key("metrics", "listen", "\"127.0.0.1:9477\"")
        .by_default("nowhere")
        .means("TCP address of /metrics, /healthz and /readyz."),
    key("metrics", "allow", "[\"192.0.2.0/24\"]")
        .by_default("[], this machine only")
        .means("Addresses that may ask; required where metrics.listen is not on loopback."),
    key("log", "level", "\"info\"")
        .by_default("\"info\"")
        .reloads()
        .means("What is logged: \"error\", \"warn\", \"info\", \"debug\" or \"trace\"."),
];

/// The keys of a `client.toml`.
pub const CLIENT_KEYS: &[Key] = &[
    key("client", "network", "\"network.toml\"")
        .required()
        .means("File with the network's trust anchor: its name and its authorities' keys."),
    key("client", "consensus", "\"consensus.cbor\"")
        .required()
        .reloads()
        .means("File with the consensus: the nodes and parameters, signed by the authorities."),
    key("client", "gateway", "\"gateway-1\"")
        .by_default("one drawn at random")
        .means("The gateway to enter by: its name, or the 64 digits of its identity."),
    key("client", "mailbox", "\"mailbox.key\"")
        .by_default("\"mailbox.key\"")
        .means("File with the mailbox's secret keys, mode 0600."),
];

/// The keys of a `network.toml`.
pub const NETWORK_KEYS: &[Key] = &[
    key("network", "name", "\"example\"")
        .required()
        .means("The network's name: lowercase letters, digits and hyphens."),
    key("network", "authorities", "[]")
        .required()
        .means("The authorities' Ed25519 public keys, 64 hexadecimal digits each."),
    key("network", "threshold", "1")
        .by_default("a majority")
        .means("How many authorities must sign a consensus; never less than a majority."),
];

/// A commented file of these `keys`: those among `values` (`table.name` and its TOML) have their
/// value, the others stand there as comments.
pub fn example(heading: &str, keys: &[Key], values: &[(&str, String)]) -> String {
    let mut text = format!("# {heading}\n");
    let mut table = "";
    for key in keys {
        if key.table != table {
            table = key.table;
            append(&mut text, format_args!("\n[{table}]\n"));
        }
        let Key { name, default, change, meaning, .. } = key;
        append(&mut text, format_args!("# {meaning}\n"));
        let default =
            if *default == REQUIRED { "Required" } else { &format!("Default: {default}") };
        append(&mut text, format_args!("# {default}. Changes at {}.\n", change.as_str()));
        let path = format!("{table}.{name}");
        match values.iter().find(|(named, _)| *named == path) {
            Some((_, value)) => append(&mut text, format_args!("{name} = {value}\n")),
            None => append(&mut text, format_args!("#{name} = {}\n", key.example)),
        }
    }
    text
}

fn append(text: &mut String, line: std::fmt::Arguments<'_>) {
    #[expect(clippy::expect_used, reason = "a String takes every write")]
    text.write_fmt(line).expect("writing into memory does not fail");
}
