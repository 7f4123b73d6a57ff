//! What a datagram looks like to somebody who does not know the responder's key: noise. The tests
//! are run on what must fail them, too.

use mixline::clock::UnixMicros;
use mixline::crypto::random::Rng;
use mixline::crypto::{kem, x25519};
use mixline::link::Network;
use mixline::link::datagram::Head;
use mixline::link::handshake::{self, Draw, Hello, Remote, Role};
use mixline::link::keys::Obfuscation;

const SAMPLES: usize = 4000;

fn network() -> Network {
    Network {
        genesis: [7; 32],
        geometry_hash: [9; 32],
        datagram_bytes: 1408,
        sphinx_frame_bytes: 1376,
    }
}

/// First flights to one responder, and the bodies inside.
fn first_flights() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut rng = Rng::from_seed([4; 32]);
    let (responder, kem) = (x25519::Secret::random(&mut rng).public(), kem::Secret::generate());
    let remote = Remote::new(responder, kem.public(), &network().genesis);
    let local = x25519::Secret::random(&mut rng);
    let opener = Obfuscation::of(&responder, &network().genesis).init.opener();
    let hello = Hello {
        time: UnixMicros(1),
        capabilities: 0,
        role: Role::Client,
        rate_class: 0,
        admission: [0; 24],
    };
    let mut flight = || {
        let draw = Draw::fresh(kem.public(), &mut rng).expect("a key");
        let (datagram, _) =
            handshake::initiate(&network(), &local, &remote, &[0; 16], &hello, &draw)
                .expect("a first flight");
        let mut body = vec![0; 1376];
        let head = opener.head(&datagram).expect("a header");
        opener.open(head, &datagram, &mut body).expect("a body");
        (datagram, body)
    };
    (0..SAMPLES).map(|_| flight()).unzip()
}

/// Session datagrams that carry nothing, under one key and successive numbers.
fn dummies() -> Vec<Vec<u8>> {
    let keys = Obfuscation::of(&[1; 32], &[2; 32]).init;
    let sealer = keys.sealer();
    let seal = |sequence| {
        let mut out = vec![0; 1408];
        sealer.seal(Head { sequence, kind: 0, length: 0 }, &[], &mut out);
        out
    };
    (0..SAMPLES as u64).map(seal).collect()
}

/// The largest chi-square, in standard deviations, of the bytes at one place over all samples.
fn worst_byte<'a>(samples: impl Iterator<Item = &'a [u8]> + Clone) -> f64 {
    let count = samples.clone().count() as f64;
    let size = samples.clone().next().map_or(0, <[u8]>::len);
    let deviation = |place: usize| {
        let mut histogram = [0.0; 256];
        samples.clone().for_each(|sample| histogram[usize::from(sample[place])] += 1.0);
        let expected = count / 256.0;
        let square = |seen: &f64| (seen - expected) * (seen - expected) / expected;
        (histogram.iter().map(square).sum::<f64>() - 255.0) / 510f64.sqrt()
    };
    (0..size).map(deviation).fold(f64::MIN, f64::max)
}

/// How much likelier the ten-bit values of `bytes` are in an ML-KEM-768 ciphertext than in noise:
/// its coefficients are below 3329, so 257 of the 1024 compressed values stand for four of them
/// and the others for three (FIPS 203, 4.2.1). Mean over the samples.
fn kem_likelihood<'a>(samples: impl Iterator<Item = &'a [u8]> + Clone) -> f64 {
    let mut weights = [0.0; 1024];
    for coefficient in 0..3329_usize {
        weights[((coefficient << 10) + 1664) / 3329 % 1024] += 1024.0 / 3329.0;
    }
    let value = |bytes: &[u8], at: usize| {
        let pair = u16::from_le_bytes([bytes[at * 10 / 8], bytes[at * 10 / 8 + 1]]);
        usize::from(pair >> (at * 10 % 8) & 1023)
    };
    let score = |bytes: &[u8]| (0..768).map(|at| f64::ln(weights[value(bytes, at)])).sum::<f64>();
    samples.clone().map(score).sum::<f64>() / samples.count() as f64
}

#[test]
fn no_byte_of_a_datagram_is_biased() {
    let (flights, bodies) = first_flights();
    // 1408 places, about 1 % in all to exceed this by chance.
    let limit = 5.5;
    assert!(worst_byte(flights.iter().map(Vec::as_slice)) < limit);
    assert!(worst_byte(dummies().iter().map(Vec::as_slice)) < limit);
    // A bare curve point shows its top bit.
    assert!(worst_byte(bodies.iter().map(|body| &body[1112..1144])) > 100.0);
}

#[test]
fn a_first_flight_does_not_look_like_a_kem_ciphertext_at_any_place() {
    let (flights, bodies) = first_flights();
    // The mean of random samples is about -4.5, and of ciphertexts about 4.5 (deviation 3).
    for place in 0..1408 - 961 {
        let likelihood = kem_likelihood(flights.iter().take(500).map(|one| &one[place..][..961]));
        assert!(likelihood < -2.0, "at {place}: {likelihood}");
    }
    assert!(kem_likelihood(bodies.iter().map(|body| &body[24..][..961])) > 2.0);
}
