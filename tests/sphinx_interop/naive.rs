//! The slow model of a sender: hop by hop, on vectors, straight from `docs/packet-format.md`.
//! It writes any flag and any version, which the real sender does not.

use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use mixline::sphinx::RouteHop;
use sha2::Sha256;
use sphinx_packet::payload::Payload;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

pub(crate) struct Order<'a> {
    pub(crate) message: &'a [u8],
    pub(crate) route: &'a [RouteHop],
    /// Flag, version and what else the last hop reads.
    pub(crate) last: Vec<u8>,
    pub(crate) version: u16,
    pub(crate) secret: [u8; 32],
}

impl<'a> Order<'a> {
    /// `padding` fills the last hop's routing information; its length is [`padding_bytes`].
    pub(crate) fn new(
        message: &'a [u8],
        route: &'a [RouteHop],
        version: u16,
        padding: &[u8],
    ) -> Self {
        let mut last = routing(2, version);
        last.extend([0xdd; 32]);
        last.extend([0x1d; 16]);
        last.extend(padding);
        Order { message, route, last, version, secret: [0; 32] }
    }
}

pub(crate) fn padding_bytes(hops: usize) -> usize {
    300 - 60 * (hops - 1) - 52
}

/// Flag and version.
pub(crate) fn routing(flag: u8, version: u16) -> Vec<u8> {
    let [high, low] = version.to_be_bytes();
    vec![flag, 0, high, low]
}

pub(crate) fn packet(order: &Order<'_>, payload_bytes: usize) -> Vec<u8> {
    let keys = shared_secrets(order).map(|secret| keys(&secret)).collect::<Vec<_>>();
    let payload_keys: Vec<[u8; 192]> = keys
        .iter()
        .map(|keys| match order.version {
            258 => keys[32..224].try_into().unwrap(),
            _ => hkdf(
                b"sphinx-payload-key-V01-CS01-HKDF:SHA256-SALT",
                &keys[32..48],
                b"sphinx-payload-key-V01-CS01-HKDF:SHA256-INFO",
            ),
        })
        .collect();
    let payload = Payload::encapsulate_message(order.message, &payload_keys, payload_bytes);
    let alpha = x25519(order.secret, X25519_BASEPOINT_BYTES);
    let (gamma, beta) = header(order, &keys);
    [&alpha[..], &gamma, &beta, payload.unwrap().as_bytes()].concat()
}

/// Each hop's key times the sender's scalar times every earlier blinding factor.
fn shared_secrets(order: &Order<'_>) -> impl Iterator<Item = [u8; 32]> {
    let mut scalars = vec![order.secret];
    order.route.iter().map(move |hop| {
        let shared = scalars.iter().fold(hop.public_key, |point, scalar| x25519(*scalar, point));
        scalars.push(keys(&shared)[224..256].try_into().unwrap());
        shared
    })
}

fn header(order: &Order<'_>, keys: &[[u8; 288]]) -> (Vec<u8>, Vec<u8>) {
    let last = keys.len() - 1;
    let mut filler = Vec::new();
    for (hop, keys) in keys[..last].iter().enumerate() {
        filler.extend([0; 60]);
        filler = xor(&filler, &stream(keys)[360 - 60 * (hop + 1)..]);
    }
    let mut beta = xor(&order.last, &stream(&keys[last]));
    beta.extend(filler);
    for hop in (0..last).rev() {
        let mut block = routing(1, order.version);
        block.extend(order.route[hop + 1].address);
        block.extend(order.route[hop].delay_ns.to_be_bytes());
        block.extend(gamma(&keys[hop + 1], &beta));
        block.extend(&beta[..240]);
        beta = xor(&block, &stream(&keys[hop]));
    }
    (gamma(&keys[0], &beta), beta)
}

/// A hop's key block.
pub(crate) fn keys(shared: &[u8; 32]) -> [u8; 288] {
    hkdf(
        b"",
        shared,
        b"Dwste mou enan moxlo arketa makru kai ena upomoxlio gia na ton topothetisw kai tha \
          kinisw thn gh.",
    )
}

pub(crate) fn gamma(keys: &[u8; 288], beta: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha256>::new_from_slice(&keys[16..32]).unwrap();
    mac.chain_update(beta).finalize().into_bytes()[..16].to_vec()
}

fn stream(keys: &[u8; 288]) -> Vec<u8> {
    let mut stream = vec![0; 360];
    ctr::Ctr64BE::<aes::Aes128>::new_from_slices(&keys[..16], &[0; 16])
        .unwrap()
        .apply_keystream(&mut stream);
    stream
}

fn xor(text: &[u8], stream: &[u8]) -> Vec<u8> {
    text.iter().zip(stream).map(|(text, stream)| text ^ stream).collect()
}

fn hkdf<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> [u8; N] {
    let mut keys = [0; N];
    hkdf::Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut keys).unwrap();
    keys
}
