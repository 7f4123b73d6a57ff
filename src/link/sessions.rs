//! The data side: every link's sessions in one worker. Opens, seals, and keeps the control thread
//! from being disturbed; never allocates in doing so.

use super::command::Command;
use super::datagram::Opener;
use super::frame::{Frame, Sizes};
use super::gate::Buckets;
use super::handshake::{self, Flight};
use super::keys::Obfuscation;
use super::slot::Slot;
use super::{Capacity, Generation, LinkIndex, Network, Refusal};
use crate::clock::Nanos;
use std::collections::HashMap;
use std::net::SocketAddr;

/// Words of a node link's window: 8192 numbers, 9.6 ms of reordering at 10 Gbit/s.
const NODE_WINDOW_WORDS: usize = 129;
/// Words of a client link's window: 1024 numbers.
const CLIENT_WINDOW_WORDS: usize = 17;
/// First flights of a source without a link: two a second.
const STRANGER_INTERVAL: Nanos = Nanos::from_millis(500);

/// A session's datagram, opened.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// The link it came by.
    pub link: LinkIndex,
    /// The session it came by.
    pub generation: Generation,
    /// What it is.
    pub frame: Frame,
    /// Bytes of the body that mean something.
    pub length: usize,
    /// Whether this session waits for its confirmation: tell [`super::Links::confirmed`].
    pub unconfirmed: bool,
}

/// One worker's links.
#[derive(Debug)]
pub struct Sessions {
    sizes: Sizes,
    by_address: HashMap<SocketAddr, u32>,
    slots: Box<[Slot]>,
    /// Recognises first flights to this node.
    init: Option<Opener>,
    strangers: Buckets,
}

impl Sessions {
    /// Takes all memory at once. `link_public` is this node's own link key, by which first flights
    /// are recognised; a client has none.
    pub fn new(network: &Network, capacity: Capacity, link_public: Option<&[u8; 32]>) -> Self {
        let nodes = (0..capacity.nodes).map(|_| Slot::new(NODE_WINDOW_WORDS));
        let clients = (0..capacity.clients).map(|_| Slot::new(CLIENT_WINDOW_WORDS));
        let slots: Box<[Slot]> = nodes.chain(clients).collect();
        Sessions {
            sizes: network.sizes(),
            by_address: HashMap::with_capacity(2 * slots.len()),
            slots,
            init: link_public.map(|key| Obfuscation::of(key, &network.genesis).init.opener()),
            strangers: Buckets::new(),
        }
    }

    /// Carries out a command; all workers get all commands in one order.
    pub fn apply(&mut self, command: Command) {
        let Command { link, change } = command;
        let Some(slot) = self.slots.get_mut(link.0 as usize) else { return };
        let before = slot.address;
        slot.apply(change);
        if slot.address != before {
            if let Some(address) = before.filter(|at| self.by_address.get(at) == Some(&link.0)) {
                self.by_address.remove(&address);
            }
            if let Some(address) = slot.address {
                self.by_address.insert(address, link.0);
            }
        }
    }

    /// Decrypts a session's datagram from where it lies into the front of `body`, which has at
    /// least the datagram's size less 32. On an error `body` holds nothing of meaning; on
    /// [`Refusal::UnknownSource`] and [`Refusal::NotThisKey`] ask [`Sessions::gate`].
    ///
    /// # Errors
    /// Why it was turned away.
    pub fn open(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
        body: &mut [u8],
        now: Nanos,
    ) -> Result<Opened, Refusal> {
        if datagram.len() != self.sizes.datagram {
            return Err(Refusal::BadLength);
        }
        let body = body.get_mut(..self.sizes.body).ok_or(Refusal::BadLength)?;
        let index = *self.by_address.get(&canonical(source)).ok_or(Refusal::UnknownSource)?;
        let slot = self.slots.get_mut(index as usize).ok_or(Refusal::UnknownSource)?;
        let (link, opened) = (LinkIndex(index), slot.open(datagram, body, &self.sizes, now)?);
        Ok(Opened {
            link,
            generation: opened.generation,
            frame: opened.frame,
            length: opened.length,
            unconfirmed: opened.unconfirmed,
        })
    }

    /// Whether a datagram that is no session's may go up to the control thread: it answers a
    /// handshake of ours, or it is a first flight to us from a source that has a token left.
    ///
    /// # Errors
    /// Why not.
    pub fn gate(&mut self, source: SocketAddr, datagram: &[u8], now: Nanos) -> Result<(), Refusal> {
        if datagram.len() != self.sizes.datagram {
            return Err(Refusal::BadLength);
        }
        let source = canonical(source);
        let index = self.by_address.get(&source).copied();
        let mut slot = index.and_then(|index| self.slots.get_mut(index as usize));
        if let Some(slot) = &mut slot
            && slot.awaits(datagram, now)?
        {
            return Ok(());
        }
        let init = self.init.as_ref().ok_or(Refusal::NotThisKey)?;
        handshake::head(init, datagram, Flight::Init).ok_or(Refusal::NotThisKey)?;
        match slot {
            Some(slot) => slot.admit(now),
            None if self.strangers.take(source.ip(), STRANGER_INTERVAL, now) => Ok(()),
            None => Err(Refusal::RateLimited),
        }
    }

    /// Encrypts a frame into the front of `out`, which has at least a datagram's size, and says
    /// where to send it. What follows `body` up to the full size is zeros.
    ///
    /// # Errors
    /// [`Refusal::NoSession`] if this worker does not send on the link now,
    /// [`Refusal::KeyExpired`], or [`Refusal::BadLength`].
    pub fn seal(
        &mut self,
        link: LinkIndex,
        frame: Frame,
        body: &[u8],
        out: &mut [u8],
        now: Nanos,
    ) -> Result<SocketAddr, Refusal> {
        let out = out.get_mut(..self.sizes.datagram).ok_or(Refusal::BadLength)?;
        if !frame.fits(body.len(), &self.sizes) {
            return Err(Refusal::BadLength);
        }
        let slot = self.slots.get_mut(link.0 as usize).ok_or(Refusal::NoSession)?;
        slot.seal(frame, body, out, now)
    }
}

/// A source as the directory writes it: no IPv4 inside IPv6, no scope or flow.
pub(super) fn canonical(source: SocketAddr) -> SocketAddr {
    SocketAddr::new(source.ip().to_canonical(), source.port())
}
