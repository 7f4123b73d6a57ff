//! The symmetric primitives of every tier against the reference, at every size of a batch and all
//! lengths at which a kernel may go wrong.
//!
//! That an output belongs to its own input, in whichever lane, follows from the inputs' being
//! different; a job that fails is told by tier, size and length.

use mixline::crypto::random::Rng;
use mixline::crypto::sha256::{self, Hkdf};
use mixline::crypto::tier::Tier;
use mixline::crypto::{aes_ctr, blake2b, chacha20, lioness};

/// One job less and one more than kernels take at once: 8, 16, 32.
const BATCHES: [usize; 10] = [1, 2, 7, 8, 9, 15, 16, 17, 32, 33];
/// Every batch that a worker may have, and one more.
const BATCH_MAX: usize = 33;

/// Random bytes, and those at whose ends carries and masks go wrong.
fn inputs<const N: usize>(rng: &mut Rng, batch: usize) -> Vec<[u8; N]> {
    let mut inputs: Vec<[u8; N]> = (0..batch).map(|_| rng.bytes()).collect();
    for (place, byte) in [(1, 0), (4, 0xff), (6, 0x80)] {
        if let Some(input) = inputs.get_mut(place) {
            *input = [byte; N];
        }
    }
    inputs
}

/// Random texts of these lengths.
fn texts(rng: &mut Rng, lengths: impl Iterator<Item = usize>) -> Vec<Vec<u8>> {
    lengths
        .map(|bytes| {
            let mut text = vec![0; bytes];
            rng.fill(&mut text);
            text
        })
        .collect()
}

/// Lengths that differ within a batch.
fn mixed(rng: &mut Rng, bytes_max: u32) -> Vec<usize> {
    (0..BATCH_MAX).map(|_| rng.below(bytes_max) as usize).collect()
}

/// Every tier gives the outputs of the reference; `outputs` yields all of a batch.
#[track_caller]
fn assert_as_reference<T: PartialEq>(name: &str, outputs: impl Fn(Tier) -> Vec<T>) {
    let expected = outputs(Tier::SERIAL);
    for tier in Tier::all() {
        let same = outputs(tier).iter().zip(&expected).position(|(one, other)| one != other);
        assert_eq!(same, None, "{tier:?}: {name}, batch of {}", expected.len());
    }
}

fn hmac<const K: usize>(rng: &mut Rng, lengths: &[usize]) {
    let keys: Vec<[u8; K]> = inputs(rng, lengths.len());
    let messages = texts(rng, lengths.iter().copied());
    assert_as_reference(&format!("HMAC of {:?} bytes", lengths.first()), |tier| {
        let mut tags = vec![[0; 32]; keys.len()];
        let jobs = keys.iter().zip(&messages).zip(&mut tags);
        sha256::hmac_each(tier, jobs.map(|((key, message), tag)| (key, &message[..], tag)));
        tags
    });
}

#[test]
fn hmac_is_the_references_at_every_size_and_length() {
    let mut rng = Rng::from_seed([1; 32]);
    for batch in 0..=BATCH_MAX {
        hmac::<16>(&mut rng, &vec![300; batch]);
    }
    for bytes in 0..=300 {
        hmac::<16>(&mut rng, &[bytes; 16]);
        hmac::<16>(&mut rng, &[bytes; BATCH_MAX]);
    }
    for batch in BATCHES {
        hmac::<0>(&mut rng, &vec![64; batch]);
        hmac::<1>(&mut rng, &vec![55; batch]);
        hmac::<32>(&mut rng, &vec![1000; batch]);
        hmac::<63>(&mut rng, &vec![56; batch]);
        hmac::<64>(&mut rng, &vec![119; batch]);
    }
    for _ in 0..20 {
        let lengths = mixed(&mut rng, 300);
        hmac::<16>(&mut rng, &lengths);
    }
}

fn hkdf<const K: usize, const N: usize>(rng: &mut Rng, hkdf: &Hkdf<N>, batch: usize) {
    let secrets: Vec<[u8; K]> = inputs(rng, batch);
    assert_as_reference(&format!("HKDF from {K} to {N} bytes"), |tier| {
        let mut keys = vec![[0; N]; secrets.len()];
        hkdf.derive(tier, secrets.iter().zip(&mut keys));
        keys
    });
}

#[test]
fn hkdf_is_the_references_at_every_size_of_the_formats_shapes() {
    let mut rng = Rng::from_seed([2; 32]);
    let (salt, info): ([u8; 44], [u8; 98]) = (rng.bytes(), rng.bytes());
    let keys = Hkdf::<288>::new(b"", &info[..97]);
    let payload_keys = Hkdf::<192>::new(&salt, &info[..44]);
    for batch in 0..=BATCH_MAX {
        hkdf::<32, 288>(&mut rng, &keys, batch);
        hkdf::<16, 192>(&mut rng, &payload_keys, batch);
    }
}

#[test]
fn hkdf_is_the_references_at_all_lengths_of_info_salt_secret_and_keys() {
    let mut rng = Rng::from_seed([3; 32]);
    let (salt, info): ([u8; 64], [u8; 200]) = (rng.bytes(), rng.bytes());
    for info_bytes in 0..=info.len() {
        hkdf::<32, 96>(&mut rng, &Hkdf::new(b"", &info[..info_bytes]), 16);
    }
    for salt_bytes in 0..=salt.len() {
        hkdf::<32, 32>(&mut rng, &Hkdf::new(&salt[..salt_bytes], b"info"), 17);
    }
    for batch in BATCHES {
        hkdf::<0, 1>(&mut rng, &Hkdf::new(&salt, b""), batch);
        hkdf::<55, 31>(&mut rng, &Hkdf::new(&salt, b""), batch);
        hkdf::<56, 33>(&mut rng, &Hkdf::new(&salt, &info), batch);
        hkdf::<64, 63>(&mut rng, &Hkdf::new(&salt, &info), batch);
        hkdf::<65, 65>(&mut rng, &Hkdf::new(&salt, &info), batch);
        hkdf::<130, 8160>(&mut rng, &Hkdf::new(&salt, &info), batch);
    }
}

fn blake2b(rng: &mut Rng, lengths: &[usize]) {
    let keys: Vec<[u8; 64]> = inputs(rng, lengths.len());
    let messages = texts(rng, lengths.iter().copied());
    assert_as_reference(&format!("BLAKE2b of {:?} bytes", lengths.first()), |tier| {
        let mut digests = vec![[0; 32]; keys.len()];
        let jobs = keys.iter().zip(&messages).zip(&mut digests);
        blake2b::keyed(tier, jobs.map(|((key, message), digest)| (key, &message[..], digest)));
        digests
    });
}

#[test]
fn blake2b_is_the_references_at_every_size_and_length() {
    let mut rng = Rng::from_seed([4; 32]);
    for batch in 0..=BATCH_MAX {
        blake2b(&mut rng, &vec![992; batch]);
    }
    for bytes in (0..=400).chain(990..=994).chain(2014..=2018) {
        blake2b(&mut rng, &[bytes; 8]);
        blake2b(&mut rng, &[bytes; 16]);
    }
    for _ in 0..20 {
        let lengths = mixed(&mut rng, 400);
        blake2b(&mut rng, &lengths);
    }
}

/// Keys of `K` bytes and their texts.
type Streams<'a, const K: usize> = Vec<(&'a [u8; K], &'a mut [u8])>;

fn stream<const K: usize>(
    rng: &mut Rng,
    name: &str,
    xor: fn(Tier, Streams<'_, K>),
    lengths: &[usize],
) {
    let keys: Vec<[u8; K]> = inputs(rng, lengths.len());
    let texts = texts(rng, lengths.iter().copied());
    assert_as_reference(&format!("{name} of {:?} bytes", lengths.first()), |tier| {
        let mut texts = texts.clone();
        xor(tier, keys.iter().zip(texts.iter_mut().map(|text| &mut text[..])).collect());
        texts
    });
}

fn chacha20(rng: &mut Rng, lengths: &[usize]) {
    stream(rng, "ChaCha20", |tier, streams| chacha20::xor(tier, streams.into_iter()), lengths);
}

fn aes_ctr(rng: &mut Rng, lengths: &[usize]) {
    stream(rng, "AES-CTR", |tier, streams| aes_ctr::xor(tier, streams.into_iter()), lengths);
}

#[test]
fn chacha20_is_the_references_at_every_size_and_length() {
    let mut rng = Rng::from_seed([5; 32]);
    for batch in 0..=BATCH_MAX {
        chacha20(&mut rng, &vec![992; batch]);
    }
    for bytes in (0..=1100).chain(2014..=2114).chain(3072..3074) {
        chacha20(&mut rng, &[bytes; 3]);
    }
    for _ in 0..20 {
        let lengths = mixed(&mut rng, 3000);
        chacha20(&mut rng, &lengths);
    }
}

#[test]
fn aes_ctr_is_the_references_at_every_size_and_length() {
    let mut rng = Rng::from_seed([6; 32]);
    for batch in 0..=BATCH_MAX {
        aes_ctr(&mut rng, &vec![384; batch]);
    }
    // The counter's second byte counts from 4096 bytes on, its third from a MiB.
    for bytes in (0..=800).chain(4090..4120).chain([(1 << 20) + 100]) {
        aes_ctr(&mut rng, &[bytes; 2]);
    }
}

fn lioness(rng: &mut Rng, lengths: &[usize]) {
    let keys: Vec<lioness::Key> = inputs(rng, lengths.len());
    let blocks = texts(rng, lengths.iter().copied());
    assert_as_reference(&format!("Lioness of {:?} bytes", lengths.first()), |tier| {
        let (mut encrypted, mut decrypted) = (blocks.clone(), blocks.clone());
        lioness::encrypt(tier, keys.iter().zip(encrypted.iter_mut().map(|block| &mut block[..])));
        lioness::decrypt(tier, keys.iter().zip(decrypted.iter_mut().map(|block| &mut block[..])));
        encrypted.into_iter().zip(decrypted).collect()
    });
}

#[test]
fn lioness_is_the_references_at_every_size_and_length() {
    let mut rng = Rng::from_seed([7; 32]);
    for batch in 0..=BATCH_MAX {
        lioness(&mut rng, &vec![1024; batch]);
    }
    for bytes in (33..=300).chain([1023, 1025, 2048]) {
        lioness(&mut rng, &[bytes; 9]);
    }
    for _ in 0..20 {
        let lengths: Vec<_> = mixed(&mut rng, 2000).iter().map(|bytes| bytes + 33).collect();
        lioness(&mut rng, &lengths);
    }
}
