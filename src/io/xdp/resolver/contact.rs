//! A machine on the link: the ways that lead over it share what is known of it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::host::netlink::neighbours::{Neighbour, NeighbourState};
use crate::io::xdp::hops::Hop;
use crate::wire::{Ethernet, Mac};

/// How packets to a destination leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Our interface, or the VLAN above it, as the kernel numbers neighbours.
    pub(super) interface: u32,
    /// The machine on the link that they go to first.
    pub(super) next: IpAddr,
    /// Our address on the way.
    pub(super) source: IpAddr,
    /// Our ethernet address there.
    pub(super) mac: Mac,
    /// The VLAN.
    pub(super) vlan_tag: Option<u16>,
}

/// A machine on the link that ways lead over.
#[derive(Debug, Default)]
pub(super) struct Contact {
    mac: Option<Mac>,
    state: Option<NeighbourState>,
    /// One for each of our addresses that is used on the way there.
    hops: Vec<Arc<Hop>>,
}

impl Contact {
    /// Whether it has another ethernet address now, or none any more. A stale one is marked when
    /// it becomes so, and when the kernel, asked again, still says so.
    pub(super) fn update(&mut self, neighbour: Option<Neighbour>, was_asked: bool) -> bool {
        let mac = neighbour.and_then(|neighbour| neighbour.reachable_at());
        let state = neighbour.map(|neighbour| neighbour.state);
        let is_news = was_asked || self.state != state;
        let has_moved = self.mac != mac;
        if has_moved {
            self.hops.clear();
        }
        (self.mac, self.state) = (mac, state);
        if state == Some(NeighbourState::Stale) && is_news {
            self.hops.iter().for_each(|hop| hop.mark_stale());
        }
        has_moved
    }

    /// The hop of a way over it: the one that there was, with its mark, or a new one.
    pub(super) fn hop(&mut self, way: Way) -> Option<Arc<Hop>> {
        let (source, vlan_tag) = (way.mac, way.vlan_tag);
        let ethernet = Ethernet { destination: self.mac?, source, vlan_tag };
        let is_same = |hop: &&Arc<Hop>| hop.ethernet == ethernet && hop.source == way.source;
        if let Some(hop) = self.hops.iter().find(is_same) {
            return Some(hop.clone());
        }
        let hop = Arc::new(Hop::new(ethernet, way.source));
        if self.state == Some(NeighbourState::Stale) {
            hop.mark_stale();
        }
        self.hops.push(hop.clone());
        Some(hop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::events::Event;
    use crate::io::xdp::resolver::destinations::REVIEW;
    use crate::io::xdp::resolver::destinations::tests::{
        REACHABLE, World, far, ip, neighbour, over,
    };

    #[test]
    fn destinations_behind_one_gateway_share_its_hop_and_its_mark() {
        let mut world = World::new();
        (1..=3).for_each(|last| world.wish(far(last)));
        assert_eq!(world.answer(over(2, REACHABLE)), 3);
        let table = world.table().unwrap();
        world.event(&Event::Neighbour(neighbour(2, NeighbourState::Stale)));
        world.event(&Event::Neighbour(neighbour(2, NeighbourState::Stale)));
        assert!(world.table().is_none(), "a mark is no new table");
        assert!(table.hop(&far(1)).unwrap().take_stale());
        assert!((1..=3).all(|last| !table.hop(&far(last)).unwrap().take_stale()));
    }

    #[test]
    fn a_mark_outlives_the_table_that_it_was_made_in() {
        let mut world = World::new();
        world.wish(ip(2));
        world.answer(over(2, Some(NeighbourState::Stale)));
        assert_eq!(world.table().unwrap().len(), 1);
        world.wish(ip(3));
        world.answer(over(3, REACHABLE));
        let table = world.table().unwrap();
        assert!(table.hop(&ip(2)).unwrap().take_stale());
        assert!(!table.hop(&ip(3)).unwrap().take_stale());
    }

    #[test]
    fn a_neighbour_that_is_still_stale_when_asked_again_is_marked_again() {
        let mut world = World::new();
        world.follow(&[ip(2)]);
        world.answer(over(2, Some(NeighbourState::Stale)));
        let table = world.table().unwrap();
        assert!(table.hop(&ip(2)).unwrap().take_stale());
        world.pass(REVIEW);
        assert_eq!(world.answer(over(2, Some(NeighbourState::Stale))), 1);
        assert!(table.hop(&ip(2)).unwrap().take_stale());
    }

    #[test]
    fn a_neighbour_that_moved_gets_another_hop() {
        let mut world = World::new();
        world.wish(ip(2));
        world.answer(over(2, REACHABLE));
        world.table().unwrap();
        let moved = Neighbour { mac: Some([6; 6]), ..neighbour(2, NeighbourState::Reachable) };
        world.event(&Event::Neighbour(moved));
        let table = world.table().unwrap();
        assert_eq!(table.hop(&ip(2)).unwrap().ethernet.destination, [6; 6]);
    }
}
