//! What short windows of time tell: which of them were undisturbed, and the figures of those.
//!
//! In one window a marker, ours and the peer's are timed. A neighbour on the machine, a lower
//! frequency, a migrated thread slow the marker too, so a window counts, for both sides, only when
//! its marker is nearly the best of the whole run. Nothing is timed here: `tests/bench_windows.rs`
//! tests it.

/// How much slower than the best of the run the marker of a window that counts may be.
const SLACK: f64 = 1.03;
/// The best marker is the one that a hundredth of all windows beat. Processors raise their
/// frequency for some milliseconds now and then: whichever side happens to run then would win, and
/// all other windows would not count.
const LUCKY: usize = 100;
/// Fewer undisturbed windows give no figures.
pub(crate) const WINDOWS_MIN: usize = 10;

/// What was timed in one window, in ticks; the sides' for one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) marker: f64,
    pub(crate) ours: f64,
    pub(crate) peer: f64,
}

/// The markers of windows that count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Band {
    /// Of all windows of the run, only to be shown.
    pub(crate) luckiest: f64,
    pub(crate) best: f64,
    pub(crate) worst: f64,
}

impl Band {
    /// The band of a run in which these markers were seen.
    pub(crate) fn of(markers: impl Iterator<Item = f64>) -> Self {
        let markers = sorted(markers);
        let best = markers.get(markers.len() / LUCKY).copied().unwrap_or_default();
        let luckiest = markers.first().copied().unwrap_or_default();
        Band { luckiest, best, worst: SLACK * best }
    }

    /// The windows that count.
    pub(crate) fn counted(self, windows: &[Window]) -> impl Iterator<Item = &Window> {
        windows.iter().filter(move |window| (self.best..=self.worst).contains(&window.marker))
    }

    /// Both sides' figures; none when fewer than [`WINDOWS_MIN`] of the windows count.
    pub(crate) fn summary(self, windows: &[Window]) -> Option<Summary> {
        (self.counted(windows).count() >= WINDOWS_MIN).then(|| Summary {
            ours: self.spread(windows, |window| window.ours),
            peer: self.spread(windows, |window| window.peer),
        })
    }

    /// One side's figures.
    fn spread(self, windows: &[Window], side: impl Fn(&Window) -> f64) -> Spread {
        let ticks = sorted(self.counted(windows).map(&side));
        let scaled = self.counted(windows).map(|window| side(window) * self.best / window.marker);
        Spread { minimum: ticks[0], median: median(&ticks), scaled: median(&sorted(scaled)) }
    }
}

fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// One side's figures, in ticks a unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) minimum: f64,
    pub(crate) median: f64,
    /// The median of what the times would have been under the best marker: what is left of the
    /// differences between windows, to add up times of different comparisons.
    pub(crate) scaled: f64,
}

/// Both sides' figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) ours: Spread,
    pub(crate) peer: Spread,
}

impl Summary {
    /// How many times faster ours is than the peer, minimum against minimum.
    pub(crate) fn ratio(&self) -> f64 {
        self.peer.minimum / self.ours.minimum
    }

    /// The same of the medians.
    pub(crate) fn median_ratio(&self) -> f64 {
        self.peer.median / self.ours.median
    }
}
