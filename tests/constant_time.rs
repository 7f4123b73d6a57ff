//! No jump and no address depends on a secret: valgrind's memcheck looks for them where it can.
//!
//! Each test runs this program again under memcheck, with its secrets marked. Valgrind knows no
//! AVX-512. Of the kernels of X25519 it sees the portable instance, which is the same source over
//! another vector; of every other primitive only the serial and the scalar code, and none of the
//! AVX-512 kernels. These are disassembled by `tests/crypto_kernels.rs` and timed by
//! `make constant-time`.
//!
//! What a packet's fate tells anyway is in `support/decisions.supp`.

#[path = "support/valgrind.rs"]
mod valgrind;

use std::hint::black_box;
use std::process::Command;

use mixline::crypto::random::Rng;
use mixline::crypto::sha256::{self, Hkdf};
use mixline::crypto::tier::Tier;
use mixline::crypto::x25519::{
    BASE_POINT, Points, Product, Secret, multiply_each, multiply_products, portable,
};
use mixline::crypto::{aes_ctr, blake2b, chacha20, lioness};
use mixline::sphinx::{
    Geometry, Itinerary, Order, Packet, RouteHop, Unwrapper, Version, build_each,
};

/// Points of a batch: two groups of the kernels' lanes, the second not full.
const LANES: usize = 11;
/// What valgrind exits with when it has found something.
const FOUND: i32 = 99;
/// In the environment of the runs under valgrind.
const VARIABLE: &str = "MIXLINE_UNDER_VALGRIND";

/// Runs `section` under valgrind, as the test `name`; the exit status.
fn examine(name: &str, section: impl FnOnce()) -> Option<i32> {
    if std::env::var_os(VARIABLE).is_some() {
        assert!(valgrind::is_here());
        section();
        return None;
    }
    let program = std::env::current_exe().expect("a program has a path");
    let run = Command::new("valgrind")
        .args(["--quiet", &format!("--error-exitcode={FOUND}")])
        .arg(concat!(
            "--suppressions=",
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/decisions.supp"
        ))
        .arg(program)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, "1")
        .output()
        .expect("valgrind is installed: `make test` does it");
    let status = run.status.code().expect("it ends by itself");
    if status != FOUND {
        assert_eq!(status, 0, "{}", String::from_utf8_lossy(&run.stderr));
        // A name that no test has ends well too.
        let result = String::from_utf8_lossy(&run.stdout);
        assert!(result.contains("test result: ok. 1 passed"), "{name}: {result}");
    }
    Some(status)
}

/// `section` decides nothing by a secret.
#[track_caller]
fn assert_constant_time(name: &str, section: impl FnOnce()) {
    if let Some(status) = examine(name, section) {
        assert_eq!(status, 0, "a jump or an address depends on a secret: run valgrind to see it");
    }
}

/// A marked secret, always the same.
fn secret<const N: usize>() -> [u8; N] {
    let mut secret = [0x5a; N];
    valgrind::poison(&mut secret);
    secret
}

#[test]
fn a_jump_that_depends_on_a_secret_is_found() {
    let status = examine("a_jump_that_depends_on_a_secret_is_found", || {
        if black_box(secret::<1>())[0] == 7 {
            black_box(());
        }
    });
    assert!(status.is_none_or(|status| status == FOUND));
}

#[test]
fn an_address_that_depends_on_a_secret_is_found() {
    let status = examine("an_address_that_depends_on_a_secret_is_found", || {
        let table = black_box([1u8; 256]);
        black_box(table[usize::from(black_box(secret::<1>())[0])]);
    });
    assert!(status.is_none_or(|status| status == FOUND));
}

/// Multiplies points, each twice, by marked scalars.
fn multiply_twice(mut points: Points) {
    for lane in 0..LANES {
        points.load(lane, &BASE_POINT);
    }
    let scalars: [[u8; 32]; LANES] = std::array::from_fn(|_| secret());
    let mut products = [[0; 32]; LANES];
    let jobs = scalars.iter().zip(&mut products).enumerate();
    points.multiply(jobs.map(|(lane, (scalar, out))| (lane, scalar, out)));
    black_box(&products);
    let jobs = scalars.iter().zip(&mut products).enumerate();
    points.multiply_again(jobs.map(|(lane, (scalar, out))| (lane, scalar, out)));
    black_box(&products);
}

#[test]
fn multiplications_of_points_are_constant_time() {
    assert_constant_time("multiplications_of_points_are_constant_time", || {
        let scalars: [[u8; 32]; LANES] = std::array::from_fn(|_| secret());
        let mut products = [[0; 32]; LANES];
        for tier in Tier::all() {
            let jobs = scalars.iter().zip(&mut products);
            multiply_each(tier, jobs.map(|(scalar, product)| (scalar, &BASE_POINT, product)));
            black_box(&products);
            multiply_twice(Points::new(tier, LANES));
        }
        let jobs = scalars.iter().zip(&mut products);
        portable::multiply_each(jobs.map(|(scalar, out)| (scalar, &BASE_POINT, out)));
        black_box(&products);
        multiply_twice(portable::points(LANES));
    });
}

#[test]
fn products_of_scalars_are_constant_time() {
    assert_constant_time("products_of_scalars_are_constant_time", || {
        for tier in Tier::all() {
            let mut scalars = Product::new(&Secret::from_bytes(secret()));
            scalars.include(&secret());
            let mut product = [0; 32];
            multiply_products(tier, std::iter::once((&scalars, &BASE_POINT, &mut product)));
            black_box((&product, scalars.multiply(&BASE_POINT)));
        }
    });
}

#[test]
fn keyed_hashes_and_key_derivation_are_constant_time() {
    assert_constant_time("keyed_hashes_and_key_derivation_are_constant_time", || {
        for tier in Tier::all() {
            let (key, long_key) = (secret::<16>(), secret::<64>());
            let (mut tag, mut keys) = ([0; 32], [0; 288]);
            sha256::hmac_each(tier, std::iter::once((&key, &[3; 300][..], &mut tag)));
            let hkdf = Hkdf::new(b"salt", b"information");
            hkdf.derive(tier, std::iter::once((&key, &mut keys)));
            black_box(&tag);
            blake2b::keyed(tier, std::iter::once((&long_key, &[3; 992][..], &mut tag)));
            black_box((&tag, &keys));
        }
    });
}

#[test]
fn ciphers_are_constant_time() {
    assert_constant_time("ciphers_are_constant_time", || {
        for tier in Tier::all() {
            let (mut text, key) = ([7; 1024], secret::<192>());
            aes_ctr::xor(tier, std::iter::once((&secret(), &mut text[..360])));
            chacha20::xor(tier, std::iter::once((&secret(), &mut text[..])));
            lioness::encrypt(tier, std::iter::once((&key, &mut text[..])));
            lioness::decrypt(tier, std::iter::once((&key, &mut text[..])));
            black_box(&text);
        }
    });
}

/// A packet for two hops, the first of which has the key of `node`, by what `rng` draws.
fn packet(tier: Tier, node: &Secret, rng: &mut Rng) -> Vec<u8> {
    let hop = |secret: &Secret| RouteHop {
        address: [1; 32],
        public_key: secret.public(),
        delay_ns: 200_000_000,
    };
    let route = [hop(node), hop(&Secret::from_bytes([2; 32]))];
    let version = Version::SingleSeed;
    let itinerary = Itinerary { route: &route, destination: [3; 32], identifier: [0; 16], version };
    let mut packet = vec![0; Geometry::DEFAULT.packet_bytes()];
    let mut orders = [Order { message: b"message", itinerary, packet: &mut packet }];
    assert_eq!(build_each(tier, &mut orders, rng), [Ok(())]);
    packet
}

#[test]
fn making_a_packet_decides_nothing_by_secrets_but_what_is_listed() {
    let name = "making_a_packet_decides_nothing_by_secrets_but_what_is_listed";
    assert_constant_time(name, || {
        for tier in Tier::all() {
            let node = Secret::from_bytes([4; 32]);
            black_box(packet(tier, &node, &mut Rng::from_seed(secret())));
        }
    });
}

/// The other half of a hop begins with what the routing information says, which the packet's way
/// tells; the primitives that it calls are tested above.
#[test]
fn checking_a_header_decides_nothing_by_secrets_but_what_is_listed() {
    let name = "checking_a_header_decides_nothing_by_secrets_but_what_is_listed";
    assert_constant_time(name, || {
        for tier in Tier::all() {
            let node = Secret::from_bytes([0x5a; 32]);
            let mut bytes = packet(tier, &node, &mut Rng::from_seed([5; 32]));
            let node = Secret::from_bytes(secret());
            let mut unwrapper = Unwrapper::new(tier, Geometry::DEFAULT, 1);
            let mut packets = [Packet { bytes: &mut bytes, secret: &node }];
            let mut checked = unwrapper.check(&mut packets);
            let mut authentic = 0;
            checked.screen(|_, tag| {
                authentic += 1;
                black_box(tag);
                Ok(())
            });
            assert_eq!(authentic, 1, "the marked secret is the one of the packet's hop");
        }
    });
}
