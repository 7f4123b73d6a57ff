//! Noise_IKpsk0_25519_AESGCM_SHA256 by `snow`, on this program's primitives.
//!
//! The resolver refuses low-order points (an all-zero shared secret), takes the ephemeral key from
//! the caller's generator, and wipes what it holds. What `snow` itself holds (the chaining key, the
//! pre-shared key) it does not wipe: its states live for one handshake.

use super::Refusal;
use super::keys::Prk;
use crate::crypto::aead::{self, TAG_BYTES};
use crate::crypto::x25519;
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::digest;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState};
use zeroize::Zeroizing;

const PATTERN: &str = "Noise_IKpsk0_25519_AESGCM_SHA256";

/// What both ends know before the first message.
pub(super) struct Premise<'a> {
    pub(super) local: &'a x25519::Secret,
    pub(super) prologue: &'a [u8],
    pub(super) psk: &'a Prk,
    pub(super) ephemeral: &'a x25519::Secret,
}

impl Premise<'_> {
    /// The state of the side that writes first, to the holder of `responder`.
    pub(super) fn initiator(&self, responder: &[u8; 32]) -> Result<HandshakeState, Refusal> {
        let builder = self.builder().and_then(|builder| builder.remote_public_key(responder));
        builder.and_then(Builder::build_initiator).map_err(|_| Refusal::BadNoise)
    }

    /// The state of the side that reads first.
    pub(super) fn responder(&self) -> Result<HandshakeState, Refusal> {
        self.builder().and_then(Builder::build_responder).map_err(|_| Refusal::BadNoise)
    }

    fn builder(&self) -> Result<Builder<'_>, Error> {
        let resolver = Resolver(Zeroizing::new(*self.ephemeral.as_bytes()));
        Builder::with_resolver(PATTERN.parse()?, Box::new(resolver))
            .local_private_key(self.local.as_bytes())?
            .prologue(self.prologue)?
            .psk(0, self.psk)
    }
}

/// The handshake hash and the two raw keys of a finished handshake.
pub(super) fn finish(mut state: HandshakeState) -> Result<([u8; 32], (Prk, Prk)), Refusal> {
    let hash = *state.get_handshake_hash().first_chunk().ok_or(Refusal::BadNoise)?;
    let (forth, back) = state.dangerously_get_raw_split();
    Ok((hash, (Zeroizing::new(forth), Zeroizing::new(back))))
}

/// Gives `snow` its primitives; holds the ephemeral secret that it will draw.
struct Resolver(Zeroizing<[u8; 32]>);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Ephemeral(self.0.clone())))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(KeyPair::default()) as _)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        let hash = || Box::new(Sha256(digest::Context::new(&digest::SHA256))) as _;
        matches!(choice, HashChoice::SHA256).then(hash)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::AESGCM).then(|| Box::new(AesGcm(None)) as _)
    }
}

/// Draws one thing: the ephemeral secret.
struct Ephemeral(Zeroizing<[u8; 32]>);

impl Random for Ephemeral {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let out: &mut [u8; 32] = out.try_into().map_err(|_| Error::Rng)?;
        *out = *self.0;
        Ok(())
    }
}

#[derive(Default)]
struct KeyPair {
    key: Option<PrivateKey>,
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Dh for KeyPair {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.secret.copy_from_slice(secret);
        self.public = x25519::Secret::from_bytes(*self.secret).public();
        self.key = PrivateKey::from_private_key(&X25519, secret).ok();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *secret)?;
        self.set(&*secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let key = self.key.as_ref().ok_or(Error::Dh)?;
        let public = UnparsedPublicKey::new(&X25519, public.get(..32).ok_or(Error::Dh)?);
        agree(key, public, Error::Dh, |shared| {
            out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(shared);
            Ok(())
        })
    }
}

struct AesGcm(Option<aead::Key>);

/// The nonce of message number `number` (Noise, revision 34, section 12.4).
fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_be_bytes());
    nonce
}

impl Cipher for AesGcm {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = Some(aead::Key::new(key));
    }

    #[expect(clippy::expect_used, reason = "snow sets the key and makes room for the tag")]
    fn encrypt(&self, number: u64, aad: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        let key = self.0.as_ref().expect("the key is set");
        let (text, rest) = out.split_at_mut(plain.len());
        let tag = rest.first_chunk_mut().expect("room for the tag");
        key.seal(&nonce(number), aad, plain, text, tag);
        plain.len() + TAG_BYTES
    }

    fn decrypt(
        &self,
        number: u64,
        aad: &[u8],
        cipher: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        let (text, tag) = cipher.split_last_chunk::<TAG_BYTES>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(Error::Decrypt)?;
        key.open(&nonce(number), aad, text, tag, out).map_err(|_| Error::Decrypt)?;
        Ok(text.len())
    }
}

struct Sha256(digest::Context);

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = digest::Context::new(&digest::SHA256);
    }

    fn input(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    fn result(&mut self, out: &mut [u8]) {
        let context = std::mem::replace(&mut self.0, digest::Context::new(&digest::SHA256));
        out[..32].copy_from_slice(context.finish().as_ref());
    }
}
