//! Decoys: packets that are ordinary in every way but that nobody reads them.

use crate::crypto::random::Rng;
use crate::pki::{Consensus, Node, NodeId};
use crate::route::content::{Content, DISCARD};
use crate::route::{self, Recipient, RouteError};
use crate::sphinx::{self, Destination, Identifier, Itinerary, NodeAddress, Surb, Version};

/// Builds a packet that a random gateway drops, without a word to anybody.
///
/// `frame` has the geometry's frame bytes, as for all that is built here.
///
/// # Errors
/// When the consensus has no such path, as for all that is built here.
pub fn drop_packet(
    consensus: &Consensus,
    first: &NodeId,
    rng: &mut Rng,
    frame: &mut [u8],
) -> Result<(), RouteError> {
    let gateway = route::random_node(consensus.gateways(), rng).map(Node::id);
    let gateway = gateway.ok_or(RouteError::UnknownGateway(*first))?;
    let content = Content { reply: None, body: &[] }.encode();
    let recipient = Recipient { gateway, mailbox: DISCARD };
    route::build_frame(consensus, first, &recipient, &content, rng, frame)
}

/// Builds a client's loop: out by its gateway and back to its mailbox there, its home. Returns by
/// which identifier it is known again.
///
/// It is made of a reply block of the client's own, so that to the gateway it comes back like an
/// acknowledgement; no mailbox keeps it.
///
/// # Errors
/// See [`drop_packet`].
pub fn client_loop(
    consensus: &Consensus,
    home: &Recipient,
    rng: &mut Rng,
    frame: &mut [u8],
) -> Result<Identifier, RouteError> {
    let route = route::random_path(consensus, &home.gateway, &home.gateway, rng)?;
    let identifier = random_identifier(rng);
    let itinerary = Itinerary {
        route: &route,
        destination: home.mailbox,
        identifier,
        version: Version::SingleSeed,
    };
    let (block, _) = Surb::create(&itinerary, rng)?;
    block.reply(&[], route::packet_of(consensus, frame))?;
    Ok(identifier)
}

/// Builds a loop of the node `own`: onwards as its packets go, once through the whole network and
/// back, where `destination` is known to nobody else. Returns which node it goes to first, and by
/// which identifier it is known again.
///
/// # Errors
/// See [`drop_packet`].
pub fn node_loop(
    consensus: &Consensus,
    own: &Node,
    destination: &Destination,
    rng: &mut Rng,
    frame: &mut [u8],
) -> Result<(NodeAddress, Identifier), RouteError> {
    let route = route::round_trip(consensus, own, rng)?;
    let identifier = random_identifier(rng);
    let itinerary = Itinerary {
        route: &route,
        destination: *destination,
        identifier,
        version: Version::SingleSeed,
    };
    sphinx::build(&[], &itinerary, rng, route::packet_of(consensus, frame))?;
    Ok((route[0].address, identifier))
}

/// Not zero, which would mean: no reply.
fn random_identifier(rng: &mut Rng) -> Identifier {
    let mut identifier = rng.bytes();
    identifier[0] |= 1;
    identifier
}
