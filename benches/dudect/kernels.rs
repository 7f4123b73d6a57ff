//! The kernels that meet secrets, each with its two classes of secrets.

use super::control;
use mixline::crypto::random::Rng;
use mixline::crypto::sha256::{self, Hkdf};
use mixline::crypto::tier::Tier;
use mixline::crypto::x25519::{Point, Points, Secret, multiply_each};
use mixline::crypto::{aes_ctr, blake2b, chacha20};
use std::hint::black_box;
use subtle::{Choice, ConditionallySelectable};

/// Jobs of a call: one full vector of every kernel.
const LANES: usize = 16;
/// Bytes of a message, a text.
const TEXT_BYTES: usize = 1024;

/// The secrets of one call; a kernel takes of each as much as its keys are long.
pub(super) type Secrets = [[u8; 64]; LANES];

/// A kernel with what it works on.
pub(crate) struct Kernel {
    secrets: Box<Secrets>,
    fixed: Box<Secrets>,
    run: Box<dyn FnMut(&Secrets)>,
}

impl Kernel {
    fn new(run: impl FnMut(&Secrets) + 'static) -> Self {
        let zero = || Box::new([[0; 64]; LANES]);
        Kernel { secrets: zero(), fixed: zero(), run: Box::new(run) }
    }

    /// Draws the fixed secrets, which are zero before.
    pub(crate) fn fix(&mut self, rng: &mut Rng) {
        rng.fill(self.fixed.as_flattened_mut());
    }

    /// Draws secrets, and puts these or the fixed ones in place. Which of them decides over no
    /// branch and no address, or the processor's memory of that would be timed with the kernel.
    pub(crate) fn prepare(&mut self, is_random: bool, rng: &mut Rng) {
        rng.fill(self.secrets.as_flattened_mut());
        let is_fixed = Choice::from(u8::from(!black_box(is_random)));
        for (secrets, fixed) in self.secrets.iter_mut().zip(self.fixed.iter()) {
            for (byte, fixed) in secrets.iter_mut().zip(fixed) {
                byte.conditional_assign(fixed, is_fixed);
            }
        }
    }

    pub(crate) fn run(&mut self) {
        (self.run)(black_box(&self.secrets));
    }
}

/// The first `N` bytes of a secret.
fn key<const N: usize>(secret: &[u8; 64]) -> &[u8; N] {
    &secret.as_chunks().0[0]
}

/// Every kernel of `tier`.
pub(crate) fn all(tier: Tier) -> Vec<(&'static str, Kernel)> {
    vec![
        ("x25519_ladder", ladder(tier)),
        ("x25519_pair_first", pair_first(tier)),
        ("x25519_pair_second", pair_second(tier)),
        ("hkdf_288", hkdf::<32, 288>(tier)),
        ("hkdf_192", hkdf::<16, 192>(tier)),
        ("hmac", hmac(tier)),
        (
            "aes_ctr",
            streams(tier, |tier, secrets, texts| {
                let jobs = secrets.iter().zip(texts);
                aes_ctr::xor(tier, jobs.map(|(secret, text)| (key(secret), &mut text[..360])));
            }),
        ),
        (
            "chacha20",
            streams(tier, |tier, secrets, texts| {
                let jobs = secrets.iter().zip(texts);
                chacha20::xor(tier, jobs.map(|(secret, text)| (key(secret), &mut text[..])));
            }),
        ),
        ("blake2b", blake2b(tier)),
        ("control", Kernel::new(move |secrets| control::run(tier, secrets))),
    ]
}

/// Honest public keys.
fn points() -> [Point; LANES] {
    let mut rng = Rng::from_seed([1; 32]);
    std::array::from_fn(|_| Secret::random(&mut rng).public())
}

fn ladder(tier: Tier) -> Kernel {
    let (points, mut products) = (points(), [[0; 32]; LANES]);
    Kernel::new(move |secrets| {
        let jobs = secrets.iter().zip(&points).zip(&mut products);
        multiply_each(tier, jobs.map(|((secret, point), out)| (key(secret), point, out)));
        black_box(&mut products);
    })
}

/// The first multiplication of a point, which builds the point's table.
fn pair_first(tier: Tier) -> Kernel {
    let (points, mut products) = (points(), [[0; 32]; LANES]);
    let mut loaded = Points::new(tier, LANES);
    Kernel::new(move |secrets| {
        points.iter().enumerate().for_each(|(lane, point)| loaded.load(lane, point));
        let jobs = secrets.iter().zip(&mut products).enumerate();
        loaded.multiply(jobs.map(|(lane, (secret, out))| (lane, key(secret), out)));
        black_box(&mut products);
    })
}

/// The second, which finds it built.
fn pair_second(tier: Tier) -> Kernel {
    let (points, mut products) = (points(), [[0; 32]; LANES]);
    let mut loaded = Points::new(tier, LANES);
    points.iter().enumerate().for_each(|(lane, point)| loaded.load(lane, point));
    let jobs = products.iter_mut().enumerate();
    loaded.multiply(jobs.map(|(lane, out)| (lane, &[7; 32], out)));
    Kernel::new(move |secrets| {
        let jobs = secrets.iter().zip(&mut products).enumerate();
        loaded.multiply_again(jobs.map(|(lane, (secret, out))| (lane, key(secret), out)));
        black_box(&mut products);
    })
}

fn hkdf<const K: usize, const N: usize>(tier: Tier) -> Kernel {
    let (hkdf, mut keys) = (Hkdf::new(b"", b"some information"), [[0; N]; LANES]);
    Kernel::new(move |secrets| {
        let jobs = secrets.iter().zip(&mut keys);
        hkdf.derive(tier, jobs.map(|(secret, out)| (key::<K>(secret), out)));
        black_box(&mut keys);
    })
}

fn hmac(tier: Tier) -> Kernel {
    let (message, mut tags) = ([3; 300], [[0; 32]; LANES]);
    Kernel::new(move |secrets| {
        let jobs = secrets.iter().zip(&mut tags);
        sha256::hmac_each(tier, jobs.map(|(secret, tag)| (key::<16>(secret), &message[..], tag)));
        black_box(&mut tags);
    })
}

fn streams(
    tier: Tier,
    xor: impl Fn(Tier, &Secrets, &mut [[u8; TEXT_BYTES]; LANES]) + 'static,
) -> Kernel {
    let mut texts = Box::new([[0; TEXT_BYTES]; LANES]);
    Kernel::new(move |secrets| {
        xor(tier, secrets, &mut texts);
        black_box(&mut texts);
    })
}

fn blake2b(tier: Tier) -> Kernel {
    let (message, mut digests) = ([3; TEXT_BYTES], [[0; 32]; LANES]);
    Kernel::new(move |secrets| {
        let jobs = secrets.iter().zip(&mut digests);
        blake2b::keyed(tier, jobs.map(|(secret, out)| (secret, &message[..], out)));
        black_box(&mut digests);
    })
}
