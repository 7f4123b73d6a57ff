//! Faults, planted between the node and the wire: the node is as it is, and what it sends passes a
//! wrapper that knows more than any observer and betrays it.

use mixline::audit::{Arrival, Departure, Observation, Passage};
use mixline::clock::Nanos;

/// A datagram on its way from the node to the wire.
pub(crate) struct Outgoing {
    pub(crate) departure: Departure,
    /// What went in as this packet; none for a dummy.
    pub(crate) packet: Option<(Passage, Arrival)>,
}

/// What is observed behind a wrapper that is given what leaves at one time, in order.
pub(crate) fn wrap(
    observation: &Observation,
    mut wrapper: impl FnMut(&mut [Outgoing]),
) -> Observation {
    let mut packets = vec![None; observation.departures.len()];
    for passage in &observation.passages {
        packets[passage.departure] = Some((*passage, observation.arrivals[passage.arrival]));
    }
    let outgoing = observation.departures.iter().cloned().zip(packets);
    let mut outgoing: Vec<Outgoing> =
        outgoing.map(|(departure, packet)| Outgoing { departure, packet }).collect();
    for together in outgoing.chunk_by_mut(|one, next| one.departure.at == next.departure.at) {
        wrapper(together);
    }
    let passage = |(departure, sent): (usize, &Outgoing)| {
        let (passage, _) = sent.packet?;
        Some(Passage { departure, ..passage })
    };
    Observation {
        passages: outgoing.iter().enumerate().filter_map(passage).collect(),
        departures: outgoing.into_iter().map(|sent| sent.departure).collect(),
        ..observation.clone()
    }
}

/// Sends what leaves together in the order of arrival.
pub(crate) fn by_arrival(together: &mut [Outgoing]) {
    together.sort_by_key(|sent| sent.packet.map(|(passage, _)| passage.arrival));
}

/// Sends what leaves together by core, as if every core sent its own.
pub(crate) fn by_core(together: &mut [Outgoing]) {
    together.sort_by_key(core);
}

/// Sends from a port of the core.
pub(crate) fn port_of_core(together: &mut [Outgoing]) {
    for sent in together {
        sent.departure.mark.source_port += core(sent).unwrap_or(0);
    }
}

/// Sends only every ten milliseconds, in the order in which the node sent.
pub(crate) fn lattice(together: &mut [Outgoing]) {
    const STEP: u64 = Nanos::from_millis(10).0;
    for sent in together {
        sent.departure.at = Nanos(sent.departure.at.0.div_ceil(STEP) * STEP);
    }
}

fn core(sent: &Outgoing) -> Option<u16> {
    sent.packet.map(|(_, arrival)| arrival.ingress)
}
