//! The side that answers first flights: cheapest checks first, nothing sent to who fails one.

use super::admission::{self, Rate, Seen, Sources};
use super::command::{Change, PeerKind, SendHalf};
use super::datagram::{Opener, Sealer};
use super::handshake::{self, Greeting, Init, Role, Welcome};
use super::keys::{self, Obfuscation};
use super::links::Links;
use super::state::{Fate, Link, Made, Session, Side};
use super::station::{Action, Event, Local, Station};
use super::token::Tokens;
use super::{Generation, LinkIndex, Refusal};
use crate::clock::{Nanos, UnixMicros};
use crate::crypto::kem;
use crate::crypto::random::Rng;
use crate::crypto::x25519;
use std::net::SocketAddr;
use std::sync::Arc;

/// How long a session waits for its first datagram.
const CONFIRMATION_MAX: Nanos = Nanos::from_secs(15);
/// Sessions that wait for their first datagram.
const HALF_OPEN_MAX: usize = 4096;
/// How many of them make us ask strangers for a token.
const HALF_OPEN_LOADED: usize = 1024;
/// When a client that finds no place may come back.
const FULL_RETRY_AFTER_S: u32 = 30;

/// What a node needs to answer first flights.
#[derive(Debug)]
pub(super) struct Responder {
    init: Opener,
    retry: Sealer,
    tokens: Tokens,
    rate: Rate,
    pub(super) seen: Seen,
    pub(super) sources: Sources,
    pub(super) pressed: bool,
}

impl Responder {
    /// For the node with the link key `public`.
    pub(super) fn new(public: &[u8; 32], genesis: &[u8; 32], rng: &mut Rng) -> Self {
        let obfuscation = Obfuscation::of(public, genesis);
        Responder {
            init: obfuscation.init.opener(),
            retry: obfuscation.retry.sealer(),
            tokens: Tokens::new(rng),
            rate: Rate::default(),
            seen: Seen::default(),
            sources: Sources::default(),
            pressed: false,
        }
    }
}

/// The responder's part of a link: the session that waits for its confirmation.
#[derive(Debug)]
pub(super) struct Awaiting {
    next: Option<Next>,
    /// The time in the last first flight that was accepted.
    time_accepted: UnixMicros,
}

/// A session that nothing was received under. Its sending half stays here: the workers cannot
/// send on what they do not have.
#[derive(Debug)]
struct Next {
    session: Session,
    send: Box<SendHalf>,
    initiator: [u8; 32],
    until: Nanos,
}

impl Awaiting {
    pub(super) fn new() -> Self {
        Awaiting { next: None, time_accepted: UnixMicros(0) }
    }

    pub(super) fn due(&self) -> Nanos {
        self.next.as_ref().map_or(Nanos::NEVER, |next| next.until)
    }

    pub(super) fn is_half_open(&self) -> bool {
        self.next.is_some()
    }

    pub(super) fn clear(&mut self) {
        self.next = None;
    }

    fn take(&mut self, generation: Generation) -> Option<Next> {
        self.next.take_if(|next| next.session.generation == generation)
    }
}

impl Link {
    /// Erases a session that was never confirmed.
    pub(super) fn step_responder(&mut self, station: &mut Station, now: Nanos) -> Fate {
        let Side::Responder(awaiting) = &mut self.side else { return Fate::Stays };
        if let Some(next) = awaiting.next.take_if(|next| now >= next.until) {
            let generation = next.session.generation;
            station.command(self.index, Change::ForgetNext { generation });
        }
        match (&self.current, awaiting.is_half_open(), self.peer) {
            (None, false, PeerKind::Client) => Fate::Gone,
            _ => Fate::Stays,
        }
    }

    /// A first flight was accepted: receive under its session, and wait.
    fn greet(
        &mut self,
        made: Made,
        (initiator, time): ([u8; 32], UnixMicros),
        station: &mut Station,
        now: Nanos,
    ) {
        if self.is_closed() {
            self.forget_closed(station);
        }
        let Side::Responder(awaiting) = &mut self.side else { return };
        let Made { session, receive, send } = made;
        let until = now + CONFIRMATION_MAX;
        awaiting.next = Some(Next { session, send, initiator, until });
        awaiting.time_accepted = time;
        let (address, peer) = (self.address, self.peer);
        station.command(self.index, Change::Next { address, peer, receive });
    }

    /// The first datagram arrived under the session `generation`: its peer holds the keys.
    pub(super) fn confirm(&mut self, generation: Generation, station: &mut Station, now: Nanos) {
        let Side::Responder(awaiting) = &mut self.side else { return };
        let Some(next) = awaiting.take(generation) else { return };
        let link = self.index;
        let same = next.initiator == self.public;
        if !same {
            self.set_up(false, station);
        }
        self.public = next.initiator;
        let renewed = self.up;
        station.command(link, Change::Promote { generation, send: Some(next.send) });
        self.adopt(next.session, self.retire_after(now), station, now);
        if !same {
            // Another client at the same address: what the one before sent is not from it.
            self.forget_previous(station);
        }
        match (self.peer, renewed) {
            (_, true) => station.event(Event::Renewed { link }),
            (PeerKind::Client, false) => {
                self.up = true;
                station.event(Event::ClientArrived { link });
            }
            _ => self.set_up(true, station),
        }
    }

    /// The time of the last first flight that was accepted; `None` if we are the one to send them.
    fn time_accepted(&self) -> Option<UnixMicros> {
        match &self.side {
            Side::Initiator(_) => None,
            Side::Responder(awaiting) => Some(awaiting.time_accepted),
        }
    }
}

impl Links {
    /// Answers a first flight, or says why not.
    pub(super) fn receive_init(
        &mut self,
        source: SocketAddr,
        datagram: &[u8],
        now: Nanos,
        wall: UnixMicros,
    ) -> Result<(), Refusal> {
        let responder = self.responder.as_ref().ok_or(Refusal::NotThisKey)?;
        let init = Init::open(&responder.init, datagram)?;
        self.check_source(source, &init, now)?;
        let greeting = self.read(&init)?;
        admission::timely(greeting.hello.time, wall)?;
        let station = &self.station;
        if station.options.unlisted && greeting.hello.time < station.started {
            return Err(Refusal::ClockSkew);
        }
        match greeting.hello.role {
            Role::Node => self.receive_node(source, greeting, now, wall),
            Role::Client => self.receive_client(source, (greeting, init.ephemeral()), now, wall),
        }
    }

    /// When loaded, lets only sources pass that have shown to be where they say they are.
    fn check_source(&mut self, source: SocketAddr, init: &Init, now: Nanos) -> Result<(), Refusal> {
        let stranger = self.link_at(source).is_none();
        let half_open = self.half_open;
        let Some(responder) = &mut self.responder else { return Err(Refusal::NotThisKey) };
        let station = &mut self.station;
        let loaded = responder.rate.exceeded(now)
            || responder.pressed
            || (stranger && half_open > HALF_OPEN_LOADED);
        if !loaded || responder.tokens.accepts(&init.token(), source, &mut station.rng, now) {
            return Ok(());
        }
        if !station.options.unlisted {
            let token = responder.tokens.issue(source, &mut station.rng, now);
            let (sequence, bytes) = (station.rng.next_u64(), station.network.datagram_bytes);
            let datagram = handshake::retry(&responder.retry, init.tag(), &token, sequence, bytes);
            station.push(Action::Send { to: source, datagram });
        }
        Err(Refusal::BadToken)
    }

    /// Reads a first flight with the KEM key that it names.
    fn read(&mut self, init: &Init) -> Result<Greeting, Refusal> {
        let station = &mut self.station;
        let Local::Node { link, kem, .. } = &station.local else {
            return Err(Refusal::NotThisKey);
        };
        let named = |key: &&Arc<kem::Secret>| keys::kem_id(key.public()) == init.kem_id();
        let kem = kem.iter().find(named).ok_or(Refusal::UnknownKemId)?;
        let ephemeral = x25519::Secret::random(&mut station.rng);
        init.read(&station.network, link, kem, &ephemeral)
    }

    /// A node: it must be in the directory with this key and address, and be the one to begin.
    fn receive_node(
        &mut self,
        source: SocketAddr,
        greeting: Greeting,
        now: Nanos,
        wall: UnixMicros,
    ) -> Result<(), Refusal> {
        let is_listed =
            |link: &&Link| link.peer == PeerKind::Node && link.public == greeting.initiator;
        let link = self.link_at(source).filter(is_listed).ok_or(Refusal::NotInDirectory)?;
        let accepted = link.time_accepted().ok_or(Refusal::WrongRole)?;
        admission::later(greeting.hello.time, accepted, wall)?;
        let (index, half_open) = (link.index, link.is_half_open());
        if link.is_closing() || (self.half_open >= HALF_OPEN_MAX && !half_open) {
            return Err(Refusal::TableFull);
        }
        let answer = self.answer(greeting, Welcome::OK, now, wall)?;
        self.accept(index, source, answer, now);
        Ok(())
    }

    /// A client: its first flight must be new, and there must be a place for it.
    fn receive_client(
        &mut self,
        source: SocketAddr,
        (greeting, ephemeral): (Greeting, [u8; 32]),
        now: Nanos,
        wall: UnixMicros,
    ) -> Result<(), Refusal> {
        let present = self.link_at(source).map(|link| (link.index, link.peer, link.is_closing()));
        if present.is_some_and(|(_, peer, _)| peer != PeerKind::Client) {
            return Err(Refusal::WrongRole);
        }
        if self.half_open >= HALF_OPEN_MAX || present.is_some_and(|(_, _, closing)| closing) {
            return Err(Refusal::TableFull);
        }
        let Some(responder) = &mut self.responder else { return Err(Refusal::NotThisKey) };
        responder.seen.insert(&ephemeral, now)?;
        let public = greeting.initiator;
        if let Some((index, _, _)) = present {
            let answer = self.answer(greeting, Welcome::OK, now, wall)?;
            self.accept(index, source, answer, now);
        } else if self.has_room_for_client() {
            let answer = self.answer(greeting, Welcome::OK, now, wall)?;
            let index = self.add_client(source, public)?;
            self.accept(index, source, answer, now);
        } else {
            let answer = self.answer(greeting, Welcome::FULL, now, wall)?;
            self.station.push(Action::Send { to: source, datagram: answer.datagram });
        }
        Ok(())
    }

    fn answer(
        &mut self,
        greeting: Greeting,
        status: u8,
        now: Nanos,
        wall: UnixMicros,
    ) -> Result<Answer, Refusal> {
        let station = &mut self.station;
        let idle = station.options.client_silence_max.as_duration().as_secs();
        let welcome = Welcome {
            time: wall,
            capabilities: 0,
            idle_timeout_s: u16::try_from(idle).unwrap_or(u16::MAX),
            rate_class: 0,
            status,
            retry_after_s: if status == Welcome::FULL { FULL_RETRY_AFTER_S } else { 0 },
        };
        let claim = (greeting.initiator, greeting.hello.time);
        let (sequence, bytes) = (station.rng.next_u64(), station.network.datagram_bytes);
        let (datagram, established) = greeting.answer(&welcome, sequence, bytes)?;
        let made = Made::new(&established, false, station, now);
        Ok(Answer { datagram, made, claim })
    }

    fn accept(&mut self, index: LinkIndex, to: SocketAddr, answer: Answer, now: Nanos) {
        let Answer { datagram, made, claim } = answer;
        self.with(index, |link, station| {
            link.greet(made, claim, station, now);
            station.push(Action::Send { to, datagram });
        });
    }
}

/// The answer to a first flight: the datagram, the session, and who claims to be its initiator
/// since when.
struct Answer {
    datagram: Vec<u8>,
    made: Made,
    claim: ([u8; 32], UnixMicros),
}
