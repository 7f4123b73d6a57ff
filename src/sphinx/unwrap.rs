//! The node's side: takes one layer off each packet of a batch, in place.
//!
//! The order is fixed and the types hold it: [`Unwrapper::check`] computes shared secrets, keys and
//! the header MAC; [`Checked::screen`] lets the caller look for replays among what is authentic;
//! [`Checked::finish`] does the rest. A packet that is refused pays for no later step and is left
//! as it came; its neighbours do not notice. All authentication failures are one refusal, so that
//! nobody learns from a node why a forgery failed.

use super::geometry::{ALPHA_BYTES, BETA_BYTES, GAMMA_BYTES, HEADER_BYTES};
use super::header::{BLOCK_BYTES, Hop, HopKeys, NEXT, Version};
use super::{Geometry, ReplayTag, payload};
use crate::crypto::tier::Tier;
use crate::crypto::{aes_ctr, field, lioness, sha256, wipe, x25519};
use std::fmt;
use subtle::{Choice, ConstantTimeEq};
use zeroize::zeroize_bytes;

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has not the length that the network's geometry gives.
    Length,
    /// Its alpha is no point of the curve, but of its twist: no sender makes such a packet.
    OffCurve,
    /// Its header is not authentic under this key, or its alpha has low order.
    Authentication,
    /// The routing information says neither forward nor final.
    Flag,
    /// A version that blinds with unclamped scalars.
    Version,
    /// This node has seen the header before.
    Replay,
    /// The table of seen headers is full: what cannot be remembered cannot be let through.
    ReplayTableFull,
}

impl Refusal {
    /// Every refusal, in the order of the enumeration: a table of counters has this shape.
    pub const ALL: [Refusal; 7] = [
        Refusal::Length,
        Refusal::OffCurve,
        Refusal::Authentication,
        Refusal::Flag,
        Refusal::Version,
        Refusal::Replay,
        Refusal::ReplayTableFull,
    ];

    /// Its place in [`Refusal::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name as a counter's label.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Length => "length",
            Refusal::OffCurve => "off_curve",
            Refusal::Authentication => "authentication",
            Refusal::Flag => "flag",
            Refusal::Version => "version",
            Refusal::Replay => "replay",
            Refusal::ReplayTableFull => "replay_table_full",
        }
    }
}

/// A packet to unwrap, with the key it was made for.
#[derive(Debug)]
pub struct Packet<'a> {
    /// Header and payload. When forwarded, they become what the next hop gets; when final, the
    /// payload behind the header has lost this hop's layer.
    pub bytes: &'a mut [u8],
    /// The node's secret of the packet's key epoch.
    pub secret: &'a x25519::Secret,
}

/// Unwraps packets by batches; owns all the memory that this takes.
pub struct Unwrapper {
    tier: Tier,
    packet_bytes: usize,
    lanes: Box<[Lane]>,
    points: x25519::Points,
    outcomes: Box<[Result<Hop, Refusal>]>,
}

impl Unwrapper {
    /// For packets of `geometry`, up to `batch_max` at a time, by the kernels of `tier`.
    pub fn new(tier: Tier, geometry: Geometry, batch_max: usize) -> Self {
        Unwrapper {
            tier,
            packet_bytes: geometry.packet_bytes(),
            lanes: vec![Lane::EMPTY; batch_max].into(),
            points: x25519::Points::new(tier, batch_max),
            outcomes: vec![Ok(Lane::EMPTY.hop); batch_max].into(),
        }
    }

    /// Step a: shared secrets, key derivation, header MACs. Changes no packet.
    ///
    /// # Panics
    /// When there are more packets than `batch_max`.
    pub fn check<'u, 'p>(&'u mut self, packets: &'u mut [Packet<'p>]) -> Checked<'u, 'p> {
        let count = packets.len();
        let mut batch = Checked {
            tier: self.tier,
            lanes: &mut self.lanes[..count],
            points: &mut self.points,
            outcomes: &mut self.outcomes[..count],
            packets,
        };
        wipe::after(|| {
            batch.load(self.packet_bytes);
            batch.derive_keys();
            batch.check_gammas();
        });
        batch
    }
}

impl fmt::Debug for Unwrapper {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Unwrapper").field("batch_max", &self.lanes.len()).finish_non_exhaustive()
    }
}

/// A batch whose headers are checked. When it goes, finished or not, its keys are wiped.
#[must_use = "nothing is unwrapped before `finish`"]
pub struct Checked<'u, 'p> {
    tier: Tier,
    lanes: &'u mut [Lane],
    points: &'u mut x25519::Points,
    outcomes: &'u mut [Result<Hop, Refusal>],
    packets: &'u mut [Packet<'p>],
}

impl<'u> Checked<'u, '_> {
    /// The replay tags of the packets still alive, each with its packet's index, in input order:
    /// what [`Checked::screen`] is going to ask about.
    pub fn tags(&self) -> impl Iterator<Item = (usize, &ReplayTag)> {
        let alive = self.lanes.iter().enumerate().filter(|(_, lane)| lane.refusal.is_none());
        alive.map(|(index, lane)| (index, lane.keys.replay_tag()))
    }

    /// Asks `judge` about every packet still alive, by its index and its replay tag, in input
    /// order; what it refuses is refused.
    pub fn screen(&mut self, mut judge: impl FnMut(usize, &ReplayTag) -> Result<(), Refusal>) {
        for (index, lane, _) in alive(self.lanes, &*self.packets) {
            lane.refusal = judge(index, lane.keys.replay_tag()).err();
        }
    }

    /// Step b: routing information, blinding, payload, in place. Outcomes are in input order.
    pub fn finish(mut self) -> &'u [Result<Hop, Refusal>] {
        wipe::after(|| {
            self.read_routing();
            self.blind();
            self.open_payloads();
            self.write_headers();
        });
        let outcomes = std::mem::take(&mut self.outcomes);
        for (outcome, lane) in outcomes.iter_mut().zip(&*self.lanes) {
            *outcome = lane.refusal.map_or(Ok(lane.hop), Err);
        }
        outcomes
    }

    fn load(&mut self, packet_bytes: usize) {
        for (index, (lane, packet)) in self.lanes.iter_mut().zip(&*self.packets).enumerate() {
            lane.refusal = (packet.bytes.len() != packet_bytes).then_some(Refusal::Length);
            if lane.refusal.is_none() {
                self.points.load(index, field(packet.bytes, 0));
                lane.block[..BETA_BYTES].copy_from_slice(&packet.bytes[BETA..HEADER_BYTES]);
                lane.block[BETA_BYTES..].fill(0);
            }
        }
    }

    /// Shared secrets and what they yield. A low-order alpha gives the all-zero secret, which
    /// everybody knows. Whether it does depends on alpha alone, as does whether alpha is on the
    /// curve: branching on these tells nothing.
    fn derive_keys(&mut self) {
        let jobs = alive(self.lanes, &*self.packets);
        self.points.multiply(
            jobs.map(|(index, lane, packet)| (index, packet.secret.as_bytes(), &mut lane.shared)),
        );
        for (index, lane, _) in alive(self.lanes, &*self.packets) {
            if self.points.is_on_curve(index) {
                lane.require(lane.shared.ct_ne(&[0; ALPHA_BYTES]));
            } else {
                lane.refusal = Some(Refusal::OffCurve);
            }
        }
        let jobs = alive(self.lanes, &*self.packets);
        HopKeys::derive(self.tier, jobs.map(|(_, lane, _)| (&lane.shared, &mut lane.keys)));
    }

    fn check_gammas(&mut self) {
        let jobs = alive(self.lanes, &*self.packets);
        sha256::hmac_each(
            self.tier,
            jobs.map(|(_, lane, _)| (lane.keys.mac(), &lane.block[..BETA_BYTES], &mut lane.mac)),
        );
        for (_, lane, packet) in alive(self.lanes, &*self.packets) {
            lane.require(lane.mac[..GAMMA_BYTES].ct_eq(&packet.bytes[GAMMA..BETA]));
        }
    }

    fn read_routing(&mut self) {
        let jobs = alive(self.lanes, &*self.packets);
        aes_ctr::xor(self.tier, jobs.map(|(_, lane, _)| (lane.keys.stream(), &mut lane.block[..])));
        for (_, lane, _) in alive(self.lanes, &*self.packets) {
            match Hop::parse(&lane.block) {
                Ok((hop, version)) => (lane.hop, lane.version) = (hop, version),
                Err(refusal) => lane.refusal = Some(refusal),
            }
        }
    }

    fn blind(&mut self) {
        let jobs = forwarded(self.lanes, &*self.packets);
        self.points.multiply_again(
            jobs.map(|(index, lane, _)| (index, lane.keys.blinding(), &mut lane.next_alpha)),
        );
    }

    fn open_payloads(&mut self) {
        let is_full = |lane: &Lane| lane.version == Version::FullKey;
        for (_, lane, _) in alive(self.lanes, &*self.packets).filter(|(_, lane, _)| is_full(lane)) {
            lane.payload_key = *lane.keys.payload_key();
        }
        let seeded = alive(self.lanes, &*self.packets).filter(|(_, lane, _)| !is_full(lane));
        payload::derive_keys(
            self.tier,
            seeded.map(|(_, lane, _)| (lane.keys.payload_seed(), &mut lane.payload_key)),
        );
        let jobs = alive(self.lanes, &mut *self.packets);
        lioness::decrypt(
            self.tier,
            jobs.map(|(_, lane, packet)| (&lane.payload_key, &mut packet.bytes[HEADER_BYTES..])),
        );
    }

    fn write_headers(&mut self) {
        for (_, lane, packet) in forwarded(self.lanes, &mut *self.packets) {
            packet.bytes[..ALPHA_BYTES].copy_from_slice(&lane.next_alpha);
            packet.bytes[GAMMA..HEADER_BYTES].copy_from_slice(&lane.block[NEXT..]);
        }
    }
}

impl Drop for Checked<'_, '_> {
    fn drop(&mut self) {
        self.lanes.iter_mut().for_each(Lane::wipe);
    }
}

impl fmt::Debug for Checked<'_, '_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Checked").field("packets", &self.packets.len()).finish_non_exhaustive()
    }
}

/// Where gamma and beta begin in a packet.
const GAMMA: usize = ALPHA_BYTES;
const BETA: usize = GAMMA + GAMMA_BYTES;

/// What is computed of one packet.
#[derive(Clone)]
struct Lane {
    refusal: Option<Refusal>,
    hop: Hop,
    version: Version,
    shared: [u8; 32],
    keys: HopKeys,
    mac: [u8; 32],
    /// Beta and one hop of zeros; once decrypted, the routing block.
    block: [u8; BLOCK_BYTES],
    next_alpha: [u8; ALPHA_BYTES],
    payload_key: lioness::Key,
}

impl Lane {
    const EMPTY: Lane = Lane {
        refusal: None,
        hop: Hop::Forward { next: [0; 32], delay_ns: 0 },
        version: Version::SingleSeed,
        shared: [0; 32],
        keys: HopKeys::ZERO,
        mac: [0; 32],
        block: [0; BLOCK_BYTES],
        next_alpha: [0; ALPHA_BYTES],
        payload_key: [0; lioness::KEY_BYTES],
    };

    /// Refuses the packet unless `authentic`.
    fn require(&mut self, authentic: Choice) {
        if !bool::from(authentic) {
            self.refusal = Some(Refusal::Authentication);
        }
    }

    /// Wipes the keys and what was computed with them. The hop stays until the next batch, here and
    /// among the outcomes: it opens nothing, and whoever sees this memory sees the caller's too,
    /// where the packet waits with its next link and its time.
    fn wipe(&mut self) {
        zeroize_bytes(&mut self.shared);
        self.keys.wipe();
        zeroize_bytes(&mut self.mac);
        zeroize_bytes(&mut self.block);
        zeroize_bytes(&mut self.payload_key);
    }
}

/// The packets not refused so far, each with its index and lane.
fn alive<P: IntoIterator>(
    lanes: &mut [Lane],
    packets: P,
) -> impl Iterator<Item = (usize, &mut Lane, P::Item)> {
    let all = lanes.iter_mut().zip(packets).enumerate();
    all.map(|(index, (lane, packet))| (index, lane, packet))
        .filter(|(_, lane, _)| lane.refusal.is_none())
}

/// Those among them that go on to another node.
fn forwarded<P: IntoIterator>(
    lanes: &mut [Lane],
    packets: P,
) -> impl Iterator<Item = (usize, &mut Lane, P::Item)> {
    alive(lanes, packets).filter(|(_, lane, _)| matches!(lane.hop, Hop::Forward { .. }))
}
