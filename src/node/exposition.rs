//! Every metric of a node: its name, its meaning, how exactly it is shown, and where it comes
//! from. One table, which is also that of `docs/operations.md`.
//!
//! No label names a peer, a client, a mailbox or a kind of message, and outside of laboratories
//! nothing tells replays, decoys or sessions (`docs/threat-model.md`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::TextEncoder;
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

use super::control::ControlCounts;
use super::standing::{InForce, Standing};
use super::window::Window;
use crate::clock::Nanos;
use crate::crypto;
use crate::gateway;
use crate::io::shield::Shield;
use crate::replay::EpochKey;
use crate::worker::Counts;
use crate::worker::drops::Reason;

/// How exactly a metric is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// At any moment: it is not users' traffic.
    Live,
    /// As it was at the end of the last minute, rounded up; exact in laboratories.
    Window,
    /// In laboratories alone.
    Lab,
}

/// A metric of a node.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// How exactly it is shown.
    pub tier: Tier,
    kind: MetricType,
    read: fn(&View<'_>) -> Vec<Sample>,
}

/// All metrics.
pub const METRICS: &[Metric] = &[
    gauge("mixline_build_info", Tier::Live, "The program's version, as a label.", |_| {
        vec![Sample::of("version", env!("CARGO_PKG_VERSION"), 1.0)]
    }),
    gauge("mixline_crypto_info", Tier::Live, "The tier of the cryptography, as a label.", |_| {
        vec![Sample::of("tier", crypto::tier::Tier::chosen().name().as_str(), 1.0)]
    }),
    gauge("mixline_workers", Tier::Live, "Threads that process packets.", |view| {
        one(view.sources.workers.len() as f64)
    }),
    gauge("mixline_draining", Tier::Live, "1 while the node takes in nothing more.", |view| {
        one(flag(view.sources.standing.is_draining()))
    }),
    gauge("mixline_links", Tier::Live, "Links to neighbours that there should be.", |view| {
        one(view.sources.standing.links.value() as f64)
    }),
    gauge("mixline_links_up", Tier::Live, "Links to neighbours that have a session.", |view| {
        one(view.sources.standing.links_up.value() as f64)
    }),
    gauge("mixline_epoch", Tier::Live, "The epoch of the consensus in force.", |view| {
        one(view.in_force.consensus.epoch() as f64)
    }),
    gauge(
        "mixline_consensus_expiry_timestamp_seconds",
        Tier::Live,
        "When the consensus in force is no longer valid, in seconds since 1970.",
        |view| one(view.in_force.consensus.valid_until().as_secs() as f64),
    ),
    gauge(
        "mixline_replay_fill_ratio",
        Tier::Window,
        "How full the replay table of a mix key was, to the nearest hundredth.",
        |view| view.of_keys(|epoch, _| view.window.fill(epoch)),
    ),
    gauge(
        "mixline_replay_key_closed",
        Tier::Live,
        "1 when the table of a mix key is too full for it to be used any more.",
        |view| view.of_keys(|_, key| flag(key.is_closed())),
    ),
    gauge(
        "mixline_replay_outlives_process",
        Tier::Live,
        "1 when mix keys and replay tables outlive a restart of the process.",
        |view| one(flag(view.sources.outlives_process)),
    ),
    gauge("mixline_memory_planned_bytes", Tier::Live, "Memory by what it is for.", |view| {
        let (packets, tables) = view.sources.memory_bytes;
        vec![
            Sample::of("part", "packets", packets as f64),
            Sample::of("part", "replay_tables", tables as f64),
        ]
    }),
    gauge(
        "mixline_worker_busy_ratio",
        Tier::Window,
        "Share of the last minute that workers were awake, rounded up to hundredths.",
        |view| {
            let (mean, most) = view.window.busy;
            vec![Sample::of("of", "mean", mean), Sample::of("of", "max", most)]
        },
    ),
    counter(
        "mixline_packets_received_total",
        Tier::Window,
        "Packets that came from neighbours and clients.",
        |view| view.count(|counts| counts.packets_in.value(), |window| window.received.shown()),
    ),
    counter(
        "mixline_packets_sent_total",
        Tier::Window,
        "Packets sent to their next hop.",
        |view| view.count(|counts| counts.packets_out.value(), |window| window.sent.shown()),
    ),
    counter(
        "mixline_packets_delivered_total",
        Tier::Window,
        "Packets whose path ended here, of whatever kind.",
        |view| view.count(|counts| counts.delivered.value(), |window| window.delivered.shown()),
    ),
    counter(
        "mixline_socket_dropped_datagrams_total",
        Tier::Window,
        "Datagrams that the kernel dropped, mostly for want of buffer.",
        |view| {
            view.count(
                |counts| counts.kernel_dropped.value(),
                |window| window.kernel_dropped.shown(),
            )
        },
    ),
    counter(
        "mixline_drops_total",
        Tier::Window,
        "What was dropped, by the stage that refused it and its reason.",
        |view| view.sources.drops().into_iter().map(|drop| view.drop(drop)).collect(),
    ),
    gauge(
        "mixline_pool_packets",
        Tier::Window,
        "Packets in the mix, the mean of the last minute.",
        |view| match view.sources.is_lab() {
            true => one(view.sources.sum(|counts| counts.resident.value()) as f64),
            false => one(view.window.pool_packets as f64),
        },
    ),
    counter("mixline_replays_total", Tier::Lab, "What came a second time, by stage.", |view| {
        Reason::all()
            .filter(|reason| reason.is_replay())
            .map(|reason| Sample::of("stage", reason.name().0, view.sources.dropped(reason) as f64))
            .collect()
    }),
    counter(
        "mixline_garbled_total",
        Tier::Lab,
        "Payloads at a gateway that were changed on their way.",
        |view| one(view.sources.gateway.garbled.value() as f64),
    ),
    counter(
        "mixline_packets_own_total",
        Tier::Lab,
        "Packets of the node's own put into its mix.",
        |view| one(view.sources.sum(|counts| counts.packets_own.value()) as f64),
    ),
    counter(
        "mixline_dummies_received_total",
        Tier::Lab,
        "Dummies received from neighbours and clients.",
        |view| one(view.sources.sum(|counts| counts.dummies_in.value()) as f64),
    ),
    counter(
        "mixline_frames_sent_total",
        Tier::Lab,
        "Dummies, control frames and deliveries sent.",
        |view| one(view.sources.sum(|counts| counts.frames_out.value()) as f64),
    ),
];

/// Where metrics come from.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) standing: Arc<Standing>,
    pub(super) workers: Vec<Arc<Counts>>,
    pub(super) control: Arc<ControlCounts>,
    /// All zero at a mix.
    pub(super) gateway: Arc<gateway::Counts>,
    /// Memory planned for packets, and for replay tables.
    pub(super) memory_bytes: (u64, u64),
    pub(super) outlives_process: bool,
    /// In front of the ports, where they have one.
    pub(super) shield: Option<Arc<Shield>>,
    pub(super) lab: bool,
}

impl Sources {
    /// Whether exact counts are shown: as configured, until strangers join the network.
    fn is_lab(&self) -> bool {
        self.lab && !self.standing.is_lab_over()
    }

    fn sum(&self, of: fn(&Counts) -> u64) -> u64 {
        self.workers.iter().map(|counts| of(counts)).sum()
    }

    /// Everything that was dropped, by stage and reason, but for what has a metric of its own.
    fn drops(&self) -> Vec<(&'static str, &'static str, u64)> {
        let of_packets = Reason::all().filter(|reason| !reason.is_replay()).map(|reason| {
            let (stage, name) = reason.name();
            (stage, name, self.dropped(reason))
        });
        let control = self.control.refused().map(|(name, count)| ("control", name, count));
        let gateway = self.gateway.drops().map(|(name, count)| ("gateway", name, count));
        of_packets.chain(control).chain(gateway).chain(self.shielded()).collect()
    }

    /// What never came to a worker.
    fn shielded(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        // The kernel tells on Linux 5.19 and later, without which no shield was loaded.
        let counters = self.shield.as_ref().and_then(|shield| shield.counters().ok());
        let rows = counters.into_iter().flat_map(|counters| counters.rows().collect::<Vec<_>>());
        rows.filter(|(reason, _)| reason.is_drop())
            .map(|(reason, count)| ("shield", reason.name(), count))
    }

    fn dropped(&self, reason: Reason) -> u64 {
        let workers: u64 = self.workers.iter().map(|counts| counts.drops.of(reason)).sum();
        workers + self.control.drops.of(reason)
    }
}

/// What a node says of itself.
#[derive(Debug)]
pub(super) struct Exposition {
    pub(super) sources: Sources,
    window: Mutex<Window>,
}

impl Exposition {
    pub(super) fn new(sources: Sources, now: Nanos) -> Self {
        let fill = fill_of(&sources.standing.in_force());
        let window = Mutex::new(Window::open(sources.workers.len(), fill, now));
        Exposition { sources, window }
    }

    /// Looks at what changes within a window; whether the window is over.
    pub(super) fn sample(&self, now: Nanos) -> bool {
        let mut window = self.window();
        window.sample(&self.sources.workers);
        window.is_over(now)
    }

    /// Ends the window.
    pub(super) fn close_window(&self, now: Nanos) {
        let fill = fill_of(&self.sources.standing.in_force());
        self.window().close(&self.sources.workers, &self.sources.drops(), fill, now);
    }

    /// All metrics in Prometheus' text format.
    pub(super) fn text(&self) -> String {
        let view = View {
            sources: &self.sources,
            in_force: self.sources.standing.in_force(),
            window: &self.window(),
        };
        let shown =
            METRICS.iter().filter(|metric| metric.tier != Tier::Lab || self.sources.is_lab());
        let families: Vec<_> = shown.map(|metric| metric.family(&view)).collect();
        // It refuses families without samples only, and there is none.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }

    /// In a laboratory, the last stalls of all workers, one a line: worker, beginning and end in
    /// nanoseconds of this process's clock, which is at `now` (the first line).
    pub(super) fn stalls(&self, now: Nanos) -> Option<String> {
        if !self.sources.is_lab() {
            return None;
        }
        let lines = self.sources.workers.iter().zip(0..).flat_map(|(counts, worker)| {
            let recent = counts.stalls.recent().into_iter();
            recent.map(move |stall| format!("{worker} {} {}\n", stall.from.0, stall.until.0))
        });
        Some(std::iter::once(format!("now {}\n", now.0)).chain(lines).collect())
    }

    /// Nobody leaves a window half closed but by a panic, which ends the process.
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a metric is read from.
struct View<'a> {
    sources: &'a Sources,
    in_force: InForce,
    window: &'a Window,
}

impl View<'_> {
    /// One value for the key of each epoch. There is one for now, mostly one for the next epoch,
    /// and one before them.
    fn of_keys(&self, value: impl Fn(u64, &EpochKey) -> f64) -> Vec<Sample> {
        let mut keys: Vec<_> = self.in_force.keys.iter().collect();
        keys.sort_unstable_by_key(|(epoch, _)| *epoch);
        let names: &[&str] = match keys.len() {
            0 | 1 => &["current"],
            2 => &["current", "next"],
            _ => &["previous", "current", "next"],
        };
        let named = keys.iter().zip(names);
        named.map(|((epoch, key), name)| Sample::of("key", name, value(*epoch, key))).collect()
    }

    fn count(&self, exact: fn(&Counts) -> u64, binned: fn(&Window) -> u64) -> Vec<Sample> {
        let value =
            if self.sources.is_lab() { self.sources.sum(exact) } else { binned(self.window) };
        one(value as f64)
    }

    fn drop(&self, (stage, reason, count): (&'static str, &'static str, u64)) -> Sample {
        let value = if self.sources.is_lab() { count } else { self.window.dropped(stage, reason) };
        Sample { labels: vec![("stage", stage), ("reason", reason)], value: value as f64 }
    }
}

/// How full the table of each key is, with its epoch.
fn fill_of(in_force: &InForce) -> Vec<(u64, f64)> {
    in_force.keys.iter().map(|(epoch, key)| (*epoch, key.table().fill_ratio())).collect()
}

/// A value and its labels.
struct Sample {
    labels: Vec<(&'static str, &'static str)>,
    value: f64,
}

impl Sample {
    fn of(label: &'static str, named: &'static str, value: f64) -> Self {
        Sample { labels: vec![(label, named)], value }
    }
}

fn one(value: f64) -> Vec<Sample> {
    vec![Sample { labels: vec![], value }]
}

fn flag(value: bool) -> f64 {
    f64::from(u8::from(value))
}

type Read = fn(&View<'_>) -> Vec<Sample>;

const fn gauge(name: &'static str, tier: Tier, help: &'static str, read: Read) -> Metric {
    Metric { name, help, tier, kind: MetricType::GAUGE, read }
}

const fn counter(name: &'static str, tier: Tier, help: &'static str, read: Read) -> Metric {
    Metric { name, help, tier, kind: MetricType::COUNTER, read }
}

impl Metric {
    fn family(&self, view: &View<'_>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric((self.read)(view).iter().map(|sample| self.encode(sample)).collect());
        family
    }

    fn encode(&self, sample: &Sample) -> proto::Metric {
        let label = |&(name, value): &(&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value.to_owned());
            pair
        };
        let mut metric = proto::Metric::from_label(sample.labels.iter().map(label).collect());
        if self.kind == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(sample.value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(sample.value);
            metric.set_gauge(gauge);
        }
        metric
    }
}
