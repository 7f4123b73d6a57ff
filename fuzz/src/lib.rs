//! Fuzz targets, one for each boundary where somebody else's bytes come in.
//!
//! A target takes any bytes, asserts what must hold for all of them, and says whether they were
//! accepted. Where a signature or a MAC would stop every guess, it also goes in behind it: with
//! a key of its own it signs what the fuzzer thought of, or it changes a valid packet.
//!
//! The fuzzer calls the targets (`make fuzz`), and so does an ordinary test with the committed
//! corpora (`tests/fuzz_corpora.rs`).

pub mod client_socket;
pub mod configuration;
pub mod consensus;
pub mod control_frames;
pub mod deliveries;
pub mod envelope;
pub mod handshake;
pub mod link_open;
mod pair;
pub mod reassembly;
pub mod rings;
pub mod unwrap;
pub mod upload;
pub mod wire;

/// A boundary.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Whether it accepts an input; panics when what must hold does not.
    pub run: fn(&[u8]) -> bool,
    /// Inputs to start from, some of them acceptable.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "client_socket", run: client_socket::run, seeds: client_socket::seeds },
    Target { name: "configuration", run: configuration::run, seeds: configuration::seeds },
    Target { name: "consensus", run: consensus::run, seeds: consensus::seeds },
    Target { name: "control_frames", run: control_frames::run, seeds: control_frames::seeds },
    Target { name: "deliveries", run: deliveries::run, seeds: deliveries::seeds },
    Target { name: "envelope", run: envelope::run, seeds: envelope::seeds },
    Target { name: "handshake", run: handshake::run, seeds: handshake::seeds },
    Target { name: "link_open", run: link_open::run, seeds: link_open::seeds },
    Target { name: "reassembly", run: reassembly::run, seeds: reassembly::seeds },
    Target { name: "rings", run: rings::run, seeds: rings::seeds },
    Target { name: "unwrap", run: unwrap::run, seeds: unwrap::seeds },
    Target { name: "upload", run: upload::run, seeds: upload::seeds },
    Target { name: "wire", run: wire::run, seeds: wire::seeds },
];
