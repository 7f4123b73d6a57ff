//! Times two sides in turns, window after window, with a marker around each.
//!
//! All comparisons of a run take turns too, round after round, so that each of them sees the
//! machine at several times and all of them are held against one best marker.

use crate::switches;
use crate::ticks;
use crate::windows::{Band, Window};
use mixline::clock::{self, Nanos};
use mixline::crypto::sha256::Hkdf;
use mixline::crypto::tier::Tier;
use std::hint::black_box;
use std::iter::once;

/// Rounds into which the time of every comparison is divided.
const ROUNDS: u64 = 4;
/// More rounds for comparisons that the machine has disturbed too often.
const EXTRA_ROUNDS: u64 = ROUNDS;
/// A side's figure in a window is the fastest of so many runs: the first one also brings back what
/// the other side has pushed out of the caches.
const RUNS: usize = 2;
/// Jobs of the marker that are timed together: one alone takes about a microsecond, too short for
/// a counter that advances by 26 ticks at once.
const MARKER_JOBS: u32 = 8;
/// The marker's figure is the fastest of so many times.
const MARKER_RUNS: usize = 3;

/// One side of a comparison.
pub(crate) trait Work {
    /// Packets, or operations, of one run.
    fn units(&self) -> usize;
    /// Makes ready for a run; not timed.
    fn prepare(&mut self) {}
    /// What is timed.
    fn run(&mut self);
}

/// A side that needs no making ready.
struct Plain<F>(usize, F);

impl<F: FnMut()> Work for Plain<F> {
    fn units(&self) -> usize {
        self.0
    }

    fn run(&mut self) {
        self.1();
    }
}

/// `run`, which does `units` operations.
pub(crate) fn work(units: usize, run: impl FnMut() + 'static) -> Box<dyn Work> {
    Box::new(Plain(units, run))
}

/// Ours beside a peer's.
pub(crate) struct Comparison {
    pub(crate) name: String,
    pub(crate) peer: &'static str,
    pub(crate) windows: Vec<Window>,
    sides: [Box<dyn Work>; 2],
}

impl Comparison {
    /// Ours and the peer's, in this order.
    pub(crate) fn new(
        name: impl Into<String>,
        peer: &'static str,
        sides: [Box<dyn Work>; 2],
    ) -> Self {
        Comparison { name: name.into(), peer, windows: vec![], sides }
    }

    /// Adds windows until `span` is over, but not those in which another thread had the core.
    fn sample(&mut self, span: Nanos, marker: &mut Marker) {
        let end = clock::now() + span;
        while clock::now() < end {
            let switches = switches::involuntary();
            let window = self.window(marker);
            if switches == switches::involuntary() {
                self.windows.push(window);
            }
        }
    }

    /// The marker is timed before, between and behind the sides, and the slowest one stands for
    /// the window: so while either side was timed, the machine was no slower than it tells.
    fn window(&mut self, marker: &mut Marker) -> Window {
        let [ours, peer] = &mut self.sides;
        let before = marker.ticks();
        let ours = fastest_unit(&mut **ours);
        let between = marker.ticks();
        let peer = fastest_unit(&mut **peer);
        let marker = before.max(between).max(marker.ticks());
        Window { marker, ours, peer }
    }
}

/// Samples all of `comparisons`, each for `span` and, if that was not enough, up to twice as long;
/// returns the markers that count.
pub(crate) fn sample_all(comparisons: &mut [&mut Comparison], span: Nanos) -> Band {
    let slice = Nanos(span.0 / ROUNDS);
    let mut marker = Marker::new();
    for round in 0..ROUNDS + EXTRA_ROUNDS {
        let band = band(comparisons);
        for comparison in &mut *comparisons {
            if round < ROUNDS || band.summary(&comparison.windows).is_none() {
                comparison.sample(slice, &mut marker);
            }
        }
    }
    band(comparisons)
}

fn band(comparisons: &[&mut Comparison]) -> Band {
    let windows = comparisons.iter().flat_map(|comparison| &comparison.windows);
    Band::of(windows.map(|window| window.marker))
}

fn fastest_unit(side: &mut dyn Work) -> f64 {
    let runs = (0..RUNS).map(|_| {
        side.prepare();
        ticks::of(|| side.run())
    });
    runs.min().unwrap_or_default() as f64 / side.units() as f64
}

/// A fixed job that tells how fast the machine is at this moment: HKDF of 32 bytes to 288, by the
/// reference, for one packet.
struct Marker {
    hkdf: Hkdf<288>,
    keys: [u8; 288],
}

impl Marker {
    fn new() -> Self {
        Marker { hkdf: Hkdf::new(b"", b"marker"), keys: [0; 288] }
    }

    fn ticks(&mut self) -> f64 {
        let runs =
            (0..MARKER_RUNS).map(|_| ticks::of(|| (0..MARKER_JOBS).for_each(|_| self.run())));
        runs.min().unwrap_or_default() as f64 / f64::from(MARKER_JOBS)
    }

    fn run(&mut self) {
        self.hkdf.derive(Tier::SERIAL, once((black_box(&[7; 32]), &mut self.keys)));
        black_box(&mut self.keys);
    }
}
