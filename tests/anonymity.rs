//! What an observer can tell from times, numbers and order, in virtual time with fixed seeds.

#![cfg(test)] // also what is included may unwrap

#[path = "anonymity/pool.rs"]
mod pool;
#[path = "support/statistics.rs"]
#[allow(dead_code, reason = "each test uses its part of it")]
mod statistics;
