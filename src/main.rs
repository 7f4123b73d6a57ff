//! The `mixline` binary.

fn main() {}
