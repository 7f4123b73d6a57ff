//! Counters with one writer each: a plain load and store, no locked instruction.
//!
//! A locked increment costs 12 ns and more on the packet path, this costs one; any thread may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// A count that one thread writes and any thread reads.
///
/// Two writers would lose counts, never anything worse.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`; only the owning thread may call this.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// The count at some recent moment.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level that one thread sets and any thread reads.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the level; only the owning thread may call this.
    pub fn set(&self, level: u64) {
        self.0.store(level, Ordering::Relaxed);
    }

    /// The level at some recent moment.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What others may know of a count: its growth a window, rounded up to whole bins.
///
/// A count of traffic that is exact and at hand at any moment tells an observer which packet of
/// the wire this node just took; one that grows a bin at a time, once a minute, does not.
#[derive(Debug)]
pub struct Binned {
    bin: u64,
    exact: u64,
    shown: u64,
}

impl Binned {
    /// Zero, to be shown in steps of `bin`.
    pub fn new(bin: u64) -> Self {
        Binned { bin, exact: 0, shown: 0 }
    }

    /// Ends a window, at whose end the count is `exact`.
    pub fn close(&mut self, exact: u64) {
        let grown = exact.saturating_sub(self.exact);
        self.shown = self.shown.saturating_add(grown.div_ceil(self.bin).saturating_mul(self.bin));
        self.exact = exact;
    }

    /// What is shown until the next window ends.
    pub fn shown(&self) -> u64 {
        self.shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_adds_up() {
        let counter = Counter::default();
        counter.add(2);
        counter.add(40);
        assert_eq!(counter.value(), 42);
    }

    #[test]
    fn what_is_shown_grows_by_whole_bins_and_only_when_a_window_ends() {
        let mut count = Binned::new(64);
        let shown: Vec<u64> = [0, 1, 1, 65, 130, 200]
            .into_iter()
            .map(|exact| {
                count.close(exact);
                count.shown()
            })
            .collect();
        assert_eq!(shown, [0, 64, 64, 128, 256, 384]);
    }
}
