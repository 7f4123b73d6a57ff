//! Primitives as safe facades over batches; no protocol.
//!
//! One backend per file below each facade, chosen once at run time; `serial` is the reference.

pub mod random;
pub mod sha256;
pub mod x25519;
pub mod blake2b;
pub mod chacha20;
pub mod aes_ctr;
pub mod lioness;
pub mod aead;
pub mod header;
pub mod kem;
