//! X25519: a batch of multiplications against one after the other by `aws-lc` and `x25519-dalek`.

use crate::aws_lc;
use crate::hop::BATCH_MAX;
use crate::sampling::{Comparison, Work, work};
use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::crypto::x25519::{Points, Secret, multiply_each};
use std::hint::black_box;

/// Multiplications of a peer's run.
const PEER_RUN: usize = 4;

type Multiply = fn(&[u8; 32], &[u8; 32]) -> [u8; 32];

/// The ladder, and the pair of multiplications that a hop does with each point.
pub(crate) fn comparisons() -> Vec<Comparison> {
    let aws_lc: (_, Multiply) = ("aws-lc-rs", aws_lc::multiply);
    let dalek: (_, Multiply) =
        ("x25519-dalek", |scalar, point| x25519_dalek::x25519(*scalar, *point));
    let compare = |name, ours: fn() -> Box<dyn Work>, (peer, multiply)| {
        Comparison::new(name, peer, [ours(), one_by_one(multiply)])
    };
    vec![
        compare("x25519", each, aws_lc),
        compare("x25519", each, dalek),
        compare("x25519_pair", pair, aws_lc),
        compare("x25519_pair", pair, dalek),
    ]
}

/// Factors of one batch, on every machine and for every side the same.
struct Factors {
    first: [[u8; 32]; BATCH_MAX],
    second: [[u8; 32]; BATCH_MAX],
    points: [[u8; 32]; BATCH_MAX],
}

impl Factors {
    fn new() -> Self {
        let mut rng = Rng::from_seed([2; 32]);
        let mut scalars = || [(); BATCH_MAX].map(|()| rng.bytes());
        let (first, second) = (scalars(), scalars());
        let points = scalars().map(|secret| Secret::from_bytes(secret).public());
        Factors { first, second, points }
    }

    /// Holds products of the points against the peer's.
    fn assert_products(&self, scalars: &[[u8; 32]], products: &[[u8; 32]]) {
        for ((scalar, point), product) in scalars.iter().zip(&self.points).zip(products) {
            assert_eq!(*product, aws_lc::multiply(scalar, point), "the peer's product differs");
        }
    }
}

fn one_by_one(multiply: Multiply) -> Box<dyn Work> {
    let factors = Factors::new();
    work(PEER_RUN, move || {
        for (scalar, point) in factors.first.iter().zip(&factors.points).take(PEER_RUN) {
            black_box(multiply(black_box(scalar), black_box(point)));
        }
    })
}

fn each() -> Box<dyn Work> {
    let mut each = Each { factors: Factors::new(), products: [[0; 32]; BATCH_MAX] };
    each.run();
    each.factors.assert_products(&each.factors.first, &each.products);
    Box::new(each)
}

/// Every point times one scalar.
struct Each {
    factors: Factors,
    products: [[u8; 32]; BATCH_MAX],
}

impl Work for Each {
    fn units(&self) -> usize {
        BATCH_MAX
    }

    fn run(&mut self) {
        let jobs = self.factors.first.iter().zip(&self.factors.points).zip(&mut self.products);
        let jobs = jobs.map(|((scalar, point), product)| (scalar, point, product));
        multiply_each(Tier::chosen(), jobs);
        black_box(&mut self.products);
    }
}

fn pair() -> Box<dyn Work> {
    let points = Points::new(Tier::chosen(), BATCH_MAX);
    let products = [[[0; 32]; BATCH_MAX]; 2];
    let mut pair = Pair { factors: Factors::new(), points, products };
    pair.run();
    pair.factors.assert_products(&pair.factors.first, &pair.products[0]);
    pair.factors.assert_products(&pair.factors.second, &pair.products[1]);
    Box::new(pair)
}

/// Every point times two scalars.
struct Pair {
    factors: Factors,
    points: Points,
    products: [[[u8; 32]; BATCH_MAX]; 2],
}

impl Work for Pair {
    fn units(&self) -> usize {
        2 * BATCH_MAX
    }

    fn run(&mut self) {
        let Pair { factors, points, products } = self;
        for (lane, point) in factors.points.iter().enumerate() {
            points.load(lane, point);
        }
        let [first, second] = &mut *products;
        points.multiply(jobs(&factors.first, first));
        points.multiply_again(jobs(&factors.second, second));
        black_box(products);
    }
}

fn jobs<'a>(
    scalars: &'a [[u8; 32]],
    products: &'a mut [[u8; 32]],
) -> impl Iterator<Item = (usize, &'a [u8; 32], &'a mut [u8; 32])> {
    let jobs = scalars.iter().zip(products).enumerate();
    jobs.map(|(lane, (scalar, product))| (lane, scalar, product))
}
