//! X25519 (RFC 7748): secrets, the points of a batch, products of scalars.
//!
//! One point by one, `serial` is the reference and `scalar` the fastest. By the batch there are
//! kernels in eight lanes: the `ladder` for points that are multiplied once, and for those that
//! are multiplied twice a table of each (`comb`). They are written over any kind of lanes.
//!
//! Low-order points are not refused here: the caller checks for the all-zero result, because only
//! it knows whose fault that is.

mod serial;
mod scalar;
mod curve;
mod symbol;
mod words;
mod digits;
mod field;
mod inverse;
mod fraction;
mod ladder;
mod edwards;
mod lift;
mod comb;
mod kernels;
mod batch;
mod prepared;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[doc(hidden)]
pub mod portable;
#[cfg(test)]
mod by_hand;

use super::lanes::portable::Anywhere;
use super::random::Rng;
use super::tier::{Name, Tier};
use curve25519_dalek::{Scalar, scalar::clamp_integer};
use prepared::Prepared;
use subtle::{Choice, ConditionallySelectable};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop};

#[cfg(target_arch = "x86_64")]
use super::{lanes::avx512::Ifma, vectors::Avx512};

/// A u-coordinate, little-endian.
pub type Point = [u8; 32];

/// The point that public keys are multiples of (RFC 7748, 4.1).
pub const BASE_POINT: Point = {
    let mut point = [0; 32];
    point[0] = 9;
    point
};

/// A secret scalar, clamped when it is used; wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The secret with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Secret(bytes)
    }

    /// A fresh secret.
    pub fn random(rng: &mut Rng) -> Self {
        Secret(rng.bytes())
    }

    /// The secret's bytes as they were given, not clamped.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The public key: this secret times the base point.
    pub fn public(&self) -> Point {
        PublicKey::from(&StaticSecret::from(self.0)).to_bytes()
    }

    /// This secret times `point`; all zero when the point has low order.
    pub fn multiply(&self, point: &Point) -> Point {
        serial::multiply(&self.0, point)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret")
    }
}

/// For each job (scalar, point, product): multiplies the point, on the curve or its twist, by the
/// clamped scalar.
pub fn multiply_each<'a>(
    tier: Tier,
    jobs: impl Iterator<Item = (&'a [u8; 32], &'a Point, &'a mut Point)>,
) {
    #[cfg(target_arch = "x86_64")]
    if let Some(proof) = Avx512::of(tier) {
        return batch::multiply_each::<Ifma>(proof, jobs);
    }
    match tier.name() {
        Name::Serial => one_by_one(serial::multiply, jobs),
        Name::Scalar | Name::Avx512 => one_by_one(scalar::multiply, jobs),
    }
}

fn one_by_one<'a>(
    multiply: impl Fn(&[u8; 32], &Point) -> Point,
    jobs: impl Iterator<Item = (&'a [u8; 32], &'a Point, &'a mut Point)>,
) {
    for (scalar, point, product) in jobs {
        *product = multiply(scalar, point);
    }
}

/// The points of one batch, each of which is multiplied twice: by a node's secret, then by the
/// blinding factor that this gave.
///
/// They have an owner, instead of being an argument, because half of the work can be done of the
/// point alone, and once.
#[derive(Debug)]
pub struct Points(Backend);

#[derive(Debug)]
enum Backend {
    Serial(Box<[Point]>),
    Scalar(Box<[Point]>),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, Prepared),
    Portable(Prepared),
}

impl Points {
    /// Room for `lanes` points.
    pub fn new(tier: Tier, lanes: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(proof) = Avx512::of(tier) {
            return Points(Backend::Avx512(proof, Prepared::new(lanes)));
        }
        let points = vec![[0; 32]; lanes].into();
        Points(match tier.name() {
            Name::Serial => Backend::Serial(points),
            Name::Scalar | Name::Avx512 => Backend::Scalar(points),
        })
    }

    /// Puts `point` into `lane`.
    pub fn load(&mut self, lane: usize, point: &Point) {
        match &mut self.0 {
            Backend::Serial(points) | Backend::Scalar(points) => points[lane] = *point,
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512(_, prepared) => prepared.load(lane, point),
            Backend::Portable(prepared) => prepared.load(lane, point),
        }
    }

    /// For each job (lane, scalar, product): multiplies the lane's point by the clamped scalar.
    /// Of a lane off the curve the product is meaningless.
    pub fn multiply<'a>(
        &mut self,
        jobs: impl Iterator<Item = (usize, &'a [u8; 32], &'a mut Point)>,
    ) {
        match &mut self.0 {
            Backend::Serial(points) => one_by_one(serial::multiply, of_lanes(points, jobs)),
            Backend::Scalar(points) => one_by_one(scalar::multiply, of_lanes(points, jobs)),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512(proof, prepared) => prepared.multiply::<Ifma>(*proof, jobs),
            Backend::Portable(prepared) => prepared.multiply::<portable::Vectors>(Anywhere, jobs),
        }
    }

    /// Whether the lane's point, which has been multiplied, lies on the curve and not on its twist.
    pub fn is_on_curve(&self, lane: usize) -> bool {
        match &self.0 {
            Backend::Serial(points) => serial::is_on_curve(&points[lane]),
            Backend::Scalar(points) => symbol::is_on_curve(&points[lane]),
            #[cfg(target_arch = "x86_64")]
            Backend::Avx512(_, prepared) => prepared.is_on_curve(lane),
            Backend::Portable(prepared) => prepared.is_on_curve(lane),
        }
    }

    /// As [`Points::multiply`], of points that have been multiplied already.
    pub fn multiply_again<'a>(
        &mut self,
        jobs: impl Iterator<Item = (usize, &'a [u8; 32], &'a mut Point)>,
    ) {
        self.multiply(jobs);
    }
}

/// Jobs with the points of their lanes.
fn of_lanes<'p, 'a: 'p>(
    points: &'p [Point],
    jobs: impl Iterator<Item = (usize, &'a [u8; 32], &'a mut Point)>,
) -> impl Iterator<Item = (&'p [u8; 32], &'p Point, &'p mut Point)> {
    jobs.map(|(lane, scalar, product)| (scalar, &points[lane], product))
}

/// A product of clamped scalars: multiplies a point by all of them at the price of one.
///
/// A sender's secret for a hop is that hop's key times its own scalar times every earlier blinding
/// factor. The product is kept as t, with 8t congruent to it modulo the order l of the base point.
/// Multiplying by 8t kills a point's torsion just as the clamped scalars do one after the other,
/// so the result is the same for every point on the curve. (On its twist, which has another order,
/// it is not: no honest key lies there.)
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Product {
    eighth: Scalar,
    clamped: [u8; 32],
}

impl Product {
    /// The product of one scalar.
    pub fn new(secret: &Secret) -> Self {
        let mut clamped = clamp_integer(secret.0);
        let mut carry = 0;
        for byte in clamped.iter_mut().rev() {
            let low = *byte << 5;
            *byte = *byte >> 3 | carry;
            carry = low;
        }
        let mut product = Product { eighth: Scalar::from_bytes_mod_order(clamped), clamped };
        product.clamp();
        product
    }

    /// Takes in one more scalar.
    pub fn include(&mut self, scalar: &[u8; 32]) {
        let mut factor = Scalar::from_bytes_mod_order(clamp_integer(*scalar));
        self.eighth *= factor;
        factor.zeroize();
        self.clamp();
    }

    /// The product times `point`; all zero when the point has low order.
    pub fn multiply(&self, point: &Point) -> Point {
        serial::multiply(&self.clamped, point)
    }

    /// Finds a clamped scalar that does the same: 8t or 8 (l - t), since a point and its negative
    /// have the same u-coordinate. One of the two has bit 254 set and is below 2^255, unless t is
    /// within 2^125 of 0 or l, which is as likely as to guess a key.
    fn clamp(&mut self) {
        let top = self.eighth.as_bytes()[31];
        let is_large = Choice::from((top >> 3 | top >> 4) & 1);
        let mut eighth = Scalar::conditional_select(&-self.eighth, &self.eighth, is_large);
        let mut carry = 0;
        for (byte, eighth) in self.clamped.iter_mut().zip(eighth.as_bytes()) {
            *byte = eighth << 3 | carry;
            carry = eighth >> 5;
        }
        eighth.zeroize();
    }
}

/// For each job (scalars, point, product): as [`Product::multiply`].
pub fn multiply_products<'a>(
    tier: Tier,
    jobs: impl Iterator<Item = (&'a Product, &'a Point, &'a mut Point)>,
) {
    multiply_each(tier, jobs.map(|(scalars, point, product)| (&scalars.clamped, point, product)));
}

impl std::fmt::Debug for Product {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Product")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use curve25519_dalek::constants::EIGHT_TORSION;
    use data_encoding::HEXLOWER;

    fn bytes(hex: &str) -> [u8; 32] {
        HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }

    #[test]
    fn products_are_those_of_rfc_7748() {
        let vectors = [
            [
                "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
                "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
                "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
            ],
            [
                "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
                "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
                "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
            ],
        ];
        for [scalar, point, product] in vectors {
            let secret = Secret::from_bytes(bytes(scalar));
            assert_eq!(secret.multiply(&bytes(point)), bytes(product));
        }
    }

    #[test]
    fn a_thousand_iterations_end_where_rfc_7748_says() {
        let mut scalar = bytes("0900000000000000000000000000000000000000000000000000000000000000");
        let mut point = scalar;
        for _ in 0..1000 {
            (scalar, point) = (Secret::from_bytes(scalar).multiply(&point), scalar);
        }
        let end = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
        assert_eq!(scalar, bytes(end));
    }

    #[test]
    fn both_sides_of_rfc_7748_reach_its_shared_secret() {
        let [alice, bob] = [
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        ]
        .map(|secret| Secret::from_bytes(bytes(secret)));
        let alice_public = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
        let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
        assert_eq!(alice.public(), bytes(alice_public));
        assert_eq!(alice.multiply(&bob.public()), bytes(shared));
        assert_eq!(bob.multiply(&alice.public()), bytes(shared));
    }

    #[test]
    fn a_batch_multiplies_each_lane_by_its_own_scalar() {
        let mut rng = Rng::from_seed([1; 32]);
        let secrets: Vec<_> = (0..5).map(|_| Secret::random(&mut rng)).collect();
        let mut points = Points::new(Tier::SERIAL, 5);
        (0..5).for_each(|lane| points.load(lane, &[u8::try_from(lane).unwrap() + 9; 32]));
        let mut products = [[0; 32]; 5];
        let jobs = [4, 0, 3].map(|lane| (lane, secrets[lane].as_bytes()));
        let places = products.iter_mut();
        points.multiply(
            jobs.into_iter().zip(places).map(|((lane, scalar), out)| (lane, scalar, out)),
        );
        for (lane, product) in [4, 0, 3].into_iter().zip(products) {
            let point = [u8::try_from(lane).unwrap() + 9; 32];
            assert_eq!(product, secrets[lane].multiply(&point));
        }
        assert_eq!(products[3..], [[0; 32]; 2]);
    }

    #[test]
    fn a_product_gives_what_its_scalars_give_one_after_the_other() {
        let mut rng = Rng::from_seed([2; 32]);
        for _ in 0..100 {
            let point = Secret::random(&mut rng).public();
            let secrets: [Secret; 5] = std::array::from_fn(|_| Secret::random(&mut rng));
            assert_same_product(&secrets, point);
        }
    }

    #[test]
    fn a_product_kills_torsion_as_its_scalars_do() {
        let mut rng = Rng::from_seed([3; 32]);
        for torsion in EIGHT_TORSION {
            let honest = curve25519_dalek::EdwardsPoint::mul_base_clamped(rng.bytes());
            let point = (honest + torsion).to_montgomery().to_bytes();
            let secrets: [Secret; 3] = std::array::from_fn(|_| Secret::random(&mut rng));
            assert_same_product(&secrets, point);
            let low_order = torsion.to_montgomery().to_bytes();
            assert_eq!(Product::new(&secrets[0]).multiply(&low_order), [0; 32]);
        }
    }

    fn assert_same_product(secrets: &[Secret], point: Point) {
        let mut product = Product::new(&secrets[0]);
        let mut one_by_one = secrets[0].multiply(&point);
        assert_eq!(product.multiply(&point), one_by_one);
        for secret in &secrets[1..] {
            product.include(secret.as_bytes());
            one_by_one = secret.multiply(&one_by_one);
            assert_eq!(product.multiply(&point), one_by_one);
        }
    }
}
