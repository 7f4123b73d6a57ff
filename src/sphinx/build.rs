//! The sender's side: wraps a message into a packet, one layer a hop.
//!
//! A path of n hops takes n multiplications of a point and one of the base point, because the
//! sender multiplies its scalars first ([`Product`]); hop by hop it would take n(n+1)/2.

use super::geometry::{BETA_BYTES, GAMMA_BYTES, HEADER_BYTES, HOP_BYTES, HOPS_MAX};
use super::header::{self, BLOCK_BYTES, FINAL_BYTES, Hop, HopKeys, NEXT, Version};
use super::{Destination, Geometry, Identifier, NodeAddress, payload};
use crate::crypto::random::Rng;
use crate::crypto::tier::Tier;
use crate::crypto::x25519::{Point, Product, Secret};
use crate::crypto::{aes_ctr, xor_into};
use arrayvec::ArrayVec;
use zeroize::Zeroizing;

/// One hop of a path, as its sender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteHop {
    /// The node's address.
    pub address: NodeAddress,
    /// The node's public key of the current epoch.
    pub public_key: Point,
    /// How long the packet stays there, in nanoseconds; not written for the last hop.
    pub delay_ns: u64,
}

/// Where a packet goes and how.
#[derive(Clone, Copy, Debug)]
pub struct Itinerary<'a> {
    /// From one to five hops.
    pub route: &'a [RouteHop],
    /// Told to the last node.
    pub destination: Destination,
    /// Told to the last node; all zero unless a reply comes this way.
    pub identifier: Identifier,
    /// Read by every hop.
    pub version: Version,
}

/// Why no packet was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The path has no hop, or more than a header holds.
    #[error("route of {hops} hops: allowed are 1 to {HOPS_MAX}")]
    Route {
        /// Hops of the route.
        hops: usize,
    },
    /// The message does not fit.
    #[error("message of {message_bytes} bytes: a packet holds {message_bytes_max}")]
    Message {
        /// Bytes of the message.
        message_bytes: usize,
        /// Bytes that fit.
        message_bytes_max: usize,
    },
    /// No geometry has packets of this size.
    #[error("packet of {packet_bytes} bytes: no geometry has such packets")]
    Packet {
        /// Bytes of the buffer that was to become the packet.
        packet_bytes: usize,
    },
    /// The public key has low order: everybody would know the shared secret.
    #[error("public key of hop {hop} has low order: leave this node out")]
    PublicKey {
        /// Index of the hop in the route.
        hop: usize,
    },
    /// A reply block was to have no identifier.
    #[error("identifier of a reply block is zero: its reply could not be told from a message")]
    Identifier,
}

/// Makes `out` the packet that carries `message` along `itinerary`; its length gives the geometry.
///
/// # Errors
/// When the route, the message or the length of `out` is none that the format allows.
pub fn build(
    message: &[u8],
    itinerary: &Itinerary<'_>,
    rng: &mut Rng,
    out: &mut [u8],
) -> Result<(), BuildError> {
    let (head, delta) = split_packet(out, message)?;
    let keys = seal_header(itinerary, rng, head)?;
    let tier = Tier::chosen();
    payload::pad(message, delta);
    for keys in keys.iter().rev() {
        payload::add_layer(tier, &payload::key(tier, keys, itinerary.version), delta);
    }
    Ok(())
}

/// The header and the payload of a packet to be, if a geometry has its size and holds `message`.
pub(super) fn split_packet<'a>(
    out: &'a mut [u8],
    message: &[u8],
) -> Result<(&'a mut [u8], &'a mut [u8]), BuildError> {
    let packet_bytes = out.len();
    let geometry = Geometry::new(packet_bytes.saturating_sub(HEADER_BYTES))
        .map_err(|_| BuildError::Packet { packet_bytes })?;
    let (message_bytes, message_bytes_max) = (message.len(), geometry.message_bytes_max());
    if message_bytes > message_bytes_max {
        return Err(BuildError::Message { message_bytes, message_bytes_max });
    }
    Ok(out.split_at_mut(HEADER_BYTES))
}

/// The keys of every hop of a route.
pub(super) type RouteKeys = ArrayVec<HopKeys, HOPS_MAX>;

/// Writes the header for `itinerary`; the keys are what the payload's layers come from.
pub(super) fn seal_header(
    itinerary: &Itinerary<'_>,
    rng: &mut Rng,
    header: &mut [u8],
) -> Result<RouteKeys, BuildError> {
    let secret = Secret::random(rng);
    let keys = route_keys(itinerary.route, &secret)?;
    let (gamma, beta) = seal_routing(itinerary, &keys, rng);
    let parts = secret.public().into_iter().chain(gamma).chain(beta);
    header.iter_mut().zip(parts).for_each(|(out, byte)| *out = byte);
    Ok(keys)
}

fn route_keys(route: &[RouteHop], secret: &Secret) -> Result<RouteKeys, BuildError> {
    if route.is_empty() || route.len() > HOPS_MAX {
        return Err(BuildError::Route { hops: route.len() });
    }
    let mut scalar = Product::new(secret);
    let mut all = RouteKeys::new();
    for (hop, node) in route.iter().enumerate() {
        let shared = Zeroizing::new(scalar.multiply(&node.public_key));
        if *shared == [0; 32] {
            return Err(BuildError::PublicKey { hop });
        }
        let mut keys = HopKeys::ZERO;
        HopKeys::derive(Tier::chosen(), std::iter::once((&*shared, &mut keys)));
        scalar.include(keys.blinding());
        all.push(keys);
    }
    Ok(all)
}

/// The first hop's gamma and beta, from the last hop's inwards out.
fn seal_routing(
    itinerary: &Itinerary<'_>,
    keys: &[HopKeys],
    rng: &mut Rng,
) -> ([u8; GAMMA_BYTES], [u8; BETA_BYTES]) {
    let mut streams = Zeroizing::new([[0; BLOCK_BYTES]; HOPS_MAX]);
    let tier = Tier::chosen();
    aes_ctr::xor(
        tier,
        keys.iter().zip(streams.iter_mut()).map(|(keys, text)| (keys.stream(), &mut text[..])),
    );
    let forwards = keys.len() - 1;

    let mut beta = [0; BETA_BYTES];
    let (own, filler) = beta.split_at_mut(BETA_BYTES - HOP_BYTES * forwards);
    let Itinerary { destination, identifier, version, .. } = *itinerary;
    Hop::Final { destination, identifier }.write(version, own);
    // Random, not zero: zeros told the last node the length of the path (Kuhn et al. 2020).
    rng.fill(&mut own[FINAL_BYTES..]);
    xor_into(own, &streams[forwards]);
    fill(filler, &streams[..forwards]);

    let mut gamma = header::gamma(tier, &keys[forwards], &beta);
    for hop in (0..forwards).rev() {
        beta.copy_within(..BETA_BYTES - HOP_BYTES, HOP_BYTES);
        let forward = Hop::Forward {
            next: itinerary.route[hop + 1].address,
            delay_ns: itinerary.route[hop].delay_ns,
        };
        forward.write(version, &mut beta);
        beta[NEXT..HOP_BYTES].copy_from_slice(&gamma);
        xor_into(&mut beta, &streams[hop]);
        gamma = header::gamma(tier, &keys[hop], &beta);
    }
    (gamma, beta)
}

/// The filler phi: what the zeros that each hop appends have become when they reach the last one,
/// whose MAC covers them.
fn fill(filler: &mut [u8], streams: &[[u8; BLOCK_BYTES]]) {
    for (hop, stream) in streams.iter().enumerate() {
        let grown = HOP_BYTES * (hop + 1);
        xor_into(&mut filler[..grown], &stream[BLOCK_BYTES - grown..]);
    }
}
