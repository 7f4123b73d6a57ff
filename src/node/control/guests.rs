//! Which clients have a session, for whoever guards the node's door.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use crate::link::LinkIndex;

/// What became of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// It has proved that it is at this address.
    Arrived(SocketAddr),
    /// Its session at this address is over.
    Gone(SocketAddr),
}

/// Who is there, and what has not been told yet.
#[derive(Debug, Default)]
pub(super) struct Guests {
    addresses: HashMap<LinkIndex, SocketAddr>,
    news: VecDeque<Guest>,
    /// Whether anybody asks; otherwise nothing is kept.
    wanted: bool,
}

impl Guests {
    /// From now on what happens is kept until it is told.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    pub(super) fn arrived(&mut self, link: LinkIndex, address: Option<SocketAddr>) {
        if let Some(address) = address.filter(|_| self.wanted) {
            // A link that begins to serve another client has been given up by the one before.
            if let Some(before) = self.addresses.insert(link, address) {
                self.news.push_back(Guest::Gone(before));
            }
            self.news.push_back(Guest::Arrived(address));
        }
    }

    pub(super) fn gone(&mut self, link: LinkIndex) {
        self.news.extend(self.addresses.remove(&link).map(Guest::Gone));
    }

    pub(super) fn tell(&mut self) -> Option<Guest> {
        self.news.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkIndex = LinkIndex(3);

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn told(guests: &mut Guests) -> Vec<Guest> {
        std::iter::from_fn(|| guests.tell()).collect()
    }

    #[test]
    fn a_client_is_told_once_when_it_comes_and_once_when_it_goes() {
        let mut guests = Guests::default();
        guests.want();
        guests.arrived(LINK, Some(at(1)));
        guests.gone(LINK);
        guests.gone(LINK);
        assert_eq!(told(&mut guests), [Guest::Arrived(at(1)), Guest::Gone(at(1))]);
    }

    #[test]
    fn the_address_before_goes_when_another_client_has_the_link() {
        let mut guests = Guests::default();
        guests.want();
        guests.arrived(LINK, Some(at(1)));
        guests.arrived(LINK, Some(at(2)));
        let expected = [Guest::Arrived(at(1)), Guest::Gone(at(1)), Guest::Arrived(at(2))];
        assert_eq!(told(&mut guests), expected);
    }

    #[test]
    fn nothing_is_kept_for_a_node_that_has_no_door() {
        let mut guests = Guests::default();
        guests.arrived(LINK, Some(at(1)));
        guests.gone(LINK);
        assert!(told(&mut guests).is_empty() && guests.addresses.is_empty());
    }
}
