//! A mix on which twice as much comes as it can unwrap: what it forwards, what it turns away, and
//! what an observer or a sender can tell of that.

use std::sync::LazyLock;

use mixline::audit::delays::Residence;
use mixline::audit::statistics::{P_MIN, chi_square_p, kolmogorov_smirnov_p};
use mixline::audit::{Journey, Observation};
use mixline::clock::Nanos;
use mixline::io::Port as _;
use mixline::link::Frame;
use mixline::worker::drops::{Reason, Refusal};

use crate::junction::Junction;
use crate::traffic::{MEAN, NEIGHBOURS, PACKETS, PACKETS_INSIDE, TRAFFIC};

/// The traffic passes so many times faster: 128 000 packets a second.
const SPEED: u64 = 8;
/// What an unwrapping costs, in virtual time: half of what comes can be unwrapped.
const COST: Nanos = Nanos(2 * MEAN.0 / (SPEED * PACKETS_INSIDE as u64));
/// What a turn costs besides.
const COST_OF_TURN: Nanos = Nanos::from_micros(10);
/// How often the neighbours take what came.
const HOUSEKEEPING: Nanos = Nanos::from_millis(5);
/// Arrivals until everything is as it stays.
const SETTLING: usize = PACKETS / 4;
/// Places among those that arrive in one turn that are told apart.
const PLACES: usize = 16;

/// What came of it.
struct Overload {
    observation: Observation,
    /// By packet: whether it came out, and its place among those that arrived in one turn.
    kept: Vec<bool>,
    places: Vec<usize>,
    /// The share of the time in which packets were unwrapped.
    busy: f64,
    /// The most packets that were inside, and datagrams that waited outside.
    inside_max: usize,
    outside_max: usize,
    turned_away: u64,
    dropped_otherwise: u64,
}

static OVERLOAD: LazyLock<Overload> = LazyLock::new(|| {
    let mut junction = Junction::new(1);
    junction.connect();
    run(junction)
});

/// Hands in all the traffic; the one thread's turns take as long as they would.
fn run(mut junction: Junction) -> Overload {
    let begin = junction.now + Nanos::from_millis(100);
    junction.now = begin;
    let (mut places, mut housekeeping) = (vec![], begin);
    let taken_before = taken(&junction);
    let (mut inside_max, mut outside_max, mut busy) = (0, 0, Nanos::ZERO);
    while places.len() < PACKETS {
        let is_there = |number: usize| begin + Nanos(TRAFFIC.packets[number].at.0 / SPEED);
        let mut place = 0;
        while places.len() < PACKETS && is_there(places.len()) <= junction.now {
            let packet = &TRAFFIC.packets[places.len()];
            junction.hand_in(packet.source, Frame::Sphinx, &packet.frame);
            places.push(place);
            place += 1;
        }
        junction.network.advance(junction.now);
        let before = unwrapped(&junction);
        junction.node.workers[0].turn(junction.now);
        let spent = Nanos(COST.0 * (unwrapped(&junction) - before));
        busy = busy + spent + COST_OF_TURN;
        inside_max = inside_max.max(junction.node.workers[0].resident());
        outside_max =
            outside_max.max((places.len() + taken_before).saturating_sub(taken(&junction)));
        if junction.now >= housekeeping {
            junction.turn_others();
            housekeeping = junction.now + HOUSEKEEPING;
        }
        junction.now = junction.now + spent + COST_OF_TURN;
    }
    let busy = busy.as_secs_f64() / (junction.now - begin).as_secs_f64();
    junction.empty();
    let observation = junction.observation(begin, SPEED, &[0; NEIGHBOURS]);
    let mut kept = vec![false; PACKETS];
    observation.passages.iter().for_each(|passage| kept[passage.arrival] = true);
    let drops = &junction.node.workers[0].counts().drops;
    let overload = Reason::Worker(Refusal::Overload);
    let others = Reason::all().filter(|reason| *reason != overload);
    Overload {
        observation,
        kept,
        places,
        busy,
        inside_max,
        outside_max,
        turned_away: drops.of(overload),
        dropped_otherwise: others.map(|reason| drops.of(reason)).sum(),
    }
}

/// Packets that the mix has unwrapped: they are inside, or have left, or were refused.
fn unwrapped(junction: &Junction) -> u64 {
    let worker = &junction.node.workers[0];
    let drops = &worker.counts().drops;
    let refused = Reason::all().filter(|reason| reason.is_of_packet());
    let refused: u64 = refused.map(|reason| drops.of(reason)).sum();
    worker.resident() as u64 + worker.counts().packets_out.value() + refused
}

/// Datagrams that the mix has taken in or turned away.
fn taken(junction: &Junction) -> usize {
    usize::try_from(junction.node.workers[0].port().counters().received).unwrap()
}

/// The p-value of "which of the packets were kept has nothing to do with `class`".
fn independence_p(class: impl Fn(usize) -> Option<usize>, classes: usize) -> f64 {
    let mut counts = vec![[0.0f64; 2]; classes];
    let share = OVERLOAD.kept[SETTLING..].iter().filter(|kept| **kept).count() as f64
        / (PACKETS - SETTLING) as f64;
    for number in SETTLING..PACKETS {
        if let Some(class) = class(number) {
            counts[class][usize::from(OVERLOAD.kept[number])] += 1.0;
        }
    }
    let statistic = |[dropped, kept]: &[f64; 2]| {
        let expected = (dropped + kept) * share;
        (kept - expected).powi(2) / (expected * (1.0 - share))
    };
    chi_square_p(counts.iter().map(statistic).sum(), classes)
}

#[test]
fn at_twice_its_capacity_a_mix_forwards_at_its_capacity_and_turns_the_rest_away() {
    let Overload { kept, busy, turned_away, dropped_otherwise, .. } = &*OVERLOAD;
    let forwarded = kept.iter().filter(|kept| **kept).count() as u64;
    eprintln!("busy {busy:.4}, forwarded {forwarded}, turned away {turned_away}");
    assert!(*busy > 0.97, "{busy}");
    // Dummies are turned away, too.
    assert!(forwarded + turned_away + dropped_otherwise >= PACKETS as u64);
    // The replay table takes one packet in ten thousand for another, or fewer.
    assert!(*dropped_otherwise <= PACKETS as u64 / 10_000, "{dropped_otherwise}");
}

#[test]
fn what_is_turned_away_in_overload_depends_on_neither_source_nor_order_nor_delay() {
    let by_source = independence_p(|number| Some(TRAFFIC.packets[number].source), NEIGHBOURS);
    let by_place = independence_p(
        |number| Some(OVERLOAD.places[number]).filter(|place| *place < PLACES),
        PLACES,
    );
    let kept = (SETTLING..PACKETS).filter(|number| OVERLOAD.kept[*number]);
    let mut delays: Vec<f64> =
        kept.map(|number| TRAFFIC.packets[number].delay.as_secs_f64()).collect();
    let by_delay =
        kolmogorov_smirnov_p(&mut delays, |delay| 1.0 - (-delay / MEAN.as_secs_f64()).exp());
    eprintln!("source {by_source:.4}, place {by_place:.4}, delay {by_delay:.4}");
    assert!(by_source > P_MIN && by_place > P_MIN && by_delay > P_MIN);
}

#[test]
fn in_overload_delays_stay_exponential_and_memory_bounded() {
    let Overload { observation, inside_max, outside_max, .. } = &*OVERLOAD;
    let journeys = observation.journeys();
    let mut waits: Vec<f64> = journeys.iter().map(|journey| journey.added_ns() / 1e6).collect();
    waits.sort_unstable_by(f64::total_cmp);
    let waits = [1, 50, 99].map(|per_cent| waits[waits.len() * per_cent / 100]);
    let residence = Residence::of(observation, &journeys);
    let mut residences: Vec<f64> = journeys.iter().map(Journey::residence_ns).collect();
    let p = kolmogorov_smirnov_p(&mut residences, |time| residence.cdf(time));
    eprintln!(
        "{} journeys wait {waits:.2?} ms (1, 50, 99 %), p of residences {p:.4}; \
         inside {inside_max}, outside {outside_max}",
        journeys.len()
    );
    assert!(p > P_MIN && waits[2] < 0.2 * MEAN.as_secs_f64() * 1e3);
    // What is unwrapped in a mean delay, and a fifth; what comes in 40 ms.
    let unwrapped = usize::try_from(MEAN.0 / COST.0).unwrap();
    assert!(*inside_max < unwrapped * 6 / 5 && *outside_max < 5000);
}
