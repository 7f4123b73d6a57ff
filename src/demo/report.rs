//! What the demo shows: progress while it runs, a table at its end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::messages::Traffic;
use super::{GATEWAYS, LAYERS, Options};
use crate::client::protocol::Status;
use crate::clock::Nanos;
use crate::node::Totals;

/// Two bars, one after the other: nodes connected, messages delivered.
pub(super) struct Progress {
    bar: ProgressBar,
    messages: u64,
}

impl Progress {
    pub(super) fn new(options: Options) -> Self {
        let bar = ProgressBar::new(1);
        if options.json {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{msg:20} {wide_bar} {pos}/{len}") {
            bar.set_style(style);
        }
        Progress { bar, messages: options.messages as u64 }
    }

    pub(super) fn nodes(&self, connected: usize, nodes: usize) {
        self.show("nodes connected", connected as u64, nodes as u64);
    }

    pub(super) fn messages(&self, delivered: usize) {
        self.show("messages delivered", delivered as u64, self.messages);
    }

    fn show(&self, what: &'static str, done: u64, of: u64) {
        self.bar.set_message(what);
        self.bar.set_length(of);
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The delays that the messages saw, from the sender's input to the recipient's output.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Half of them at most this, in milliseconds.
    pub p50_ms: f64,
    /// Nine of ten.
    pub p90_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All.
    pub max_ms: f64,
}

/// The decoys of all clients together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Decoys {
    /// In place of packets.
    pub payload: u64,
    /// Those that came back as acknowledgements.
    pub acknowledged: u64,
    /// For gateways to drop.
    pub drops: u64,
    /// Loops.
    pub loops: u64,
    /// Loops that came back.
    pub loops_back: u64,
}

/// What came of a demo.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Mixes and gateways.
    pub nodes: usize,
    /// Messages sent.
    pub sent: usize,
    /// Messages that arrived, byte for byte.
    pub delivered: usize,
    /// Messages that did not.
    pub lost: usize,
    /// Copies beyond the first.
    pub duplicated: usize,
    /// Messages that arrived and were never sent.
    pub foreign: usize,
    /// Messages whose sender heard that all of it was safe.
    pub acknowledged: usize,
    /// Messages whose sender heard that they were given up.
    pub failed: usize,
    /// Bytes of all messages.
    pub message_bytes: usize,
    /// Packets with parts of messages, of both clients, the same part sent again too.
    pub packets: u64,
    /// Those among them that were sent again.
    pub retransmissions: u64,
    /// Acknowledgements of parts.
    pub acknowledgements: u64,
    /// Decoys of both clients: in place of packets, for gateways to drop, loops.
    pub decoys: Decoys,
    /// How long it took.
    pub seconds: f64,
    /// How long one message took.
    pub latency: Latency,
    /// Loops of mixes and gateways to themselves.
    pub node_loops: u64,
    /// Those that came back.
    pub node_loops_back: u64,
    /// Datagrams that the nodes sent.
    pub datagrams_sent: u64,
    /// Datagrams that the nodes received.
    pub datagrams_received: u64,
    /// Bytes of every datagram.
    pub datagram_bytes: usize,
    /// Datagrams that had another size: of ours there must be none.
    pub datagrams_of_other_size: u64,
    /// Sphinx packets that nodes dropped, by reason.
    pub drops: BTreeMap<String, u64>,
    /// The tier of the cryptographic kernels.
    pub crypto: String,
    /// The kind of port.
    pub port: String,
}

impl Report {
    pub(super) fn new(
        traffic: &Traffic,
        totals: &Totals,
        elapsed: Nanos,
        options: Options,
    ) -> Self {
        let sum = |of: fn(&Status) -> u64| traffic.clients.iter().map(of).sum();
        let quantile = |of: f64| traffic.latency_us.value_at_quantile(of) as f64 / 1_000.0;
        Report {
            nodes: options.mixes + GATEWAYS,
            sent: traffic.sent,
            delivered: traffic.delivered,
            lost: traffic.sent - traffic.delivered,
            duplicated: traffic.duplicated,
            foreign: traffic.foreign,
            acknowledged: traffic.acknowledged,
            failed: traffic.failed,
            message_bytes: traffic.bytes,
            packets: sum(|client| client.packets),
            retransmissions: sum(|client| client.retransmissions),
            acknowledgements: sum(|client| client.acknowledgements),
            decoys: Decoys {
                payload: sum(|client| client.decoys),
                acknowledged: sum(|client| client.decoys_acknowledged),
                drops: sum(|client| client.drops),
                loops: sum(|client| client.loops),
                loops_back: sum(|client| client.loops_back),
            },
            seconds: elapsed.as_secs_f64(),
            latency: Latency {
                p50_ms: quantile(0.5),
                p90_ms: quantile(0.9),
                p99_ms: quantile(0.99),
                max_ms: traffic.latency_us.max() as f64 / 1_000.0,
            },
            node_loops: totals.loops,
            node_loops_back: totals.loops_back,
            datagrams_sent: totals.datagrams_sent,
            datagrams_received: totals.datagrams_received,
            datagram_bytes: totals.datagram_bytes,
            datagrams_of_other_size: totals.datagrams_of_other_size,
            drops: totals.drops.clone(),
            crypto: totals.crypto.clone(),
            port: totals.port.clone(),
        }
    }

    /// Whether every message came, once, and nothing else.
    pub fn is_perfect(&self) -> bool {
        let arrived = self.delivered == self.sent && self.acknowledged == self.sent;
        arrived && self.duplicated == 0 && self.foreign == 0
    }

    /// The one line that says it all.
    pub fn verdict(&self) -> String {
        let Report { delivered, sent, duplicated, .. } = self;
        format!("demo: {delivered} of {sent} messages delivered, {duplicated} duplicates")
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let Latency { p50_ms, p90_ms, p99_ms, max_ms } = self.latency;
        let seconds = Duration::from_secs_f64(self.seconds.max(0.0));
        let (mixes, decoys) = (self.nodes - GATEWAYS, self.decoys);
        let dropped = match self.drops.len() {
            0 => "none".to_owned(),
            _ => self
                .drops
                .iter()
                .map(|(why, n)| format!("{n} {why}"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        vec![
            (
                "network",
                format!(
                    "1 authority, {mixes} mixes in {LAYERS} layers, {GATEWAYS} gateways, 2 clients"
                ),
            ),
            ("messages", format!("{} of {} bytes in all", self.sent, self.message_bytes)),
            ("delivered", self.delivered.to_string()),
            ("lost", self.lost.to_string()),
            ("duplicated", self.duplicated.to_string()),
            ("time", format!("{:.1} s", seconds.as_secs_f64())),
            (
                "latency, ms",
                format!("p50 {p50_ms:.0}  p90 {p90_ms:.0}  p99 {p99_ms:.0}  max {max_ms:.0}"),
            ),
            (
                "packets",
                format!(
                    "{} ({} sent again), {} acknowledged",
                    self.packets, self.retransmissions, self.acknowledgements
                ),
            ),
            (
                "decoys",
                format!(
                    "{} ({} acknowledged), {} drops, {} loops ({} back)",
                    decoys.payload,
                    decoys.acknowledged,
                    decoys.drops,
                    decoys.loops,
                    decoys.loops_back
                ),
            ),
            ("nodes' loops", format!("{} ({} back)", self.node_loops, self.node_loops_back)),
            (
                "datagrams",
                format!(
                    "{} sent by nodes, {} received",
                    self.datagrams_sent, self.datagrams_received
                ),
            ),
            (
                "their size",
                format!(
                    "{} bytes each, {} of another size",
                    self.datagram_bytes, self.datagrams_of_other_size
                ),
            ),
            ("dropped", dropped),
            ("crypto tier", self.crypto.clone()),
            ("port", self.port.clone()),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.rows() {
            writeln!(out, "  {name:<14}{value}")?;
        }
        write!(out, "{}", self.verdict())
    }
}
