//! When to send: independent Poisson streams, merged into one.

use crate::clock::Nanos;
use crate::crypto::random::Rng;
use crate::pki::{Rate, Rates, Role};

/// An instant that is missed by more than this is given up: a machine that slept sends no burst.
const LATE_MAX: Nanos = Nanos::from_millis(100);

/// What an instant is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// lambda_P: a packet of the user's if one waits, else a decoy.
    Payload,
    /// lambda_L of clients, lambda_M of mixes, lambda_G of gateways: a loop to oneself.
    Loop,
    /// lambda_D: a packet that a random gateway drops.
    Drop,
    /// lambda_K: a control frame if one waits, else an empty one.
    Control,
}

/// All instants at which somebody sends, and what each is for.
///
/// Independent Poisson streams together are one Poisson stream whose events are each of one kind
/// at random, by the rates: so there is one timer, and the next kind is known beforehand.
#[derive(Debug)]
pub struct Schedule {
    streams: [(Stream, Rate); 4],
    next: Option<(Nanos, Stream)>,
    rng: Rng,
}

impl Schedule {
    /// A client's, not running yet.
    pub fn client(rates: &Rates, rng: Rng) -> Self {
        Schedule { streams: client_streams(rates), next: None, rng }
    }

    /// The one of a node with this role, not running yet: only loops.
    pub fn node(role: Role, rates: &Rates, rng: Rng) -> Self {
        let mut schedule = Schedule::client(&Rates::default(), rng);
        schedule.follow_node(role, rates);
        schedule
    }

    /// Follows a client's new rates from the next instant on.
    pub fn follow(&mut self, rates: &Rates) {
        self.streams = client_streams(rates);
    }

    /// Follows a node's.
    pub fn follow_node(&mut self, role: Role, rates: &Rates) {
        self.streams = node_streams(role, rates);
    }

    /// Begins, or goes on.
    pub fn start(&mut self, now: Nanos) {
        if self.next.is_none() {
            self.next = self.draw(now);
        }
    }

    /// Ends, until the next start.
    pub fn stop(&mut self) {
        self.next = None;
    }

    /// What the instant that has come is for, if one has; the next is drawn.
    pub fn due(&mut self, now: Nanos) -> Option<Stream> {
        let (at, stream) = self.next.filter(|next| next.0 <= now)?;
        // From instant to instant, not from turn to turn: a slow turn shifts nothing.
        let late = now - at > LATE_MAX;
        self.next = self.draw(if late { now } else { at });
        Some(stream)
    }

    /// What the next instant is for.
    pub fn next_stream(&self) -> Option<Stream> {
        self.next.map(|next| next.1)
    }

    /// The next instant.
    pub fn next_due(&self) -> Nanos {
        self.next.map_or(Nanos::NEVER, |next| next.0)
    }

    fn draw(&mut self, after: Nanos) -> Option<(Nanos, Stream)> {
        let total =
            self.streams.iter().fold(0_u32, |sum, (_, rate)| sum.saturating_add(rate.milli));
        let gap = self.rng.exponential(Rate { milli: total }.gap_mean());
        let mut left = self.rng.below(total);
        let chosen = self.streams.iter().find(|(_, rate)| {
            let chosen = left < rate.milli;
            left = left.wrapping_sub(rate.milli);
            chosen
        });
        chosen.map(|(stream, _)| (after + gap, *stream))
    }
}

fn client_streams(rates: &Rates) -> [(Stream, Rate); 4] {
    [
        (Stream::Payload, rates.payload),
        (Stream::Loop, rates.client_loop),
        (Stream::Drop, rates.client_drop),
        (Stream::Control, rates.client_control()),
    ]
}

fn node_streams(role: Role, rates: &Rates) -> [(Stream, Rate); 4] {
    let loops = match role {
        Role::Mix => rates.mix_loop,
        Role::Gateway => rates.gateway_loop,
    };
    let none = Rate::default();
    [(Stream::Loop, loops), (Stream::Payload, none), (Stream::Drop, none), (Stream::Control, none)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(rates: &Rates, seed: u8) -> Schedule {
        let mut schedule = Schedule::client(rates, Rng::from_seed([seed; 32]));
        schedule.start(Nanos::ZERO);
        schedule
    }

    /// How often each stream had an instant in `span`.
    fn counts(schedule: &mut Schedule, span: Nanos) -> [u32; 4] {
        let mut counts = [0; 4];
        while schedule.next_due() < span {
            let stream = schedule.due(schedule.next_due()).unwrap();
            counts[stream as usize] += 1;
        }
        counts
    }

    #[test]
    fn every_stream_has_its_own_rate() {
        let mut schedule = started(&Rates::default(), 1);
        let counts = counts(&mut schedule, Nanos::from_secs(10_000));
        for (count, expected) in counts.into_iter().zip([200_000, 10_000, 10_000, 20_000]) {
            let deviation = (f64::from(count) - f64::from(expected)) / f64::from(expected).sqrt();
            assert!(deviation.abs() < 4.0, "{count} instead of {expected}");
        }
    }

    #[test]
    fn instants_do_not_depend_on_when_one_looks() {
        let (mut prompt, mut slow) = (started(&Rates::default(), 2), started(&Rates::default(), 2));
        for _ in 0..1000 {
            let at = prompt.next_due();
            assert_eq!(slow.next_due(), at);
            assert_eq!(prompt.due(at), slow.due(at + LATE_MAX));
        }
    }

    #[test]
    fn a_machine_that_slept_sends_no_burst() {
        let mut schedule = started(&Rates::default(), 3);
        let woken = Nanos::from_secs(3600);
        assert!(schedule.due(woken).is_some());
        assert!(schedule.next_due() > woken);
    }

    #[test]
    fn nothing_is_due_before_the_start_and_after_the_stop() {
        let mut schedule = Schedule::client(&Rates::default(), Rng::from_seed([4; 32]));
        assert_eq!(schedule.due(Nanos::NEVER), None);
        schedule.start(Nanos::ZERO);
        schedule.stop();
        assert_eq!((schedule.due(Nanos::NEVER), schedule.next_due()), (None, Nanos::NEVER));
    }

    #[test]
    fn a_node_sends_loops_at_its_own_rate_or_never() {
        let rates = Rates { mix_loop: Rate::default(), ..Rates::default() };
        let new = |role| {
            let mut schedule = Schedule::node(role, &rates, Rng::from_seed([5; 32]));
            schedule.start(Nanos::ZERO);
            schedule
        };
        assert_eq!(new(Role::Gateway).next_stream(), Some(Stream::Loop));
        assert_eq!(new(Role::Mix).next_due(), Nanos::NEVER);
    }
}
