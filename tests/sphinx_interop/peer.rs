//! A path of real keys, and what `sphinx-packet` makes of it.

use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::crypto::x25519::Secret;
use mixline::sphinx::{
    Geometry, Hop, Itinerary, Packet, Refusal, RouteHop, Unwrapper, Version, build,
};
use sphinx_packet::header::delays::Delay;
use sphinx_packet::route::{Destination, DestinationAddressBytes, Node, NodeAddressBytes};
use sphinx_packet::{ProcessedPacketData, SURBMaterial, SphinxPacket, SphinxPacketBuilder};
use x25519_dalek::StaticSecret;

pub(crate) const HEADER_BYTES: usize = 348;
pub(crate) const DESTINATION: [u8; 32] = [0xdd; 32];
pub(crate) const IDENTIFIER: [u8; 16] = [0x1d; 16];

/// A path of real keys, and both sides' view of it.
pub(crate) struct Path {
    pub(crate) secrets: Vec<Secret>,
    pub(crate) route: Vec<RouteHop>,
}

impl Path {
    pub(crate) fn new(rng: &mut Rng, hops: usize) -> Self {
        let secrets: Vec<_> = (0..hops).map(|_| Secret::random(rng)).collect();
        let node = |secret: &Secret| RouteHop {
            address: rng.bytes(),
            public_key: secret.public(),
            delay_ns: rng.next_u64(),
        };
        Path { route: secrets.iter().map(node).collect(), secrets }
    }

    pub(crate) fn itinerary(&self, version: Version) -> Itinerary<'_> {
        let (destination, identifier) = (DESTINATION, IDENTIFIER);
        Itinerary { route: &self.route, destination, identifier, version }
    }

    pub(crate) fn build(&self, rng: &mut Rng, version: Version, payload_bytes: usize) -> Vec<u8> {
        let mut packet = vec![0; HEADER_BYTES + payload_bytes];
        let message = message(payload_bytes);
        build(&message, &self.itinerary(version), rng, &mut packet).unwrap();
        packet
    }

    fn nodes(&self) -> Vec<Node> {
        let node = |hop: &RouteHop| {
            Node::new(NodeAddressBytes::from_bytes(hop.address), hop.public_key.into())
        };
        self.route.iter().map(node).collect()
    }

    fn delays(&self) -> Vec<Delay> {
        self.route.iter().map(|hop| Delay::new_from_nanos(hop.delay_ns)).collect()
    }

    pub(crate) fn build_there(
        &self,
        secret: &StaticSecret,
        version: u16,
        payload_bytes: usize,
    ) -> Vec<u8> {
        SphinxPacketBuilder::new()
            .with_version(sphinx_packet::version::Version::new(version))
            .with_payload_size(payload_bytes)
            .with_initial_secret(secret)
            .build_packet(message(payload_bytes), &self.nodes(), &destination(), &self.delays())
            .unwrap()
            .to_bytes()
    }

    pub(crate) fn surb_there(&self, version: Version) -> SURBMaterial {
        let version = sphinx_packet::version::Version::new(version as u16);
        SURBMaterial::new(self.nodes(), self.delays(), destination(), version)
    }

    /// Takes `packet` along the path, every hop here and there, and gives the delivered payload.
    pub(crate) fn walk(&self, mut packet: Vec<u8>) -> Vec<u8> {
        for (index, secret) in self.secrets.iter().enumerate() {
            let came = packet.clone();
            let theirs = process_there(&packet, secret);
            let tag = tag_there(&packet, secret);
            let outcome = unwrap_with(&mut packet, secret, |seen| assert_eq!(*seen, tag));
            match (outcome.unwrap(), theirs) {
                (Hop::Forward { next, delay_ns }, Processed::Forward(bytes, their_next, delay)) => {
                    assert_eq!((next, delay_ns), (their_next, delay));
                    assert_eq!(
                        (next, delay_ns),
                        (self.route[index + 1].address, self.route[index].delay_ns)
                    );
                    assert_eq!(packet, bytes);
                }
                (Hop::Final { destination, identifier }, Processed::Final(bytes)) => {
                    assert_eq!(index + 1, self.secrets.len());
                    assert_eq!(packet[..HEADER_BYTES], came[..HEADER_BYTES]);
                    assert_eq!((destination, identifier), (DESTINATION, IDENTIFIER));
                    assert_eq!(packet[HEADER_BYTES..], bytes);
                    return bytes;
                }
                _ => panic!("one side forwards what the other delivers"),
            }
        }
        panic!("the path ended before the packet was delivered");
    }
}

/// A message that fits: with some payloads the longest, with others up to four bytes shorter.
pub(crate) fn message(payload_bytes: usize) -> Vec<u8> {
    let byte = |index| u8::try_from(index % 251).unwrap();
    (0..payload_bytes - 17 - payload_bytes % 5).map(byte).collect()
}

fn destination() -> Destination {
    Destination::new(DestinationAddressBytes::from_bytes(DESTINATION), IDENTIFIER)
}

enum Processed {
    Forward(Vec<u8>, [u8; 32], u64),
    Final(Vec<u8>),
}

fn process_there(packet: &[u8], secret: &Secret) -> Processed {
    let secret = StaticSecret::from(*secret.as_bytes());
    match SphinxPacket::from_bytes(packet).unwrap().process(&secret).unwrap().data {
        ProcessedPacketData::ForwardHop { next_hop_packet, next_hop_address, delay } => {
            let next = next_hop_address.to_bytes();
            Processed::Forward(next_hop_packet.to_bytes(), next, delay.to_nanos())
        }
        ProcessedPacketData::FinalHop { destination, identifier, payload } => {
            assert_eq!((destination.as_bytes(), identifier), (DESTINATION, IDENTIFIER));
            Processed::Final(payload.into_bytes())
        }
    }
}

fn tag_there(packet: &[u8], secret: &Secret) -> [u8; 32] {
    let secret = StaticSecret::from(*secret.as_bytes());
    let header = SphinxPacket::from_bytes(packet).unwrap().header;
    *header.compute_expanded_shared_secret(&secret).replay_tag()
}

pub(crate) fn unwrap_with(
    packet: &mut [u8],
    secret: &Secret,
    mut look: impl FnMut(&[u8; 32]),
) -> Result<Hop, Refusal> {
    let geometry = Geometry::new(packet.len() - HEADER_BYTES).unwrap();
    let mut unwrapper = Unwrapper::new(Tier::chosen(), geometry, 1);
    let mut packets = [Packet { bytes: packet, secret }];
    let mut checked = unwrapper.check(&mut packets);
    checked.screen(|_, tag| {
        look(tag);
        Ok(())
    });
    checked.finish()[0]
}

pub(crate) fn unwrap(packet: &mut [u8], secret: &Secret) -> Result<Hop, Refusal> {
    unwrap_with(packet, secret, |_| ())
}
