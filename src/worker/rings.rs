//! What workers and the control thread say to each other: small messages over bounded rings.
//!
//! A packet travels in them as its slot. Every ring has a size chosen at start; what it turns away
//! comes back to the sender as a value.

use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::ring::{Consumer, Producer, ring};
use super::roles::Roles;
use super::slab::Slot;
use super::tables::Tables;
use crate::clock::Nanos;
use crate::io::wake::Waker;
use crate::link::{self, Close, Frame, Generation, LinkIndex, Opened};
use crate::sphinx::{Destination, Identifier};

/// What leaves by a link: a packet, or a dummy that must look like one.
#[derive(Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The packet, with its tail behind it; none for a dummy.
    pub slot: Option<Slot>,
    /// The link to its next hop.
    pub link: LinkIndex,
}

const _: () = assert!(size_of::<Parcel>() == 8, "a chunk of the pool is two cache lines");

/// A packet for the pool of the worker that owns its link.
#[derive(Debug, PartialEq, Eq)]
pub struct HandOff {
    /// When it may leave.
    pub due: Nanos,
    /// The packet.
    pub parcel: Parcel,
}

/// Packets that wait between one worker and one owner: what a worker unwraps in 16 ms.
pub const HAND_OFFS_MAX: u32 = 1024;

/// A worker's way to one of the owners.
#[derive(Debug)]
pub struct Outbound {
    ring: Producer<HandOff>,
    /// None where the worker is that owner.
    waker: Option<Waker>,
}

impl Outbound {
    /// Stages a packet for the owner.
    ///
    /// # Errors
    /// The packet itself, when the ring is full.
    pub(super) fn push(&mut self, handed: HandOff) -> Result<(), HandOff> {
        self.ring.push(handed)
    }

    /// Hands over what was staged, and wakes the owner if that is anything.
    pub(super) fn publish(&mut self) {
        if self.ring.publish()
            && let Some(waker) = &self.waker
        {
            waker.wake();
        }
    }
}

/// Both ends of the rings between workers and owners that one thread has.
#[derive(Debug, Default)]
pub struct HandOffs {
    /// To every owner, by number; empty for a thread that takes no packets in.
    pub to_owners: Vec<Outbound>,
    /// From every worker, by number; empty for a thread that owns no links.
    pub from_workers: Vec<Consumer<HandOff>>,
}

impl HandOffs {
    /// A ring from every worker to every owner, itself included: each thread's ends, by its
    /// number. `wakers` wake the threads, by number.
    pub fn between(roles: Roles, wakers: &[Waker]) -> Vec<Self> {
        let mut ends: Vec<_> = (0..roles.threads()).map(|_| HandOffs::default()).collect();
        for worker in 0..roles.workers() {
            for owner in roles.owners() {
                let (producer, consumer) = ring(HAND_OFFS_MAX);
                let waker = (worker != owner).then(|| wakers[owner].clone());
                ends[worker].to_owners.push(Outbound { ring: producer, waker });
                ends[owner].from_workers.push(consumer);
            }
        }
        ends
    }
}

/// What the control thread asks of a worker.
#[derive(Debug)]
pub enum Command {
    /// Use these tables from the next turn on.
    Tables(Arc<Tables>),
    /// Change a session.
    Session(link::Command),
    /// Send a dummy on a node's link, with the packets of the next tick.
    Dummy(LinkIndex),
    /// Send a dummy on a client's link, now: its schedule says when, for whatever is sent.
    ClientDummy(LinkIndex),
    /// Say goodbye on a link, now.
    Close(LinkIndex, Close),
    /// Send a ready datagram: a handshake's.
    Datagram {
        /// Where to.
        to: SocketAddr,
        /// The datagram.
        slot: Slot,
    },
    /// Seal a frame and send it, now.
    Frame {
        /// The link to seal it for.
        link: LinkIndex,
        /// What it is.
        frame: Frame,
        /// Bytes of its body.
        length: usize,
        /// Its body.
        slot: Slot,
    },
    /// Take in a packet that begins its way at this node, as if it had arrived: a reply.
    Arrival(Slot),
    /// Mix a packet that this node built.
    Packet(HandOff),
    /// Take in no more packets; those in the pool leave at their time.
    Drain,
}

impl Command {
    /// The command's slot, when nobody is there to carry it out.
    pub(super) fn into_slot(self) -> Option<Slot> {
        match self {
            Command::Datagram { slot, .. }
            | Command::Frame { slot, .. }
            | Command::Arrival(slot) => Some(slot),
            Command::Packet(handed) => handed.parcel.slot,
            _ => None,
        }
    }
}

/// A datagram of no session that may be a handshake's. It has a ring of its own to the control
/// thread, so that a flood of them keeps nothing else from getting there.
#[derive(Debug)]
pub struct Handshake {
    /// Where it came from.
    pub source: SocketAddr,
    /// The datagram.
    pub slot: Slot,
}

/// What a worker passes up to the control thread.
#[derive(Debug)]
pub enum Upcall {
    /// The first valid datagram under a key that was not yet confirmed.
    Confirmed {
        /// The link.
        link: LinkIndex,
        /// Which of its keys.
        generation: Generation,
    },
    /// A control, delivery or close frame.
    Frame {
        /// What it is, and how it came.
        opened: Opened,
        /// Its body.
        slot: Slot,
    },
    /// A packet whose last hop this gateway is.
    Delivery {
        /// The mailbox.
        destination: Destination,
        /// The reply block's, or the sender's random, identifier.
        identifier: Identifier,
        /// The packet; its payload stands behind the header.
        slot: Slot,
    },
    /// A loop of this node's own is back.
    Loop(Identifier),
}

impl Upcall {
    /// The message's slot, when nobody is there to take the message.
    ///
    /// # Panics
    /// For [`Upcall::Confirmed`] and [`Upcall::Loop`], which have none.
    pub(super) fn into_slot(self) -> Slot {
        match self {
            Upcall::Frame { slot, .. } | Upcall::Delivery { slot, .. } => slot,
            Upcall::Confirmed { .. } | Upcall::Loop(_) => unreachable!("it carries no slot"),
        }
    }
}

/// A bounded ring into one thread, which sleeps when all its rings are empty.
#[derive(Debug)]
pub struct Inbox<T> {
    ring: ArrayQueue<T>,
    waker: Waker,
}

impl<T> Inbox<T> {
    /// A ring for `capacity` messages to the thread that `waker` wakes.
    pub fn new(capacity: usize, waker: Waker) -> Arc<Self> {
        Arc::new(Inbox { ring: ArrayQueue::new(capacity), waker })
    }

    /// Puts a message in and wakes the receiver.
    ///
    /// # Errors
    /// The message itself, when the ring is full.
    pub fn push(&self, message: T) -> Result<(), T> {
        self.ring.push(message)?;
        self.waker.wake();
        Ok(())
    }

    /// The oldest message.
    pub fn pop(&self) -> Option<T> {
        self.ring.pop()
    }

    /// Whether more than a quarter of the ring waits: the receiver is behind.
    pub fn is_pressed(&self) -> bool {
        self.ring.len() > self.ring.capacity() / 4
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether the next message would be turned away.
    pub fn is_full(&self) -> bool {
        self.ring.is_full()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}
