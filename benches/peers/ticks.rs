//! Ticks of the processor's time-stamp counter, the finest clock that there is.
//!
//! It runs at one speed whatever the core's frequency, which is why a marker is timed beside
//! everything (`sampling.rs`). How long a tick is comes from the system's clock.

#![allow(unsafe_code)]

use mixline::clock::{self, Nanos};

/// The counter, read after everything before has ended and before anything behind begins.
#[cfg(target_arch = "x86_64")]
pub(crate) fn now() -> u64 {
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: SSE2, which has the fence, is part of x86-64.
    unsafe { _mm_lfence() };
    // SAFETY: x86-64 has the counter, and Linux lets every process read it.
    let ticks = unsafe { _rdtsc() };
    // SAFETY: as above.
    unsafe { _mm_lfence() };
    ticks
}

/// Elsewhere a tick is a nanosecond.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn now() -> u64 {
    clock::now().0
}

/// The ticks that `work` takes.
pub(crate) fn of(work: impl FnOnce()) -> u64 {
    let start = now();
    work();
    now() - start
}

/// Both clocks at one moment: two moments some seconds apart give the length of a tick.
pub(crate) struct Moment {
    ticks: u64,
    time: Nanos,
}

impl Moment {
    /// This moment.
    pub(crate) fn now() -> Self {
        Moment { ticks: now(), time: clock::now() }
    }

    /// Ticks of a nanosecond since then.
    pub(crate) fn ticks_per_ns(&self) -> f64 {
        let later = Moment::now();
        (later.ticks - self.ticks) as f64 / (later.time - self.time).0 as f64
    }
}
