//! The replay filter: never two winners over all cores, nothing forgotten over a kill, key and
//! table dead together; and models of everything that cores share without a lock.
//!
//! `cargo test --release --test replay`. The models include the product's source files over the
//! model checker's atomics (`tests/replay/sync.rs`), so that exactly its lines are gone through.

#[path = "replay/canary.rs"]
mod canary;
#[path = "replay/depot.rs"]
mod depot;
#[path = "replay/fingerprints.rs"]
mod fingerprints;
#[path = "replay/folder.rs"]
mod folder;
#[path = "replay/kill.rs"]
mod kill;
#[path = "replay/memory.rs"]
mod memory;
#[path = "replay/race.rs"]
mod race;
#[path = "replay/ring.rs"]
mod ring;
#[path = "replay/sync.rs"]
mod sync;
#[path = "replay/tiers.rs"]
mod tiers;
