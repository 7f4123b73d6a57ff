//! What an observer can tell from times, numbers and order, in virtual time with fixed seeds.

#![cfg(test)] // also what is included may unwrap

#[path = "support/endpoint.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod endpoint;
#[path = "anonymity/faults.rs"]
mod faults;
#[path = "anonymity/junction.rs"]
mod junction;
#[path = "anonymity/pool.rs"]
mod pool;
#[path = "support/testnet.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod testnet;
#[path = "anonymity/traffic.rs"]
mod traffic;
#[path = "anonymity/worker.rs"]
mod worker;
