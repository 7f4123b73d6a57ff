//! What a node counted in its life, for laboratories: printed at the end, never while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::control::Control;
use crate::io::{Port, PortCounters};
use crate::sphinx::Geometry;
use crate::worker::Counts;
use crate::worker::drops::Reason;

/// How often ports whose frames are not all there are asked again, and how long after.
const AUDITS_MAX: u32 = 50;
const AUDIT_GAP: Duration = Duration::from_millis(2);

/// The sums over all workers of a node, or over all nodes of a demo.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Bytes of each.
    pub datagram_bytes: usize,
    /// Datagrams received that had another size.
    pub datagrams_of_other_size: u64,
    /// Datagrams that the kernel dropped for want of buffer.
    pub kernel_dropped: u64,
    /// Sphinx packets received under a valid link key.
    pub packets_in: u64,
    /// Sphinx packets sent on.
    pub packets_out: u64,
    /// Letters stored in mailboxes.
    pub stored: u64,
    /// Loops that nodes sent to themselves.
    pub loops: u64,
    /// Those that came back.
    pub loops_back: u64,
    /// What was dropped, by stage and reason; only what is not zero.
    pub drops: BTreeMap<String, u64>,
    /// The tier of the cryptographic kernels.
    pub crypto: String,
    /// Frames of packet memory that ports could not account for at the end.
    pub frames_missing: u64,
    /// The kind of port; the kinds, where nodes have different ones.
    pub port: String,
}

/// What the ports of a node say at its end.
pub(super) struct PortTotals {
    kind: &'static str,
    counters: PortCounters,
    frames_missing: u64,
}

impl PortTotals {
    /// Of ports that nobody uses any more.
    pub(super) fn of<P: Port>(kind: &'static str, ports: &mut [P]) -> Self {
        let mut audit = || ports.iter_mut().map(Port::audit).sum::<u64>();
        let mut frames_missing = audit();
        // What was sent a moment ago may be on its way still.
        for _ in 0..AUDITS_MAX {
            if frames_missing == 0 {
                break;
            }
            thread::sleep(AUDIT_GAP);
            frames_missing = audit();
        }
        let none = PortCounters::default();
        let counters = ports.iter().fold(none, |sum, port| sum + *port.counters());
        PortTotals { kind, counters, frames_missing }
    }
}

impl Totals {
    /// What one node counted.
    pub(super) fn of_node(
        geometry: Geometry,
        ports: PortTotals,
        workers: &[Arc<Counts>],
        control: &Control,
    ) -> Self {
        let PortTotals { kind, counters, frames_missing } = ports;
        let over_workers = |of: fn(&Counts) -> u64| workers.iter().map(|counts| of(counts)).sum();
        let mut totals = Totals {
            datagrams_sent: counters.sent,
            datagrams_received: counters.received,
            datagram_bytes: geometry.datagram_bytes(),
            datagrams_of_other_size: counters.wrong_length,
            kernel_dropped: counters.kernel_dropped,
            packets_in: over_workers(|counts| counts.packets_in.value()),
            packets_out: over_workers(|counts| counts.packets_out.value()),
            stored: control.gateway_counts().stored.value(),
            loops: control.loop_counts().sent,
            loops_back: control.loop_counts().returned,
            drops: BTreeMap::new(),
            crypto: crate::crypto::tier::Tier::chosen().name().as_str().to_owned(),
            frames_missing,
            port: kind.to_owned(),
        };
        for reason in Reason::all() {
            let dropped: u64 = workers.iter().map(|counts| counts.drops.of(reason)).sum();
            let (stage, name) = reason.name();
            totals.add_drops(stage, name, dropped + control.counts().drops.of(reason));
        }
        totals.add_drops("gateway", "garbled", control.gateway_counts().garbled.value());
        for (name, count) in control.gateway_counts().drops() {
            totals.add_drops("gateway", name, count);
        }
        for (name, count) in control.counts().refused() {
            totals.add_drops("control", name, count);
        }
        totals
    }

    /// Adds another node's totals to these.
    pub fn add(&mut self, other: &Totals) {
        self.datagrams_sent += other.datagrams_sent;
        self.datagrams_received += other.datagrams_received;
        self.datagrams_of_other_size += other.datagrams_of_other_size;
        self.kernel_dropped += other.kernel_dropped;
        self.packets_in += other.packets_in;
        self.packets_out += other.packets_out;
        self.stored += other.stored;
        self.loops += other.loops;
        self.loops_back += other.loops_back;
        self.datagram_bytes = other.datagram_bytes;
        self.crypto.clone_from(&other.crypto);
        self.frames_missing += other.frames_missing;
        if self.port.is_empty() {
            self.port.clone_from(&other.port);
        } else if !self.port.split(", ").any(|kind| kind == other.port) {
            self.port = format!("{}, {}", self.port, other.port);
        }
        for (why, count) in &other.drops {
            *self.drops.entry(why.clone()).or_default() += count;
        }
    }

    fn add_drops(&mut self, stage: &str, name: &str, count: u64) {
        if count > 0 {
            self.drops.insert(format!("{stage} {name}"), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_over_nodes_names_every_kind_of_port_once() {
        let mut sum = Totals::default();
        for (port, frames_missing) in [("udp", 0), ("xdp generic", 2), ("udp", 1)] {
            sum.add(&Totals { port: port.into(), frames_missing, ..Totals::default() });
        }
        assert_eq!((sum.port.as_str(), sum.frames_missing), ("udp, xdp generic", 3));
    }
}
