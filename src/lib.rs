//! mixline: a mix network node at line rate.
//!
//! The modules stand in the order a packet travels; a module imports only modules above it
//! (`tests/tidy.rs` holds the table, `docs/architecture.md` the reasons).

pub mod clock;
pub mod crypto;
pub mod host;
pub mod wire;
pub mod io;
pub mod link;
pub mod sphinx;
pub mod replay;
pub mod pool;
pub mod pki;
pub mod config;
pub mod network;
