//! What the resolver knows: destinations, the way to each, and the machines they lead over.
//!
//! It asks nobody itself: it says which destination to ask the kernel about, takes the answer and
//! the kernel's events, and makes the table. A destination is here because the consensus names it
//! (*followed*) or because a port had a datagram for it (*wished for*). How many are wished for
//! is limited, and so is how many questions a second may be asked, whoever causes them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

use crate::clock::Nanos;
use crate::host::netlink::events::Event;
use crate::host::netlink::neighbours::Neighbour;
use crate::io::xdp::hops::Hops;

use super::contact::{Contact, Way};

/// A destination that is wished for is forgotten after this, whatever came of it: if a port still
/// needs it, the next datagram takes the kernel's socket and wishes again. So nothing need be
/// written on the packet path to tell what is unused.
const LEASE: Nanos = Nanos::from_secs(60);
/// A destination that is followed is asked about again after this: not every change is notified
/// (the length of packets that a path takes, for example).
pub(super) const REVIEW: Nanos = Nanos::from_secs(60);
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::host::netlink::events::Prefix;
    use crate::host::netlink::neighbours::NeighbourState;

    const LIMITS: Limits = Limits { wished_max: 3, questions_per_second: 100 };
    const OURS: u32 = 3;

    pub(in super::super) fn ip(last: u8) -> IpAddr {
        IpAddr::from([198, 18, 0, last])
    }

    pub(in super::super) fn far(last: u8) -> IpAddr {
        IpAddr::from([198, 19, 0, last])
    }

    pub(in super::super) fn neighbour(last: u8, state: NeighbourState) -> Neighbour {
        Neighbour { interface: OURS, address: ip(last), mac: Some([2, 0, 0, 0, 0, last]), state }
    }

    pub(in super::super) fn over(last: u8, state: Option<NeighbourState>) -> Answer {
        let (mac, source) = ([2, 0, 0, 0, 0, 1], ip(1));
        let way = Way { interface: OURS, next: ip(last), source, mac, vlan_tag: None };
        Some((way, state.map(|state| neighbour(last, state))))
    }

    pub(in super::super) const REACHABLE: Option<NeighbourState> = Some(NeighbourState::Reachable);

    /// A world in which time passes only here.
    pub(in super::super) struct World {
        destinations: Destinations,
        now: Nanos,
    }

    impl World {
        pub(in super::super) fn new() -> Self {
            let now = Nanos::from_secs(100);
            World { destinations: Destinations::new(LIMITS, now), now }
        }

        pub(in super::super) fn pass(&mut self, span: Nanos) {
            self.now = self.now + span;
            self.destinations.tick(self.now);
        }

        pub(in super::super) fn wish(&mut self, address: IpAddr) {
            self.destinations.wish(address, self.now);
        }

        pub(in super::super) fn follow(&mut self, addresses: &[IpAddr]) {
            self.destinations.follow(&addresses.iter().copied().collect(), self.now);
        }

        /// The questions of the next second, each answered at once if `answer` is given.
        fn turn(&mut self, answer: Option<Answer>) -> Vec<IpAddr> {
            let mut asked = vec![];
            for _ in 0..100 {
                self.pass(Nanos::from_millis(10));
                while let Some(address) = self.destinations.next_question(self.now) {
                    asked.push(address);
                    if let Some(answer) = answer {
                        self.destinations.answer(address, answer, self.now);
                    }
                }
            }
            asked
        }

        fn questions(&mut self) -> Vec<IpAddr> {
            self.turn(None)
        }

        /// Answers the questions of the next second, all in the same way; returns how many.
        pub(in super::super) fn answer(&mut self, answer: Answer) -> usize {
            self.turn(Some(answer)).len()
        }

        pub(in super::super) fn event(&mut self, event: &Event) {
            self.destinations.take(event);
        }

        pub(in super::super) fn table(&mut self) -> Option<Hops> {
            self.pass(TABLE_GAP);
            self.destinations.table(self.now)
        }
    }

    #[test]
    fn a_destination_that_is_wished_for_is_asked_about_once_and_gets_a_hop() {
        let mut world = World::new();
        (0..5).for_each(|_| world.wish(ip(2)));
        assert_eq!(world.questions(), [ip(2)]);
        assert!(world.table().is_none(), "nothing is known yet");
        world.destinations.answer(ip(2), over(2, REACHABLE), world.now);
        let table = world.table().unwrap();
        let hop = table.hop(&ip(2)).unwrap();
        assert_eq!(hop.ethernet.destination, [2, 0, 0, 0, 0, 2]);
        assert_eq!((hop.ethernet.source, hop.source), ([2, 0, 0, 0, 0, 1], ip(1)));
        assert!(!hop.take_stale());
        assert!(world.table().is_none(), "nothing has changed");
    }

    #[test]
    fn a_hop_appears_when_its_neighbour_answers_and_goes_when_it_fails() {
        let mut world = World::new();
        world.wish(ip(2));
        world.answer(over(2, None));
        assert!(world.table().unwrap().is_empty());
        world.event(&Event::Neighbour(neighbour(2, NeighbourState::Reachable)));
        assert_eq!(world.table().unwrap().len(), 1);
        world.event(&Event::Neighbour(neighbour(2, NeighbourState::Failed)));
        assert!(world.table().unwrap().is_empty());
        world.event(&Event::Neighbour(neighbour(2, NeighbourState::Probe)));
        assert_eq!(world.table().unwrap().len(), 1);
        world.event(&Event::NeighbourGone { interface: OURS, address: ip(2) });
        assert!(world.table().unwrap().is_empty());
    }

    #[test]
    fn neighbours_that_no_way_leads_over_leave_no_trace() {
        let mut world = World::new();
        for last in 0..=255 {
            world.event(&Event::Neighbour(neighbour(last, NeighbourState::Reachable)));
        }
        let other = Neighbour { interface: 7, ..neighbour(2, NeighbourState::Reachable) };
        world.event(&Event::Neighbour(other));
        assert!(world.table().is_none() && world.destinations.contacts.is_empty());
    }

    #[test]
    fn a_route_concerns_the_destinations_that_it_contains() {
        let mut world = World::new();
        world.follow(&[ip(2), far(1), far(2)]);
        world.answer(over(2, REACHABLE));
        world.event(&Event::Routes(Prefix::new(far(0), 24)));
        let mut asked = world.questions();
        asked.sort();
        assert_eq!(asked, [far(1), far(2)]);
    }

    #[test]
    fn links_addresses_and_overruns_concern_every_destination_once() {
        for event in [Event::Link(9), Event::Addresses(9), Event::Everything] {
            let mut world = World::new();
            world.follow(&[ip(2), far(1), far(2)]);
            world.answer(over(2, REACHABLE));
            (0..5).for_each(|_| world.event(&event));
            assert_eq!(world.questions().len(), 3, "{event:?}");
        }
    }

    #[test]
    fn a_hop_stays_until_the_answer_and_goes_when_there_is_no_way_any_more() {
        let mut world = World::new();
        world.wish(ip(2));
        world.answer(over(2, REACHABLE));
        assert_eq!(world.table().unwrap().len(), 1);
        world.event(&Event::Everything);
        assert!(world.table().is_none());
        world.answer(None);
        assert!(world.table().unwrap().is_empty());
        assert!(world.destinations.contacts.is_empty());
    }

    #[test]
    fn wishes_are_limited_and_forgotten_after_their_lease() {
        let mut world = World::new();
        (0..10).for_each(|last| world.wish(ip(last)));
        assert_eq!(world.destinations.refused(), 7);
        assert_eq!(world.answer(over(2, REACHABLE)), 3);
        assert_eq!(world.table().unwrap().len(), 3);
        world.pass(LEASE);
        assert!(world.table().unwrap().is_empty());
        world.wish(ip(9));
        assert_eq!(world.questions(), [ip(9)]);
    }

    #[test]
    fn a_wish_that_ended_unasked_leaves_no_question() {
        let mut world = World::new();
        for _ in 0..10 {
            (0..3).for_each(|last| world.wish(ip(last)));
            world.pass(LEASE);
        }
        assert!(world.destinations.waiting.is_empty());
        assert_eq!(world.destinations.wished, 0);
    }

    #[test]
    fn questions_are_no_more_than_allowed_and_peers_come_first() {
        let mut world = World::new();
        let limits = Limits { wished_max: 10_000, ..LIMITS };
        world.destinations = Destinations::new(limits, world.now);
        (0..5000u16).for_each(|number| {
            let [high, low] = number.to_be_bytes();
            world.wish(IpAddr::from([10, 0, high, low]));
        });
        world.follow(&[ip(2)]);
        let asked = world.questions();
        assert_eq!(asked[0], ip(2));
        // What of a hundredth of a second may come at once is one.
        assert!((100..=101).contains(&asked.len()), "{}", asked.len());
    }

    #[test]
    fn peers_have_room_beside_wishes_and_become_wishes_when_dismissed() {
        let mut world = World::new();
        (2..5).for_each(|last| world.wish(ip(last)));
        world.follow(&[ip(4), ip(5)]);
        assert_eq!(world.destinations.wished, 2);
        assert_eq!(world.answer(over(2, REACHABLE)), 4);
        world.pass(LEASE);
        world.answer(over(2, REACHABLE));
        assert_eq!(world.table().unwrap().len(), 2, "the wishes have ended");
        world.follow(&[ip(5)]);
        assert_eq!(world.destinations.wished, 1);
        world.pass(LEASE);
        world.answer(over(2, REACHABLE));
        assert_eq!(world.table().unwrap().len(), 1);
        assert_eq!(world.destinations.wished, 0);
    }

    #[test]
    fn it_sleeps_until_something_is_due() {
        let mut world = World::new();
        assert_eq!(world.destinations.deadline(), world.destinations.round_due);
        world.wish(ip(2));
        assert!(world.destinations.deadline() <= world.now, "a question");
        world.answer(over(2, REACHABLE));
        world.table().unwrap();
        world.event(&Event::Neighbour(neighbour(2, NeighbourState::Failed)));
        assert_eq!(world.destinations.deadline(), world.now + TABLE_GAP, "a table");
    }
}
