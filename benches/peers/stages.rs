//! The stages of a hop and the kernels below them: the chosen tier against the reference, which is
//! the crates that everybody uses, one packet after the other.

use crate::hop::BATCH_MAX;
use crate::sampling::{Comparison, Work, work};
use mixline::crypto::random::Rng;
use mixline::crypto::sha256::{Hkdf, hmac_each};
use mixline::crypto::tier::Tier;
use mixline::crypto::x25519::{Points, Secret};
use mixline::crypto::{aes_ctr, blake2b, chacha20, lioness};
use std::hint::black_box;

/// The stages of a hop in their order: together with little else they are the hop.
pub(crate) const STAGES: [(&str, &str); 7] = [
    ("stage_secret", "X25519, shared secret"),
    ("stage_hkdf_288", "HKDF, 32 bytes to 288"),
    ("stage_mac", "HMAC of beta, 300 bytes"),
    ("stage_aes", "AES-CTR of the routing block, 360 bytes"),
    ("stage_blinding", "X25519, blinding"),
    ("stage_hkdf_192", "HKDF, 16 bytes to 192"),
    ("stage_lioness", "LIONESS, 1024 bytes"),
];

/// Bytes of R, the part of a payload of 1024 bytes that LIONESS hashes and streams.
const RIGHT_BYTES: usize = 992;
const KEYS_INFO: &[u8] = b"Dwste mou enan moxlo arketa makru kai ena upomoxlio gia na ton \
    topothetisw kai tha kinisw thn gh.";
const PAYLOAD_SALT: &[u8] = b"sphinx-payload-key-V01-CS01-HKDF:SHA256-SALT";
const PAYLOAD_INFO: &[u8] = b"sphinx-payload-key-V01-CS01-HKDF:SHA256-INFO";

/// Which kernels work on how many packets.
#[derive(Clone, Copy)]
struct Batch {
    tier: Tier,
    packets: usize,
}

/// The crates take one packet after the other, so that a short run tells as much as a long one.
const CRATES: Batch = Batch { tier: Tier::SERIAL, packets: 8 };

/// Every stage, then the two kernels of LIONESS.
pub(crate) fn comparisons() -> Vec<Comparison> {
    let ours = Batch { tier: Tier::chosen(), packets: BATCH_MAX };
    let compare = |name, stage: fn(Batch) -> Box<dyn Work>| {
        Comparison::new(name, "serial", [stage(ours), stage(CRATES)])
    };
    vec![
        compare("stage_secret", |batch| Box::new(Secrets(Multiplied::new(batch)))),
        compare("stage_hkdf_288", |batch| hkdf::<32, 288>(batch, b"", KEYS_INFO)),
        compare("stage_mac", mac),
        compare("stage_aes", aes),
        compare("stage_blinding", |batch| Box::new(Blinding(Multiplied::new(batch)))),
        compare("stage_hkdf_192", |batch| hkdf::<16, 192>(batch, PAYLOAD_SALT, PAYLOAD_INFO)),
        compare("stage_lioness", lioness),
        compare("kernel_blake2b_992", hash),
        compare("kernel_chacha20_992", stream),
    ]
}

impl Batch {
    /// A random value for every packet.
    fn random<const N: usize>(self, seed: u8) -> Vec<[u8; N]> {
        let mut rng = Rng::from_seed([seed; 32]);
        (0..self.packets).map(|_| rng.bytes()).collect()
    }

    /// Room for a value of every packet.
    fn room<const N: usize>(self) -> Vec<[u8; N]> {
        vec![[0; N]; self.packets]
    }
}

/// Points of a batch, as many scalars, and their products.
struct Multiplied {
    alphas: Vec<[u8; 32]>,
    scalars: Vec<[u8; 32]>,
    points: Points,
    products: Vec<[u8; 32]>,
}

impl Multiplied {
    fn new(batch: Batch) -> Self {
        let secrets = batch.random(4).into_iter();
        Multiplied {
            alphas: secrets.map(|secret| Secret::from_bytes(secret).public()).collect(),
            scalars: batch.random(5),
            points: Points::new(batch.tier, batch.packets),
            products: batch.room(),
        }
    }

    fn multiply(&mut self) {
        for (lane, alpha) in self.alphas.iter().enumerate() {
            self.points.load(lane, alpha);
        }
        let jobs = self.scalars.iter().zip(&mut self.products).enumerate();
        self.points.multiply(jobs.map(|(lane, (scalar, product))| (lane, scalar, product)));
        for lane in 0..self.alphas.len() {
            black_box(self.points.is_on_curve(lane));
        }
        black_box(&mut self.products);
    }

    fn multiply_again(&mut self) {
        let jobs = self.scalars.iter().zip(&mut self.products).enumerate();
        self.points.multiply_again(jobs.map(|(lane, (scalar, product))| (lane, scalar, product)));
        black_box(&mut self.products);
    }
}

/// The first multiplication of every point, and whether it lies on the curve.
struct Secrets(Multiplied);

impl Work for Secrets {
    fn units(&self) -> usize {
        self.0.alphas.len()
    }

    fn run(&mut self) {
        self.0.multiply();
    }
}

/// The second multiplication of every point.
struct Blinding(Multiplied);

impl Work for Blinding {
    fn units(&self) -> usize {
        self.0.alphas.len()
    }

    fn prepare(&mut self) {
        self.0.multiply();
    }

    fn run(&mut self) {
        self.0.multiply_again();
    }
}

fn hkdf<const K: usize, const N: usize>(
    batch: Batch,
    salt: &[u8],
    info: &'static [u8],
) -> Box<dyn Work> {
    let hkdf = Hkdf::new(salt, info);
    let (secrets, mut keys) = (batch.random::<K>(6), batch.room::<N>());
    work(batch.packets, move || {
        hkdf.derive(batch.tier, secrets.iter().zip(&mut keys));
        black_box(&mut keys);
    })
}

fn mac(batch: Batch) -> Box<dyn Work> {
    let (keys, betas) = (batch.random::<16>(7), batch.random::<300>(8));
    let mut tags = batch.room();
    work(batch.packets, move || {
        let jobs = keys.iter().zip(&betas).zip(&mut tags);
        hmac_each(batch.tier, jobs.map(|((key, beta), tag)| (key, &beta[..], tag)));
        black_box(&mut tags);
    })
}

fn aes(batch: Batch) -> Box<dyn Work> {
    let (keys, mut blocks) = (batch.random(9), batch.random::<360>(10));
    work(batch.packets, move || {
        let jobs = keys.iter().zip(&mut blocks);
        aes_ctr::xor(batch.tier, jobs.map(|(key, block)| (key, &mut block[..])));
        black_box(&mut blocks);
    })
}

fn lioness(batch: Batch) -> Box<dyn Work> {
    let (keys, mut payloads) = (batch.random(11), batch.random::<1024>(12));
    work(batch.packets, move || {
        let jobs = keys.iter().zip(&mut payloads);
        lioness::decrypt(batch.tier, jobs.map(|(key, payload)| (key, &mut payload[..])));
        black_box(&mut payloads);
    })
}

fn hash(batch: Batch) -> Box<dyn Work> {
    let (keys, texts) = (batch.random(13), batch.random::<RIGHT_BYTES>(14));
    let mut digests = batch.room();
    work(batch.packets, move || {
        let jobs = keys.iter().zip(&texts).zip(&mut digests);
        blake2b::keyed(batch.tier, jobs.map(|((key, text), digest)| (key, &text[..], digest)));
        black_box(&mut digests);
    })
}

fn stream(batch: Batch) -> Box<dyn Work> {
    let (keys, mut texts) = (batch.random(15), batch.random::<RIGHT_BYTES>(16));
    work(batch.packets, move || {
        let jobs = keys.iter().zip(&mut texts);
        chacha20::xor(batch.tier, jobs.map(|(key, text)| (key, &mut text[..])));
        black_box(&mut texts);
    })
}
