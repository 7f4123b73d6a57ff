//! Keeps clients to their network's rate, so that none can flood the mixes through its gateway.
//!
//! All of a client's datagrams come to one worker, for the kernel spreads them by address; so each
//! worker's buckets are all there is to know.

use crate::clock::Nanos;
use crate::link::{Frame, LinkIndex};

/// Frames that a client may send at once, in mean gaps.
const BURST_FRAMES: u64 = 64;

/// A bucket for every client link, as the instant when it is full again (the generic cell rate
/// algorithm).
#[derive(Debug)]
pub struct Policer {
    /// The first client's link; those before lead to nodes.
    first: u32,
    full_at: Box<[Nanos]>,
}

impl Policer {
    /// For `clients` links behind those to `nodes` nodes.
    pub fn new(nodes: u32, clients: u32) -> Self {
        Policer { first: nodes, full_at: (0..clients).map(|_| Nanos::ZERO).collect() }
    }

    /// Whether a frame may pass that came by `link` at `now`, one of them every `gap`. Goodbyes
    /// always may.
    pub fn admits(&mut self, link: LinkIndex, frame: Frame, gap: Nanos, now: Nanos) -> bool {
        let place = link.0.checked_sub(self.first).map(|place| place as usize);
        let Some(full_at) = place.and_then(|place| self.full_at.get_mut(place)) else {
            return true;
        };
        let next = (*full_at).max(now) + gap;
        let admitted = next - now <= Nanos(gap.0.saturating_mul(BURST_FRAMES));
        if admitted {
            *full_at = next;
        }
        admitted || frame == Frame::Close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Nanos = Nanos::from_millis(10);
    const CLIENT: LinkIndex = LinkIndex(4);

    /// How many of a frame every millisecond pass, from `from` for a second.
    fn passing(policer: &mut Policer, link: LinkIndex, from: u64) -> usize {
        let times = (from..from + 1000).map(Nanos::from_millis);
        times.filter(|now| policer.admits(link, Frame::Sphinx, GAP, *now)).count()
    }

    #[test]
    fn a_client_gets_a_burst_and_then_its_rate() {
        let mut policer = Policer::new(4, 2);
        assert_eq!(passing(&mut policer, CLIENT, 0), 64 + 99);
        assert_eq!(passing(&mut policer, CLIENT, 1000), 100);
        assert_eq!(passing(&mut policer, LinkIndex(5), 1000), 64 + 99);
    }

    #[test]
    fn nodes_and_goodbyes_pass_at_any_rate() {
        let mut policer = Policer::new(4, 2);
        assert_eq!(passing(&mut policer, LinkIndex(3), 0), 1000);
        assert!(passing(&mut policer, CLIENT, 0) < 1000);
        assert!(policer.admits(CLIENT, Frame::Close, GAP, Nanos::from_secs(1)));
    }
}
