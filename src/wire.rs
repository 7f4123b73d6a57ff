//! Byte layouts of ethernet, IP and UDP.
