//! One hop: a batch through our unwrapper against `sphinx-packet`, and against our scalar tier.

use crate::sampling::{Comparison, Work};
use arrayvec::ArrayVec;
use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::crypto::x25519::Secret;
use mixline::sphinx::{Geometry, Itinerary, Packet, RouteHop, Unwrapper, Version, build};
use mixline::worker::slab::{Slab, Slot, SlotCache};
use sphinx_packet::{ProcessedPacketData, SphinxPacket};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use x25519_dalek::StaticSecret;

/// Packets of the largest batch.
pub(crate) const BATCH_MAX: usize = 32;
/// Hops of a packet's path, of which the first is timed.
pub(crate) const HOPS: usize = 5;
/// Around every width of a vector.
const BATCHES: [usize; 9] = [1, 2, 4, 8, 9, 16, 17, 31, 32];

/// Whole hops in full batches.
pub(crate) fn whole() -> Vec<Comparison> {
    let [small, large] = [1024, 2048].map(|payload_bytes| Rc::new(Arrivals::new(payload_bytes)));
    let against_crate = |name, tier, arrivals| {
        let sides = [ours(tier, arrivals, BATCH_MAX), theirs(arrivals)];
        Comparison::new(name, "sphinx-packet", sides)
    };
    vec![
        against_crate("hop_1024", Tier::chosen(), &small),
        against_crate("hop_2048", Tier::chosen(), &large),
        against_crate("hop_1024_scalar", Tier::SCALAR, &small),
    ]
}

/// Every other tier beside the scalar one, at every size of a batch. Only the chosen tier's names
/// are without its name.
pub(crate) fn batches() -> Vec<Comparison> {
    let arrivals = Rc::new(Arrivals::new(1024));
    let compare = |tier: Tier, batch| {
        let name = match tier == Tier::chosen() {
            true => format!("hop_1024_batch_{batch}"),
            false => format!("hop_1024_{}_batch_{batch}", tier.name().as_str()),
        };
        let sides = [tier, Tier::SCALAR].map(|tier| ours(tier, &arrivals, batch));
        Comparison::new(name, "scalar", sides)
    };
    let tiers = Tier::all().filter(|&tier| tier != Tier::SCALAR).collect::<Vec<_>>();
    let tiers = tiers.into_iter().rev();
    tiers.flat_map(|tier| BATCHES.map(|batch| compare(tier, batch))).collect()
}

fn ours(tier: Tier, arrivals: &Rc<Arrivals>, batch: usize) -> Box<dyn Work> {
    Box::new(Ours::new(tier, arrivals.clone(), batch))
}

fn theirs(arrivals: &Rc<Arrivals>) -> Box<dyn Work> {
    let secret = StaticSecret::from(*arrivals.secret.as_bytes());
    Box::new(Theirs { secret, arrivals: arrivals.clone(), turn: 0 })
}

/// Packets as they come to the first of five hops.
struct Arrivals {
    geometry: Geometry,
    secret: Secret,
    packets: Vec<Vec<u8>>,
}

impl Arrivals {
    fn new(payload_bytes: usize) -> Self {
        let mut rng = Rng::from_seed([1; 32]);
        let geometry = Geometry::new(payload_bytes).expect("a size that networks have");
        let secret = Secret::random(&mut rng);
        let mut packet = || {
            let mut bytes = vec![0; geometry.packet_bytes()];
            let message: Vec<u8> = vec![7; geometry.message_bytes_max()];
            let mut secrets = secrets(&mut rng);
            secrets[0] = secret.clone();
            let route = route(&mut rng, &secrets);
            build(&message, &itinerary(&route), &mut rng, &mut bytes).expect("a packet");
            bytes
        };
        let packets = (0..BATCH_MAX).map(|_| packet()).collect();
        Arrivals { geometry, secret, packets }
    }
}

/// The secrets of a path's hops.
pub(crate) fn secrets(rng: &mut Rng) -> [Secret; HOPS] {
    [(); HOPS].map(|()| Secret::random(rng))
}

/// The path through the hops with these secrets.
pub(crate) fn route(rng: &mut Rng, secrets: &[Secret; HOPS]) -> [RouteHop; HOPS] {
    let hop = |secret: &Secret| RouteHop {
        address: rng.bytes(),
        public_key: secret.public(),
        delay_ns: 200_000_000,
    };
    secrets.each_ref().map(hop)
}

/// To nobody along `route`.
pub(crate) fn itinerary(route: &[RouteHop]) -> Itinerary<'_> {
    let version = Version::SingleSeed;
    Itinerary { route, destination: [0xdd; 32], identifier: [0; 16], version }
}

/// A batch through the unwrapper, in slots of a worker's packet memory.
struct Ours {
    arrivals: Rc<Arrivals>,
    unwrapper: Unwrapper,
    slab: Arc<Slab>,
    slots: Vec<Slot>,
}

impl Ours {
    /// Checks first that it does what the peer does.
    fn new(tier: Tier, arrivals: Rc<Arrivals>, batch: usize) -> Self {
        let slab =
            Slab::new(u32::try_from(BATCH_MAX).unwrap_or(0), arrivals.geometry.frame_bytes());
        let mut cache = SlotCache::new(slab.clone());
        let slots = (0..batch).filter_map(|_| cache.take()).collect();
        let unwrapper = Unwrapper::new(tier, arrivals.geometry, BATCH_MAX);
        let mut ours = Ours { arrivals, unwrapper, slab, slots };
        ours.prepare();
        ours.run();
        ours.assert_as_theirs();
        ours
    }

    fn assert_as_theirs(&self) {
        let secret = StaticSecret::from(*self.arrivals.secret.as_bytes());
        for (slot, packet) in self.slots.iter().zip(&self.arrivals.packets) {
            let here = &self.slab.bytes(slot)[..packet.len()];
            assert!(here == process(packet, &secret), "the peer makes another packet of it");
        }
    }
}

impl Work for Ours {
    fn units(&self) -> usize {
        self.slots.len()
    }

    fn prepare(&mut self) {
        for (slot, packet) in self.slots.iter_mut().zip(&self.arrivals.packets) {
            self.slab.bytes_mut(slot)[..packet.len()].copy_from_slice(packet);
        }
    }

    fn run(&mut self) {
        let Ours { arrivals, unwrapper, slab, slots } = self;
        let packet_bytes = arrivals.geometry.packet_bytes();
        let mut packets: ArrayVec<Packet<'_>, BATCH_MAX> = slots
            .iter_mut()
            .map(|slot| Packet {
                bytes: &mut slab.bytes_mut(slot)[..packet_bytes],
                secret: &arrivals.secret,
            })
            .collect();
        let mut checked = unwrapper.check(&mut packets);
        checked.screen(|_, tag| {
            black_box(tag);
            Ok(())
        });
        black_box(checked.finish());
    }
}

/// One packet after the other through the crate.
struct Theirs {
    secret: StaticSecret,
    arrivals: Rc<Arrivals>,
    turn: usize,
}

impl Work for Theirs {
    fn units(&self) -> usize {
        1
    }

    fn prepare(&mut self) {
        self.turn = (self.turn + 1) % BATCH_MAX;
    }

    fn run(&mut self) {
        black_box(process(black_box(&self.arrivals.packets[self.turn]), &self.secret));
    }
}

/// What the crate makes of a packet, or of the last layer: parsed, processed, serialised.
pub(crate) fn process(packet: &[u8], secret: &StaticSecret) -> Vec<u8> {
    let packet = SphinxPacket::from_bytes(packet).expect("a packet");
    match packet.process(secret).expect("an authentic packet").data {
        ProcessedPacketData::ForwardHop { next_hop_packet, .. } => next_hop_packet.to_bytes(),
        ProcessedPacketData::FinalHop { payload, .. } => payload.into_bytes(),
    }
}
