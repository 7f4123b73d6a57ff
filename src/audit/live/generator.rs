//! Packets on their way in: built ahead by one thread, handed in at the times of a Poisson process
//! by another one, each by a neighbour drawn at random.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;

use super::neighbour::{Name, Neighbour, Sent, wall_nanos};
use crate::clock::{self, Nanos};
use crate::crypto::random::Rng;
use crate::crypto::tier::Tier;
use crate::host;
use crate::pki::{Consensus, Node as Listed, NodeId, Rate};
use crate::route;
use crate::sphinx::{
    self, Destination, Identifier, Itinerary, NodeAddress, Order, RouteHop, Version,
};

/// Packets that are built together: more make it no faster.
const BUILT_TOGETHER: usize = 32;
/// Packets that are built ahead, at most: about 300 MB, and half a minute to a minute of sending.
pub(super) const AHEAD_PACKETS: u64 = 1 << 18;
/// Batches that lie between the two threads.
pub(super) const AHEAD_BATCHES: usize = (1 << 18) / BUILT_TOGETHER;
/// How often links are looked after.
const LOOK: Nanos = Nanos::from_millis(5);
/// From here on the generator was late: a stall of its own.
const LATE_MIN: Nanos = Nanos::from_millis(5);

/// Packets ready to be handed in, numbered from `first`.
pub(super) struct Batch {
    first: u64,
    /// Each packet with its tail.
    frames: Vec<u8>,
    delays: Vec<Nanos>,
}

/// A packet that was handed in.
#[derive(Clone, Copy)]
pub(super) struct Handed {
    pub(super) number: u64,
    pub(super) name: Name,
    /// By which neighbour.
    pub(super) source: u16,
    /// What its sender asked for.
    pub(super) delay: Nanos,
    /// Between which times of the wall clock it left.
    pub(super) from: Nanos,
    pub(super) until: Nanos,
}

/// How a packet tells the sink which it is: a number, behind which a mark of this run stands.
#[derive(Clone, Copy)]
pub(super) struct Run(pub(super) [u8; 24]);

impl Run {
    /// Where the packet `number` ends.
    fn destination(self, number: u64) -> Destination {
        let mut destination = [0; 32];
        destination[..8].copy_from_slice(&number.to_le_bytes());
        destination[8..].copy_from_slice(&self.0);
        destination
    }

    /// The number of the packet that ends there, if it is of this run.
    pub(super) fn number(self, destination: &Destination) -> Option<u64> {
        let (number, run) = destination.split_first_chunk()?;
        (*run == self.0).then(|| u64::from_le_bytes(*number))
    }
}

/// Packets to be built: over `node` to nodes drawn from `ends`, where their paths end.
pub(super) struct Orders<'a> {
    pub(super) consensus: &'a Consensus,
    pub(super) node: &'a Listed,
    pub(super) ends: Vec<NodeAddress>,
    pub(super) run: Run,
    pub(super) packets: u64,
}

/// Builds packets, counts them in `built`, and hands them over until nobody takes them.
pub(super) fn build(orders: &Orders<'_>, made: &SyncSender<Batch>, built: &AtomicU64) {
    host::go_second();
    let mut rng = Rng::from_os();
    let mut first = 0;
    while first < orders.packets {
        let size = (orders.packets - first).min(BUILT_TOGETHER as u64);
        let batch = batch(orders, first..first + size, &mut rng);
        built.fetch_add(size, Ordering::Relaxed);
        if batch.is_none_or(|batch| made.send(batch).is_err()) {
            break;
        }
        first += size;
    }
    // Nobody is to wait for more.
    built.store(u64::MAX, Ordering::Relaxed);
}

fn batch(orders: &Orders<'_>, numbers: Range<u64>, rng: &mut Rng) -> Option<Batch> {
    let Orders { consensus, node, ends, run, .. } = orders;
    let epoch = consensus.epoch();
    let hop = |address: NodeAddress, delay: Nanos| {
        let public_key = *consensus.node(&NodeId(address))?.mix_public(epoch)?;
        Some(RouteHop { address, public_key, delay_ns: delay.0 })
    };
    let mut routes = Vec::new();
    let mut delays = Vec::new();
    for _ in numbers.clone() {
        let delay = route::random_delay(consensus.parameters().delay_mean, rng);
        let end = rng.below(u32::try_from(ends.len()).ok()?);
        routes.push([hop(node.id().0, delay)?, hop(ends[end as usize], Nanos::ZERO)?]);
        delays.push(delay);
    }
    let frame_bytes = consensus.geometry().frame_bytes();
    let mut frames = vec![0; frame_bytes * routes.len()];
    let mut orders = Vec::with_capacity(routes.len());
    for ((frame, route), number) in frames.chunks_mut(frame_bytes).zip(&routes).zip(numbers.clone())
    {
        let itinerary = Itinerary {
            route,
            destination: run.destination(number),
            identifier: Identifier::default(),
            version: Version::SingleSeed,
        };
        let packet = route::packet_of(consensus, frame);
        orders.push(Order { message: b"", itinerary, packet });
    }
    let built = sphinx::build_each(Tier::chosen(), &mut orders, rng);
    built.iter().all(Result::is_ok).then_some(Batch { first: numbers.start, frames, delays })
}

/// What the generator did.
#[derive(Default)]
pub(super) struct Log {
    pub(super) handed: Vec<Handed>,
    /// When it was late, by the wall clock.
    pub(super) stalls: Vec<(Nanos, Nanos)>,
    /// Packets that found no session or no room.
    pub(super) unsent: u64,
}

/// Hands in what comes from `made`, in a Poisson process of `rate`, until there is no more, the
/// time `end` has come, or `stop` is set.
pub(super) fn hand_in(
    before: &mut [Neighbour],
    made: &Receiver<Batch>,
    (rate, end): (Rate, Nanos),
    stop: &AtomicBool,
) -> Log {
    host::wake_on_time();
    let (mut log, mut rng) = (Log::default(), Rng::from_os());
    let mut next = clock::now();
    let mut look = next;
    while let Ok(batch) = made.recv() {
        let frame_bytes = batch.frames.len() / batch.delays.len();
        let packets = batch.frames.chunks(frame_bytes).zip(&batch.delays).zip(batch.first..);
        for ((frame, delay), number) in packets {
            next = next + rng.exponential(rate.gap_mean());
            if next >= end || stop.load(Ordering::Relaxed) {
                return log;
            }
            wait_until(next, &mut look, before);
            let late = clock::now() - next;
            if late > LATE_MIN {
                let until = wall_nanos();
                log.stalls.push((until - late, until));
            }
            let source = rng.below(u32::try_from(before.len()).unwrap_or(1));
            match before[source as usize].send(frame) {
                Some(Sent { name, from, until }) => log.handed.push(Handed {
                    number,
                    name,
                    source: u16::try_from(source).unwrap_or(u16::MAX),
                    delay: *delay,
                    from,
                    until,
                }),
                None => log.unsent += 1,
            }
        }
    }
    log
}

/// Sleeps until `at`, and looks after the links meanwhile.
fn wait_until(at: Nanos, look: &mut Nanos, before: &mut [Neighbour]) {
    let mut now = clock::now();
    while now < at {
        if now >= *look {
            *look = now + LOOK;
            before.iter_mut().for_each(|neighbour| neighbour.turn(|_| ()));
        }
        thread::sleep((at.min(*look) - clock::now()).as_duration());
        now = clock::now();
    }
}
