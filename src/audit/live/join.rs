//! From what everybody noted to one observation: which datagram in became which datagram out, when
//! each was on the wire, and what does not count.

use std::collections::HashMap;

use super::generator::Handed;
use super::lab::Lab;
use super::neighbour::Name;
use super::report::Traffic;
use super::sink::Out;
use super::sniffer;
use super::stream::Notes;
use crate::audit::{Arrival, Cut, Departure, Mark, Observation, Passage};
use crate::clock::Nanos;
use crate::crypto::random::Rng;
use crate::pool::{self, Pool, Strategy};

/// A system call that hands a packet in takes microseconds: where it took longer than this, it is
/// not known when the packet left, and the packet is not followed.
const SENDING_MAX: Nanos = Nanos::from_millis(1);
/// How long a node needs at least to be no longer behind after a stall.
const RECOVERY_MIN: Nanos = Nanos::from_millis(1);

/// What came of a stream.
pub(super) struct Streamed {
    pub(super) observation: Observation,
    pub(super) traffic: Traffic,
    /// Whether the node told of its stalls.
    pub(super) knows_stalls: bool,
}

/// Puts together what was noted of a stream through the node of `lab`.
pub(super) fn join(lab: &Lab, notes: Notes) -> Streamed {
    let Notes { generator, sink, sniffer, told, span } = notes;
    let packets = generator.handed.len();
    let mut own: Vec<_> = generator.stalls;
    let is_wired = sniffer.is_some();
    let (arrived, departed) = match sniffer {
        Some(log) => {
            own.extend(log.stalls);
            on_the_wire(&generator.handed, &sink.out, (log.into, log.out))
        }
        None => {
            own.extend(sink.stalls);
            by_sockets(&generator.handed, &sink.out)
        }
    };
    let knows_stalls = told.as_ref().is_some_and(|told| told.is_complete);
    let mut of_node = Vec::new();
    if let Some(told) = told {
        of_node = told.stalls;
        own.extend(told.steps);
    }
    let within = |stall: &(Nanos, Nanos)| stall.1 >= span.0 && stall.0 <= span.1;
    of_node.retain(within);
    own.retain(within);
    // Of packets that were late together there is one stall.
    let (node_stalls, own_stalls) = (of_node.len(), merged(own.clone()).len());
    // As long as the stall was, the node is behind with what came meanwhile.
    let caught_up =
        |(from, until): (Nanos, Nanos)| (from, until + (until - from).max(RECOVERY_MIN));
    let of_node = of_node.into_iter().map(caught_up);
    // What could not be sent is sent at once, and comes all together.
    let own = own.into_iter().map(|(from, until)| (from, until + RECOVERY_MIN));
    let cuts = merged(of_node.chain(own).collect());
    let known = |one: &&Handed| is_wired || one.until - one.from <= SENDING_MAX;
    let delays: HashMap<_, _> =
        generator.handed.iter().filter(known).map(|one| (one.number, one.delay)).collect();
    let passages = passages(&arrived, &departed, &delays);
    let delay_mean = lab.consensus.parameters().delay_mean;
    let options = pool::Options { packets_max: 1, delay_mean, strategy: Strategy::Poisson };
    let observation = Observation {
        delay_mean,
        tick: Pool::<()>::new(options, Rng::from_os()).tick(),
        arrivals: arrived.into_iter().map(|(_, arrival)| arrival).collect(),
        departures: departed.into_iter().map(|(_, departure)| departure).collect(),
        passages,
        cuts,
    };
    let traffic = Traffic {
        packets,
        passed: observation.passages.len(),
        seconds: (span.1 - span.0).as_secs_f64(),
        delay_mean_ms: delay_mean.as_secs_f64() * 1e3,
        node_stalls,
        own_stalls,
        cut: observation.share_cut(),
    };
    Streamed { observation, traffic, knows_stalls }
}

/// Packets in by number, datagrams out by the number of the packet they carried, each in order.
type Joined = (Vec<(u64, Arrival)>, Vec<(Option<u64>, Departure)>);

/// By what passed the wire.
fn on_the_wire(
    handed: &[Handed],
    out: &[Out],
    (into, from): (Vec<sniffer::Seen>, Vec<sniffer::SeenOut>),
) -> Joined {
    let by_name: HashMap<Name, &Handed> = handed.iter().map(|one| (one.name, one)).collect();
    let numbers: HashMap<Name, Option<u64>> =
        out.iter().map(|one| (one.name, one.number)).collect();
    // What is none of our packets is a dummy or a handshake.
    let arrival = |seen: sniffer::Seen| {
        let one = by_name.get(&seen.name)?;
        Some((one.number, Arrival { at: seen.at, ingress: one.source }))
    };
    let departure = |one: sniffer::SeenOut| {
        let mark = Mark { source_port: one.source_port, header: one.header };
        let number = numbers.get(&one.seen.name).copied().flatten();
        (number, Departure { at: one.seen.at, mark })
    };
    in_order(into.into_iter().filter_map(arrival), from.into_iter().map(departure))
}

/// By what the two ends know themselves.
fn by_sockets(handed: &[Handed], out: &[Out]) -> Joined {
    let arrival = |one: &Handed| {
        let at = Nanos(one.from.0.midpoint(one.until.0));
        (one.number, Arrival { at, ingress: one.source })
    };
    let departure = |one: &Out| {
        let mark = Mark { source_port: one.source.port(), ..Mark::default() };
        (one.number, Departure { at: one.at, mark })
    };
    in_order(handed.iter().map(arrival), out.iter().map(departure))
}

fn in_order(
    arrived: impl Iterator<Item = (u64, Arrival)>,
    departed: impl Iterator<Item = (Option<u64>, Departure)>,
) -> Joined {
    let (mut arrived, mut departed): (Vec<_>, Vec<_>) = (arrived.collect(), departed.collect());
    arrived.sort_by_key(|(_, arrival)| arrival.at);
    departed.sort_by_key(|(_, departure)| departure.at);
    (arrived, departed)
}

fn passages(
    arrived: &[(u64, Arrival)],
    departed: &[(Option<u64>, Departure)],
    delays: &HashMap<u64, Nanos>,
) -> Vec<Passage> {
    let places: HashMap<u64, usize> =
        arrived.iter().zip(0..).map(|((number, _), place)| (*number, place)).collect();
    let passage = |((number, _), departure): (&(Option<u64>, _), usize)| {
        let number = (*number)?;
        let (arrival, delay) = (*places.get(&number)?, *delays.get(&number)?);
        Some(Passage { arrival, departure, delay })
    };
    departed.iter().zip(0..).filter_map(passage).collect()
}

/// Stalls as cuts, in order, none overlapping another.
fn merged(mut stalls: Vec<(Nanos, Nanos)>) -> Vec<Cut> {
    stalls.sort_unstable();
    let mut cuts: Vec<Cut> = Vec::new();
    for (from, until) in stalls {
        match cuts.last_mut() {
            Some(last) if last.until >= from => last.until = last.until.max(until),
            _ => cuts.push(Cut { from, until }),
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_stalls_are_one_cut() {
        let ms = Nanos::from_millis;
        let cuts = merged(vec![(ms(100), ms(110)), (ms(10), ms(20)), (ms(20), ms(27))]);
        let cut = |from, until| Cut { from: ms(from), until: ms(until) };
        assert_eq!(cuts, [cut(10, 27), cut(100, 110)]);
    }
}
