//! Keeps clients to their network's rate, so that none can flood the mixes through its gateway.
//!
//! All of a client's datagrams come to one worker, for the kernel spreads them by address; so each
//! worker's buckets are all there is to know.

use crate::clock::Nanos;
use crate::link::{self, Frame, LinkIndex};

use super::drops::{Reason, Refusal};

/// Frames that a client may send at once, in mean gaps.
const BURST_FRAMES: u64 = 64;
/// Goodbyes beyond that: each is said three times, and says when a busy client has gone.
const GOODBYE_FRAMES: u64 = 8;

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

    /// Lets a frame pass that came by `link` at `now`, one of them every `gap`; a few goodbyes
    /// when nothing else may.
    ///
    /// # Errors
    /// Why not: the client sends too fast, or a node asks for what only clients get, whose place
    /// on the way to the control thread belongs to deliveries.
    pub fn admit(
        &mut self,
        link: LinkIndex,
        frame: Frame,
        gap: Nanos,
        now: Nanos,
    ) -> Result<(), Reason> {
        let Some(place) = link.0.checked_sub(self.first) else {
            return match frame {
                Frame::Control => Err(link::Refusal::BadKind.into()),
                _ => Ok(()),
            };
        };
        let Some(full_at) = self.full_at.get_mut(place as usize) else { return Ok(()) };
        let burst = match frame {
            Frame::Close => BURST_FRAMES + GOODBYE_FRAMES,
            _ => BURST_FRAMES,
        };
        let next = (*full_at).max(now) + gap;
        if next - now > Nanos(gap.0.saturating_mul(burst)) {
            return Err(Refusal::TooFast.into());
        }
        *full_at = next;
        Ok(())
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
        times.filter(|now| policer.admit(link, Frame::Sphinx, GAP, *now).is_ok()).count()
    }

    #[test]
    fn a_client_gets_a_burst_and_then_its_rate() {
        let mut policer = Policer::new(4, 2);
        assert_eq!(passing(&mut policer, CLIENT, 0), 64 + 99);
        assert_eq!(passing(&mut policer, CLIENT, 1000), 100);
        assert_eq!(passing(&mut policer, LinkIndex(5), 1000), 64 + 99);
    }

    #[test]
    fn nodes_pass_at_any_rate_but_may_not_ask_as_clients_do() {
        let mut policer = Policer::new(4, 2);
        assert_eq!(passing(&mut policer, LinkIndex(3), 0), 1000);
        let mut ask = |link| policer.admit(link, Frame::Control, GAP, Nanos::from_secs(1));
        assert_eq!(ask(LinkIndex(3)), Err(Reason::Link(link::Refusal::BadKind)));
        assert_eq!(ask(CLIENT), Ok(()));
    }

    #[test]
    fn a_busy_client_can_say_goodbye_but_not_at_any_rate() {
        let mut policer = Policer::new(4, 2);
        passing(&mut policer, CLIENT, 0);
        let mut passes = |frame| policer.admit(CLIENT, frame, GAP, Nanos::from_millis(999)).is_ok();
        assert_eq!((0..1000).filter(|_| passes(Frame::Close)).count(), 8);
        assert!(!passes(Frame::Sphinx));
    }
}
