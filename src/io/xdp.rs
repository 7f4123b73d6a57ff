//! The port over AF_XDP: whole frames in memory shared with the kernel, past its network stack.

pub mod hops;
pub mod resolver;
