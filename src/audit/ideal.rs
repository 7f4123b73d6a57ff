//! An ideal mix, and what can be wrong with one, to test the tests on.

use arrayvec::ArrayVec;

use super::observation::{Arrival, Departure, Mark, Observation, Passage};
use crate::clock::Nanos;
use crate::crypto::random::Rng;

/// The mean delay of every ideal mix.
pub(super) const MEAN: Nanos = Nanos::from_millis(50);
const CORES: u32 = 4;

/// A mix, with a place for each kind of fault.
#[derive(Clone, Copy)]
pub(super) struct Ideal {
    pub(super) packets: usize,
    pub(super) gap_mean: Nanos,
    pub(super) seed: u8,
    /// What the mix makes of the delay that is asked for.
    pub(super) delay: fn(Nanos) -> Nanos,
    /// The time between two releases.
    pub(super) tick: Nanos,
    /// What the mix makes of the random order of a tick, given the arrivals.
    pub(super) order: fn(&mut [usize], &[Arrival]),
    /// What the wire shows of a packet, given its core.
    pub(super) mark: fn(u16, &mut Rng) -> Mark,
}

impl Ideal {
    /// One that holds so many packets on average.
    pub(super) fn new(packets_inside: f64, packets: usize, seed: u8) -> Self {
        let gap_mean = Nanos::from(MEAN.as_duration().div_f64(packets_inside));
        let delay = |delay| delay;
        let order = |_: &mut [usize], _: &[Arrival]| {};
        Ideal { packets, gap_mean, seed, delay, tick: Nanos(1 << 17), order, mark }
    }

    pub(super) fn run(self) -> Observation {
        let mut rng = Rng::from_seed([self.seed; 32]);
        let mut arrivals = Vec::with_capacity(self.packets);
        let mut delays = Vec::with_capacity(self.packets);
        let mut leaving = Vec::with_capacity(self.packets);
        let mut at = Nanos::from_secs(1);
        for number in 0..self.packets {
            at = at + rng.exponential(self.gap_mean);
            let ingress = u16::try_from(rng.below(CORES)).unwrap();
            arrivals.push(Arrival { at, ingress });
            delays.push(rng.exponential(MEAN));
            let due = at + (self.delay)(delays[number]);
            leaving.push((due.0.div_ceil(self.tick.0), number));
        }
        rng.shuffle(&mut leaving);
        leaving.sort_by_key(|packet| packet.0);
        let (mut departures, mut passages) = (vec![], vec![]);
        for together in leaving.chunk_by(|one, other| one.0 == other.0) {
            let mut burst: Vec<usize> = together.iter().map(|packet| packet.1).collect();
            (self.order)(&mut burst, &arrivals);
            for arrival in burst {
                let mark = (self.mark)(arrivals[arrival].ingress, &mut rng);
                passages.push(Passage {
                    arrival,
                    departure: departures.len(),
                    delay: delays[arrival],
                });
                departures.push(Departure { at: Nanos(together[0].0 * self.tick.0), mark });
            }
        }
        let tick = self.tick;
        Observation { delay_mean: MEAN, tick, arrivals, departures, passages, cuts: vec![] }
    }
}

/// A constant, and noise.
pub(super) fn mark(_core: u16, rng: &mut Rng) -> Mark {
    let [noise, more] = rng.bytes();
    Mark { source_port: 7700, header: ArrayVec::from_iter([69, noise, more]) }
}
