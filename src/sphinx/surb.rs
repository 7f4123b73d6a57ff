//! Reply blocks: a header made by whoever wants an answer, used once by who answers.
//!
//! The replier puts on as many layers as the block has seeds. Of version 260 that is one, the last
//! hop's: then no replier can compute what its reply looks like on the way, only the creator can
//! undo the layers that the hops took off. Blocks are made in that version; those of version 259,
//! with the seeds of every hop, are accepted.

use super::build::{self, BuildError, Itinerary};
use super::draft::{self, Draft};
use super::geometry::{HEADER_BYTES, HOPS_MAX};
use super::payload::{self, Seed};
use super::{Identifier, NodeAddress, Version};
use crate::crypto::random::Rng;
use crate::crypto::tier::Tier;
use crate::crypto::{lioness, wipe};
use arrayvec::ArrayVec;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of an encoded reply block of version 260: header, first hop's address, one seed.
pub const SURB_BYTES: usize = SEEDS + SEED_BYTES;

const FIRST_HOP: usize = HEADER_BYTES;
const SEEDS: usize = FIRST_HOP + 32;
const SEED_BYTES: usize = size_of::<Seed>();

const _: () = assert!(SURB_BYTES == 396);

/// Seeds in route order.
type Seeds = ArrayVec<Seed, HOPS_MAX>;

/// A reply block: good for one reply, which is why using it consumes it.
#[derive(ZeroizeOnDrop)]
pub struct Surb {
    #[zeroize(skip)]
    header: [u8; HEADER_BYTES],
    #[zeroize(skip)]
    first_hop: NodeAddress,
    seeds: Seeds,
}

impl Surb {
    /// A reply block for `itinerary`, whose version is taken to be 260, and what opens the reply.
    ///
    /// # Errors
    /// When the identifier is zero, or the route is none that a header holds.
    pub fn create(
        itinerary: &Itinerary<'_>,
        rng: &mut Rng,
    ) -> Result<(Surb, Recovery), BuildError> {
        if itinerary.identifier == Identifier::default() {
            return Err(BuildError::Identifier);
        }
        let itinerary = Itinerary { version: Version::SingleSeed, ..*itinerary };
        wipe::after(|| Self::seal(&itinerary, rng))
    }

    /// The reply block in `bytes`: header, first hop's address, from one to five seeds.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk()?;
        let (first_hop, rest) = rest.split_first_chunk()?;
        let (seeds, trailing) = rest.as_chunks();
        if seeds.is_empty() || !trailing.is_empty() {
            return None;
        }
        let seeds = Seeds::try_from(seeds).ok()?;
        Some(Surb { header: *header, first_hop: *first_hop, seeds })
    }

    /// What [`Surb::decode`] reads: [`SURB_BYTES`] for a block made here.
    pub fn encode(&self) -> Vec<u8> {
        [&self.header[..], &self.first_hop, self.seeds.as_flattened()].concat()
    }

    /// Makes `out` the packet that carries `message` back, and says which node it goes to first.
    ///
    /// # Errors
    /// When the message or the length of `out` is none that the format allows.
    pub fn reply(self, message: &[u8], out: &mut [u8]) -> Result<NodeAddress, BuildError> {
        build::check_sizes(out, message)?;
        let (header, delta) = out.split_at_mut(HEADER_BYTES);
        header.copy_from_slice(&self.header);
        payload::pad(message, delta);
        wipe::after(|| add_layers(Tier::chosen(), &self.seeds, delta));
        Ok(self.first_hop)
    }

    fn seal(itinerary: &Itinerary<'_>, rng: &mut Rng) -> Result<(Surb, Recovery), BuildError> {
        let mut draft = Draft::new(itinerary, rng);
        draft::seal(Tier::chosen(), std::slice::from_mut(&mut draft), rng);
        if let Some(error) = draft.error() {
            return Err(error);
        }
        let mut header = [0; HEADER_BYTES];
        draft.write(&mut header);
        let seeds: Seeds = draft.keys().iter().map(|keys| *keys.payload_seed()).collect();
        let surb = Surb {
            header,
            first_hop: itinerary.route[0].address,
            seeds: seeds.last().copied().into_iter().collect(),
        };
        Ok((surb, Recovery { identifier: itinerary.identifier, seeds }))
    }
}

impl fmt::Debug for Surb {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Surb").field("seeds", &self.seeds.len()).finish_non_exhaustive()
    }
}

/// What opens the reply to one reply block; stays with the block's creator, wiped on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Recovery {
    identifier: Identifier,
    seeds: Seeds,
}

impl Recovery {
    /// What the last node reads of the reply: the key to look this up by.
    pub fn identifier(&self) -> &Identifier {
        &self.identifier
    }

    /// The message in `payload`, the reply as the last node delivered it; nothing if it was
    /// changed on its way or answers another reply block.
    pub fn open<'p>(&self, payload: &'p mut [u8]) -> Option<&'p [u8]> {
        if payload.len() < lioness::BLOCK_BYTES_MIN {
            return None;
        }
        let (tier, last) = (Tier::chosen(), self.seeds.last()?);
        wipe::after(|| {
            add_layers(tier, &self.seeds, payload);
            payload::remove_layer(tier, &payload::seeded_key(tier, last), payload);
        });
        payload::open(payload)
    }
}

impl fmt::Debug for Recovery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Recovery").field("hops", &self.seeds.len()).finish_non_exhaustive()
    }
}

/// Puts the layers of all hops around `payload`, the last hop's first.
fn add_layers(tier: Tier, seeds: &Seeds, payload: &mut [u8]) {
    for seed in seeds.iter().rev() {
        payload::add_layer(tier, &payload::seeded_key(tier, seed), payload);
    }
}
