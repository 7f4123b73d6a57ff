//! The key schedule, from public keys and shared secrets to the keys of datagrams.
//!
//! H is SHA-256, HM is HMAC-SHA256, expand(prk, label, context) is one block of HKDF-Expand
//! (RFC 5869): HM(prk, label || context || 0x01). All fields have fixed lengths, so nothing is
//! separated or prefixed.

use super::datagram::Keys;
use crate::crypto::kem::{CIPHERTEXT_BYTES, Shared};
use crate::crypto::sha256;
use zeroize::Zeroizing;

/// A key to derive others from; wiped when dropped.
pub type Prk = Zeroizing<[u8; 32]>;

/// Bytes of the prologue that both ends of a handshake must agree on.
pub const PROLOGUE_BYTES: usize = 112;

/// HKDF-Expand, one block.
fn expand(prk: &[u8; 32], label: &[u8], context: &[&[u8]]) -> Prk {
    let mut parts: [&[u8]; 4] = [label, b"", b"", &[1]];
    for (part, from) in parts[1..3].iter_mut().zip(context) {
        *part = from;
    }
    Zeroizing::new(sha256::hmac(prk, &parts))
}

/// The keys of one direction: `expand` under the labels of the header and of the body.
fn direction(prk: &[u8; 32], context: &[&[u8]]) -> Keys {
    Keys {
        header: expand(prk, b"mixlink1 hp", context),
        body: expand(prk, b"mixlink1 key", context),
    }
}

/// The keys of what anybody may send to a responder: derived from its public key, so they hide a
/// first flight only from those who do not know that key.
#[derive(Debug)]
pub struct Obfuscation {
    /// Of first flights, towards the responder.
    pub init: Keys,
    /// Of retries, from the responder.
    pub retry: Keys,
}

impl Obfuscation {
    /// For the responder with the link key `public` in the network that `genesis` names.
    pub fn of(public: &[u8; 32], genesis: &[u8; 32]) -> Self {
        let prk = sha256::hmac(b"mixlink1 obf", &[public, genesis]);
        Obfuscation { init: direction(&prk, &[b"init"]), retry: direction(&prk, &[b"retry"]) }
    }
}

/// The name of a KEM key inside a first flight: the first 8 bytes of its hash.
pub fn kem_id(public: &[u8]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = sha256::digest(&[public]);
    [a, b, c, d, e, f, g, h]
}

/// What binds a handshake to its KEM ciphertext, its KEM key and its responder.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    ciphertext_hash: [u8; 32],
    kem_id: [u8; 8],
    responder: [u8; 32],
}

/// What the KEM secret gives: half the handshake's secrecy, and the keys of the answer.
#[derive(Debug)]
pub struct KemKeys {
    /// The pre-shared key of the Noise handshake.
    pub psk: Prk,
    /// The keys of the answering datagram.
    pub response: Keys,
}

impl Binding {
    /// For `ciphertext`, made for the key `kem_id` of the responder with link key `responder`.
    pub fn new(ciphertext: &[u8; CIPHERTEXT_BYTES], kem_id: [u8; 8], responder: [u8; 32]) -> Self {
        Binding { ciphertext_hash: sha256::digest(&[ciphertext]), kem_id, responder }
    }

    /// The keys that follow from the secret inside the ciphertext.
    pub fn keys(&self, shared: &Shared) -> KemKeys {
        let prk = Zeroizing::new(sha256::hmac(b"mixlink1 kem", &[&shared[..]]));
        let mut context = [0; 72];
        context[..32].copy_from_slice(&self.ciphertext_hash);
        context[32..40].copy_from_slice(&self.kem_id);
        context[40..].copy_from_slice(&self.responder);
        KemKeys {
            psk: expand(&prk, b"mixlink1 psk", &[&context]),
            response: direction(&prk, &[b"resp", &context]),
        }
    }

    /// The prologue of the Noise handshake.
    pub fn prologue(&self, genesis: &[u8; 32], geometry_hash: &[u8; 32]) -> [u8; PROLOGUE_BYTES] {
        let mut out = [0; PROLOGUE_BYTES];
        out[..8].copy_from_slice(b"mixlink1");
        out[8..40].copy_from_slice(genesis);
        out[40..72].copy_from_slice(geometry_hash);
        out[72..80].copy_from_slice(&self.kem_id);
        out[80..].copy_from_slice(&self.ciphertext_hash);
        out
    }
}

/// The keys of an established session.
#[derive(Debug)]
pub struct Transport {
    /// From the initiator to the responder.
    pub forth: Keys,
    /// From the responder to the initiator.
    pub back: Keys,
}

impl Transport {
    /// From the two halves of the Noise split.
    pub fn of(split: &(Prk, Prk)) -> Self {
        Transport { forth: direction(&split.0, &[b"i2r"]), back: direction(&split.1, &[b"r2i"]) }
    }
}
