//! What the resolver knows: destinations, the way to each, and the machines they lead over.
//!
//! It asks nobody itself: it says which destination to ask the kernel about, takes the answer and
//! the kernel's events, and makes the table. A destination is here because the consensus names it
//! (*followed*) or because a port had a datagram for it (*wished for*). How many are wished for
//! is limited, and so is how many questions a second may be asked, whoever causes them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use crate::clock::Nanos;
use crate::host::netlink::events::Event;
use crate::host::netlink::neighbours::{Neighbour, NeighbourState};
use crate::io::xdp::hops::{Hop, Hops};
use crate::wire::{Ethernet, Mac};

/// A destination that is wished for is forgotten after this, whatever came of it: if a port still
/// needs it, the next datagram takes the kernel's socket and wishes again. So nothing need be
/// written on the packet path to tell what is unused.
const LEASE: Nanos = Nanos::from_secs(60);
/// A destination that is followed is asked about again after this: not every change is notified
/// (the length of packets that a path takes, for example).
const REVIEW: Nanos = Nanos::from_secs(60);
/// So much of a second's questions may come at once.
const BURST: Nanos = Nanos::from_millis(10);
/// How often leases and reviews are looked at.
const ROUND: Nanos = Nanos::from_secs(1);
/// The shortest time between two tables: making one takes time in proportion to its length.
const TABLE_GAP: Nanos = Nanos::from_millis(10);

/// The limits of [`Destinations`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Destinations that are wished for.
    pub(super) wished_max: usize,
    /// Questions in a second; those of a hundredth of it may come at once.
    pub(super) questions_per_second: u32,
}

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

/// What the kernel said of a destination: the way, unless it leaves by another interface or not
/// at all, and what is known of the machine it goes to first.
pub(super) type Answer = Option<(Way, Option<Neighbour>)>;

#[derive(Debug)]
struct Destination {
    is_followed: bool,
    /// When it is asked about again, or forgotten.
    until: Nanos,
    /// Whether it is in the queue of questions.
    is_waiting: bool,
    way: Option<Way>,
}

/// A machine on the link that ways lead over.
#[derive(Debug, Default)]
struct Contact {
    mac: Option<Mac>,
    state: Option<NeighbourState>,
    /// One for each of our addresses that is used on the way there.
    hops: Vec<Arc<Hop>>,
}

/// Destinations, their ways, and the machines they lead over.
#[derive(Debug)]
pub(super) struct Destinations {
    limits: Limits,
    known: HashMap<IpAddr, Destination>,
    wished: usize,
    contacts: HashMap<(u32, IpAddr), Contact>,
    waiting: VecDeque<IpAddr>,
    /// When the next question may be asked.
    question_due: Nanos,
    round_due: Nanos,
    table_due: Nanos,
    /// Whether the last table made is no longer right.
    has_changed: bool,
    refused: u64,
}

impl Destinations {
    pub(super) fn new(limits: Limits, now: Nanos) -> Self {
        Destinations {
            limits,
            known: HashMap::new(),
            wished: 0,
            contacts: HashMap::new(),
            waiting: VecDeque::new(),
            question_due: now,
            round_due: now + ROUND,
            table_due: now,
            has_changed: false,
            refused: 0,
        }
    }

    /// Follows exactly `addresses`; those followed before end like those wished for.
    pub(super) fn follow(&mut self, addresses: &HashSet<IpAddr>, now: Nanos) {
        for (address, destination) in &mut self.known {
            if destination.is_followed && !addresses.contains(address) {
                destination.is_followed = false;
                destination.until = now + LEASE;
                self.wished += 1;
            }
        }
        for address in addresses {
            match self.known.get_mut(address) {
                Some(known) if known.is_followed => {}
                Some(known) => {
                    known.is_followed = true;
                    self.wished -= 1;
                }
                None => self.add(*address, true, Nanos::NEVER),
            }
        }
    }

    /// Adds `address`, for which a port had a datagram; counts it when there is no room.
    pub(super) fn wish(&mut self, address: IpAddr, now: Nanos) {
        if self.known.contains_key(&address) {
            return;
        }
        if self.wished >= self.limits.wished_max {
            self.refused += 1;
            return;
        }
        self.wished += 1;
        self.add(address, false, now + LEASE);
    }

    fn add(&mut self, address: IpAddr, is_followed: bool, until: Nanos) {
        let destination = Destination { is_followed, until, is_waiting: false, way: None };
        let destination = self.known.entry(address).insert_entry(destination).into_mut();
        queue(&mut self.waiting, address, destination);
    }

    /// Takes what the kernel noticed.
    pub(super) fn take(&mut self, event: &Event) {
        match event {
            Event::Neighbour(neighbour) => {
                let place = (neighbour.interface, neighbour.address);
                self.update(place, Some(*neighbour), false);
            }
            Event::NeighbourGone { interface, address } => {
                self.update((*interface, *address), None, false);
            }
            Event::Routes(prefix) => self.ask_about(|address| prefix.contains(address)),
            // When a link goes down, IPv4 forgets its routes and does not say which. So any link
            // and any address may concern any destination.
            Event::Link(_) | Event::Addresses(_) | Event::Everything => self.ask_about(|_| true),
        }
    }

    /// Queues questions, each once; the followed first. What is known stays until the answer.
    fn ask_about(&mut self, which: impl Fn(IpAddr) -> bool) {
        for (address, destination) in &mut self.known {
            if which(*address) {
                queue(&mut self.waiting, *address, destination);
            }
        }
    }

    /// The destination to ask the kernel about now, if one may be asked about.
    pub(super) fn next_question(&mut self, now: Nanos) -> Option<IpAddr> {
        while now >= self.question_due {
            let address = self.waiting.pop_front()?;
            let Some(destination) = self.known.get_mut(&address) else { continue };
            destination.is_waiting = false;
            let per_second = u64::from(self.limits.questions_per_second.max(1));
            let gap = Nanos(1_000_000_000 / per_second);
            self.question_due = self.question_due.max(now - BURST) + gap;
            return Some(address);
        }
        None
    }

    /// Takes the kernel's answer to the question about `address`.
    pub(super) fn answer(&mut self, address: IpAddr, answer: Answer, now: Nanos) {
        let Some(destination) = self.known.get_mut(&address) else { return };
        if destination.is_followed {
            destination.until = now + REVIEW;
        }
        let way = answer.map(|(way, _)| way);
        self.has_changed |= destination.way != way;
        destination.way = way;
        if let Some((way, neighbour)) = answer {
            let place = (way.interface, way.next);
            self.contacts.entry(place).or_default();
            self.update(place, neighbour, true);
        }
    }

    /// What is known of the machine at `place` is now `neighbour`.
    fn update(&mut self, place: (u32, IpAddr), neighbour: Option<Neighbour>, was_asked: bool) {
        if let Some(contact) = self.contacts.get_mut(&place) {
            self.has_changed |= contact.update(neighbour, was_asked);
        }
    }

    /// Ends leases and begins reviews that are due.
    pub(super) fn tick(&mut self, now: Nanos) {
        if now < self.round_due {
            return;
        }
        self.round_due = now + ROUND;
        for (address, destination) in &mut self.known {
            if destination.is_followed && destination.until <= now {
                queue(&mut self.waiting, *address, destination);
            }
        }
        let before = self.known.len();
        self.known.retain(|_, destination| destination.is_followed || destination.until > now);
        let ended = before - self.known.len();
        if ended > 0 {
            self.wished -= ended;
            self.waiting.retain(|address| self.known.contains_key(address));
            self.has_changed = true;
        }
    }

    /// The new table, if the last one is no longer right and old enough.
    pub(super) fn table(&mut self, now: Nanos) -> Option<Hops> {
        if !self.has_changed || now < self.table_due {
            return None;
        }
        self.has_changed = false;
        self.table_due = now + TABLE_GAP;
        let used: HashSet<_> =
            ways(&self.known).map(|(_, way)| (way.interface, way.next)).collect();
        self.contacts.retain(|place, _| used.contains(place));
        let Destinations { known, contacts, .. } = self;
        let hops = ways(known).filter_map(|(address, way)| {
            let contact = contacts.get_mut(&(way.interface, way.next))?;
            Some((address, contact.hop(way)?))
        });
        Some(hops.collect())
    }

    /// When to come back, if nothing happens before.
    pub(super) fn deadline(&self) -> Nanos {
        let question = if self.waiting.is_empty() { Nanos::NEVER } else { self.question_due };
        let table = if self.has_changed { self.table_due } else { Nanos::NEVER };
        self.round_due.min(question).min(table)
    }

    /// Wishes that found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

impl Contact {
    /// Whether it has another ethernet address now, or none any more. A stale one is marked when
    /// it becomes so, and when the kernel, asked again, still says so.
    fn update(&mut self, neighbour: Option<Neighbour>, was_asked: bool) -> bool {
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
    fn hop(&mut self, way: Way) -> Option<Arc<Hop>> {
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

/// Queues the question about one destination, once; the followed come first.
fn queue(waiting: &mut VecDeque<IpAddr>, address: IpAddr, destination: &mut Destination) {
    if std::mem::replace(&mut destination.is_waiting, true) {
        return;
    }
    if destination.is_followed {
        waiting.push_front(address);
    } else {
        waiting.push_back(address);
    }
}

fn ways(known: &HashMap<IpAddr, Destination>) -> impl Iterator<Item = (IpAddr, Way)> {
    known.iter().filter_map(|(address, destination)| Some((*address, destination.way?)))
}
