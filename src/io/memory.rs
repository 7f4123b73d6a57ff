//! A network inside the process, in virtual time, with seeded loss, duplication and delay.
//!
//! Same seed and same calls, same run. Time stands still until [`Network::advance`]; what takes
//! longer is overtaken, so delay is also what reorders. Every datagram is accounted for:
//! `sent + injected + duplicated = lost + unreachable + overflowed + delivered + in flight`.

use super::{BATCH, OpenError, Port, PortCounters, Unsent, normalised};
use crate::clock::Nanos;
use crate::crypto::random::Rng;
use arrayvec::ArrayVec;
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the network does to datagrams.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that a datagram that is not lost arrives twice, each copy after its own delay.
    pub duplicate: f64,
    /// The shortest time a datagram takes.
    pub delay_min: Nanos,
    /// The longest; between the two, every time is equally likely.
    pub delay_max: Nanos,
    /// How many datagrams can wait at one port before more overflow.
    pub queue_max: usize,
}

impl Default for Conditions {
    /// Loses nothing, takes no time.
    fn default() -> Self {
        Conditions {
            loss: 0.0,
            duplicate: 0.0,
            delay_min: Nanos::ZERO,
            delay_max: Nanos::ZERO,
            queue_max: 1 << 16,
        }
    }
}

/// What became of the datagrams so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Datagrams that ports flushed into the network.
    pub sent: u64,
    /// Datagrams that [`Network::inject`] forged.
    pub injected: u64,
    /// Second copies that the network made.
    pub duplicated: u64,
    /// Datagrams that the network lost.
    pub lost: u64,
    /// Datagrams that reached an address without a port.
    pub unreachable: u64,
    /// Datagrams that found the queue of their port full.
    pub overflowed: u64,
    /// Datagrams that reached the queue of their port.
    pub delivered: u64,
    /// Datagrams still on their way.
    pub in_flight: u64,
}

/// One datagram as an observer of every link sees it.
#[derive(Clone, Copy, Debug)]
pub struct Crossing<'a> {
    /// When it left its sender.
    pub sent: Nanos,
    /// When it arrives; `None` if it is lost.
    pub arrives: Option<Nanos>,
    /// The address it says it comes from.
    pub from: SocketAddr,
    /// Where it goes.
    pub to: SocketAddr,
    /// Its content.
    pub datagram: &'a [u8],
}

/// The address is taken by another port of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} has a port in this network already: choose another address")]
pub struct AddressTaken(pub SocketAddr);

/// The network; clones are handles of the same one.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

type Tap = Box<dyn FnMut(Crossing<'_>) + Send>;

struct State {
    rng: Rng,
    conditions: Conditions,
    now: Nanos,
    flying: BinaryHeap<Reverse<Flight>>,
    flights: u64,
    /// The ports at an address: several share it as sockets with `SO_REUSEPORT` do.
    inboxes: HashMap<SocketAddr, Vec<Inbox>>,
    totals: Totals,
    tap: Option<Tap>,
    /// Buffers to use again, so that a network that runs does not allocate.
    spare: Vec<Vec<u8>>,
}

/// What waits at one port, and how much did not fit.
#[derive(Default)]
struct Inbox {
    letters: VecDeque<Letter>,
    overflowed: u64,
}

struct Letter {
    from: SocketAddr,
    datagram: Vec<u8>,
}

struct Flight {
    arrives: Nanos,
    /// Tells apart what arrives at one instant: first sent, first there.
    number: u64,
    to: SocketAddr,
    letter: Letter,
}

impl Flight {
    fn key(&self) -> (Nanos, u64) {
        (self.arrives, self.number)
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Network {
    /// An empty network at time zero.
    pub fn new(rng: Rng, conditions: Conditions) -> Self {
        Network(Arc::new(Mutex::new(State {
            rng,
            conditions,
            now: Nanos::ZERO,
            flying: BinaryHeap::new(),
            flights: 0,
            inboxes: HashMap::new(),
            totals: Totals::default(),
            tap: None,
            spare: Vec::new(),
        })))
    }

    /// A port at `local`, until it is dropped; what then still arrives there is unreachable.
    ///
    /// # Errors
    /// [`AddressTaken`] if there is one.
    pub fn port(
        &self,
        local: SocketAddr,
        datagram_bytes: usize,
    ) -> Result<MemoryPort, AddressTaken> {
        let mut ports = self.shared_ports(local, datagram_bytes, 1)?;
        ports.pop().ok_or(AddressTaken(local))
    }

    /// `count` ports that share `local`: each source always reaches the same one of them. The
    /// address is free again when one of them is dropped.
    ///
    /// # Errors
    /// [`AddressTaken`] if there are ports already.
    pub fn shared_ports(
        &self,
        local: SocketAddr,
        datagram_bytes: usize,
        count: usize,
    ) -> Result<Vec<MemoryPort>, AddressTaken> {
        let local = normalised(local);
        let mut state = self.state();
        if state.inboxes.contains_key(&local) {
            return Err(AddressTaken(local));
        }
        state.inboxes.insert(local, (0..count).map(|_| Inbox::default()).collect());
        drop(state);
        let port = |place| MemoryPort::new(self.clone(), local, Some(place), datagram_bytes);
        Ok((0..count).map(port).collect())
    }

    /// Moves time forward to `now`, never back, and delivers what is due by then.
    pub fn advance(&self, now: Nanos) {
        let mut state = self.state();
        state.now = state.now.max(now);
        state.deliver();
    }

    /// When the next datagram arrives; `None` if none is on its way.
    pub fn next_delivery(&self) -> Option<Nanos> {
        self.state().flying.peek().map(|Reverse(flight)| flight.arrives)
    }

    /// Changes what happens to datagrams sent from now on.
    pub fn set_conditions(&self, conditions: Conditions) {
        self.state().conditions = conditions;
    }

    /// What became of the datagrams so far.
    pub fn totals(&self) -> Totals {
        let state = self.state();
        Totals { in_flight: state.flying.len() as u64, ..state.totals }
    }

    /// Shows every datagram to `tap` as it is sent, in place of an earlier tap. `tap` must not
    /// call the network.
    pub fn tap(&self, tap: impl FnMut(Crossing<'_>) + Send + 'static) {
        self.state().tap = Some(Box::new(tap));
    }

    /// Sends `datagram`, of any length, as if `from` had: what an attacker on the path can do.
    pub fn inject(&self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        let mut state = self.state();
        state.totals.injected += 1;
        state.accept(normalised(from), normalised(to), datagram);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere fails its own test; what it left here is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        out.debug_struct("Network").field("now", &state.now).field("totals", &state.totals).finish()
    }
}

impl State {
    /// A datagram enters the network: its fate is drawn here.
    fn accept(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        if self.rng.unit() < self.conditions.loss {
            self.totals.lost += 1;
            self.show(None, from, to, datagram);
            return;
        }
        self.launch(from, to, datagram);
        if self.rng.unit() < self.conditions.duplicate {
            self.totals.duplicated += 1;
            self.launch(from, to, datagram);
        }
    }

    fn launch(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        let delay = self.rng.between(self.conditions.delay_min, self.conditions.delay_max);
        let arrives = self.now + delay;
        self.show(Some(arrives), from, to, datagram);
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(datagram);
        self.flights += 1;
        let letter = Letter { from, datagram: copy };
        self.flying.push(Reverse(Flight { arrives, number: self.flights, to, letter }));
    }

    fn show(&mut self, arrives: Option<Nanos>, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        if let Some(tap) = &mut self.tap {
            tap(Crossing { sent: self.now, arrives, from, to, datagram });
        }
    }

    /// Moves everything due into the inboxes.
    fn deliver(&mut self) {
        while self.flying.peek().is_some_and(|Reverse(flight)| flight.arrives <= self.now) {
            let Some(Reverse(flight)) = self.flying.pop() else { break };
            let queue_max = self.conditions.queue_max;
            let inbox = self.inboxes.get_mut(&flight.to).and_then(|sharing| {
                let place = place_of(flight.letter.from, sharing.len());
                sharing.get_mut(place)
            });
            match inbox {
                Some(inbox) if inbox.letters.len() < queue_max => {
                    inbox.letters.push_back(flight.letter);
                    self.totals.delivered += 1;
                    continue;
                }
                Some(inbox) => {
                    inbox.overflowed += 1;
                    self.totals.overflowed += 1;
                }
                None => self.totals.unreachable += 1,
            }
            self.spare.push(flight.letter.datagram);
        }
    }
}

/// Which of `ports` ports that share an address gets what comes from `source`.
fn place_of(source: SocketAddr, ports: usize) -> usize {
    let address = match source {
        SocketAddr::V4(v4) => u64::from(v4.ip().to_bits()),
        SocketAddr::V6(v6) => u64::from(v6.ip().segments()[7]),
    };
    let spread = (address ^ u64::from(source.port())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(spread >> 33).unwrap_or(0) % ports.max(1)
}

/// A [`Port`] of a [`Network`].
pub struct MemoryPort {
    network: Network,
    local: SocketAddr,
    /// Which of the ports that share the address this is; none of them if it only sends.
    place: Option<usize>,
    datagram_bytes: usize,
    frames: Box<[u8]>,
    /// Of the frames that wait, in order.
    destinations: ArrayVec<SocketAddr, BATCH>,
    /// What is being handed over; empty between calls.
    batch: ArrayVec<Letter, BATCH>,
    counters: PortCounters,
}

impl Port for MemoryPort {
    fn receive(&mut self, most: usize, mut take: impl FnMut(SocketAddr, &[u8])) -> usize {
        self.fetch(most.min(BATCH));
        let mut count = 0;
        for letter in &self.batch {
            if letter.datagram.len() == self.datagram_bytes {
                take(letter.from, &letter.datagram);
                count += 1;
            } else {
                self.counters.wrong_length += 1;
            }
        }
        self.counters.received += count as u64;
        let spent = self.batch.drain(..).map(|letter| letter.datagram);
        self.network.state().spare.extend(spent);
        count
    }

    fn send<E>(
        &mut self,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>> {
        let first = self.destinations.len() * self.datagram_bytes;
        let Some(frame) = self.frames.get_mut(first..first + self.datagram_bytes) else {
            self.counters.send_full += 1;
            return Err(Unsent::Full);
        };
        self.destinations.push(fill(frame).map_err(Unsent::Refused)?);
        Ok(())
    }

    fn flush(&mut self) {
        let mut state = self.network.state();
        let frames = self.frames.chunks_exact(self.datagram_bytes);
        for (to, frame) in self.destinations.drain(..).zip(frames) {
            state.totals.sent += 1;
            self.counters.sent += 1;
            state.accept(self.local, normalised(to), frame);
        }
    }

    fn queued(&self) -> usize {
        self.destinations.len()
    }

    fn datagram_bytes(&self) -> usize {
        self.datagram_bytes
    }

    fn local(&self) -> SocketAddr {
        self.local
    }

    fn counters(&self) -> &PortCounters {
        &self.counters
    }

    /// Nothing: virtual time passes only while nobody sleeps.
    fn fd(&self) -> Option<RawFd> {
        None
    }

    fn detach_sender(&mut self) -> Result<Self, OpenError> {
        Ok(MemoryPort::new(self.network.clone(), self.local, None, self.datagram_bytes))
    }
}

impl MemoryPort {
    fn new(
        network: Network,
        local: SocketAddr,
        place: Option<usize>,
        datagram_bytes: usize,
    ) -> Self {
        MemoryPort {
            network,
            local,
            place,
            datagram_bytes,
            frames: vec![0; datagram_bytes * BATCH].into(),
            destinations: ArrayVec::new(),
            batch: ArrayVec::new(),
            counters: PortCounters::default(),
        }
    }

    /// Takes up to `most` datagrams out of the inbox, so that the network is free while they are
    /// handed over.
    fn fetch(&mut self, most: usize) {
        let Some(place) = self.place else { return };
        let mut state = self.network.state();
        let sharing = state.inboxes.get_mut(&self.local);
        if let Some(inbox) = sharing.and_then(|sharing| sharing.get_mut(place)) {
            let count = inbox.letters.len().min(most);
            self.batch.extend(inbox.letters.drain(..count));
            self.counters.kernel_dropped = inbox.overflowed;
        }
    }
}

impl Drop for MemoryPort {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.network.state().inboxes.remove(&self.local);
        }
    }
}

impl fmt::Debug for MemoryPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counters = &self.counters;
        out.debug_struct("MemoryPort")
            .field("local", &self.local)
            .field("counters", counters)
            .finish()
    }
}
