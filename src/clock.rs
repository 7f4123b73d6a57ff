//! Time: the only reader of a clock in the program.
//!
//! Everything else takes `now` as an argument, so that a whole network can run in virtual time.

use std::ops::{Add, Sub};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic time, or a span between two of them, in nanoseconds; all arithmetic saturates.
///
/// The origin is the first call of [`now`] in this process (in a simulation: its start), so a
/// value means nothing outside the process that read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The origin; as a span, nothing.
    pub const ZERO: Nanos = Nanos(0);
    /// Later than everything: a timer that never fires.
    pub const NEVER: Nanos = Nanos(u64::MAX);

    /// `count` microseconds.
    pub const fn from_micros(count: u64) -> Self {
        Nanos(count.saturating_mul(1_000))
    }

    /// `count` milliseconds.
    pub const fn from_millis(count: u64) -> Self {
        Nanos(count.saturating_mul(1_000_000))
    }

    /// `count` seconds.
    pub const fn from_secs(count: u64) -> Self {
        Nanos(count.saturating_mul(1_000_000_000))
    }

    /// Whole microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1_000
    }

    /// The value in seconds, for statistics and for people.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The value as the standard library's span.
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl From<Duration> for Nanos {
    fn from(span: Duration) -> Self {
        Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Add for Nanos {
    type Output = Nanos;
    fn add(self, span: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(span.0))
    }
}

impl Sub for Nanos {
    type Output = Nanos;
    fn sub(self, other: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(other.0))
    }
}

/// A wall-clock time in microseconds since 1970: only for what is compared between machines
/// (handshake times, validity of documents). It may jump; nothing is scheduled by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// Whole seconds since 1970.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// `count` seconds since 1970.
    pub const fn from_secs(count: u64) -> Self {
        UnixMicros(count.saturating_mul(1_000_000))
    }

    /// The span from now to `later`; nothing if that is past.
    pub const fn until(self, later: UnixMicros) -> Nanos {
        Nanos::from_micros(later.0.saturating_sub(self.0))
    }
}

impl Add<Nanos> for UnixMicros {
    type Output = UnixMicros;
    fn add(self, span: Nanos) -> UnixMicros {
        UnixMicros(self.0.saturating_add(span.as_micros()))
    }
}

/// The monotonic time.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Nanos {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    Nanos::from(ORIGIN.get_or_init(Instant::now).elapsed())
}

/// The wall-clock time; the epoch itself if the machine's clock stands before 1970.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn wall() -> UnixMicros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
