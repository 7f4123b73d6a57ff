//! What was seen of a node while packets went through it.

use arrayvec::ArrayVec;

use crate::clock::Nanos;

/// Bytes of a datagram that a [`Mark`] has room for: ethernet 14, IPv6 40, UDP 8, and the 16 of the
/// link header.
pub const HEADER_BYTES_MAX: usize = 78;

/// A packet on its way into the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it was on the wire.
    pub at: Nanos,
    /// Which core took it in, as far as its maker knows: the core's number, or that of the flow,
    /// where all packets of a flow go to one core.
    pub ingress: u16,
}

/// A datagram on its way out of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// When it was on the wire.
    pub at: Nanos,
    /// What else the wire shows of it.
    pub mark: Mark,
}

/// What the wire shows of a departure besides its time and its place among the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The port it was sent from.
    pub source_port: u16,
    /// The bytes before the encrypted body, of all layers that were seen; each at the same place
    /// in every mark of an observation.
    pub header: ArrayVec<u8, HEADER_BYTES_MAX>,
}

/// A packet's way through the node, as its maker knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// Its place in [`Observation::arrivals`].
    pub arrival: usize,
    /// Its place in [`Observation::departures`].
    pub departure: usize,
    /// The delay that its sender asked for.
    pub delay: Nanos,
}

/// A time in which the machine stood still, or was behind from having stood still: its first and
/// its last moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The first moment.
    pub from: Nanos,
    /// The last.
    pub until: Nanos,
}

/// A run: what went in, what came out, which was which, and what does not count.
///
/// All times are of one clock. Arrivals of one rate, from the first to the last: the tests take
/// them for a Poisson process.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The mean delay that senders drew from.
    pub delay_mean: Nanos,
    /// The time between two releases of the node's pool.
    pub tick: Nanos,
    /// Packets that went in, in the order of the wire, also those that never came out. What the
    /// maker knows to be no packet (dummies, handshakes) is left out: that only helps the observer.
    pub arrivals: Vec<Arrival>,
    /// Datagrams that came out, in the order of the wire, also those that are no packet of ours.
    pub departures: Vec<Departure>,
    /// Which arrival became which departure, in any order.
    pub passages: Vec<Passage>,
    /// Stalls, in order, none overlapping another.
    pub cuts: Vec<Cut>,
}

/// Mean delays after the first arrival until the node is as full as it stays: all but a
/// thousandth.
const FILLING_MEANS: u64 = 7;
/// Mean delays before the last departure in which arrivals do not count: of earlier ones all but
/// one in 5e8 have left, so that those that have are no selection by their delay.
const EMPTYING_MEANS: u64 = 20;

/// A passage that counts, with all that is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journey {
    /// When it arrived.
    pub arrived: Nanos,
    /// When it left.
    pub left: Nanos,
    /// The delay that its sender asked for.
    pub delay: Nanos,
    /// By which core or flow it came in.
    pub ingress: u16,
    /// Its place among the arrivals.
    pub arrival: usize,
    /// Its place among the departures.
    pub departure: usize,
}

impl Journey {
    /// How long it was in the node, in nanoseconds.
    pub fn residence_ns(&self) -> f64 {
        (self.left - self.arrived).0 as f64
    }

    /// What the node added to the delay that was asked for, in nanoseconds.
    pub fn added_ns(&self) -> f64 {
        self.residence_ns() - self.delay.0 as f64
    }
}

impl Observation {
    /// The passages that the tests judge, in order of arrival: those of the time in which the node
    /// was full and whose arrival, deadline and departure are in no cut.
    ///
    /// Of packets that arrive at a constant rate any delay is as likely as another to end in a cut,
    /// so what remains has the delays of all. (Leaving out what was inside during a cut would leave
    /// out long delays.)
    ///
    /// # Panics
    /// When a passage names an arrival or a departure that is not there.
    pub fn journeys(&self) -> Vec<Journey> {
        let mut journeys = self.settled();
        journeys.retain(|journey| self.counts(journey));
        journeys
    }

    /// The share of the passages that cuts leave out.
    pub fn share_cut(&self) -> f64 {
        let settled = self.settled();
        let left_out = settled.iter().filter(|journey| !self.counts(journey)).count();
        if settled.is_empty() { 0.0 } else { left_out as f64 / settled.len() as f64 }
    }

    /// Packets that are in the node on average: arrivals a mean delay.
    pub fn packets_inside(&self) -> f64 {
        let times = self.passages.iter().map(|passage| self.arrivals[passage.arrival].at);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return 0.0 };
        let gaps = (self.passages.len() - 1) as f64;
        gaps * self.delay_mean.0 as f64 / ((last - first).0 as f64).max(1.0)
    }

    /// All passages, by arrival.
    pub(super) fn all(&self) -> Vec<Journey> {
        let mut journeys: Vec<Journey> = self.passages.iter().map(|it| self.journey(it)).collect();
        journeys.sort_unstable_by_key(|journey| journey.arrival);
        journeys
    }

    /// When the node is as full as it stays: from, until.
    pub(super) fn full(&self) -> (Nanos, Nanos) {
        let means = |count: u64| Nanos(self.delay_mean.0.saturating_mul(count));
        let first = self.arrivals.first().map_or(Nanos::ZERO, |arrival| arrival.at);
        let last = self.departures.last().map_or(Nanos::ZERO, |departure| departure.at);
        (first + means(FILLING_MEANS), last - means(EMPTYING_MEANS))
    }

    /// Whether a moment is in no cut.
    pub(super) fn is_clear(&self, at: Nanos) -> bool {
        let next = self.cuts.partition_point(|cut| cut.until < at);
        self.cuts.get(next).is_none_or(|cut| at < cut.from)
    }

    /// Whether all of a span is in no cut.
    pub(super) fn is_all_clear(&self, from: Nanos, until: Nanos) -> bool {
        let next = self.cuts.partition_point(|cut| cut.until < from);
        self.cuts.get(next).is_none_or(|cut| until < cut.from)
    }

    fn settled(&self) -> Vec<Journey> {
        let (from, until) = self.full();
        let mut journeys = self.all();
        journeys.retain(|journey| from <= journey.arrived && journey.arrived <= until);
        journeys
    }

    fn counts(&self, journey: &Journey) -> bool {
        let moments = [journey.arrived, journey.arrived + journey.delay, journey.left];
        moments.into_iter().all(|at| self.is_clear(at))
    }

    fn journey(&self, passage: &Passage) -> Journey {
        let Passage { arrival, departure, delay } = *passage;
        let Arrival { at: arrived, ingress } = self.arrivals[arrival];
        let left = self.departures[departure].at;
        Journey { arrived, left, delay, ingress, arrival, departure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::ideal::Ideal;

    #[test]
    fn cuts_leave_out_what_begins_is_due_or_ends_in_them_and_no_delay_more_than_another() {
        let mut observation = Ideal::new(200.0, 100_000, 1).run();
        let whole = observation.journeys();
        let (from, until) = observation.full();
        // A millisecond of every twelve, for as long as two delays in a hundred.
        let cut = |number: u64| {
            let from = Nanos::from_millis(12 * number);
            Cut { from, until: from + Nanos::from_millis(1) }
        };
        observation.cuts = (1..=until.0 / 12_000_000).map(cut).collect();
        let left = observation.journeys();
        let share = observation.share_cut();
        assert!((share - 1.0 + left.len() as f64 / whole.len() as f64).abs() < 1e-9);
        assert!((0.14..0.18).contains(&share), "{share}");
        assert!(from <= left[0].arrived && left.is_sorted_by_key(|journey| journey.arrived));
        let mean = |journeys: &[Journey]| {
            journeys.iter().map(Journey::residence_ns).sum::<f64>() / journeys.len() as f64
        };
        assert!((mean(&left) / mean(&whole) - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_moment_is_clear_outside_of_all_cuts() {
        let mut observation = Ideal::new(10.0, 10, 2).run();
        let cut = |from, until| Cut { from: Nanos(from), until: Nanos(until) };
        observation.cuts = vec![cut(10, 20), cut(30, 40)];
        for (at, is_clear) in [(9, true), (10, false), (20, false), (21, true), (40, false)] {
            assert_eq!(observation.is_clear(Nanos(at)), is_clear, "{at}");
        }
        assert!(observation.is_all_clear(Nanos(21), Nanos(29)));
        assert!(!observation.is_all_clear(Nanos(21), Nanos(31)));
    }

    #[test]
    fn as_many_packets_are_inside_as_arrive_in_a_mean_delay() {
        let inside = Ideal::new(50.0, 20_000, 3).run().packets_inside();
        assert!((inside / 50.0 - 1.0).abs() < 0.03, "{inside}");
    }
}
