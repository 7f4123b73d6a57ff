//! The sender: packets of five hops, made here and by `sphinx-packet`.

use crate::hop::{itinerary, route};
use crate::sampling::{Comparison, Work, work};
use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::crypto::x25519::Secret;
use mixline::sphinx::{Geometry, Order, RouteHop, build_each};
use sphinx_packet::SphinxPacketBuilder;
use sphinx_packet::header::delays::Delay;
use sphinx_packet::route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes};
use sphinx_packet::version::Version;
use std::hint::black_box;

/// Packets of one run of ours.
const BATCH: usize = 32;

/// One comparison: whole packets, ready to be sent.
pub(crate) fn comparisons() -> Vec<Comparison> {
    let mut rng = Rng::from_seed([3; 32]);
    let first = Secret::random(&mut rng);
    let route = route(&mut rng, &first);
    let sides = [ours(rng, route.clone()), theirs(&route)];
    vec![Comparison::new("build_5hops", "sphinx-packet", sides)]
}

fn message() -> Vec<u8> {
    vec![7; Geometry::DEFAULT.message_bytes_max()]
}

fn ours(mut rng: Rng, route: Vec<RouteHop>) -> Box<dyn Work> {
    let mut packets = vec![vec![0; Geometry::DEFAULT.packet_bytes()]; BATCH];
    let message = message();
    work(BATCH, move || {
        let order =
            |packet| Order { message: black_box(&message), itinerary: itinerary(&route), packet };
        let mut orders: Vec<_> = packets.iter_mut().map(|packet| order(&mut packet[..])).collect();
        let outcomes = build_each(Tier::chosen(), &mut orders, &mut rng);
        assert!(outcomes.iter().all(Result::is_ok), "every packet can be made");
        black_box(&mut packets);
    })
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
