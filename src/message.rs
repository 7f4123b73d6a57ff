//! Messages between users: what is inside a packet's payload, sealed to the recipient alone.

pub mod envelope;
