//! Packets through one mix: when each arrives, from whom, to whom, and how long it asks to stay.

use std::sync::LazyLock;
use std::thread;

use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::node::Identity;
use mixline::pki::{Rate, Rates};
use mixline::route::content::Content;
use mixline::route::epoch_byte;
use mixline::sphinx::{self, Geometry, Itinerary, Order, RouteHop, Version};

use crate::testnet::{self, EPOCH, Shape, WALL};

/// The mean of all delays.
pub(crate) const MEAN: Nanos = Nanos::from_millis(50);
/// How many packets there are: 160 000 count when the first and the last ones do not.
pub(crate) const PACKETS: usize = 178_000;
/// Packets that arrive in a mean delay.
pub(crate) const PACKETS_INSIDE: u32 = 800;
/// Neighbours before the mix, and as many behind it.
pub(crate) const NEIGHBOURS: usize = 8;

/// Packets that are built together: more make it no faster.
const BUILT_TOGETHER: usize = 64;
const SEED: [u8; 32] = [61; 32];

/// One packet.
pub(crate) struct Sent {
    /// When it arrives, since the first could.
    pub(crate) at: Nanos,
    /// From which of the neighbours before the mix.
    pub(crate) source: usize,
    /// To which of those behind it.
    sink: usize,
    /// How long it asks to stay.
    pub(crate) delay: Nanos,
    /// The packet with its tail.
    pub(crate) frame: Vec<u8>,
}

/// A network whose one mix is under test, and the packets that go through it.
pub(crate) struct Traffic {
    pub(crate) shape: Shape,
    identities: Vec<Identity>,
    /// In order of arrival. The last hop of each is told the packet's number.
    pub(crate) packets: Vec<Sent>,
}

/// One for all tests: nodes with the same keys take the same packets.
pub(crate) static TRAFFIC: LazyLock<Traffic> = LazyLock::new(Traffic::new);

impl Traffic {
    fn new() -> Self {
        let rates =
            Rates { mix_loop: Rate::default(), gateway_loop: Rate::default(), ..Rates::default() };
        let shape = Shape {
            mixes_per_layer: u8::try_from(NEIGHBOURS).unwrap(),
            gateways: 1,
            delay_mean: MEAN,
            rates,
            ..Shape::default()
        };
        let mut rng = Rng::from_seed(SEED);
        let identities = testnet::identities(&shape, WALL, &mut rng);
        let packets = draw(&mut rng);
        let mut traffic = Traffic { shape, identities, packets };
        traffic.build(&mut rng);
        traffic
    }

    /// The mix under test: the first of the second layer.
    pub(crate) fn mix(&self) -> &Identity {
        &self.identities[self.mix_place()]
    }

    /// Its place among the nodes.
    pub(crate) fn mix_place(&self) -> usize {
        NEIGHBOURS
    }

    /// A neighbour before the mix, and its place among the nodes.
    pub(crate) fn source(&self, number: usize) -> (&Identity, usize) {
        (&self.identities[number], number)
    }

    /// A neighbour behind the mix, and its place among the nodes.
    pub(crate) fn sink(&self, number: usize) -> (&Identity, usize) {
        let place = 2 * NEIGHBOURS + number;
        (&self.identities[place], place)
    }

    /// Two hops: the mix, and the neighbour behind it.
    fn route(&self, packet: &Sent) -> [RouteHop; 2] {
        let hop = |identity: &Identity, delay: Nanos| RouteHop {
            address: identity.keys.identity.id().0,
            public_key: identity.epochs[0].mix.public(),
            delay_ns: delay.0,
        };
        [hop(self.mix(), packet.delay), hop(self.sink(packet.sink).0, Nanos::ZERO)]
    }

    fn build(&mut self, rng: &mut Rng) {
        let mut packets = std::mem::take(&mut self.packets);
        let (numbered, traffic) = (packets.chunks_mut(PACKETS / 2), &*self);
        thread::scope(|scope| {
            for (part, packets) in numbered.enumerate() {
                let mut rng = rng.fork();
                scope.spawn(move || {
                    let first = part * (PACKETS / 2);
                    for (group, packets) in packets.chunks_mut(BUILT_TOGETHER).enumerate() {
                        traffic.build_group(first + group * BUILT_TOGETHER, packets, &mut rng);
                    }
                });
            }
        });
        self.packets = packets;
    }

    fn build_group(&self, first: usize, packets: &mut [Sent], rng: &mut Rng) {
        let content = Content { reply: None, body: b"message" }.encode();
        let routes: Vec<_> = packets.iter().map(|packet| self.route(packet)).collect();
        let mut orders = Vec::with_capacity(packets.len());
        for (place, (sent, route)) in packets.iter_mut().zip(&routes).enumerate() {
            sent.frame = vec![0; Geometry::DEFAULT.frame_bytes()];
            let (packet, tail) = sent.frame.split_at_mut(Geometry::DEFAULT.packet_bytes());
            tail[0] = epoch_byte(EPOCH);
            let identifier = ((first + place) as u128).to_be_bytes();
            let version = Version::SingleSeed;
            let itinerary = Itinerary { route, destination: [5; 32], identifier, version };
            orders.push(Order { message: &content, itinerary, packet });
        }
        let built = sphinx::build_each(Tier::chosen(), &mut orders, rng);
        assert!(built.iter().all(Result::is_ok));
    }
}

/// Poisson arrivals from all sources alike, exponential delays, any neighbour behind.
fn draw(rng: &mut Rng) -> Vec<Sent> {
    let gap_mean = Nanos(MEAN.0 / u64::from(PACKETS_INSIDE));
    let neighbours = u32::try_from(NEIGHBOURS).unwrap();
    let mut at = Nanos::ZERO;
    let mut packet = || {
        at = at + rng.exponential(gap_mean);
        let (source, sink) = (rng.below(neighbours) as usize, rng.below(neighbours) as usize);
        Sent { at, source, sink, delay: rng.exponential(MEAN), frame: vec![] }
    };
    (0..PACKETS).map(|_| packet()).collect()
}
