//! mixline: a mix network node at line rate.
//!
//! The modules stand in the order a packet travels; a module imports only modules above it
//! (`tests/tidy.rs` holds the table, `docs/architecture.md` the reasons).

mod sync; //        atomics and cells, as a model checker calls them
pub mod clock; //   time, and the only reader of a clock
pub mod crypto; //  primitives as facades over batches, and randomness
pub mod host; //    the machine below: cores, memory, limits
pub mod metrics; // counters with one writer each
pub mod wire; //    layouts of ethernet, IP, UDP
pub mod io; //      ports: a batch in, a batch out
pub mod link; //    sessions between neighbours
pub mod sphinx; //  the packet format
pub mod replay; //  seen tags of a key epoch, with its key
pub mod pool; //    the mix
pub mod pki; //     what the network agrees on
pub mod directory; // documents fetched and kept
pub mod route; //   paths, delays, packets built for them
pub mod cover; //   traffic whatever anybody has to say
pub mod message; // what users say to each other
pub mod worker; //  one core's turn: the packet's diary
pub mod store; //   mailboxes
pub mod gateway; // users in and out of the network
pub mod client; //  a user's end
pub mod http; //    a small server for those who ask
pub mod authority; // descriptors in, consensuses out
pub mod config; //  files to checked options
pub mod network; // a whole network's keys and documents
pub mod node; //    composition root
pub mod demo; //    a whole network on one machine
pub mod audit; //   anonymity, measured
pub mod cli; //     arguments to calls
