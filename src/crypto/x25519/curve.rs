//! The curve v^2 = u^3 + A u^2 + u over the field of p = 2^255 - 19 (RFC 7748, section 4.1).

/// A.
pub(super) const A: u64 = 486_662;
/// p in words, the lowest first.
pub(super) const P: [u64; 4] = [u64::MAX - 18, u64::MAX, u64::MAX, u64::MAX >> 1];
