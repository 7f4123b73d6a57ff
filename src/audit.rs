//! Anonymity, measured: what an observer of a node's wires can still tell.
//!
//! Pure: an [`Observation`] goes in, [`Finding`]s come out; whoever ran the node, in virtual time
//! or on real ports, made the observation. Who built the packets knows which datagram in became
//! which datagram out; the node is never asked. `docs/anonymity.md` has every test with its closed
//! form, its bar and its source.

pub mod bursts;
mod classifier;
mod cores;
pub mod decoys;
pub mod delays;
pub mod entropy;
pub mod finding;
#[cfg(test)]
mod ideal;
pub mod live;
pub mod observation;
mod pairwise;
pub mod statistics;
pub mod uniformity;

pub use finding::{Bar, Finding, Test, Verdict};
pub use observation::{Arrival, Cut, Departure, Journey, Mark, Observation, Passage};

/// What the tests draw comes from this seed, so that an observation always has the same findings.
const SEED: [u8; 32] = [6; 32];

/// Tests T1 to T5 of `observation`. The same observation always gives the same findings.
///
/// # Panics
/// When a passage names an arrival or a departure that is not there.
pub fn judge(observation: &Observation) -> Vec<Finding> {
    let journeys = observation.journeys();
    let tests = [pairwise::judge, entropy::judge, delays::judge, bursts::judge, cores::judge];
    tests.iter().flat_map(|test| test(observation, &journeys)).collect()
}
