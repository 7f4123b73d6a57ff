//! Sphinx packets for a gateway of a [`Loopback`] network, in their link frames.

use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::io::Port;
use mixline::pki::Node as ListedNode;
use mixline::route::content::Content;
use mixline::route::epoch_byte;
use mixline::sphinx::{self, Destination, Geometry, Itinerary, RouteHop, Version};

use crate::loopback::Loopback;

/// Builds frames for the gateway, on any thread.
pub(crate) struct Builder {
    pub(crate) gateway: RouteHop,
    pub(crate) mix: RouteHop,
    pub(crate) rng: Rng,
    epoch: u8,
}

impl Builder {
    pub(crate) fn new<P: Port>(net: &mut Loopback<P>) -> Self {
        let epoch = net.consensus().epoch();
        let hop = |node: &ListedNode| {
            let public_key = *node.mix_public(epoch).unwrap();
            RouteHop { address: node.id().0, public_key, delay_ns: 0 }
        };
        let (gateway, mix) = (hop(net.listed_gateway()), hop(net.listed_mix()));
        Builder { gateway, mix, epoch: epoch_byte(epoch), rng: net.rng.fork() }
    }

    /// Another one that builds other packets.
    pub(crate) fn fork(&mut self) -> Self {
        Builder { rng: self.rng.fork(), ..*self }
    }

    /// A packet that goes on to the mix after `delay`.
    pub(crate) fn forwarded(&mut self, delay: Nanos) -> Vec<u8> {
        self.frame(&[RouteHop { delay_ns: delay.0, ..self.gateway }, self.mix], [5; 32])
    }

    /// A packet for a mailbox of this gateway.
    pub(crate) fn delivered(&mut self, mailbox: Destination) -> Vec<u8> {
        self.frame(&[self.gateway], mailbox)
    }

    /// A packet along `route`.
    pub(crate) fn frame(&mut self, route: &[RouteHop], destination: Destination) -> Vec<u8> {
        let mut frame = vec![0; Geometry::DEFAULT.frame_bytes()];
        let (packet, tail) = frame.split_at_mut(Geometry::DEFAULT.packet_bytes());
        let (identifier, version) = ([0; 16], Version::SingleSeed);
        let itinerary = Itinerary { route, destination, identifier, version };
        let content = Content { reply: None, body: b"message" }.encode();
        sphinx::build(&content, &itinerary, &mut self.rng, packet).unwrap();
        tail[0] = self.epoch;
        frame
    }
}
