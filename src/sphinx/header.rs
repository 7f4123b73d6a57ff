//! The header: the keys of one hop, the routing information it reads, the MAC.

use super::geometry::{BETA_BYTES, GAMMA_BYTES, HOP_BYTES};
use super::{Destination, Identifier, NodeAddress, Refusal, ReplayTag};
use crate::crypto::sha256::Hkdf;
use crate::crypto::tier::Tier;
use crate::crypto::{field, lioness};
use std::sync::LazyLock;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The version that a sender writes for every hop to read; it says where payload keys come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u16)]
pub enum Version {
    /// Payload keys stand in full in the hop's key block.
    FullKey = 258,
    /// Payload keys grow from a seed of 16 bytes.
    Seeds = 259,
    /// As [`Version::Seeds`]; reply blocks carry the last hop's seed only.
    #[default]
    SingleSeed = 260,
}

impl Version {
    /// What a hop reads: any number it does not know grows payload keys from seeds.
    ///
    /// # Errors
    /// For 1 and 257, which blind with unclamped scalars.
    fn parse(version: u16) -> Result<Self, Refusal> {
        match version {
            1 | 257 => Err(Refusal::Version),
            258 => Ok(Version::FullKey),
            259 => Ok(Version::Seeds),
            _ => Ok(Version::SingleSeed),
        }
    }
}

/// What the routing information tells a hop to do with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Keep it for a time, then send it on.
    Forward {
        /// The node it goes to.
        next: NodeAddress,
        /// How long it stays here, in nanoseconds: the sender's wish, any number.
        delay_ns: u64,
    },
    /// Its path ends here.
    Final {
        /// Who it is for.
        destination: Destination,
        /// The reply block it came by, if it is a reply: its payload is then still sealed.
        identifier: Identifier,
    },
}

/// Offsets in the routing block: flag, version (0, high, low), then by the flag
/// next address, delay, next gamma, next beta; or destination, identifier, padding.
const FLAG: usize = 0;
const VERSION: usize = 2;
const ADDRESS: usize = 4;
const DELAY: usize = 36;
const IDENTIFIER: usize = 36;
/// Where the next hop's gamma and beta stand, in the order in which the next header has them.
pub(super) const NEXT: usize = DELAY + 8;
/// Bytes of the next hop's gamma and beta.
pub(super) const NEXT_BYTES: usize = GAMMA_BYTES + BETA_BYTES;
/// Bytes of the final hop's routing information, before its padding.
pub(super) const FINAL_BYTES: usize = IDENTIFIER + 16;
/// Bytes of the routing block: beta and what slides in behind it, one hop long.
pub(super) const BLOCK_BYTES: usize = BETA_BYTES + HOP_BYTES;

const _: () = assert!(NEXT + NEXT_BYTES == BLOCK_BYTES && NEXT + GAMMA_BYTES == HOP_BYTES);

const FLAG_FORWARD: u8 = 1;
const FLAG_FINAL: u8 = 2;

impl Hop {
    /// Reads a decrypted routing block.
    ///
    /// # Errors
    /// When the flag or the version is none that a hop obeys.
    pub(super) fn parse(block: &[u8; BLOCK_BYTES]) -> Result<(Self, Version), Refusal> {
        let version = Version::parse(u16::from_be_bytes(*field(block, VERSION)))?;
        let address = *field(block, ADDRESS);
        let hop = match block[FLAG] {
            FLAG_FORWARD => {
                let delay_ns = u64::from_be_bytes(*field(block, DELAY));
                Hop::Forward { next: address, delay_ns }
            }
            FLAG_FINAL => {
                Hop::Final { destination: address, identifier: *field(block, IDENTIFIER) }
            }
            _ => return Err(Refusal::Flag),
        };
        Ok((hop, version))
    }

    /// Writes the beginning of a routing block: [`NEXT`] or [`FINAL_BYTES`] bytes.
    pub(super) fn write(self, version: Version, block: &mut [u8]) {
        let (flag, address) = match self {
            Hop::Forward { next, .. } => (FLAG_FORWARD, next),
            Hop::Final { destination, .. } => (FLAG_FINAL, destination),
        };
        block[FLAG] = flag;
        block[FLAG + 1] = 0;
        block[VERSION..ADDRESS].copy_from_slice(&(version as u16).to_be_bytes());
        block[ADDRESS..DELAY].copy_from_slice(&address);
        match self {
            Hop::Forward { delay_ns, .. } => {
                block[DELAY..NEXT].copy_from_slice(&delay_ns.to_be_bytes());
            }
            Hop::Final { identifier, .. } => {
                block[IDENTIFIER..FINAL_BYTES].copy_from_slice(&identifier);
            }
        }
    }
}

/// Bytes of a hop's key block.
const KEYS_BYTES: usize = 288;
const KEYS_INFO: &[u8] = b"Dwste mou enan moxlo arketa makru kai ena upomoxlio gia na ton \
    topothetisw kai tha kinisw thn gh.";

static KEYS: LazyLock<Hkdf<KEYS_BYTES>> = LazyLock::new(|| Hkdf::new(b"", KEYS_INFO));

/// Everything that a hop's shared secret yields; wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct HopKeys([u8; KEYS_BYTES]);

impl HopKeys {
    pub(super) const ZERO: HopKeys = HopKeys([0; KEYS_BYTES]);

    /// For each job (shared secret, keys): derives the keys.
    pub(super) fn derive<'a>(
        tier: Tier,
        jobs: impl Iterator<Item = (&'a [u8; 32], &'a mut HopKeys)>,
    ) {
        KEYS.derive(tier, jobs.map(|(secret, keys)| (secret, &mut keys.0)));
    }

    /// Wipes in place, fast enough for every packet.
    pub(super) fn wipe(&mut self) {
        zeroize::zeroize_bytes(&mut self.0);
    }

    /// Key of the stream that hides the routing information.
    pub(super) fn stream(&self) -> &[u8; 16] {
        field(&self.0, 0)
    }

    /// Key of gamma.
    pub(super) fn mac(&self) -> &[u8; 16] {
        field(&self.0, 16)
    }

    /// The payload key of [`Version::FullKey`].
    pub(super) fn payload_key(&self) -> &lioness::Key {
        field(&self.0, 32)
    }

    /// The payload key's seed of every other version: it lies where the full key begins.
    pub(super) fn payload_seed(&self) -> &[u8; 16] {
        field(&self.0, 32)
    }

    /// The scalar that turns this hop's alpha into the next one's.
    pub(super) fn blinding(&self) -> &[u8; 32] {
        field(&self.0, 224)
    }

    pub(super) fn replay_tag(&self) -> &ReplayTag {
        field(&self.0, 256)
    }
}
