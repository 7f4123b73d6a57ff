//! First flights written by hand, by somebody whose X25519 keys may be of low order: every shared
//! secret with such a key is zero, so nothing would have to be known to make them.

use crate::world::{DATAGRAM_BYTES, Identity, network};
use mixline::clock::UnixMicros;
use mixline::crypto::{aead, kem, sha256};
use mixline::link::datagram::Head;
use mixline::link::handshake::INIT_BYTES;
use mixline::link::keys::{Binding, Obfuscation, kem_id};

/// The symmetric state of Noise (revision 34, section 5.2).
struct Symmetric {
    chain: [u8; 32],
    hash: [u8; 32],
    key: [u8; 32],
}

impl Symmetric {
    fn new(prologue: &[u8], responder: &[u8; 32]) -> Self {
        let name = *b"Noise_IKpsk0_25519_AESGCM_SHA256";
        let mut state = Symmetric { chain: name, hash: name, key: [0; 32] };
        state.mix_hash(prologue);
        state.mix_hash(responder);
        state
    }

    fn mix_hash(&mut self, part: &[u8]) {
        self.hash = sha256::digest(&[&self.hash, part]);
    }

    fn hkdf(&self, input: &[u8]) -> [[u8; 32]; 3] {
        let seed = sha256::hmac(&self.chain, &[input]);
        let first = sha256::hmac(&seed, &[&[1]]);
        let second = sha256::hmac(&seed, &[&first, &[2]]);
        [first, second, sha256::hmac(&seed, &[&second, &[3]])]
    }

    fn mix_key(&mut self, input: &[u8]) {
        [self.chain, self.key, _] = self.hkdf(input);
    }

    fn mix_psk(&mut self, psk: &[u8; 32]) {
        let [chain, hash, key] = self.hkdf(psk);
        (self.chain, self.key) = (chain, key);
        self.mix_hash(&hash);
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut text = plain.to_vec();
        let tag = aead::Key::new(&self.key).seal_in_place(&[0; 12], &self.hash, &mut text);
        text.extend(tag);
        self.mix_hash(&text);
        text
    }
}

/// A key pair: the secret, and the public half that is claimed.
pub(crate) type KeyPair = ([u8; 32], [u8; 32]);

pub(crate) fn honest(secret: [u8; 32]) -> KeyPair {
    (secret, x25519_dalek::x25519(secret, x25519_dalek::X25519_BASEPOINT_BYTES))
}

/// The point of order one or two: whatever the secret, the shared secret is zero.
pub(crate) fn low(first: u8) -> KeyPair {
    ([0; 32], std::array::from_fn(|at| if at == 0 { first } else { 0 }))
}

/// The secret that two ends share; zero if the claimed point is of low order.
fn shared(ours: &KeyPair, responder: &[u8; 32]) -> [u8; 32] {
    let (secret, public) = ours;
    let order_is_low = public[1..].iter().all(|&byte| byte == 0) && public[0] < 2;
    if order_is_low { [0; 32] } else { x25519_dalek::x25519(*secret, *responder) }
}

/// A client's first flight to `target` with these two key pairs.
pub(crate) fn first_flight(
    target: &Identity,
    ephemeral: &KeyPair,
    own: &KeyPair,
    time: UnixMicros,
) -> Vec<u8> {
    let peer = target.peer();
    let (ciphertext, secret) = kem::encapsulate(&peer.kem_public).unwrap();
    let binding = Binding::new(&ciphertext, kem_id(&peer.kem_public), peer.link_public);
    let prologue = binding.prologue(&network().genesis, &network().geometry_hash);
    let mut state = Symmetric::new(&prologue, &peer.link_public);
    state.mix_psk(&binding.keys(&secret).psk);
    state.mix_hash(&ephemeral.1);
    state.mix_key(&ephemeral.1);
    state.mix_key(&shared(ephemeral, &peer.link_public));
    let identity = state.seal(&own.1);
    state.mix_key(&shared(own, &peer.link_public));
    let mut hello = [0; 40];
    hello[..8].copy_from_slice(&time.0.to_le_bytes());
    let payload = state.seal(&hello);
    let id = kem_id(&peer.kem_public);
    let parts: [&[u8]; 6] = [&id, &[0; 16], &ciphertext[..], &ephemeral.1, &identity, &payload];
    let (body, mut datagram) = (parts.concat(), vec![0; DATAGRAM_BYTES]);
    assert_eq!(body.len(), INIT_BYTES);
    let sealer = Obfuscation::of(&peer.link_public, &network().genesis).init.sealer();
    sealer.seal(Head { sequence: 9, kind: 16, length: 1248 }, &body, &mut datagram);
    datagram
}
