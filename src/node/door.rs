//! A node's door, where its packets go by AF_XDP: the shield in front of its queues, and who
//! knows the next hops behind it. The shield learns who is no stranger, the other one whom the
//! node will write to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::control::Guest;
use super::ports::PortsError;
use crate::io::shield::{Guests, Shield};
use crate::io::xdp::hops::HopsWriter;
use crate::io::xdp::resolver::{self, Resolver};

/// A door that is built; it opens when all privileges are gone, as nothing here needs one.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) shield: Shield,
    pub(super) hops: HopsWriter,
    pub(super) resolver: resolver::Options,
}

/// An open door.
#[derive(Debug)]
pub(super) struct Door {
    guests: Guests,
    resolver: Resolver,
    /// The program stays attached as long as this is there.
    shield: Arc<Shield>,
    /// Whether it has been said that a list is full.
    complained: bool,
}

impl Front {
    /// Lets `peers` in and begins to look for the ways to them.
    pub(super) fn open(self, peers: &[SocketAddr]) -> Result<Door, PortsError> {
        let mut door = Door {
            guests: self.shield.guests(),
            resolver: Resolver::start(self.resolver, self.hops)?,
            shield: Arc::new(self.shield),
            complained: false,
        };
        door.follow(peers);
        Ok(door)
    }
}

impl Door {
    /// What stands in front.
    pub(super) fn shield(&self) -> &Arc<Shield> {
        &self.shield
    }

    /// The nodes that packets are exchanged with from now on.
    pub(super) fn follow(&mut self, peers: &[SocketAddr]) {
        let addresses: Vec<IpAddr> = peers.iter().map(SocketAddr::ip).collect();
        self.resolver.follow(addresses.iter().copied());
        let set = self.guests.set_peers(addresses);
        self.complain(set);
    }

    /// What became of a client.
    pub(super) fn note(&mut self, guest: Guest) {
        let noted = match guest {
            Guest::Arrived(client) => self.guests.add_client(client),
            Guest::Gone(client) => self.guests.remove_client(client),
        };
        self.complain(noted);
    }

    /// Who finds no place is a stranger to the shield: slower to get in, not shut out. Said once,
    /// without who it is.
    fn complain<E: std::fmt::Display>(&mut self, result: Result<(), E>) {
        if let Err(error) = result
            && !std::mem::replace(&mut self.complained, true)
        {
            tracing::warn!("{error}: some count as strangers");
        }
    }
}
