//! Headers to be: the sender's half of the format, by batches.
//!
//! Hop by hop, what all headers of a batch need is computed together: first outwards in, because a
//! hop's shared secret takes the blinding factors of the hops before it; then inwards out, because
//! a hop's routing information holds the MAC of the next hop's.
//!
//! A path of n hops takes n multiplications of a point and one of the base point, because the
//! sender multiplies its scalars first ([`Product`]); hop by hop it would take n(n+1)/2.

use super::build::{BuildError, Itinerary};
use super::geometry::{ALPHA_BYTES, BETA_BYTES, GAMMA_BYTES, HEADER_BYTES, HOP_BYTES, HOPS_MAX};
use super::header::{BLOCK_BYTES, FINAL_BYTES, Hop, HopKeys, NEXT};
use crate::crypto::random::Rng;
use crate::crypto::tier::Tier;
use crate::crypto::x25519::{self, BASE_POINT, Point, Product, Secret};
use crate::crypto::{aes_ctr, field, sha256, xor_into};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// One header of a batch; what is secret in it is wiped on drop.
pub(super) struct Draft<'a> {
    itinerary: Itinerary<'a>,
    error: Option<BuildError>,
    secret: Secret,
    /// The secret times the blinding factors of the hops that have their keys.
    product: Product,
    shared: Zeroizing<[u8; 32]>,
    keys: [HopKeys; HOPS_MAX],
    streams: Zeroizing<[[u8; BLOCK_BYTES]; HOPS_MAX]>,
    alpha: Point,
    mac: [u8; 32],
    beta: [u8; BETA_BYTES],
}

impl<'a> Draft<'a> {
    /// A header for `itinerary`, its element still to be computed.
    pub(super) fn new(itinerary: &Itinerary<'a>, rng: &mut Rng) -> Self {
        let hops = itinerary.route.len();
        let error = (hops == 0 || hops > HOPS_MAX).then_some(BuildError::Route { hops });
        let secret = Secret::random(rng);
        Draft {
            itinerary: *itinerary,
            error,
            product: Product::new(&secret),
            secret,
            shared: Zeroizing::default(),
            keys: [HopKeys::ZERO; HOPS_MAX],
            streams: Zeroizing::new([[0; BLOCK_BYTES]; HOPS_MAX]),
            alpha: [0; ALPHA_BYTES],
            mac: [0; 32],
            beta: [0; BETA_BYTES],
        }
    }

    /// Leaves it out for `error`, unless it is left out already.
    pub(super) fn refuse(&mut self, error: BuildError) {
        self.error.get_or_insert(error);
    }

    /// Why there is no header.
    pub(super) fn error(&self) -> Option<BuildError> {
        self.error
    }

    /// The keys of every hop, which the payload's layers come from; none of a header with an error.
    pub(super) fn keys(&self) -> &[HopKeys] {
        let hops = if self.error.is_some() { 0 } else { self.hops() };
        &self.keys[..hops]
    }

    pub(super) fn itinerary(&self) -> &Itinerary<'a> {
        &self.itinerary
    }

    /// Writes the finished header.
    pub(super) fn write(&self, header: &mut [u8; HEADER_BYTES]) {
        let (alpha, rest) = header.split_at_mut(ALPHA_BYTES);
        let (gamma, beta) = rest.split_at_mut(GAMMA_BYTES);
        alpha.copy_from_slice(&self.alpha);
        gamma.copy_from_slice(self.gamma());
        beta.copy_from_slice(&self.beta);
    }

    fn hops(&self) -> usize {
        self.itinerary.route.len()
    }

    fn gamma(&self) -> &[u8; GAMMA_BYTES] {
        field(&self.mac, 0)
    }

    /// Everybody would know the shared secret with a public key of low order.
    fn check_shared(&mut self, hop: usize) {
        if bool::from(self.shared.ct_eq(&[0; 32])) {
            self.refuse(BuildError::PublicKey { hop });
        }
    }

    /// The innermost beta: what the last hop reads, and the filler, that is, what the zeros that
    /// each hop appends have become when they reach the last one, whose MAC covers them.
    fn begin_beta(&mut self, rng: &mut Rng) {
        let Itinerary { destination, identifier, version, .. } = self.itinerary;
        let last = self.hops() - 1;
        let (own, filler) = self.beta.split_at_mut(BETA_BYTES - HOP_BYTES * last);
        Hop::Final { destination, identifier }.write(version, own);
        // Random, not zero: zeros told the last node the length of the path (Kuhn et al. 2020).
        rng.fill(&mut own[FINAL_BYTES..]);
        xor_into(own, &self.streams[last]);
        for (hop, stream) in self.streams[..last].iter().enumerate() {
            let grown = HOP_BYTES * (hop + 1);
            xor_into(&mut filler[..grown], &stream[BLOCK_BYTES - grown..]);
        }
    }

    /// The beta of `hop` around that of the next hop.
    fn wrap_beta(&mut self, hop: usize) {
        let Itinerary { route, version, .. } = self.itinerary;
        let gamma = *self.gamma();
        self.beta.copy_within(..BETA_BYTES - HOP_BYTES, HOP_BYTES);
        let forward = Hop::Forward { next: route[hop + 1].address, delay_ns: route[hop].delay_ns };
        forward.write(version, &mut self.beta);
        self.beta[NEXT..HOP_BYTES].copy_from_slice(&gamma);
        xor_into(&mut self.beta, &self.streams[hop]);
    }
}

/// Computes the headers of `drafts`; those that cannot be have an error. What the kernels leave on
/// the stack is the caller's to wipe.
pub(super) fn seal(tier: Tier, drafts: &mut [Draft<'_>], rng: &mut Rng) {
    let jobs = with_hop(drafts, 0);
    x25519::multiply_each(
        tier,
        jobs.map(|draft| (draft.secret.as_bytes(), &BASE_POINT, &mut draft.alpha)),
    );
    for hop in 0..HOPS_MAX {
        derive_keys(tier, drafts, hop);
    }
    let jobs = with_hop(drafts, 0).flat_map(|draft| {
        let hops = draft.hops();
        draft.keys[..hops].iter().zip(draft.streams.iter_mut())
    });
    aes_ctr::xor(tier, jobs.map(|(keys, text)| (keys.stream(), &mut text[..])));
    for hops_behind in 0..HOPS_MAX {
        for draft in with_hop(drafts, hops_behind) {
            match hops_behind {
                0 => draft.begin_beta(rng),
                _ => draft.wrap_beta(draft.hops() - 1 - hops_behind),
            }
        }
        compute_gammas(tier, drafts, hops_behind);
    }
}

/// The keys of hop number `hop`, in every header that has one.
fn derive_keys(tier: Tier, drafts: &mut [Draft<'_>], hop: usize) {
    let jobs = with_hop(drafts, hop).map(|draft| {
        let key = &draft.itinerary.route[hop].public_key;
        (&draft.product, key, &mut *draft.shared)
    });
    x25519::multiply_products(tier, jobs);
    with_hop(drafts, hop).for_each(|draft| draft.check_shared(hop));
    let jobs = with_hop(drafts, hop);
    HopKeys::derive(tier, jobs.map(|draft| (&*draft.shared, &mut draft.keys[hop])));
    for draft in with_hop(drafts, hop) {
        draft.product.include(draft.keys[hop].blinding());
    }
}

/// The MACs of the betas made last.
fn compute_gammas(tier: Tier, drafts: &mut [Draft<'_>], hops_behind: usize) {
    let jobs = with_hop(drafts, hops_behind).map(|draft| {
        let keys = &draft.keys[draft.hops() - 1 - hops_behind];
        (keys.mac(), &draft.beta[..], &mut draft.mac)
    });
    sha256::hmac_each(tier, jobs);
}

/// The headers without an error whose path is longer than `hop`.
fn with_hop<'d, 'a>(
    drafts: &'d mut [Draft<'a>],
    hop: usize,
) -> impl Iterator<Item = &'d mut Draft<'a>> {
    drafts.iter_mut().filter(move |draft| draft.error.is_none() && draft.hops() > hop)
}
