//! What others may know of a node's traffic: sums of a minute, rounded up.
//!
//! A mix hides a packet among others; a counter that can be read at any moment would find it
//! again. So counts of traffic are looked at once a window and shown in bins.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Nanos;
use crate::metrics::Binned;
use crate::worker::Counts;

/// How long a window is.
pub(super) const WINDOW: Nanos = Nanos::from_secs(60);
/// Packets are shown in such steps.
const PACKETS_BIN: u64 = 1024;
/// And drops in such.
const DROPS_BIN: u64 = 64;
/// Steps of a ratio between 0 and 1.
const RATIO_STEPS: f64 = 100.0;

/// What was shown at the end of the last window, and what the next needs.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) received: Binned,
    pub(super) sent: Binned,
    pub(super) delivered: Binned,
    pub(super) kernel_dropped: Binned,
    /// By stage and reason.
    drops: BTreeMap<(&'static str, &'static str), Binned>,
    /// Mean occupancy of the mix.
    pub(super) pool_packets: u64,
    /// Share of the time that workers were awake: the mean of all, and the most of any.
    pub(super) busy: (f64, f64),
    occupancy: (u64, u64),
    asleep_ns: Vec<u64>,
    /// How full the replay table of each epoch was.
    fill: Vec<(u64, f64)>,
    opened: Nanos,
}

impl Window {
    pub(super) fn open(workers: usize, fill: Vec<(u64, f64)>, now: Nanos) -> Self {
        let packets = || Binned::new(PACKETS_BIN);
        Window {
            received: packets(),
            sent: packets(),
            delivered: packets(),
            kernel_dropped: Binned::new(DROPS_BIN),
            drops: BTreeMap::new(),
            pool_packets: 0,
            busy: (0.0, 0.0),
            occupancy: (0, 0),
            asleep_ns: vec![0; workers],
            fill,
            opened: now,
        }
    }

    /// Looks at what is in the mix: worth doing many times a window.
    pub(super) fn sample(&mut self, workers: &[Arc<Counts>]) {
        let resident: u64 = workers.iter().map(|counts| counts.resident.value()).sum();
        self.occupancy = (self.occupancy.0 + resident, self.occupancy.1 + 1);
    }

    /// Whether the window has ended.
    pub(super) fn is_over(&self, now: Nanos) -> bool {
        now - self.opened >= WINDOW
    }

    /// Ends the window and opens the next. `dropped` has the exact counts, by stage and reason.
    pub(super) fn close(
        &mut self,
        workers: &[Arc<Counts>],
        dropped: &[(&'static str, &'static str, u64)],
        fill: Vec<(u64, f64)>,
        now: Nanos,
    ) {
        let sum = |of: fn(&Counts) -> u64| workers.iter().map(|counts| of(counts)).sum();
        self.received.close(sum(|counts| counts.packets_in.value()));
        self.sent.close(sum(|counts| counts.packets_out.value()));
        self.delivered.close(sum(|counts| counts.delivered.value()));
        self.kernel_dropped.close(sum(|counts| counts.kernel_dropped.value()));
        for (stage, reason, count) in dropped {
            let shown = self.drops.entry((stage, reason));
            shown.or_insert_with(|| Binned::new(DROPS_BIN)).close(*count);
        }
        let (resident, looks) = std::mem::take(&mut self.occupancy);
        self.pool_packets =
            (resident / looks.max(1)).div_ceil(PACKETS_BIN).saturating_mul(PACKETS_BIN);
        self.fill = fill;
        self.close_busy(workers, now);
    }

    /// What is shown of the drops at `stage` for `reason`.
    pub(super) fn dropped(&self, stage: &'static str, reason: &'static str) -> u64 {
        self.drops.get(&(stage, reason)).map_or(0, Binned::shown)
    }

    /// What is shown of the table of `epoch`. Rounded up, it would show the first packet.
    pub(super) fn fill(&self, epoch: u64) -> f64 {
        let fill = self.fill.iter().find(|(of, _)| *of == epoch).map_or(0.0, |(_, fill)| *fill);
        (fill * RATIO_STEPS).round() / RATIO_STEPS
    }

    fn close_busy(&mut self, workers: &[Arc<Counts>], now: Nanos) {
        let span = (now - self.opened).as_secs_f64().max(f64::MIN_POSITIVE);
        let mut busy = Vec::with_capacity(workers.len());
        for (counts, before) in workers.iter().zip(&mut self.asleep_ns) {
            let asleep = counts.asleep_ns.value();
            let share = Nanos(asleep.saturating_sub(*before)).as_secs_f64() / span;
            *before = asleep;
            busy.push((1.0 - share).clamp(0.0, 1.0));
        }
        let mean = busy.iter().sum::<f64>() / busy.len().max(1) as f64;
        let most = busy.iter().copied().fold(0.0, f64::max);
        self.busy = (coarse(mean), coarse(most));
        self.opened = now;
    }
}

/// A ratio, rounded up to a hundredth: finer, it would count packets.
fn coarse(ratio: f64) -> f64 {
    (ratio * RATIO_STEPS).ceil() / RATIO_STEPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes_within_a_window_and_only_bins_are_shown_after_it() {
        let counts = Arc::new(Counts::default());
        let workers = [counts.clone()];
        let mut window = Window::open(1, vec![(7, 0.0)], Nanos::ZERO);
        counts.packets_in.add(1025);
        for resident in [10, 1500, 2000] {
            counts.resident.set(resident);
            window.sample(&workers);
        }
        counts.asleep_ns.add(Nanos::from_secs(45).0);
        assert_eq!((window.received.shown(), window.dropped("worker", "evicted")), (0, 0));
        assert!(!window.is_over(Nanos::from_secs(59)) && window.is_over(WINDOW));
        window.close(&workers, &[("worker", "evicted", 1)], vec![(7, 0.004), (8, 0.016)], WINDOW);
        assert_eq!([7, 8, 9].map(|epoch| window.fill(epoch)), [0.0, 0.02, 0.0]);
        assert_eq!((window.received.shown(), window.sent.shown()), (2048, 0));
        assert_eq!((window.dropped("worker", "evicted"), window.pool_packets), (64, 2048));
        assert_eq!(window.busy, (0.25, 0.25));
        assert!(!window.is_over(WINDOW));
    }

    #[test]
    fn a_ratio_has_a_hundred_values() {
        assert_eq!([0.0, 0.001, 0.61, 0.6101, 1.0].map(coarse), [0.0, 0.01, 0.61, 0.62, 1.0]);
    }
}
