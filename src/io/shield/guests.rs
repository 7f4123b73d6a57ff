//! Who is not a stranger: the network's nodes, and clients with a session.
//!
//! The lists are in the kernel and nowhere else, so nothing can disagree. To be on one proves
//! nothing, since anybody can write any source address; it saves a datagram from the strangers'
//! budgets.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use libbpf_rs::{ErrorKind, MapCore as _, MapFlags, MapHandle};

use super::ShieldError;
use super::program::{Address, Program, endpoint, inside_ipv6};

/// A value, where only keys matter.
const PRESENT: &[u8] = &[1];

/// The lists of one shield; clones change the same lists.
#[derive(Clone, Debug)]
pub struct Guests {
    program: Arc<Program>,
}

impl Guests {
    pub(super) fn new(program: Arc<Program>) -> Self {
        Guests { program }
    }

    /// Makes `peers` the only addresses of peers. Who stays is never missing meanwhile: the new
    /// are added before the old are removed.
    ///
    /// # Errors
    /// [`ShieldError::Full`] when there are more than [`super::Settings::peers_max`].
    pub fn set_peers(&self, peers: impl IntoIterator<Item = IpAddr>) -> Result<(), ShieldError> {
        let wanted: HashSet<Address> = peers.into_iter().map(inside_ipv6).collect();
        let map = &self.program.peers;
        // The table holds two sets; the limit is that of one.
        let places = map.max_entries() / 2;
        if wanted.len() > places as usize {
            return Err(ShieldError::Full { guests: "peers", places });
        }
        for address in &wanted {
            map.update(address, PRESENT, MapFlags::ANY)
                .map_err(|error| ShieldError::refused("add a peer to the shield", error))?;
        }
        let present: Vec<Vec<u8>> = map.keys().collect();
        let gone = present.iter().filter(|address| !wanted.contains(address.as_slice()));
        gone.map(AsRef::as_ref).try_for_each(|address| remove(map, address))
    }

    /// Lets the client at `client` in from now on; nothing changes if it is.
    ///
    /// # Errors
    /// [`ShieldError::Full`] when all places are taken: the client stays a stranger.
    pub fn add_client(&self, client: SocketAddr) -> Result<(), ShieldError> {
        let map = &self.program.clients;
        map.update(&endpoint(client), PRESENT, MapFlags::ANY).map_err(|error| match error.kind() {
            ErrorKind::TooBig => ShieldError::Full { guests: "clients", places: map.max_entries() },
            _ => ShieldError::refused("add a client to the shield", error),
        })
    }

    /// Makes the client at `client` a stranger; nothing changes if it is.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove_client(&self, client: SocketAddr) -> Result<(), ShieldError> {
        remove(&self.program.clients, &endpoint(client))
    }
}

fn remove(map: &MapHandle, key: &[u8]) -> Result<(), ShieldError> {
    match map.delete(key) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(ShieldError::refused("remove a guest from the shield", error))
        }
        _ => Ok(()),
    }
}
