//! Cover: traffic that is there whatever anybody has to say (Piotrowska et al., "The Loopix
//! Anonymity System", USENIX Security 2017).
//!
//! When something is sent is drawn here, from rates of the consensus and a generator, and from
//! nothing else. What is sent then is the caller's: something real, or a decoy from [`decoy`], an
//! ordinary packet that takes the ordinary way.

pub mod decoy;
mod loops;
mod schedule;

pub use loops::{LoopCounts, Loops};
pub use schedule::{Schedule, Stream};
