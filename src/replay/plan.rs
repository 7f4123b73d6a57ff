//! How large tables are made: for how many packets, and why for so many.

use super::FILL_PLANNED;
use std::fmt;

/// What a table is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many packets the epoch may bring: the highest admitted rate times the time for which
    /// the key is accepted. A packet costs 2.857 bytes.
    pub packets_max: u64,
}

/// Bytes of a lane.
const LANE_BYTES: u64 = 2;

impl Options {
    /// Bytes that a table takes.
    pub fn table_bytes(self) -> u64 {
        self.lanes().saturating_mul(LANE_BYTES)
    }

    /// Lanes for all packets at the planned fill.
    #[expect(clippy::cast_possible_truncation, reason = "a positive whole number")]
    pub(super) fn lanes(self) -> u64 {
        (self.packets_max as f64 / FILL_PLANNED).ceil() as u64
    }
}

/// What an operator says of the size of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// So many packets in all.
    Packets(u64),
    /// So many packets a second, as long as a key is accepted.
    Rate {
        /// The highest rate that is admitted.
        per_second: u64,
        /// How long packets of one key may come.
        window_s: u64,
    },
}

impl Plan {
    /// A table is never planned for less by its rate: in a short window a burst is more than the
    /// rate says, and this is 3 MB.
    pub const PACKETS_MIN: u64 = 1_000_000;

    /// What tables are built from.
    pub fn options(self) -> Options {
        let packets_max = match self {
            Plan::Packets(packets) => packets,
            Plan::Rate { per_second, window_s } => {
                per_second.saturating_mul(window_s).max(Self::PACKETS_MIN)
            }
        };
        Options { packets_max }
    }

    /// The key of the configuration that makes tables smaller.
    pub fn key(self) -> &'static str {
        match self {
            Plan::Packets(_) => "replay.packets_max",
            Plan::Rate { .. } => "replay.packets_per_second",
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { packets_max } = self.options();
        match self {
            Plan::Rate { per_second, window_s } => write!(
                out,
                "{per_second} packets/s x {window_s} s (an epoch and its grace): {packets_max} \
                 packets"
            ),
            Plan::Packets(_) => write!(out, "{packets_max} packets"),
        }?;
        out.write_str(" x 2.857 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_planned_for_as_long_as_a_key_is_accepted() {
        let plan = Plan::Rate { per_second: 60_000, window_s: 2400 };
        assert_eq!(plan.options().packets_max, 144_000_000);
        // 2.857 bytes a packet.
        assert_eq!(plan.options().table_bytes(), 411_428_572);
        let short = Plan::Rate { per_second: 100, window_s: 8 };
        assert_eq!(short.options().packets_max, Plan::PACKETS_MIN);
        let endless = Plan::Rate { per_second: u64::MAX, window_s: 2 };
        assert_eq!(endless.options().table_bytes(), u64::MAX);
    }

    #[test]
    fn a_plan_says_its_sum() {
        let plan = Plan::Rate { per_second: 3400, window_s: 2400 };
        let said =
            "3400 packets/s x 2400 s (an epoch and its grace): 8160000 packets x 2.857 bytes";
        assert_eq!(plan.to_string(), said);
        assert_eq!(Plan::Packets(5).to_string(), "5 packets x 2.857 bytes");
    }
}
