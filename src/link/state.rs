//! One link on the control side: which sessions it has, whether the peer lives, what comes next.
//!
//! Everything periodic hangs on the link's own dummies: they leave at random times whatever the
//! traffic, and at each the link looks at its counters. The only other timers are those of
//! handshakes and of keys that are to be erased.

use super::command::{Change, Life, PeerKind, ReceiveHalf, SendHalf};
use super::frame::Close;
use super::handshake::Established;
use super::initiator::Initiator;
use super::responder::Awaiting;
use super::station::{Action, Event, SILENCE_MAX, Station};
use super::{Generation, LinkIndex, Refusal};
use crate::clock::{Nanos, UnixMicros};
use std::net::SocketAddr;
use std::sync::Arc;

/// Dummies: the gap between two is uniform from the first to the second, so at least two a second.
const DUMMY_GAP: (Nanos, Nanos) = (Nanos::from_millis(250), Nanos::from_millis(500));
/// When new keys are asked for.
const REKEY_AGE: (Nanos, Nanos) = (Nanos::from_secs(100), Nanos::from_secs(140));
/// After how many datagrams in one direction new keys are asked for: at 10 Gbit/s after 79 s.
const REKEY_DATAGRAMS: u64 = 1 << 26;
/// How long a key seals.
const SEND_AGE_MAX: Nanos = Nanos::from_secs(240);
/// How long a key opens.
const RECEIVE_AGE_MAX: Nanos = Nanos::from_secs(250);
/// How long the keys before stay once the new ones have carried something.
const PREVIOUS_MAX: Nanos = Nanos::from_secs(3);
/// How long keys stay after the peer closed the link.
const CLOSED_MAX: Nanos = Nanos::from_secs(1);
/// How often a close is said, and the gap between two.
const CLOSES: u32 = 3;
const CLOSE_GAP: (Nanos, Nanos) = (Nanos::from_millis(20), Nanos::from_millis(60));

/// A session as the control side keeps it: no key, only what its timers need.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) generation: Generation,
    pub(super) hash: [u8; 32],
    life: Arc<Life>,
    born: Nanos,
    rekey_at: Nanos,
}

/// A new session and the halves that the workers get.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) session: Session,
    pub(super) receive: ReceiveHalf,
    pub(super) send: Box<SendHalf>,
}

impl Made {
    /// From a finished handshake.
    pub(super) fn new(
        established: &Established,
        initiated: bool,
        station: &mut Station,
        now: Nanos,
    ) -> Self {
        let transport = &established.transport;
        let (ours, theirs) = match initiated {
            true => (&transport.forth, &transport.back),
            false => (&transport.back, &transport.forth),
        };
        let (life, generation) = (Arc::new(Life::default()), station.generation());
        let receive = ReceiveHalf {
            generation,
            key: Arc::new(theirs.opener()),
            life: Arc::clone(&life),
            until: now + RECEIVE_AGE_MAX,
        };
        let send = SendHalf {
            key: ours.sealer(),
            life: Arc::clone(&life),
            sequence: 0,
            until: now + SEND_AGE_MAX,
        };
        let rekey_at = now + station.rng.between(REKEY_AGE.0, REKEY_AGE.1);
        let session = Session { generation, hash: established.hash, life, born: now, rekey_at };
        Made { session, receive, send: Box::new(send) }
    }
}

impl Session {
    fn silence(&self, now: Nanos) -> Nanos {
        now - self.life.heard().max(self.born)
    }

    /// Whether the peer has used it.
    pub(super) fn answered(&self) -> bool {
        self.life.received() > 0
    }

    fn rekey_due(&self, now: Nanos) -> bool {
        now >= self.rekey_at || self.life.sent().max(self.life.received()) >= REKEY_DATAGRAMS
    }

    /// When its receiving key ends.
    pub(super) fn end(&self) -> Nanos {
        self.born + RECEIVE_AGE_MAX
    }
}

/// Who starts the link's handshakes.
#[derive(Debug)]
pub(super) enum Side {
    /// We do.
    Initiator(Box<Initiator>),
    /// The peer does.
    Responder(Awaiting),
}

/// Whether a link outlives a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Gone,
    Unreachable,
}

#[derive(Debug)]
struct Closing {
    close: Close,
    left: u32,
    at: Nanos,
}

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) index: LinkIndex,
    pub(super) address: SocketAddr,
    pub(super) peer: PeerKind,
    /// The identity of a node.
    pub(super) id: Option<[u8; 32]>,
    /// The link key of a node, or of the client that holds the current session.
    pub(super) public: [u8; 32],
    pub(super) side: Side,
    pub(super) current: Option<Session>,
    pub(super) up: bool,
    /// When the session before the current one is erased.
    previous_until: Nanos,
    dummy_at: Nanos,
    /// When the keys of a link that the peer closed are erased.
    closed_at: Nanos,
    closing: Option<Closing>,
}

impl Link {
    /// A link without a session.
    pub(super) fn new(
        index: LinkIndex,
        address: SocketAddr,
        peer: PeerKind,
        public: [u8; 32],
        side: Side,
    ) -> Self {
        Link {
            index,
            address,
            peer,
            id: None,
            public,
            side,
            current: None,
            up: false,
            previous_until: Nanos::NEVER,
            dummy_at: Nanos::NEVER,
            closed_at: Nanos::NEVER,
            closing: None,
        }
    }

    /// When [`Link::step`] has something to do.
    pub(super) fn due(&self) -> Nanos {
        if let Some(closing) = &self.closing {
            return closing.at;
        }
        let side = match &self.side {
            Side::Initiator(initiator) => initiator.due(),
            Side::Responder(awaiting) => awaiting.due(),
        };
        side.min(self.previous_until).min(self.dummy_at).min(self.closed_at)
    }

    /// Does what is due.
    pub(super) fn step(&mut self, station: &mut Station, now: Nanos, wall: UnixMicros) -> Fate {
        if self.closing.is_some() {
            return self.step_closing(station, now);
        }
        if now >= self.closed_at {
            self.forget_closed(station);
            if self.peer == PeerKind::Client {
                return Fate::Gone;
            }
        }
        if now >= self.previous_until {
            self.forget_previous(station);
        }
        if now >= self.dummy_at && self.beat(station, now) == Fate::Gone {
            return Fate::Gone;
        }
        match &self.side {
            Side::Initiator(_) => self.step_initiator(station, now, wall),
            Side::Responder(_) => self.step_responder(station, now),
        }
    }

    /// What happens at each dummy: the dummy, and a look at the session.
    fn beat(&mut self, station: &mut Station, now: Nanos) -> Fate {
        self.dummy_at = Nanos::NEVER;
        let Some(current) = &self.current else { return Fate::Stays };
        let (age, silence) = (now - current.born, current.silence(now));
        if age >= RECEIVE_AGE_MAX {
            return self.forget_current(station);
        }
        if current.answered() {
            self.previous_until = self.previous_until.min(self.previous_limit(now));
        }
        let rekey_due = current.rekey_due(now);
        let dead = silence > self.silence_max(station);
        if dead && self.peer == PeerKind::Client {
            return Fate::Gone;
        }
        if let Side::Initiator(initiator) = &mut self.side {
            let newly_dead = dead && self.up;
            if newly_dead || (rekey_due && initiator.is_idle()) {
                initiator.start(now);
            }
        }
        self.set_up(!dead, station);
        if age < SEND_AGE_MAX {
            station.push(Action::Dummy(self.index));
        }
        self.dummy_after_gap(station, now);
        Fate::Stays
    }

    fn silence_max(&self, station: &Station) -> Nanos {
        match self.peer {
            PeerKind::Client => station.options.client_silence_max,
            PeerKind::Gateway => station.options.gateway_silence_max,
            PeerKind::Node => SILENCE_MAX,
        }
    }

    /// When a session before the current one ends, if there is one.
    fn previous_limit(&self, now: Nanos) -> Nanos {
        match self.previous_until {
            Nanos::NEVER => Nanos::NEVER,
            _ => now + PREVIOUS_MAX,
        }
    }

    pub(super) fn dummy_after_gap(&mut self, station: &mut Station, now: Nanos) {
        self.dummy_at = now + station.rng.between(DUMMY_GAP.0, DUMMY_GAP.1);
    }

    pub(super) fn set_up(&mut self, up: bool, station: &mut Station) {
        if up != self.up {
            self.up = up;
            let link = self.index;
            station.event(if up { Event::Up { link } } else { Event::Down { link } });
        }
    }

    /// Takes `session` as the current one; the workers are told by the caller.
    pub(super) fn adopt(
        &mut self,
        session: Session,
        previous_until: Nanos,
        station: &mut Station,
        now: Nanos,
    ) {
        self.current = Some(session);
        self.previous_until = previous_until;
        self.closed_at = Nanos::NEVER;
        self.dummy_after_gap(station, now);
    }

    /// When the session that a new one displaces is to be erased: the peer may still send under
    /// it, until it has seen the new one.
    pub(super) fn retire_after(&self, now: Nanos) -> Nanos {
        self.current.as_ref().map_or(Nanos::NEVER, |_| now + PREVIOUS_MAX)
    }

    /// The end of the session before the current one, if the current one is not demoted.
    pub(super) fn previous_until(&self) -> Nanos {
        self.previous_until
    }

    pub(super) fn forget_previous(&mut self, station: &mut Station) {
        self.previous_until = Nanos::NEVER;
        station.command(self.index, Change::ForgetPrevious);
    }

    /// The current session is too old: nobody has renewed it.
    fn forget_current(&mut self, station: &mut Station) -> Fate {
        self.current = None;
        station.command(self.index, Change::ForgetCurrent);
        self.set_up(false, station);
        match self.peer {
            PeerKind::Client => Fate::Gone,
            PeerKind::Node | PeerKind::Gateway => Fate::Stays,
        }
    }

    /// The peer has closed the session `generation`.
    pub(super) fn close_received(
        &mut self,
        generation: Generation,
        close: Close,
        station: &mut Station,
        now: Nanos,
    ) {
        let is_current = self.current.as_ref().is_some_and(|one| one.generation == generation);
        if !is_current || self.closing.is_some() || self.is_closed() {
            return;
        }
        self.closed_at = now + CLOSED_MAX;
        self.dummy_at = Nanos::NEVER;
        self.set_up(false, station);
        if let Side::Initiator(initiator) = &mut self.side {
            initiator.start_after(close.retry_after_s, now);
        }
    }

    /// Whether the peer has closed the link, and its keys are still there.
    pub(super) fn is_closed(&self) -> bool {
        self.closed_at < Nanos::NEVER
    }

    /// Erases what a closed link still had.
    pub(super) fn forget_closed(&mut self, station: &mut Station) {
        self.closed_at = Nanos::NEVER;
        self.previous_until = Nanos::NEVER;
        self.current = None;
        if let Side::Responder(awaiting) = &mut self.side {
            awaiting.clear();
        }
        station.command(self.index, Change::Forget);
    }

    /// Begins to say goodbye; the link is gone when it is said.
    pub(super) fn hang_up(&mut self, close: Close, station: &mut Station, now: Nanos) {
        if self.closing.is_none() {
            let left = if self.current.is_some() { CLOSES } else { 0 };
            self.closing = Some(Closing { close, left, at: now });
            self.set_up(false, station);
        }
    }

    fn step_closing(&mut self, station: &mut Station, now: Nanos) -> Fate {
        let Some(closing) = &mut self.closing else { return Fate::Stays };
        if now < closing.at {
            return Fate::Stays;
        }
        if closing.left == 0 {
            return Fate::Gone;
        }
        closing.left -= 1;
        closing.at = now + station.rng.between(CLOSE_GAP.0, CLOSE_GAP.1);
        station.push(Action::Close(self.index, closing.close));
        Fate::Stays
    }

    /// What a datagram from the peer's address that belongs to a handshake of ours does.
    ///
    /// # Errors
    /// [`Refusal::NotThisKey`] if it does not belong to one.
    pub(super) fn receive_answer(
        &mut self,
        datagram: &[u8],
        station: &mut Station,
        now: Nanos,
    ) -> Result<(), Refusal> {
        if self.closing.is_some() {
            return Err(Refusal::NotThisKey);
        }
        match &mut self.side {
            Side::Responder(_) => Err(Refusal::NotThisKey),
            Side::Initiator(initiator) => match initiator.answered(datagram, now) {
                Ok(None) => Ok(()),
                Ok(Some((established, welcome))) => {
                    self.complete(&established, &welcome, station, now);
                    Ok(())
                }
                Err(refusal) => Err(refusal),
            },
        }
    }

    /// Whether the link is being closed by us.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether somebody's first flight waits for its confirmation.
    pub(super) fn is_half_open(&self) -> bool {
        matches!(&self.side, Side::Responder(awaiting) if awaiting.is_half_open())
    }
}
