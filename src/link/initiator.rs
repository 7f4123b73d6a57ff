//! The side that starts handshakes: between nodes the one with the smaller identity, and clients.

use super::command::{Change, PeerKind};
use super::handshake::{self, Draw, Established, Hello, Pending, Remote, TOKEN_BYTES, Welcome};
use super::state::{Fate, Link, Made, Side};
use super::station::{Action, Event, Local, Peer, Station};
use super::{LinkIndex, Refusal};
use crate::clock::{Nanos, UnixMicros};
use crate::crypto::x25519;
use std::net::SocketAddr;
use std::sync::Arc;

/// First flights that a client sends before it gives a gateway up.
const GATEWAY_TRIES: u32 = 6;
/// The longest pause between two first flights, in seconds.
const PAUSE_MAX_S: u64 = 16;
/// The longest time that a peer may tell us to stay away.
const RETRY_AFTER_MAX_S: u32 = 600;
/// How long a token is offered.
const TOKEN_AGE_MAX: Nanos = Nanos::from_secs(100);
/// How long the answer to a first flight is awaited.
const ANSWER_MAX: Nanos = Nanos::from_secs(15);
/// How far the time in a first flight may run ahead of a clock that was set back: less than the
/// responder tolerates.
const AHEAD_MAX: UnixMicros = UnixMicros::from_secs(100);

/// A handshake that we carry on until it succeeds.
#[derive(Debug)]
pub(super) struct Initiator {
    remote: Remote,
    kem_public: Arc<[u8]>,
    /// A client's key, thrown away with the link or when the gateway is found dead.
    own: Option<x25519::Secret>,
    /// First flights without an answer, the newest first.
    pending: [Option<Pending>; 2],
    tries: u32,
    init_at: Nanos,
    awaited_until: Nanos,
    token: Option<([u8; TOKEN_BYTES], Nanos)>,
    /// Whether the last first flight carried a token, or was answered by a retry: no second
    /// answer to a retry at once.
    retried: bool,
    time_sent: UnixMicros,
}

impl Initiator {
    /// The handshake with `peer`, to begin at `now`.
    pub(super) fn new(peer: &Peer, genesis: &[u8; 32], now: Nanos) -> Self {
        Initiator {
            remote: Remote::new(peer.link_public, &peer.kem_public, genesis),
            kem_public: Arc::clone(&peer.kem_public),
            own: None,
            pending: [None, None],
            tries: 0,
            init_at: now,
            awaited_until: Nanos::NEVER,
            token: None,
            retried: false,
            time_sent: UnixMicros(0),
        }
    }

    /// Takes the KEM key of another epoch for the next first flight.
    pub(super) fn update(&mut self, peer: &Peer, genesis: &[u8; 32]) {
        if self.kem_public != peer.kem_public {
            self.remote = Remote::new(peer.link_public, &peer.kem_public, genesis);
            self.kem_public = Arc::clone(&peer.kem_public);
        }
    }

    pub(super) fn due(&self) -> Nanos {
        self.init_at.min(self.awaited_until)
    }

    /// Whether no handshake is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.init_at == Nanos::NEVER
    }

    /// Begins a handshake.
    pub(super) fn start(&mut self, now: Nanos) {
        self.tries = 0;
        self.init_at = now;
    }

    /// Begins a handshake when the peer has asked us to come back.
    pub(super) fn start_after(&mut self, seconds: u32, now: Nanos) {
        self.start(now + Nanos::from_secs(u64::from(seconds.clamp(1, RETRY_AFTER_MAX_S))));
    }

    /// What `datagram` is to our first flights: a retry, or the answer that completes one.
    pub(super) fn answered(
        &mut self,
        datagram: &[u8],
        now: Nanos,
    ) -> Result<Option<(Established, Welcome)>, Refusal> {
        for place in 0..self.pending.len() {
            let Some(pending) = &self.pending[place] else { continue };
            match pending.open(datagram) {
                Err(Refusal::NotThisKey) => {}
                Err(refusal) => return Err(refusal),
                Ok(body) => return self.finish(place, &body).map(Some),
            }
        }
        self.retry(datagram, now).map(|()| None)
    }

    /// Completes a first flight. Those before it are done with; one after it goes on waiting,
    /// because the responder may know that one only.
    fn finish(&mut self, place: usize, body: &[u8]) -> Result<(Established, Welcome), Refusal> {
        let pending = self.pending[place].take().ok_or(Refusal::NotThisKey)?;
        self.pending[place..].iter_mut().for_each(|older| *older = None);
        pending.finish(body)
    }

    fn retry(&mut self, datagram: &[u8], now: Nanos) -> Result<(), Refusal> {
        let last = self.pending[0].as_ref().ok_or(Refusal::NotThisKey)?;
        let (echo, token) = handshake::open_retry(self.remote.retry_key(), datagram)?;
        if echo != *last.tag() {
            return Err(Refusal::BadRetry);
        }
        self.token = Some((token, now + TOKEN_AGE_MAX));
        if self.retried {
            return Err(Refusal::BadRetry);
        }
        self.retried = true;
        self.init_at = now;
        Ok(())
    }

    /// The time to claim: later than the last, even if the clock was set back a little, because
    /// the responder takes no first flight twice.
    fn time(&mut self, wall: UnixMicros) -> UnixMicros {
        let ahead = self.time_sent.0.saturating_sub(wall.0);
        let follows = self.time_sent >= wall && ahead <= AHEAD_MAX.0;
        self.time_sent = if follows { UnixMicros(self.time_sent.0 + 1) } else { wall };
        self.time_sent
    }

    /// Makes a first flight.
    fn flight(
        &mut self,
        station: &mut Station,
        now: Nanos,
        wall: UnixMicros,
    ) -> Result<(Vec<u8>, Pending), Refusal> {
        let token = self.token.filter(|token| now < token.1).map(|token| token.0);
        self.retried = token.is_some();
        let hello = Hello {
            time: self.time(wall),
            capabilities: 0,
            role: station.role(),
            rate_class: 0,
            admission: station.options.admission,
        };
        let draw = Draw::fresh(&self.kem_public, &mut station.rng)?;
        let local = match &station.local {
            Local::Node { link, .. } => link,
            Local::Client => {
                self.own.get_or_insert_with(|| x25519::Secret::random(&mut station.rng))
            }
        };
        let token = token.unwrap_or_default();
        handshake::initiate(&station.network, local, &self.remote, &token, &hello, &draw)
    }

    /// Sends a first flight and sets the time of the next one.
    fn send(
        &mut self,
        (link, address, peer): (LinkIndex, SocketAddr, PeerKind),
        station: &mut Station,
        now: Nanos,
        wall: UnixMicros,
    ) {
        let pause = PAUSE_MAX_S.min(1 << self.tries.min(10));
        self.tries = self.tries.saturating_add(1);
        self.init_at = now + station.about(pause);
        // A key in the directory that is none: ask again, until the directory has another.
        let Ok((datagram, pending)) = self.flight(station, now, wall) else { return };
        let response = Arc::clone(pending.response_key());
        let retry = Arc::clone(self.remote.retry_key());
        self.pending.swap(0, 1);
        self.pending[0] = Some(pending);
        self.awaited_until = now + ANSWER_MAX;
        station.command(link, Change::Await { address, peer, response, retry });
        station.push(Action::Send { to: address, datagram });
    }

    /// Stops waiting for answers that do not come.
    fn stop_waiting(&mut self, link: LinkIndex, station: &mut Station) {
        self.awaited_until = Nanos::NEVER;
        self.pending = [None, None];
        station.command(link, Change::ForgetAwaited);
    }
}

impl Link {
    /// Sends a first flight if one is due.
    pub(super) fn step_initiator(
        &mut self,
        station: &mut Station,
        now: Nanos,
        wall: UnixMicros,
    ) -> Fate {
        let Side::Initiator(initiator) = &mut self.side else { return Fate::Stays };
        if now >= initiator.init_at {
            let exhausted = initiator.tries >= GATEWAY_TRIES;
            if self.peer == PeerKind::Gateway && !self.up && exhausted {
                return Fate::Unreachable;
            }
            if !self.up {
                initiator.own = None;
            }
            initiator.send((self.index, self.address, self.peer), station, now, wall);
        }
        if now >= initiator.awaited_until {
            initiator.stop_waiting(self.index, station);
        }
        Fate::Stays
    }

    /// Our first flight was answered: send under the new session from now on.
    pub(super) fn complete(
        &mut self,
        established: &Established,
        welcome: &Welcome,
        station: &mut Station,
        now: Nanos,
    ) {
        let Side::Initiator(initiator) = &mut self.side else { return };
        let link = self.index;
        if welcome.status != Welcome::OK {
            let (status, retry_after_s) = (welcome.status, welcome.retry_after_s);
            initiator.start_after(retry_after_s, now);
            station.event(Event::Refused { link, status, retry_after_s });
            return;
        }
        initiator.init_at = Nanos::NEVER;
        let awaiting = initiator.pending[0].is_some();
        if !awaiting {
            initiator.awaited_until = Nanos::NEVER;
        }
        // A session that the peer never used may be one that it does not have: then the peer
        // still sends under the one before.
        let used = self.current.as_ref().filter(|session| session.answered());
        let previous_until = used.map_or(self.previous_until(), |session| session.end());
        let (demote, renewed) = (used.is_some(), self.up);
        let Made { session, receive, send } = Made::new(established, true, station, now);
        let send = Some(send);
        station.command(link, Change::Current { receive, send, demote, awaiting });
        station.push(Action::Dummy(link));
        self.adopt(session, previous_until, station, now);
        if renewed {
            station.event(Event::Renewed { link });
        }
        self.set_up(true, station);
    }
}
