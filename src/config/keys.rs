//! Every key of every file: what it means, and when a change takes effect.
//!
//! The commented files that `network init` writes and the tables of `docs/configuration.md` both
//! come from here, so that they agree with each other.

use std::fmt::Write as _;

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// When the process is started again.
    Restart,
}

impl Change {
    /// The word in files and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
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
        .means("File with the consensus; with authorities, the last one is kept there."),
    key("node", "keys", "\"keys\"")
        .by_default("\"keys\"")
        .means("Folder with the node's key files, mode 0600; $CREDENTIALS_DIRECTORY comes first."),
    key("node", "listen", "[\"192.0.2.1:7700\"]")
        .required()
        .means("Address and UDP port to bind: the one that the consensus lists."),
    key("node", "name", "\"mix-1-1\"")
        .by_default("none; required with authorities")
        .means("The node's name in its descriptor: lowercase letters, digits and hyphens."),
    key("node", "role", "\"mix\"")
        .by_default("none; required with authorities")
        .means("What its descriptor says it is: \"mix\" or \"gateway\"."),
    key("node", "addresses", "[\"192.0.2.1:7700\"]")
        .by_default("those of node.listen")
        .means("Where others reach it, as its descriptor says."),
    key("directory", "authorities", "[\"http://192.0.2.9:7780\"]")
        .by_default("none: the consensus is that of the file, for ever")
        .means("Authorities that hear the node's descriptor and are asked for the consensus."),
    key("directory", "epoch", "\"20m\"")
        .by_default("\"20m\"")
        .means("The length of the network's epochs."),
    key("workers", "count", "4").by_default("one a core").means(
        "Threads that process packets, 1 to 1024; from 4 on, one in nine (rounded up) only \
             mixes and sends.",
    ),
    key("workers", "pin", "true")
        .by_default("true")
        .means("Whether each worker stays on a core; false where nodes share a machine."),
    key("port", "mode", "\"auto\"")
        .by_default("\"auto\"")
        .means("\"auto\" (the fastest there is), \"xdp\", \"xdp-generic\", \"uring\" or \"udp\"."),
    key("port", "interface", "\"eth0\"")
        .by_default("the one with the address of node.listen")
        .means("The network interface that AF_XDP works on."),
    key("port", "busy_poll", "false")
        .by_default("false")
        .means("Whether workers poll the driver's queues themselves: latency for power."),
    key("port", "strangers", "4000")
        .by_default("4000")
        .means("Datagrams a second from all strangers together that AF_XDP lets in."),
    key("memory", "slots", "65536").by_default("65536").means(
        "Packets that fit into memory, beside those in flight: 1024 to 67108864, 1.4 kB each.",
    ),
    key("mix", "packets_max", "49152")
        .by_default("three quarters of memory.slots")
        .means("Packets that may wait in the mix; above it, random ones are dropped."),
    key("mix", "strategy", "\"poisson\"").by_default("\"poisson\"").means(
        "Who decides when a packet leaves: \"poisson\", \"timed-dynamic\" or \"threshold\".",
    ),
    key("mix", "interval", "\"5260us\"")
        .by_default("none; required with timed-dynamic")
        .means("The time between two flushes of a timed dynamic pool, \"1ms\" to \"1s\"."),
    key("mix", "fraction", "0.1")
        .by_default("none; required with timed-dynamic")
        .means("The share of the packets in a pool that leaves in a flush, up to 1."),
    key("mix", "packets_min", "100")
        .by_default("none; required with timed-dynamic")
        .means("Packets that always stay in a pool."),
    key("mix", "threshold", "100")
        .by_default("none; required with threshold")
        .means("Packets that leave a pool together, as soon as they are inside."),
    key("gateway", "folder", "\"mailboxes\"")
        .by_default("\"mailboxes\"")
        .means("Folder of a gateway's mailboxes, made if it is not there."),
    key("gateway", "mailboxes", "4096")
        .by_default("4096")
        .means("Mailboxes that a gateway keeps, 1 to 16777216."),
    key("gateway", "letters", "65536")
        .by_default("65536")
        .means("Letters that one mailbox holds, 1 to 16777216; above it, new ones are refused."),
    key("gateway", "bytes", "67108864")
        .by_default("67108864")
        .means("Bytes that the letters of one mailbox have, 4096 to 1099511627776."),
    key("gateway", "expiry", "\"30d\"")
        .by_default("\"30d\"")
        .means("How long a letter waits, and an empty mailbox that nobody opens stays."),
    key("gateway", "unlisted", "false")
        .by_default("false")
        .means("Whether the gateway answers only those who hold its key: see `mixline invite`."),
    key("replay", "folder", "\"/run/mixline\"")
        .by_default("below $RUNTIME_DIRECTORY, /run/mixline or /dev/shm")
        .means("Folder on a tmpfs for mix keys and replay tables, which must end with the power."),
    key("replay", "packets_per_second", "3400")
        .by_default("3400; only with authorities")
        .means("Highest rate: tables are for it, for two epochs, 2.9 bytes a packet, 3 tables."),
    key("replay", "packets_max", "8000000")
        .by_default("by the rate; without authorities 8000000")
        .means("Packets of one epoch, where they are not said by a rate."),
    key("metrics", "detail", "\"private\"")
        .by_default("\"private\"")
        .means("\"lab\" counts exactly and prints totals; only on loopback or in 198.18.0.0/15."),
    key("metrics", "listen", "\"127.0.0.1:9477\"")
        .by_default("nowhere")
        .means("TCP address of /metrics, /healthz and /readyz."),
    key("metrics", "allow", "[\"192.0.2.0/24\"]")
        .by_default("[], this machine only")
        .means("Addresses that may ask; required where metrics.listen is not on loopback."),
    key("log", "level", "\"info\"")
        .by_default("\"info\"")
        .means("What is logged: \"error\", \"warn\", \"info\", \"debug\" or \"trace\"."),
];

/// The keys of a `client.toml`.
pub const CLIENT_KEYS: &[Key] = &[
    key("client", "network", "\"network.toml\"")
        .required()
        .means("File with the network's trust anchor: its name and its authorities' keys."),
    key("client", "consensus", "\"consensus.cbor\"")
        .required()
        .means("File with the consensus; with authorities, the last one is kept there."),
    key("client", "gateway", "\"gateway-1\"")
        .by_default("none: it is asked for where there is no invitation")
        .means("The gateway to enter by: its name, or the 64 digits of its identity."),
    key("client", "invitation", "\"invitation\"")
        .by_default("none")
        .means("File with an invitation, what `mixline invite` printed: it names the gateway."),
    key("client", "mailbox", "\"mailbox.key\"")
        .by_default("\"mailbox.key\"")
        .means("File with the mailbox's secret keys, mode 0600."),
    key("client", "spool", "\"spool.redb\"")
        .by_default("\"spool.redb\"")
        .means("File in which messages wait for a reader, mode 0600."),
    key("client", "socket", "\"client.sock\"")
        .by_default("below $XDG_RUNTIME_DIR/mixline, or \"client.sock\"")
        .means("Unix socket of the daemon, for its user alone."),
    key("directory", "authorities", "[\"http://192.0.2.9:7780\"]")
        .by_default("none: the consensus is that of the file, for ever")
        .means("Authorities that are asked for the consensus."),
];

/// The keys of a `mixline-authority.toml`.
pub const AUTHORITY_KEYS: &[Key] = &[
    key("authority", "network", "\"network.toml\"")
        .required()
        .means("File with the network's trust anchor: its name and its authorities' keys."),
    key("authority", "keys", "\"keys\"")
        .by_default("\"keys\"")
        .means("Folder with authority.key, mode 0600; $CREDENTIALS_DIRECTORY comes first."),
    key("authority", "listen", "\"127.0.0.1:7780\"")
        .by_default("\"127.0.0.1:7780\"")
        .means("Address and TCP port of its HTTP server."),
    key("authority", "state", "\"state\"")
        .by_default("\"state\"")
        .means("Folder for the descriptors and the consensuses of the last epochs."),
    key("network", "epoch", "\"20m\"")
        .by_default("\"20m\"")
        .means("The length of an epoch, in whole seconds, 4 s to 7 days."),
    key("network", "layers", "3").by_default("3").means("Layers of mixes, 1 to 3."),
    key("network", "delay_mean", "\"200ms\"")
        .by_default("\"200ms\"")
        .means("Mean of the delay at every hop."),
    key("network", "payload_bytes", "1024")
        .by_default("1024")
        .means("Bytes of every packet's payload."),
    key("rates", "payload", "20.0")
        .by_default("20.0")
        .means("lambda_P: a client's packets a second, real or decoy."),
    key("rates", "client_loop", "1.0")
        .by_default("1.0")
        .means("lambda_L: a client's loops to itself a second."),
    key("rates", "client_drop", "1.0")
        .by_default("1.0")
        .means("lambda_D: a client's drops to random gateways a second."),
    key("rates", "mix_loop", "1.0")
        .by_default("1.0")
        .means("lambda_M: a mix's loops to itself a second."),
    key("rates", "gateway_loop", "1.0")
        .by_default("1.0")
        .means("lambda_G: a gateway's loops to itself a second."),
    key("admission", "seats", SEATS_EXAMPLE)
        .by_default("none: every node that signs may join, mixes in the emptiest layer")
        .means("The nodes of the network: identity, layer (0: gateway) and weight of each."),
    key("log", "level", "\"info\"")
        .by_default("\"info\"")
        .means("What is logged: \"error\", \"warn\", \"info\", \"debug\" or \"trace\"."),
];

/// A list of one seat.
const SEATS_EXAMPLE: &str = "[{ node = \"\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\", layer = 1, weight = 1 }]";

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
