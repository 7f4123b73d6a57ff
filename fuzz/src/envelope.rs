//! What a gateway keeps for a mailbox: envelopes that anybody made who knows the address.

use mixline::crypto::random::Rng;
use mixline::crypto::x25519::Secret;
use mixline::crypto::{aead, sha256};
use mixline::message::MESSAGE_BYTES_MAX;
use mixline::message::envelope::{self, OVERHEAD_BYTES, Part};
use mixline::message::fragment::Cut;
use mixline::route::content::{Content, Receipt};

fn secret() -> Secret {
    Secret::from_bytes([7; 32])
}

/// The input as an envelope, as what a stranger sealed in one, and as what comes before and after
/// it: a packet's content, a receipt. Accepted when it is one of them.
pub fn run(input: &[u8]) -> bool {
    let sealed = seal(input);
    let opened = [input, &sealed].map(|sealed| envelope::open(sealed, &secret()));
    for part in opened.iter().flatten() {
        check(part);
    }
    let content = Content::decode(input);
    if let Some(content) = &content {
        assert_eq!(content.encode(), input);
    }
    opened.iter().any(Result::is_ok) || content.is_some() || Receipt::decode(input).is_some()
}

/// A part that was opened is one of a message, and comes back when it is sealed again.
fn check(part: &Part) {
    assert!((1..=MESSAGE_BYTES_MAX).contains(&part.cut.message_bytes()));
    let range = part.cut.range(part.number).expect("a part of the message");
    assert_eq!(range.len(), part.content.len());
    let sealed = envelope::seal(part, &secret().public(), &mut Rng::from_seed([1; 32]));
    let sealed = sealed.expect("a usable key");
    assert_eq!(sealed.len(), OVERHEAD_BYTES + part.cut.part_bytes());
    assert_eq!(envelope::open(&sealed, &secret()).as_ref(), Ok(part));
}

/// The envelope that a careless sender makes of any plaintext.
fn seal(plain: &[u8]) -> Vec<u8> {
    let ephemeral = Secret::from_bytes([9; 32]);
    let (public, recipient) = (ephemeral.public(), secret().public());
    let salt = [public, recipient].concat();
    let prk = sha256::hmac(&salt, &[&ephemeral.multiply(&recipient)]);
    let key = sha256::hmac(&prk, &[b"mixline envelope 2", &[1]]);
    let mut body = plain.to_vec();
    let tag = aead::Key::new(&key).seal_in_place(&[0; aead::NONCE_BYTES], &[], &mut body);
    [&public[..], &body, &tag].concat()
}

/// Plaintexts of a full part, a short one, one that contradicts itself; an envelope; a content.
pub fn seeds() -> Vec<Vec<u8>> {
    let plain = |number: u32, count: u32, message_bytes: u32, content: &[u8]| {
        let mut plain = vec![5; 16];
        for field in [number, count, message_bytes] {
            plain.extend(field.to_le_bytes());
        }
        plain.extend_from_slice(content);
        plain
    };
    let cut = Cut::new(5, 8).expect("a cut");
    let part = Part { id: [5; 16], number: 0, cut, content: b"hello".to_vec() };
    let sealed = envelope::seal(&part, &secret().public(), &mut Rng::from_seed([2; 32]));
    let sealed = sealed.expect("a usable key");
    let content = Content { reply: None, body: &sealed }.encode();
    vec![
        plain(1, 3, 20, b"12345678"),
        plain(2, 3, 20, b"1234\0\0\0\0"),
        plain(2, 9, 20, b"1234\0\0\0\0"),
        plain(19_673, 19_674, 10_485_760, &[0; 533]),
        Receipt::Stored.encode().to_vec(),
        sealed,
        content,
    ]
}
