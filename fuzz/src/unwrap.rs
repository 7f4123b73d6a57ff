//! Packets that a neighbour hands over, and what their senders wrote into them.

use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::crypto::x25519::Secret;
use mixline::sphinx::geometry::{ALPHA_BYTES, HEADER_BYTES};
use mixline::sphinx::{
    Geometry, Hop, Itinerary, Packet, Refusal, RouteHop, Surb, Unwrapper, Version, build,
};
use std::sync::OnceLock;

const GEOMETRY: Geometry = Geometry::DEFAULT;
const SECRET: [u8; 32] = [7; 32];

/// Two packets for the node of [`SECRET`]: one to forward, one that ends there.
fn valid_packets() -> &'static [Vec<u8>; 2] {
    static PACKETS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    PACKETS.get_or_init(|| [2, 1].map(packet_of_hops))
}

fn packet_of_hops(hops: usize) -> Vec<u8> {
    let mut packet = vec![0; GEOMETRY.packet_bytes()];
    let route = [route_hop(SECRET), route_hop([8; 32])];
    build(b"message", &itinerary(&route[..hops]), &mut rng(), &mut packet).expect("a valid route");
    packet
}

fn route_hop(secret: [u8; 32]) -> RouteHop {
    let public_key = Secret::from_bytes(secret).public();
    RouteHop { address: [9; 32], public_key, delay_ns: 50_000_000 }
}

fn itinerary(route: &[RouteHop]) -> Itinerary<'_> {
    let (destination, identifier) = ([1; 32], [2; 16]);
    Itinerary { route, destination, identifier, version: Version::SingleSeed }
}

fn rng() -> Rng {
    Rng::from_seed([1; 32])
}

/// Three packets in one batch: the input itself, and the two valid ones changed by it. Accepted
/// when one of them is; every tier of the machine says the same of all.
pub fn run(input: &[u8]) -> bool {
    let changed = valid_packets().each_ref().map(|packet| xor(packet, input));
    let before = [input.to_vec(), changed[0].clone(), changed[1].clone()];
    let (outcomes, after) = unwrap(Tier::SERIAL, &before);
    for tier in Tier::all() {
        assert_eq!(unwrap(tier, &before), (outcomes.clone(), after.clone()), "{tier:?}");
    }
    for (index, outcome) in outcomes.iter().enumerate() {
        assert!(outcome.is_ok() || before[index] == after[index], "a refused packet was changed");
    }
    // Alpha has several spellings of a point; what the MAC covers has one.
    let covered = input.get(ALPHA_BYTES..).unwrap_or_default();
    let header = &covered[..covered.len().min(HEADER_BYTES - ALPHA_BYTES)];
    if header.iter().any(|&byte| byte != 0) {
        let refused = [Err(Refusal::Authentication), Err(Refusal::OffCurve)];
        assert!(outcomes[1..].iter().all(|outcome| refused.contains(outcome)), "{outcomes:?}");
    }
    reply(input);
    outcomes.iter().any(Result::is_ok)
}

type Outcomes = Vec<Result<Hop, Refusal>>;

/// What `tier` makes of a batch.
fn unwrap(tier: Tier, before: &[Vec<u8>]) -> (Outcomes, Vec<Vec<u8>>) {
    let mut after = before.to_vec();
    let secret = Secret::from_bytes(SECRET);
    let mut packets: Vec<Packet<'_>> =
        after.iter_mut().map(|bytes| Packet { bytes, secret: &secret }).collect();
    let mut unwrapper = Unwrapper::new(tier, GEOMETRY, packets.len());
    let mut checked = unwrapper.check(&mut packets);
    checked.screen(|_, _| Ok(()));
    let outcomes = checked.finish().to_vec();
    (outcomes, after)
}

/// A reply block comes from a stranger too.
fn reply(input: &[u8]) {
    if let Some(surb) = Surb::decode(input) {
        assert!(!surb.encode().is_empty());
        let mut packet = vec![0; GEOMETRY.packet_bytes()];
        surb.reply(b"answer", &mut packet).expect("an answer that fits");
    }
}

fn xor(packet: &[u8], input: &[u8]) -> Vec<u8> {
    let changes = input.iter().copied().chain(std::iter::repeat(0));
    packet.iter().zip(changes).map(|(byte, change)| byte ^ change).collect()
}

/// No change, a changed header, a changed payload, whole packets, a reply block.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut payload = vec![0; GEOMETRY.packet_bytes()];
    payload[HEADER_BYTES..].fill(1);
    let route = [route_hop(SECRET)];
    let (surb, _) = Surb::create(&itinerary(&route), &mut rng()).expect("a valid route");
    let mut seeds = vec![vec![], vec![1; HEADER_BYTES], payload, surb.encode()];
    seeds.extend_from_slice(valid_packets());
    seeds
}
