//! The handshake and the first session datagram, byte for byte: every intermediate value as an
//! independent implementation computed it, on `snow`'s own primitives and on `aws-lc-rs` alike.

use data_encoding::HEXLOWER;
use mixline::clock::UnixMicros;
use mixline::crypto::{kem, sha256, x25519};
use mixline::link::datagram::Head;
use mixline::link::handshake::{Draw, Hello, Init, Remote, Role, Welcome, initiate};
use mixline::link::keys::{Binding, Obfuscation, kem_id};
use mixline::link::{Network, Refusal};
use ml_kem::{DecapsulationKey, MlKem768};
use zeroize::Zeroizing;

const KEM_PUBLIC_HASH: &str = "0b7934c83125c788995e2ba6bd761e33046b3e40571be53e023309a29f398cc9";
const KEM_ID: &str = "0b7934c83125c788";
const RESPONDER: &str = "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13";
const INITIATOR: &str = "0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20";
const SHARED: &str = "dfc19ecdefe454278f8dcda7438c3388a17f45f39a7179fcf8368a2bd9c80e38";
const CIPHERTEXT_HASH: &str = "79192b69e16bf0ae951b092dc0500dff081c68fa480441742b58ea03450aa57a";
const PSK: &str = "f78d962d92a06e544fe57672d59e96dca2a4adf8b4ce01782244c33f0106b9ff";
const INIT_HASH: &str = "e838bfe63d53db6abfb7f59bbc7dfde44a33a0b94b48ddfa8e8c24eef45e69dd";
const INIT_FRONT: &str = "53c07e68607e00e51a2b866b183a839a4f2e71b891785dda3bb0b355a5dcdec2";
const RESPONSE_HASH: &str = "88409cae25751fc7b458a58ec80dc5ee95ad546f69b2f3731d88b909d89363d5";
const RESPONSE_FRONT: &str = "37b4f7c6b54286e6b811b6ae1f28bb3c62914dc18fcd3582266c363e5923c3c8";
const FORTH_SPLIT: &str = "8d19d804050f2961bc684fb4dfdbcba161d6982876c42f768adfecef9b70f0c7";
const BACK_SPLIT: &str = "4895eb147fa6e4f9e6c22144ff02465daaa680fc68eaa90cf529f01aabba9c94";
const HANDSHAKE_HASH: &str = "b99f0a5e9b1a9d691b52de152a55e0621330401d6656210f6bdf5e38671e9aba";
const DATA_HASH: &str = "59ca28560f89dbbc48f591077785ccf209307ad2765ba2071e668cd47224cbd2";
const DATA_FRONT: &str = "9b196a3955a4de32a4eaaef14f07ecb32c1db3407f6e88a33aa3f5953c7ca0ba";
const DATA_TAG: &str = "8cea41168299c4601795d97bec7a36df";

fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

fn network() -> Network {
    Network {
        genesis: [7; 32],
        geometry_hash: [9; 32],
        datagram_bytes: 1408,
        sphinx_frame_bytes: 1376,
    }
}

/// The responder's KEM key and the initiator's draw: all that is random in a handshake, fixed.
fn fixed() -> (kem::Secret, Draw) {
    let seed: [u8; 64] = std::array::from_fn(|at| u8::try_from(at).expect("below 64"));
    let key = DecapsulationKey::<MlKem768>::from_seed(seed.into());
    let (ciphertext, shared) =
        key.encapsulation_key().encapsulate_deterministic(&[0x66; 32].into());
    let draw = Draw {
        ciphertext: Box::new(ciphertext.as_slice().try_into().expect("1088 bytes")),
        shared: Zeroizing::new(shared.as_slice().try_into().expect("32 bytes")),
        ephemeral: x25519::Secret::from_bytes([0x33; 32]),
        sequence: 0x0102_0304_0506_0708,
    };
    (kem::Secret::from_bytes(&expanded(&key)).expect("a key"), draw)
}

#[expect(deprecated, reason = "the expanded form is what the backend reads")]
fn expanded(key: &DecapsulationKey<MlKem768>) -> Vec<u8> {
    use ml_kem::ExpandedKeyEncoding as _;
    key.to_expanded_bytes().to_vec()
}

#[test]
fn the_key_schedule_is_that_of_the_vectors() {
    let (kem, draw) = fixed();
    assert_eq!(hex(sha256::digest(&[&kem.public()[..]])), KEM_PUBLIC_HASH);
    assert_eq!(hex(kem_id(kem.public())), KEM_ID);
    assert_eq!(hex(draw.shared), SHARED);
    assert_eq!(hex(sha256::digest(&[&draw.ciphertext[..]])), CIPHERTEXT_HASH);
    let responder = x25519::Secret::from_bytes([0x11; 32]).public();
    assert_eq!(hex(responder), RESPONDER);
    let shared = kem.decapsulate(&*draw.ciphertext).unwrap();
    let binding = Binding::new(&draw.ciphertext, kem_id(kem.public()), responder);
    assert_eq!(hex(binding.keys(&shared).psk), PSK);
}

#[test]
fn the_datagrams_are_those_of_the_vectors() {
    let (kem, draw) = fixed();
    let responder = x25519::Secret::from_bytes([0x11; 32]);
    let initiator = x25519::Secret::from_bytes([0x22; 32]);
    let remote = Remote::new(responder.public(), kem.public(), &network().genesis);
    let hello = Hello {
        time: UnixMicros(1_700_000_000_000_000),
        capabilities: 0,
        role: Role::Client,
        rate_class: 0,
        admission: [0; 24],
    };
    let (datagram, pending) =
        initiate(&network(), &initiator, &remote, &[0; 16], &hello, &draw).unwrap();
    assert_eq!(hex(&datagram[..32]), INIT_FRONT);
    assert_eq!(hex(sha256::digest(&[&datagram])), INIT_HASH);

    let opener = Obfuscation::of(&responder.public(), &network().genesis).init.opener();
    let init = Init::open(&opener, &datagram).unwrap();
    let ephemeral = x25519::Secret::from_bytes([0x44; 32]);
    let greeting = init.read(&network(), &responder, &kem, &ephemeral).unwrap();
    assert_eq!((hex(greeting.initiator), greeting.hello), (INITIATOR.to_string(), hello));
    let welcome = Welcome {
        time: UnixMicros(0),
        capabilities: 0,
        idle_timeout_s: 0,
        rate_class: 0,
        status: Welcome::OK,
        retry_after_s: 0,
    };
    let (datagram, theirs) = greeting.answer(&welcome, 0x1112_1314_1516_1718, 1408).unwrap();
    assert_eq!(hex(&datagram[..32]), RESPONSE_FRONT);
    assert_eq!(hex(sha256::digest(&[&datagram])), RESPONSE_HASH);

    let body = pending.open(&datagram).unwrap();
    let (ours, answer) = pending.finish(&body).unwrap();
    assert_eq!((hex(ours.hash), answer), (HANDSHAKE_HASH.to_string(), welcome));
    assert_eq!(hex(theirs.hash), HANDSHAKE_HASH);
    check_transport(&ours.transport.forth, FORTH_SPLIT, b"i2r");
    check_transport(&theirs.transport.back, BACK_SPLIT, b"r2i");

    let body: [u8; 1376] = std::array::from_fn(|at| u8::try_from(at & 255).unwrap());
    let (head, mut datagram) = (Head { sequence: 0, kind: 1, length: 1372 }, vec![0; 1408]);
    ours.transport.forth.sealer().seal(head, &body, &mut datagram);
    assert_eq!(hex(&datagram[..32]), DATA_FRONT);
    assert_eq!(hex(&datagram[1392..]), DATA_TAG);
    assert_eq!(hex(sha256::digest(&[&datagram])), DATA_HASH);
    let (opener, mut out) = (theirs.transport.forth.opener(), [0; 1376]);
    assert_eq!(opener.head(&datagram), Some(head));
    opener.open(head, &datagram, &mut out).unwrap();
    assert_eq!(out, body);
}

/// The keys of a direction against the split they follow from, derived once more by hand.
fn check_transport(keys: &mixline::link::datagram::Keys, split: &str, context: &[u8]) {
    let split = HEXLOWER.decode(split.as_bytes()).expect("hexadecimal");
    let derived = |label: &[u8]| sha256::hmac(&split, &[label, context, &[1]]);
    assert_eq!(*keys.header, derived(b"mixlink1 hp"));
    assert_eq!(*keys.body, derived(b"mixlink1 key"));
}

#[test]
fn an_initiator_refuses_a_responder_key_of_low_order() {
    let (kem, draw) = fixed();
    let initiator = x25519::Secret::from_bytes([0x22; 32]);
    let hello = Hello {
        time: UnixMicros(1),
        capabilities: 0,
        role: Role::Node,
        rate_class: 0,
        admission: [0; 24],
    };
    let one = std::array::from_fn(|at| u8::from(at == 0));
    for public in [[0; 32], one] {
        let remote = Remote::new(public, kem.public(), &network().genesis);
        let refused = initiate(&network(), &initiator, &remote, &[0; 16], &hello, &draw);
        assert_eq!(refused.err(), Some(Refusal::BadNoise));
    }
}
