//! Sphinx packets for a gateway of a [`Loopback`] network, in their link frames.

use mixline::clock::Nanos;
use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::io::Port;
use mixline::pki::Node as ListedNode;
use mixline::route::content::Content;
use mixline::route::epoch_byte;
use mixline::sphinx::{self, Destination, Geometry, Itinerary, Order, RouteHop, Version};

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

    /// Packets that go on to the mix, one after each delay, built together.
    pub(crate) fn forwarded_each(&mut self, delays: &[Nanos]) -> Vec<Vec<u8>> {
        let mut frames = vec![vec![0; Geometry::DEFAULT.frame_bytes()]; delays.len()];
        let route = |delay: &Nanos| [RouteHop { delay_ns: delay.0, ..self.gateway }, self.mix];
        let routes: Vec<_> = delays.iter().map(route).collect();
        let content = content();
        let mut orders = Vec::with_capacity(delays.len());
        for (frame, route) in frames.iter_mut().zip(&routes) {
            let (packet, tail) = frame.split_at_mut(Geometry::DEFAULT.packet_bytes());
            tail[0] = self.epoch;
            orders.push(Order { message: &content, itinerary: itinerary(route, [5; 32]), packet });
        }
        let built = sphinx::build_each(Tier::chosen(), &mut orders, &mut self.rng);
        assert!(built.iter().all(Result::is_ok));
        frames
    }

    /// A packet for a mailbox of this gateway.
    pub(crate) fn delivered(&mut self, mailbox: Destination) -> Vec<u8> {
        self.frame(&[self.gateway], mailbox)
    }

    /// A packet along `route`.
    pub(crate) fn frame(&mut self, route: &[RouteHop], destination: Destination) -> Vec<u8> {
        let mut frame = vec![0; Geometry::DEFAULT.frame_bytes()];
        let (packet, tail) = frame.split_at_mut(Geometry::DEFAULT.packet_bytes());
        let itinerary = itinerary(route, destination);
        sphinx::build(&content(), &itinerary, &mut self.rng, packet).unwrap();
        tail[0] = self.epoch;
        frame
    }
}

fn content() -> Vec<u8> {
    Content { reply: None, body: b"message" }.encode()
}

fn itinerary(route: &[RouteHop], destination: Destination) -> Itinerary<'_> {
    Itinerary { route, destination, identifier: [0; 16], version: Version::SingleSeed }
}
