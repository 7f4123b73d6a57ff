//! The sender's side: wraps messages into packets, by batches.

use super::draft::{self, Draft};
use super::geometry::{HEADER_BYTES, HOPS_MAX};
use super::header::Version;
use super::{Destination, Geometry, Identifier, NodeAddress, payload};
use crate::crypto::random::Rng;
use crate::crypto::tier::Tier;
use crate::crypto::x25519::Point;
use crate::crypto::{lioness, wipe};
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

/// A packet to be made.
#[derive(Debug)]
pub struct Order<'a> {
    /// What it carries.
    pub message: &'a [u8],
    /// Where it goes.
    pub itinerary: Itinerary<'a>,
    /// What becomes the packet; its length gives the geometry.
    pub packet: &'a mut [u8],
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
    let mut order = [Order { message, itinerary: *itinerary, packet: out }];
    build_each(Tier::chosen(), &mut order, rng).pop().unwrap_or(Ok(()))
}

/// Makes all that is ordered, together: much faster than one by one where the machine has kernels
/// for batches. Outcomes are in the order of the orders, each as [`build`] would return it; what is
/// refused is left as it was.
pub fn build_each(
    tier: Tier,
    orders: &mut [Order<'_>],
    rng: &mut Rng,
) -> Vec<Result<(), BuildError>> {
    wipe::after(|| build_batch(tier, orders, rng))
}

fn build_batch(tier: Tier, orders: &mut [Order<'_>], rng: &mut Rng) -> Vec<Result<(), BuildError>> {
    let mut drafts: Vec<Draft<'_>> =
        orders.iter().map(|order| Draft::new(&order.itinerary, rng)).collect();
    for (draft, order) in drafts.iter_mut().zip(&*orders) {
        if let Err(error) = check_sizes(order.packet, order.message) {
            draft.refuse(error);
        }
    }
    draft::seal(tier, &mut drafts, rng);
    let keys = payload_keys(tier, &drafts);
    let mut payloads = Vec::with_capacity(drafts.len());
    for ((draft, order), keys) in drafts.iter().zip(orders).zip(keys.iter()) {
        if draft.error().is_none()
            && let Some((header, delta)) = order.packet.split_first_chunk_mut()
        {
            draft.write(header);
            payload::pad(order.message, delta);
            payloads.push(Payload { keys: &keys[..draft.keys().len()], delta });
        }
    }
    add_layers(tier, &mut payloads);
    drafts.iter().map(|draft| draft.error().map_or(Ok(()), Err)).collect()
}

/// Whether a geometry has packets of the length of `packet`, and they hold `message`.
pub(super) fn check_sizes(packet: &[u8], message: &[u8]) -> Result<(), BuildError> {
    let packet_bytes = packet.len();
    let geometry = Geometry::new(packet_bytes.saturating_sub(HEADER_BYTES))
        .map_err(|_| BuildError::Packet { packet_bytes })?;
    let (message_bytes, message_bytes_max) = (message.len(), geometry.message_bytes_max());
    if message_bytes > message_bytes_max {
        return Err(BuildError::Message { message_bytes, message_bytes_max });
    }
    Ok(())
}

/// A padded message and the keys of its layers, in route order.
struct Payload<'a> {
    keys: &'a [lioness::Key],
    delta: &'a mut [u8],
}

/// The payload keys of every hop of every draft, in route order.
type PayloadKeys = Zeroizing<Vec<[lioness::Key; HOPS_MAX]>>;

fn payload_keys(tier: Tier, drafts: &[Draft<'_>]) -> PayloadKeys {
    let mut all = Zeroizing::new(vec![[[0; lioness::KEY_BYTES]; HOPS_MAX]; drafts.len()]);
    let is_full = |draft: &Draft<'_>| draft.itinerary().version == Version::FullKey;
    for (draft, keys) in drafts.iter().zip(all.iter_mut()).filter(|(draft, _)| is_full(draft)) {
        draft.keys().iter().zip(keys).for_each(|(hop, key)| *key = *hop.payload_key());
    }
    let seeded = drafts.iter().zip(all.iter_mut()).filter(|(draft, _)| !is_full(draft));
    let jobs = seeded.flat_map(|(draft, keys)| draft.keys().iter().zip(keys));
    payload::derive_keys(tier, jobs.map(|(hop, key)| (hop.payload_seed(), key)));
    all
}

/// Puts the layers around every payload, the last hop's first.
fn add_layers(tier: Tier, payloads: &mut [Payload<'_>]) {
    for hops_behind in 0..HOPS_MAX {
        let jobs = payloads.iter_mut().filter_map(|Payload { keys, delta }| {
            let hop = keys.len().checked_sub(hops_behind + 1)?;
            Some((&keys[hop], &mut **delta))
        });
        lioness::encrypt(tier, jobs);
    }
}
