//! The handshake as pure functions: one datagram each way, the same size and shape as all others.
//!
//! Noise IKpsk0 whose pre-shared key is a secret encapsulated to the responder's ML-KEM key: both
//! X25519 and ML-KEM must fall before a session is read. The first flight is sealed under keys
//! that follow from the responder's public key, the answer under keys that follow from the
//! encapsulated secret. Timers and limits are elsewhere ([`super::Links`]).
//!
//! | first flight, offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | name of the KEM key |
//! | 8 | 16 | token, or zeros |
//! | 24 | 1088 | KEM ciphertext |
//! | 1112 | 136 | Noise message 1: ephemeral 32, static 48, [`Hello`] 56 |
//!
//! The answer is Noise message 2: ephemeral 32, [`Welcome`] 48. A retry is the tag of the first
//! flight it answers, 16, and a token, 16.

use super::datagram::{Head, OVERHEAD_BYTES, Opener, Sealer};
use super::keys::{self, Binding, Obfuscation, Transport};
use super::noise::{self, Premise};
use super::{Network, Refusal};
use crate::clock::UnixMicros;
use crate::crypto::aead::TAG_BYTES;
use crate::crypto::kem::{self, CIPHERTEXT_BYTES};
use crate::crypto::random::Rng;
use crate::crypto::x25519;
use snow::HandshakeState;
use std::sync::Arc;

/// Bytes of a retry's token.
pub const TOKEN_BYTES: usize = 16;
/// Bytes of the proof of admission that a first flight can carry.
pub const ADMISSION_BYTES: usize = 24;
/// Bytes of a first flight's body that mean something.
pub const INIT_BYTES: usize = NOISE_OFFSET + NOISE_INIT_BYTES;
/// Bytes of a response's body that mean something.
pub const RESPONSE_BYTES: usize = 32 + Welcome::BYTES + TAG_BYTES;
/// Bytes of a retry's body that mean something.
pub const RETRY_BYTES: usize = TAG_BYTES + TOKEN_BYTES;

const TOKEN_OFFSET: usize = 8;
const CIPHERTEXT_OFFSET: usize = TOKEN_OFFSET + TOKEN_BYTES;
const NOISE_OFFSET: usize = CIPHERTEXT_OFFSET + CIPHERTEXT_BYTES;
const NOISE_INIT_BYTES: usize = 32 + 48 + Hello::BYTES + TAG_BYTES;

/// The kind of a handshake datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flight {
    /// The initiator asks.
    Init = 16,
    /// The responder is loaded and wants to see that the source is true.
    Retry = 17,
    /// The responder answers.
    Response = 18,
}

impl Flight {
    const fn length(self) -> u16 {
        match self {
            Flight::Init => 1248,
            Flight::Retry => 32,
            Flight::Response => 80,
        }
    }
}

const _: () = assert!(INIT_BYTES == Flight::Init.length() as usize);
const _: () = assert!(RETRY_BYTES == Flight::Retry.length() as usize);
const _: () = assert!(RESPONSE_BYTES == Flight::Response.length() as usize);

/// The header, if `key` made it for a datagram of this kind.
#[inline]
pub(super) fn head(key: &Opener, datagram: &[u8], flight: Flight) -> Option<Head> {
    let head = key.head(datagram)?;
    (head.kind == flight as u8 && head.length == flight.length()).then_some(head)
}

/// A datagram of this kind with a random number: its key is not counted, and after a restart the
/// same first flight may be answered twice under one key.
fn seal(key: &Sealer, flight: Flight, sequence: u64, body: &[u8], bytes: usize) -> Vec<u8> {
    let mut datagram = vec![0; bytes];
    let head = Head { sequence, kind: flight as u8, length: flight.length() };
    key.seal(head, body, &mut datagram);
    datagram
}

/// The body of a datagram of this kind.
fn open(key: &Opener, datagram: &[u8], flight: Flight) -> Result<Vec<u8>, Refusal> {
    let head = head(key, datagram, flight).ok_or(Refusal::NotThisKey)?;
    let size = datagram.len().checked_sub(OVERHEAD_BYTES).ok_or(Refusal::BadLength)?;
    let mut body = vec![0; size];
    key.open(head, datagram, &mut body).map_err(|_| Refusal::BadTag)?;
    Ok(body)
}

fn tag_of(datagram: &[u8]) -> [u8; TAG_BYTES] {
    datagram.last_chunk().copied().unwrap_or_default()
}

/// Which side of the network an initiator speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A client with a throw-away key.
    Client,
    /// A node with its key in the directory.
    Node,
}

/// What an initiator says first, under the responder's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The initiator's clock: against replay.
    pub time: UnixMicros,
    /// What it understands beyond this version; 0.
    pub capabilities: u32,
    /// For whom it speaks.
    pub role: Role,
    /// The rate it asks for; 0.
    pub rate_class: u8,
    /// A proof that it may enter, or zeros.
    pub admission: [u8; ADMISSION_BYTES],
}

impl Hello {
    const BYTES: usize = 40;

    fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.time.0.to_le_bytes());
        out[8..12].copy_from_slice(&self.capabilities.to_le_bytes());
        out[12] = u8::from(self.role == Role::Node);
        out[13] = self.rate_class;
        out[16..].copy_from_slice(&self.admission);
        out
    }

    fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self, Refusal> {
        let (time, rest) = bytes.split_first_chunk().ok_or(Refusal::BadLength)?;
        let (capabilities, rest) = rest.split_first_chunk().ok_or(Refusal::BadLength)?;
        let ([role, rate_class, _, _], rest) =
            rest.split_first_chunk().ok_or(Refusal::BadLength)?;
        Ok(Hello {
            time: UnixMicros(u64::from_le_bytes(*time)),
            capabilities: u32::from_le_bytes(*capabilities),
            role: match role {
                0 => Role::Client,
                1 => Role::Node,
                _ => return Err(Refusal::WrongRole),
            },
            rate_class: *rate_class,
            admission: *rest.first_chunk().ok_or(Refusal::BadLength)?,
        })
    }
}

/// What a responder answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The responder's clock.
    pub time: UnixMicros,
    /// What it understands beyond this version; 0.
    pub capabilities: u32,
    /// After how much silence it forgets the session.
    pub idle_timeout_s: u16,
    /// The rate it grants; 0.
    pub rate_class: u8,
    /// [`Welcome::OK`], [`Welcome::DRAINING`] or [`Welcome::FULL`].
    pub status: u8,
    /// When to come back if the status is not OK.
    pub retry_after_s: u32,
}

impl Welcome {
    /// The session stands.
    pub const OK: u8 = 0;
    /// The responder is about to stop; there is no session.
    pub const DRAINING: u8 = 1;
    /// The responder has no place; there is no session.
    pub const FULL: u8 = 2;
    const BYTES: usize = 32;

    fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.time.0.to_le_bytes());
        out[8..12].copy_from_slice(&self.capabilities.to_le_bytes());
        out[12..14].copy_from_slice(&self.idle_timeout_s.to_le_bytes());
        out[14] = self.rate_class;
        out[15] = self.status;
        out[16..20].copy_from_slice(&self.retry_after_s.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; Self::BYTES]) -> Result<Self, Refusal> {
        let (time, rest) = bytes.split_first_chunk().ok_or(Refusal::BadLength)?;
        let (capabilities, rest) = rest.split_first_chunk().ok_or(Refusal::BadLength)?;
        let ([idle0, idle1, rate_class, status], rest) =
            rest.split_first_chunk().ok_or(Refusal::BadLength)?;
        let retry_after = rest.first_chunk().ok_or(Refusal::BadLength)?;
        Ok(Welcome {
            time: UnixMicros(u64::from_le_bytes(*time)),
            capabilities: u32::from_le_bytes(*capabilities),
            idle_timeout_s: u16::from_le_bytes([*idle0, *idle1]),
            rate_class: *rate_class,
            status: *status,
            retry_after_s: u32::from_le_bytes(*retry_after),
        })
    }
}

/// A responder as its initiators know it.
#[derive(Debug)]
pub struct Remote {
    public: [u8; 32],
    kem_id: [u8; 8],
    init: Sealer,
    retry: Arc<Opener>,
}

impl Remote {
    /// The responder with these two public keys.
    pub fn new(public: [u8; 32], kem_public: &[u8], genesis: &[u8; 32]) -> Self {
        let obfuscation = Obfuscation::of(&public, genesis);
        Remote {
            public,
            kem_id: keys::kem_id(kem_public),
            init: obfuscation.init.sealer(),
            retry: Arc::new(obfuscation.retry.opener()),
        }
    }

    /// The key of retries from this responder.
    pub fn retry_key(&self) -> &Arc<Opener> {
        &self.retry
    }
}

/// What one first flight needs fresh.
#[derive(Debug)]
pub struct Draw {
    /// A secret encapsulated to the responder's KEM key.
    pub ciphertext: Box<[u8; CIPHERTEXT_BYTES]>,
    /// The secret.
    pub shared: kem::Shared,
    /// The ephemeral key.
    pub ephemeral: x25519::Secret,
    /// The datagram's number.
    pub sequence: u64,
}

impl Draw {
    /// For the responder with this KEM key.
    ///
    /// # Errors
    /// [`Refusal::UnknownKemId`] if that is no key.
    pub fn fresh(kem_public: &[u8], rng: &mut Rng) -> Result<Self, Refusal> {
        let (ciphertext, shared) =
            kem::encapsulate(kem_public).map_err(|_| Refusal::UnknownKemId)?;
        let ephemeral = x25519::Secret::random(rng);
        Ok(Draw { ciphertext, shared, ephemeral, sequence: rng.next_u64() })
    }
}

/// A first flight that waits for its answer.
pub struct Pending {
    noise: HandshakeState,
    response: Arc<Opener>,
    tag: [u8; TAG_BYTES],
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Pending")
    }
}

/// A session that a handshake has made.
#[derive(Debug)]
pub struct Established {
    /// The handshake hash: both ends have the same, nobody else can have it.
    pub hash: [u8; 32],
    /// Its keys.
    pub transport: Transport,
}

/// The first flight to `remote`, and what opens its answer.
///
/// # Errors
/// [`Refusal::BadNoise`] if a key of `remote` is of low order.
pub fn initiate(
    network: &Network,
    local: &x25519::Secret,
    remote: &Remote,
    token: &[u8; TOKEN_BYTES],
    hello: &Hello,
    draw: &Draw,
) -> Result<(Vec<u8>, Pending), Refusal> {
    let binding = Binding::new(&draw.ciphertext, remote.kem_id, remote.public);
    let kem_keys = binding.keys(&draw.shared);
    let prologue = binding.prologue(&network.genesis, &network.geometry_hash);
    let premise =
        Premise { local, prologue: &prologue, psk: &kem_keys.psk, ephemeral: &draw.ephemeral };
    let mut noise = premise.initiator(&remote.public)?;
    let mut body = vec![0; INIT_BYTES];
    body[..TOKEN_OFFSET].copy_from_slice(&remote.kem_id);
    body[TOKEN_OFFSET..CIPHERTEXT_OFFSET].copy_from_slice(token);
    body[CIPHERTEXT_OFFSET..NOISE_OFFSET].copy_from_slice(&*draw.ciphertext);
    noise
        .write_message(&hello.encode(), &mut body[NOISE_OFFSET..])
        .map_err(|_| Refusal::BadNoise)?;
    let bytes = network.datagram_bytes;
    let datagram = seal(&remote.init, Flight::Init, draw.sequence, &body, bytes);
    let response = Arc::new(kem_keys.response.opener());
    let tag = tag_of(&datagram);
    Ok((datagram, Pending { noise, response, tag }))
}

impl Pending {
    /// The key of the answer.
    pub fn response_key(&self) -> &Arc<Opener> {
        &self.response
    }

    /// The tag of the first flight, which a retry must echo.
    pub fn tag(&self) -> &[u8; TAG_BYTES] {
        &self.tag
    }

    /// The body of the answer, if `datagram` is one.
    ///
    /// # Errors
    /// [`Refusal::NotThisKey`] or [`Refusal::BadTag`]; the handshake goes on waiting.
    pub fn open(&self, datagram: &[u8]) -> Result<Vec<u8>, Refusal> {
        open(&self.response, datagram, Flight::Response)
    }

    /// Completes the handshake with the body of the answer.
    ///
    /// # Errors
    /// [`Refusal::BadNoise`].
    pub fn finish(mut self, body: &[u8]) -> Result<(Established, Welcome), Refusal> {
        let message = body.get(..RESPONSE_BYTES).ok_or(Refusal::BadLength)?;
        let mut payload = [0; Welcome::BYTES + TAG_BYTES];
        self.noise.read_message(message, &mut payload).map_err(|_| Refusal::BadNoise)?;
        let payload = payload.first_chunk().ok_or(Refusal::BadLength)?;
        Ok((established(self.noise)?, Welcome::decode(payload)?))
    }
}

fn established(noise: HandshakeState) -> Result<Established, Refusal> {
    let (hash, split) = noise::finish(noise)?;
    Ok(Established { hash, transport: Transport::of(&split) })
}

/// A first flight without its outer layer: made by somebody who knows the responder's public key.
#[derive(Debug)]
pub struct Init {
    body: Vec<u8>,
    tag: [u8; TAG_BYTES],
}

impl Init {
    /// Removes the outer layer.
    ///
    /// # Errors
    /// [`Refusal::NotThisKey`] or [`Refusal::BadTag`].
    pub fn open(key: &Opener, datagram: &[u8]) -> Result<Self, Refusal> {
        let body = open(key, datagram, Flight::Init)?;
        if body.len() < INIT_BYTES {
            return Err(Refusal::BadLength);
        }
        Ok(Init { body, tag: tag_of(datagram) })
    }

    /// The name of the KEM key it was made for.
    pub fn kem_id(&self) -> [u8; 8] {
        self.body.first_chunk().copied().unwrap_or_default()
    }

    /// The token, or zeros.
    pub fn token(&self) -> [u8; TOKEN_BYTES] {
        self.body[TOKEN_OFFSET..].first_chunk().copied().unwrap_or_default()
    }

    /// The tag, for a retry to echo.
    pub fn tag(&self) -> &[u8; TAG_BYTES] {
        &self.tag
    }

    /// The initiator's ephemeral key: unlike everything else in it, never the same twice.
    pub fn ephemeral(&self) -> [u8; 32] {
        self.body[NOISE_OFFSET..].first_chunk().copied().unwrap_or_default()
    }

    /// Reads the Noise message with the responder's keys.
    ///
    /// # Errors
    /// [`Refusal::BadNoise`]: another network, geometry or key, or a forgery.
    pub fn read(
        &self,
        network: &Network,
        local: &x25519::Secret,
        kem: &kem::Secret,
        ephemeral: &x25519::Secret,
    ) -> Result<Greeting, Refusal> {
        let ciphertext = self.body[CIPHERTEXT_OFFSET..].first_chunk().ok_or(Refusal::BadLength)?;
        let shared = kem.decapsulate(ciphertext).map_err(|_| Refusal::BadLength)?;
        let binding = Binding::new(ciphertext, self.kem_id(), local.public());
        let kem_keys = binding.keys(&shared);
        let prologue = binding.prologue(&network.genesis, &network.geometry_hash);
        let premise = Premise { local, prologue: &prologue, psk: &kem_keys.psk, ephemeral };
        let mut noise = premise.responder()?;
        let mut payload = [0; Hello::BYTES + TAG_BYTES];
        noise
            .read_message(&self.body[NOISE_OFFSET..INIT_BYTES], &mut payload)
            .map_err(|_| Refusal::BadNoise)?;
        let hello = Hello::decode(payload.first_chunk().ok_or(Refusal::BadLength)?)?;
        let remote = noise.get_remote_static().and_then(|key| key.first_chunk());
        let initiator = *remote.ok_or(Refusal::BadNoise)?;
        Ok(Greeting { noise, hello, initiator, response: kem_keys.response.sealer() })
    }
}

/// A first flight that was read and may be answered.
pub struct Greeting {
    noise: HandshakeState,
    /// What it said.
    pub hello: Hello,
    /// The initiator's link key. Until a datagram arrives under the new session this is a claim:
    /// the first flight may be a replay.
    pub initiator: [u8; 32],
    response: Sealer,
}

impl std::fmt::Debug for Greeting {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Greeting")
    }
}

impl Greeting {
    /// The answer, of `bytes` bytes and under number `sequence`, and the session it makes.
    ///
    /// # Errors
    /// [`Refusal::BadNoise`] if a key of the initiator is of low order.
    pub fn answer(
        mut self,
        welcome: &Welcome,
        sequence: u64,
        bytes: usize,
    ) -> Result<(Vec<u8>, Established), Refusal> {
        let mut body = [0; RESPONSE_BYTES];
        self.noise.write_message(&welcome.encode(), &mut body).map_err(|_| Refusal::BadNoise)?;
        let datagram = seal(&self.response, Flight::Response, sequence, &body, bytes);
        Ok((datagram, established(self.noise)?))
    }
}

/// A retry that answers the first flight with `tag`.
pub fn retry(
    key: &Sealer,
    tag: &[u8; TAG_BYTES],
    token: &[u8; TOKEN_BYTES],
    sequence: u64,
    bytes: usize,
) -> Vec<u8> {
    let mut body = [0; RETRY_BYTES];
    body[..TAG_BYTES].copy_from_slice(tag);
    body[TAG_BYTES..].copy_from_slice(token);
    seal(key, Flight::Retry, sequence, &body, bytes)
}

/// The tag that a retry echoes, and its token.
///
/// # Errors
/// [`Refusal::NotThisKey`] or [`Refusal::BadTag`].
pub fn open_retry(
    key: &Opener,
    datagram: &[u8],
) -> Result<([u8; TAG_BYTES], [u8; TOKEN_BYTES]), Refusal> {
    let body = open(key, datagram, Flight::Retry)?;
    let (tag, rest) = body.split_first_chunk().ok_or(Refusal::BadLength)?;
    Ok((*tag, *rest.first_chunk().ok_or(Refusal::BadLength)?))
}
