//! The sender: packets of five hops, made here and by `sphinx-packet`.

use crate::hop::{HOPS, itinerary, process, route, secrets};
use crate::sampling::{Comparison, Work, work};
use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::crypto::x25519::Secret;
use mixline::sphinx::{Geometry, Order, RouteHop, build_each, payload};
use sphinx_packet::SphinxPacketBuilder;
use sphinx_packet::header::delays::Delay;
use sphinx_packet::route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes};
use sphinx_packet::version::Version;
use std::hint::black_box;
use x25519_dalek::StaticSecret;

/// Packets of one run of ours.
const BATCH: usize = 32;

/// One comparison: whole packets, ready to be sent.
pub(crate) fn comparisons() -> Vec<Comparison> {
    let mut rng = Rng::from_seed([3; 32]);
    let secrets = secrets(&mut rng);
    let route = route(&mut rng, &secrets);
    let sides = [ours(rng, route, &secrets), theirs(&route)];
    vec![Comparison::new("build_5hops", "sphinx-packet", sides)]
}

fn message() -> Vec<u8> {
    vec![7; Geometry::DEFAULT.message_bytes_max()]
}

fn ours(rng: Rng, route: [RouteHop; HOPS], secrets: &[Secret; HOPS]) -> Box<dyn Work> {
    let packets = vec![vec![0; Geometry::DEFAULT.packet_bytes()]; BATCH];
    let mut ours = Ours { rng, route, message: message(), packets };
    ours.run();
    ours.assert_opened(secrets);
    Box::new(ours)
}

/// A batch of packets with one message along one path.
struct Ours {
    rng: Rng,
    route: [RouteHop; HOPS],
    message: Vec<u8>,
    packets: Vec<Vec<u8>>,
}

impl Ours {
    /// The peer, as every hop in turn, gets the message out of each packet.
    fn assert_opened(&self, secrets: &[Secret; HOPS]) {
        let secrets = secrets.each_ref().map(|secret| StaticSecret::from(*secret.as_bytes()));
        for packet in &self.packets {
            let walk = |packet: Vec<u8>, secret| process(&packet, secret);
            let delivered = secrets.iter().fold(packet.clone(), walk);
            assert!(payload::open(&delivered) == Some(&self.message), "the peer cannot open it");
        }
    }
}

impl Work for Ours {
    fn units(&self) -> usize {
        BATCH
    }

    fn run(&mut self) {
        let Ours { rng, route, message, packets } = self;
        let order =
            |packet| Order { message: black_box(message), itinerary: itinerary(route), packet };
        let mut orders: Vec<_> = packets.iter_mut().map(|packet| order(&mut packet[..])).collect();
        let outcomes = build_each(Tier::chosen(), &mut orders, rng);
        assert!(outcomes.iter().all(Result::is_ok), "every packet can be made");
        black_box(packets);
    }
}

/// The crate with its defaults, but for what must be the same on both sides.
fn theirs(route: &[RouteHop]) -> Box<dyn Work> {
    let node = |hop: &RouteHop| {
        Node::new(NodeAddressBytes::from_bytes(hop.address), hop.public_key.into())
    };
    let nodes: Vec<_> = route.iter().map(node).collect();
    let delays: Vec<_> = route.iter().map(|hop| Delay::new_from_nanos(hop.delay_ns)).collect();
    let itinerary = itinerary(route);
    let address = DestinationAddressBytes::from_bytes(itinerary.destination);
    let destination = Destination::new(address, itinerary.identifier);
    let builder = SphinxPacketBuilder::new()
        .with_version(Version::new(itinerary.version as u16))
        .with_payload_size(Geometry::DEFAULT.payload_bytes());
    let message = message();
    work(1, move || {
        let packet = builder.build_packet(black_box(&message), &nodes, &destination, &delays);
        black_box(packet.expect("a packet").to_bytes());
    })
}
