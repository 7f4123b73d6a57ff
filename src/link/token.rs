//! Tokens by which a loaded responder sees that a source address is true, without keeping state
//! (the idea of QUIC's Retry, RFC 9000, 8.1.2).

use super::handshake::TOKEN_BYTES;
use crate::clock::Nanos;
use crate::crypto::random::Rng;
use crate::crypto::sha256;
use std::net::SocketAddr;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// How long tokens are made under one secret; they are accepted for one such time more.
const ROTATION: Nanos = Nanos::from_secs(120);

/// The secrets of the tokens of now and of the time before.
pub(super) struct Tokens {
    current: Zeroizing<[u8; 32]>,
    previous: Zeroizing<[u8; 32]>,
    rotate_at: Option<Nanos>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Tokens")
    }
}

impl Tokens {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let (current, previous) = (Zeroizing::new(rng.bytes()), Zeroizing::new(rng.bytes()));
        Tokens { current, previous, rotate_at: None }
    }

    /// The token of `source`.
    pub(super) fn issue(
        &mut self,
        source: SocketAddr,
        rng: &mut Rng,
        now: Nanos,
    ) -> [u8; TOKEN_BYTES] {
        self.rotate(rng, now);
        token(&self.current, source)
    }

    /// Whether `offered` is a token of `source`, not too old.
    pub(super) fn accepts(
        &mut self,
        offered: &[u8; TOKEN_BYTES],
        source: SocketAddr,
        rng: &mut Rng,
        now: Nanos,
    ) -> bool {
        self.rotate(rng, now);
        let equal = |secret: &[u8; 32]| -> Choice { token(secret, source).ct_eq(offered) };
        (equal(&self.current) | equal(&self.previous)).into()
    }

    fn rotate(&mut self, rng: &mut Rng, now: Nanos) {
        let rotate_at = *self.rotate_at.get_or_insert(now + ROTATION);
        if now < rotate_at {
            return;
        }
        std::mem::swap(&mut self.current, &mut self.previous);
        *self.current = rng.bytes();
        if now >= rotate_at + ROTATION {
            *self.previous = rng.bytes();
        }
        self.rotate_at = Some(now + ROTATION);
    }
}

fn token(secret: &[u8; 32], source: SocketAddr) -> [u8; TOKEN_BYTES] {
    let address = match source.ip().to_canonical() {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped(),
        std::net::IpAddr::V6(address) => address,
    };
    let mac = sha256::hmac(secret, &[&address.octets(), &source.port().to_be_bytes()]);
    mac.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_serves_its_address_only_and_not_for_ever() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut tokens = Tokens::new(&mut rng);
        let here: SocketAddr = "192.0.2.1:9000".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:9000".parse().unwrap();
        let token = tokens.issue(here, &mut rng, Nanos::ZERO);
        let mut accepts = |source: &str, seconds| {
            let source = source.parse().unwrap();
            tokens.accepts(&token, source, &mut rng, Nanos::from_secs(seconds))
        };
        assert!(accepts("192.0.2.1:9000", 0));
        assert!(!accepts("192.0.2.1:9001", 0));
        assert!(!accepts("192.0.2.2:9000", 0));
        assert!(accepts("192.0.2.1:9000", 130));
        assert!(!accepts("192.0.2.1:9000", 260));
        assert_eq!(
            tokens.issue(here, &mut rng, Nanos::from_secs(261)),
            tokens.issue(mapped, &mut rng, Nanos::from_secs(261))
        );
    }

    #[test]
    fn after_a_long_sleep_no_old_token_is_left() {
        let mut rng = Rng::from_seed([2; 32]);
        let mut tokens = Tokens::new(&mut rng);
        let here: SocketAddr = "[2001:db8::1]:9000".parse().unwrap();
        let token = tokens.issue(here, &mut rng, Nanos::ZERO);
        assert!(!tokens.accepts(&token, here, &mut rng, Nanos::from_secs(1000)));
    }
}
