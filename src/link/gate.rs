//! Who may disturb the control thread: a token bucket for each source, in fixed memory.

use crate::clock::Nanos;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// First flights that a source may send at once.
const BURST: u64 = 5;
/// Sources that share a place in the table; the one that has waited longest gives way.
const WAYS: usize = 8;
/// Places in the table.
const SETS: usize = 512;

/// A token bucket as one instant: when it will be full again (the generic cell rate algorithm).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_at: Nanos,
}

impl Bucket {
    /// Takes a token, if there is one; they come back one an `interval`.
    pub(super) fn take(&mut self, interval: Nanos, now: Nanos) -> bool {
        let full_at = self.full_at.max(now) + interval;
        let allowed = full_at - now <= Nanos(interval.0.saturating_mul(BURST));
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }
}

/// Buckets of sources that no link knows: an IPv4 address, or a /56 of IPv6, each.
///
/// A flood from more sources than fit displaces buckets and so gets more through; what then
/// reaches the control thread is bounded by its ring and answered by retries.
#[derive(Debug)]
pub(super) struct Buckets {
    hasher: RandomState,
    entries: Box<[[(u64, Bucket); WAYS]]>,
}

impl Buckets {
    pub(super) fn new() -> Self {
        let entries = vec![[(0, Bucket::default()); WAYS]; SETS].into_boxed_slice();
        Buckets { hasher: RandomState::new(), entries }
    }

    /// Takes a token of the bucket of `source`.
    pub(super) fn take(&mut self, source: IpAddr, interval: Nanos, now: Nanos) -> bool {
        let key = self.hasher.hash_one(prefix(source));
        let set = usize::try_from(key % SETS as u64).unwrap_or(0);
        let entries = &mut self.entries[set];
        let known = entries.iter().position(|entry| entry.0 == key);
        let oldest = || {
            let order = |at: &usize| entries[*at].1.full_at;
            (0..WAYS).min_by_key(order).unwrap_or(0)
        };
        let at = known.unwrap_or_else(oldest);
        if known.is_none() {
            entries[at] = (key, Bucket::default());
        }
        entries[at].1.take(interval, now)
    }
}

/// The part of an address that one subscriber holds: IPv4 whole, IPv6 the first 56 bits.
pub(super) fn prefix(source: IpAddr) -> [u8; 16] {
    match source.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => (address.to_bits() >> 72 << 72).to_be_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const INTERVAL: Nanos = Nanos::from_millis(500);

    #[test]
    fn a_source_gets_a_burst_and_then_its_rate() {
        let mut buckets = Buckets::new();
        let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let mut taken = 0;
        for millisecond in 0..10_000 {
            taken += u32::from(buckets.take(source, INTERVAL, Nanos::from_millis(millisecond)));
        }
        assert_eq!(taken, 5 + 19);
    }

    #[test]
    fn sources_do_not_share_a_bucket_but_a_subscribers_addresses_do() {
        let mut buckets = Buckets::new();
        for host in 0..200 {
            let source = IpAddr::V4(Ipv4Addr::new(192, 0, 2, host));
            assert!(buckets.take(source, INTERVAL, Nanos::ZERO));
        }
        let allowed = (0..20u16)
            .map(|host| IpAddr::from([0x2001, 0xdb8, 0, host, 0, 0, 0, host]))
            .filter(|&source| buckets.take(source, INTERVAL, Nanos::ZERO));
        assert_eq!(allowed.count(), 5);
    }
}
