//! How many connections each source has: nobody may hold them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections of one source at a time. Each lasts for one request, so that the nodes of a
/// machine find room at the next try.
const SOURCE_MAX: usize = 8;

/// The connections of each source that has some.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(Arc<Mutex<HashMap<u128, usize>>>);

/// The place of one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    sources: Sources,
    key: u128,
}

impl Sources {
    /// A place for one more connection of `source`; none if it has its share.
    pub(super) fn place(&self, source: IpAddr) -> Option<Place> {
        let key = prefix(source);
        let mut counts = self.counts();
        let count = counts.entry(key).or_default();
        if *count >= SOURCE_MAX {
            return None;
        }
        *count += 1;
        Some(Place { sources: self.clone(), key })
    }

    /// The counts, right after each change; so they are after a panic.
    fn counts(&self) -> MutexGuard<'_, HashMap<u128, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sources.counts();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// The part of an address that one machine holds: IPv4 whole, IPv6 the first 64 bits.
fn prefix(source: IpAddr) -> u128 {
    match source.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_until_it_gives_a_place_back() {
        let sources = Sources::default();
        let source = |text: &str| text.parse::<IpAddr>().unwrap();
        let (one, same) = (source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        let mut places: Vec<_> = (0..8).map(|_| sources.place(one).unwrap()).collect();
        assert!(sources.place(same).is_none());
        assert!(sources.place(source("2001:db8:0:2::1")).is_some());
        drop(places.pop());
        let place = sources.place(same);
        assert!(place.is_some() && sources.place(one).is_none());
        drop((places, place));
        assert!(sources.counts().is_empty());
    }

    #[test]
    fn an_ipv4_address_is_the_same_source_in_both_spellings() {
        let sources = Sources::default();
        let spelled = |text: &str| sources.place(text.parse().unwrap());
        let places: Vec<_> = (0..8).map(|_| spelled("192.0.2.1")).collect();
        assert!(places.iter().all(Option::is_some) && spelled("::ffff:192.0.2.1").is_none());
        assert!(spelled("192.0.2.2").is_some());
    }
}
