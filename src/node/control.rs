//! The control thread's work, one turn at a time: links, sessions, mailboxes, dummies.
//!
//! It never touches a packet on its way: it answers what workers pass up and tells them what to
//! do, by small messages. No I/O and no clock here either, so a whole network of nodes can run in
//! virtual time.

mod follow;
mod guests;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::{Nanos, UnixMicros};
use crate::cover::LoopCounts;
use crate::gateway::{self, Gateway, Outgoing};
use crate::link::{Action, Close, Event, Frame, LinkIndex, Links, Opened};
use crate::metrics::Counter;
use crate::replay::EpochKey;
use crate::route::content::{Receipt, ReplyBlock};
use crate::sphinx::geometry::HEADER_BYTES;
use crate::sphinx::{Geometry, NodeAddress};
use crate::store::StoreError;
use crate::worker::drops::Drops;
use crate::worker::rings::{Command, HandOff, Handshake, Inbox, Parcel, Upcall};
use crate::worker::roles::Roles;
use crate::worker::slab::{Slot, SlotCache};
use crate::worker::tables::Tables;

pub use follow::Update;
pub use guests::Guest;
use guests::Guests;

use super::OwnLoops;

/// Upcalls that one turn answers at most, so that timers are never late for long.
const UPCALLS_A_TURN: usize = 256;
/// Handshake datagrams that one turn answers at most: each costs up to 0.2 ms.
const HANDSHAKES_A_TURN: usize = 16;
/// Commands that wait for one worker at most; a worker that is that far behind is not alive.
const BACKLOG_COMMANDS_MAX: usize = 1 << 16;

/// One worker, seen from the control thread.
#[derive(Debug)]
struct Seat {
    commands: Arc<Inbox<Command>>,
    /// What did not fit the ring: a session's keys must not get lost.
    backlog: VecDeque<Command>,
}

/// What the control thread itself counts.
#[derive(Debug, Default)]
pub struct ControlCounts {
    /// Handshake datagrams refused, by reason.
    pub drops: Drops,
    /// Answers and frames not sent because packet memory or a worker's ring was full.
    pub unsent: Counter,
    /// Reply blocks that were no good, or not for this node.
    pub bad_replies: Counter,
}

impl ControlCounts {
    /// What it refused of its own, by reason.
    pub fn refused(&self) -> [(&'static str, u64); 2] {
        [("bad_replies", self.bad_replies.value()), ("unsent", self.unsent.value())]
    }
}

/// What the control thread is made of.
#[derive(Debug)]
pub struct Parts {
    /// This node.
    pub id: NodeAddress,
    /// All links, by their handshakes and timers.
    pub links: Links,
    /// The users' side, at a gateway.
    pub gateway: Option<Gateway>,
    /// What each worker does.
    pub roles: Roles,
    /// The rings into the workers, by number.
    pub workers: Vec<Arc<Inbox<Command>>>,
    /// The ring from the workers.
    pub upcalls: Arc<Inbox<Upcall>>,
    /// The ring for what strangers send.
    pub handshakes: Arc<Inbox<Handshake>>,
    /// Its share of the packet memory.
    pub slots: SlotCache,
    /// All sizes.
    pub geometry: Geometry,
    /// Links to neighbours: the first of all.
    pub neighbours: u32,
    /// The node's own loops.
    pub loops: OwnLoops,
    /// Neighbours that the consensus lists.
    pub peers: usize,
    /// What the workers read.
    pub tables: Arc<Tables>,
    /// The mix keys in it, by the numbers of their epochs.
    pub keys: Vec<(u64, Arc<EpochKey>)>,
}

/// The control side of a node.
#[derive(Debug)]
pub struct Control {
    id: NodeAddress,
    links: Links,
    gateway: Option<Gateway>,
    roles: Roles,
    seats: Vec<Seat>,
    upcalls: Arc<Inbox<Upcall>>,
    handshakes: Arc<Inbox<Handshake>>,
    slots: SlotCache,
    geometry: Geometry,
    counts: Arc<ControlCounts>,
    neighbours: u32,
    links_up: usize,
    loops: OwnLoops,
    guests: Guests,
    /// The worker that takes in the next of this node's own packets.
    next_worker: usize,
    peers: usize,
    degraded: bool,
    tables: Arc<Tables>,
    keys: Vec<(u64, Arc<EpochKey>)>,
    /// Tables that a worker may still read.
    retired: Vec<Arc<Tables>>,
}

impl Control {
    /// The control side made of `parts`.
    pub fn new(parts: Parts) -> Self {
        let Parts { id, links, gateway, workers, upcalls, handshakes, slots, .. } = parts;
        let Parts { roles, geometry, neighbours, loops, peers, tables, keys, .. } = parts;
        let seats = workers
            .into_iter()
            .map(|commands| Seat { commands, backlog: VecDeque::new() })
            .collect();
        Control {
            id,
            links,
            gateway,
            roles,
            seats,
            upcalls,
            handshakes,
            slots,
            geometry,
            counts: Arc::default(),
            neighbours,
            links_up: 0,
            loops,
            guests: Guests::default(),
            next_worker: 0,
            peers,
            degraded: false,
            tables,
            keys,
            retired: Vec::new(),
        }
    }

    /// One turn at `now`. Returns how much it found to do.
    pub fn turn(&mut self, now: Nanos, wall: UnixMicros) -> usize {
        let mut work = self.answer_upcalls(now, wall) + self.answer_handshakes(now, wall);
        self.links.tick(now, wall);
        if let Some(gateway) = &mut self.gateway {
            gateway.tick(now, wall);
        }
        work += self.carry_out_actions(now);
        work += self.send_for_gateway();
        work += self.send_loops(now);
        self.seats.iter_mut().for_each(Seat::catch_up);
        self.drop_retired_tables();
        work
    }

    /// When the next turn has something to do, if no worker calls before.
    pub fn next_deadline(&self, now: Nanos) -> Nanos {
        if self.seats.iter().any(|seat| !seat.backlog.is_empty()) {
            return now + Nanos::from_millis(1);
        }
        let gateway = self.gateway.as_ref().map_or(Nanos::NEVER, Gateway::next_deadline);
        self.links.next_deadline().min(gateway).min(self.loops.next_due())
    }

    /// Links to nodes that have a session.
    pub fn links_up(&self) -> usize {
        self.links_up
    }

    /// Gives every worker its own copy of what `command` makes.
    pub fn tell_workers(&mut self, command: impl Fn() -> Command) {
        self.seats.iter_mut().for_each(|seat| seat.give(command()));
    }

    /// Tells every neighbour and client that this node goes; some turns later it
    /// [`Control::is_closed`].
    pub fn close(&mut self, now: Nanos) {
        self.links.close_all(now);
        self.carry_out_actions(now);
    }

    /// Whether no link is left.
    pub fn is_closed(&self) -> bool {
        self.links.is_empty()
    }

    /// What the control thread counted.
    pub fn counts(&self) -> &Arc<ControlCounts> {
        &self.counts
    }

    /// What the gateway counted.
    pub fn gateway_counts(&self) -> Arc<gateway::Counts> {
        self.gateway.as_ref().map(|gateway| gateway.counts().clone()).unwrap_or_default()
    }

    /// Why this node cannot keep mailboxes any more, once.
    pub fn storage_failure(&mut self) -> Option<StoreError> {
        self.gateway.as_mut()?.failure()
    }

    /// From now on [`Control::next_guest`] tells which clients come and go.
    pub fn want_guests(&mut self) {
        self.guests.want();
    }

    /// The next client that has come or gone.
    pub fn next_guest(&mut self) -> Option<Guest> {
        self.guests.tell()
    }

    /// What came of the node's own loops.
    pub fn loop_counts(&self) -> LoopCounts {
        self.loops.counts()
    }

    /// Sends no loops any more: the node drains.
    pub fn end_loops(&mut self) {
        self.loops.end();
    }

    fn answer_upcalls(&mut self, now: Nanos, wall: UnixMicros) -> usize {
        for answered in 0..UPCALLS_A_TURN {
            let Some(upcall) = self.upcalls.pop() else { return answered };
            self.answer(upcall, now, wall);
        }
        UPCALLS_A_TURN
    }

    /// Answers as many strangers as the ring holds, at most once round.
    fn answer_handshakes(&mut self, now: Nanos, wall: UnixMicros) -> usize {
        self.links.press(self.handshakes.is_pressed());
        for answered in 0..HANDSHAKES_A_TURN {
            let Some(Handshake { source, slot }) = self.handshakes.pop() else { return answered };
            let datagram = &self.slots.slab().bytes(&slot)[..self.geometry.datagram_bytes()];
            if let Err(refusal) = self.links.receive(source, datagram, now, wall) {
                self.counts.drops.count(refusal);
            }
            self.slots.give(slot);
        }
        HANDSHAKES_A_TURN
    }

    fn answer(&mut self, upcall: Upcall, now: Nanos, wall: UnixMicros) {
        match upcall {
            Upcall::Confirmed { link, generation } => {
                self.links.confirmed(link, generation, now);
                // What this changes must be known before the link's next frame is looked at.
                self.carry_out_actions(now);
            }
            Upcall::Frame { opened, slot } => {
                self.answer_frame(opened, &slot, now, wall);
                self.slots.give(slot);
            }
            Upcall::Delivery { destination, identifier, slot } => {
                let payload =
                    &self.slots.slab().bytes(&slot)[HEADER_BYTES..self.geometry.packet_bytes()];
                if let Some(gateway) = &mut self.gateway {
                    gateway.deliver(&destination, identifier, payload, wall);
                }
                self.slots.give(slot);
            }
            Upcall::Loop(identifier) => self.loops.take(&identifier, now),
        }
    }

    fn answer_frame(&mut self, opened: Opened, slot: &Slot, now: Nanos, wall: UnixMicros) {
        let Opened { link, generation, frame, length, .. } = opened;
        let body = &self.slots.slab().bytes(slot)[..length];
        match frame {
            Frame::Close => {
                if let Ok(close) = Close::decode(body) {
                    self.links.closed(link, generation, close, now);
                    self.carry_out_actions(now);
                }
            }
            Frame::Control => {
                if let (Some(gateway), Some(session)) =
                    (&mut self.gateway, self.links.handshake_hash(link))
                {
                    gateway.control(link, &session, body, wall);
                }
            }
            _ => {}
        }
    }

    fn carry_out_actions(&mut self, now: Nanos) -> usize {
        let mut work = 0;
        while let Some(action) = self.links.poll() {
            work += 1;
            match action {
                Action::Send { to, datagram } => {
                    // Any port has the node's one address; the first that sends is as good as any.
                    let owner = self.roles.owners().start;
                    self.with_slot(owner, &datagram, |slot| Command::Datagram { to, slot });
                }
                Action::Worker(command) => self.change_session(command),
                // Clients get theirs by the gateway's schedule.
                Action::Dummy(link) if link.0 >= self.neighbours => {}
                Action::Dummy(link) => self.send_dummy(Command::Dummy(link), link),
                Action::Close(link, close) => {
                    self.seat_of(link).give(Command::Close(link, close));
                }
                Action::Event(event) => self.note(event, now),
            }
        }
        work
    }

    /// A dummy that would have to wait is worth nothing: only what must not get lost waits.
    fn send_dummy(&mut self, dummy: Command, link: LinkIndex) {
        let seat = self.seat_of(link);
        if seat.is_behind() {
            return self.counts.unsent.add(1);
        }
        seat.give(dummy);
    }

    /// The owner of the link gets the sending half, everybody else the receiving one only.
    fn change_session(&mut self, command: crate::link::Command) {
        let owner = self.roles.thread_of(command.link());
        for (number, seat) in self.seats.iter_mut().enumerate() {
            if number != owner {
                seat.give(Command::Session(command.for_others()));
            }
        }
        self.seats[owner].give(Command::Session(command));
    }

    fn note(&mut self, event: Event, now: Nanos) {
        match event {
            Event::Up { link } if link.0 < self.neighbours => self.links_up += 1,
            Event::Down { link } if link.0 < self.neighbours => self.links_up -= 1,
            Event::ClientArrived { link } => {
                self.guests.arrived(link, self.links.address_of(link));
                if let Some(gateway) = &mut self.gateway {
                    gateway.client_arrived(link, now);
                }
            }
            Event::Down { link } => {
                self.guests.gone(link);
                if let Some(gateway) = &mut self.gateway {
                    gateway.client_gone(link);
                }
            }
            _ => {}
        }
    }

    fn send_for_gateway(&mut self) -> usize {
        let mut work = 0;
        while let Some(outgoing) = self.gateway.as_mut().and_then(Gateway::poll) {
            work += 1;
            match outgoing {
                Outgoing::Frame { link, frame, body } => {
                    let (length, owner) = (body.len(), self.roles.thread_of(link));
                    let command = |slot| Command::Frame { link, frame, length, slot };
                    self.with_slot(owner, &body, command);
                }
                Outgoing::Dummy(link) => self.send_dummy(Command::ClientDummy(link), link),
                Outgoing::Reply(block, receipt) => self.release(*block, receipt),
            }
        }
        work
    }

    /// Puts the loops that are due into the node's own mix, like any packet.
    fn send_loops(&mut self, now: Nanos) -> usize {
        let mut work = 0;
        while self.loops.is_due(now) {
            work += 1;
            let Some(mut slot) = self.slots.take() else {
                self.counts.unsent.add(1);
                continue;
            };
            let departure = self.loops.build(self.slots.slab().bytes_mut(&mut slot));
            let link = departure.and_then(|of| self.links.index_of(&of.first_hop));
            match departure.zip(link.filter(|link| self.links.is_up(*link))) {
                None => self.slots.give(slot),
                Some((departure, link)) => {
                    self.loops.launch(&departure, now);
                    let parcel = Parcel { slot: Some(slot), link };
                    let handed = HandOff { due: now + departure.delay, parcel };
                    self.seat_of(link).give(Command::Packet(handed));
                }
            }
        }
        work
    }

    /// Makes the reply of a reply block and takes it in: the block's first hop is this node.
    fn release(&mut self, block: ReplyBlock, receipt: Receipt) {
        self.next_worker = (self.next_worker + 1) % self.roles.workers();
        if self.seats[self.next_worker].is_behind() {
            return self.counts.unsent.add(1);
        }
        let Some(mut slot) = self.slots.take() else { return self.counts.unsent.add(1) };
        let frame = &mut self.slots.slab().bytes_mut(&mut slot)[..self.geometry.frame_bytes()];
        let (packet, tail) = frame.split_at_mut(self.geometry.packet_bytes());
        tail.fill(0);
        tail[0] = block.epoch;
        if block.surb.reply(&receipt.encode(), packet) != Ok(self.id) {
            self.slots.give(slot);
            return self.counts.bad_replies.add(1);
        }
        self.seats[self.next_worker].give(Command::Arrival(slot));
    }

    /// Copies `bytes` into a slot and gives it to a worker in a command. When the worker is
    /// behind they are dropped, not kept: packet memory belongs to packets, and whoever waits for
    /// these bytes asks again.
    fn with_slot(&mut self, worker: usize, bytes: &[u8], command: impl FnOnce(Slot) -> Command) {
        let seat = &mut self.seats[worker];
        if seat.is_behind() {
            return self.counts.unsent.add(1);
        }
        let Some(mut slot) = self.slots.take() else { return self.counts.unsent.add(1) };
        self.slots.slab().bytes_mut(&mut slot)[..bytes.len()].copy_from_slice(bytes);
        seat.give(command(slot));
    }

    fn seat_of(&mut self, link: LinkIndex) -> &mut Seat {
        let owner = self.roles.thread_of(link);
        &mut self.seats[owner]
    }
}

impl Seat {
    fn give(&mut self, command: Command) {
        assert!(self.backlog.len() < BACKLOG_COMMANDS_MAX, "a worker does not move any more");
        self.backlog.push_back(command);
        self.catch_up();
    }

    /// Whether commands wait outside the ring, or the ring is full.
    fn is_behind(&self) -> bool {
        !self.backlog.is_empty() || self.commands.is_full()
    }

    fn catch_up(&mut self) {
        while let Some(command) = self.backlog.pop_front() {
            if let Err(command) = self.commands.push(command) {
                return self.backlog.push_front(command);
            }
        }
    }
}
