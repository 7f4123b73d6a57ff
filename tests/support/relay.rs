//! The network between hosts: every IP packet from one to another passes here, or is lost,
//! doubled, and overtaken here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::crypto::random::Rng;

/// How often it looks what there is to carry.
const LOOK: Duration = Duration::from_millis(1);
/// The longest packet that an interface gives: its MTU.
const PACKET_BYTES_MAX: usize = 1500;

/// What becomes of packets on their way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    /// The share that is lost.
    pub(crate) loss: f64,
    /// The share of the others that comes twice.
    pub(crate) duplication: f64,
    /// How long each takes: a uniform time from the first to the second, whatever the one before
    /// it takes.
    pub(crate) delay: (Nanos, Nanos),
}

impl Conditions {
    /// When each copy of a packet arrives, from now.
    fn copies(&self, rng: &mut Rng) -> Vec<Nanos> {
        if rng.unit() < self.loss {
            return vec![];
        }
        let copies = 1 + usize::from(rng.unit() < self.duplication);
        (0..copies).map(|_| rng.between(self.delay.0, self.delay.1)).collect()
    }
}

/// What was carried from one host to another.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    /// Packets that were sent.
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Packets that arrived behind one that was sent later.
    pub(crate) overtaken: u64,
    /// The number of the latest that arrived.
    latest: u64,
}

impl Carried {
    pub(crate) fn and(self, other: &Self) -> Self {
        Carried {
            sent: self.sent + other.sent,
            lost: self.lost + other.lost,
            doubled: self.doubled + other.doubled,
            overtaken: self.overtaken + other.overtaken,
            latest: 0,
        }
    }
}

/// A pair of hosts, from and to.
type Pair = (Ipv4Addr, Ipv4Addr);

/// What was carried between all of them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) pairs: BTreeMap<Pair, Carried>,
    /// Packets that are no whole IPv4 packets to one of the hosts from the sender's own address.
    pub(crate) foreign: u64,
}

/// A relay. It carries until it is dropped.
pub(crate) struct Relay {
    ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Carries between hosts, each given by its address and the other end of its interface. What
    /// becomes of the n-th packet of a host follows from `seed`.
    pub(crate) fn start(
        hosts: Vec<(Ipv4Addr, File)>,
        conditions: Conditions,
        seed: [u8; 32],
    ) -> Self {
        let (ledger, stop) = (Arc::<Mutex<Ledger>>::default(), Arc::<AtomicBool>::default());
        let mut rng = Rng::from_seed(seed);
        let mut network = Network {
            hosts: hosts.into_iter().map(|(of, file)| (of, (file, rng.fork()))).collect(),
            conditions,
            on_their_way: BinaryHeap::new(),
        };
        let (written, stopped) = (ledger.clone(), stop.clone());
        let carry = move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
                network.turn(clock::now(), &mut written.lock().expect("nobody fails with it"));
            }
        };
        let thread = thread::Builder::new().name("relay".into()).spawn(carry);
        Relay { ledger, stop, thread: Some(thread.expect("a thread")) }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("the relay has not failed")
    }

    /// Packets that were sent to `to` until now.
    pub(crate) fn sent_to(&self, to: Ipv4Addr) -> u64 {
        let ledger = self.ledger();
        ledger.pairs.iter().filter(|(pair, _)| pair.1 == to).map(|(_, carried)| carried.sent).sum()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // One that failed has said why.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The hosts, and what is between them.
struct Network {
    hosts: BTreeMap<Ipv4Addr, (File, Rng)>,
    conditions: Conditions,
    on_their_way: BinaryHeap<Reverse<Parcel>>,
}

/// A packet that will arrive: the earliest comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Parcel {
    at: Nanos,
    pair: Pair,
    number: u64,
    packet: Vec<u8>,
}

impl Network {
    /// Takes what all hosts have sent, and brings what is due.
    fn turn(&mut self, now: Nanos, ledger: &mut Ledger) {
        let all: Vec<_> = self.hosts.keys().copied().collect();
        for from in all {
            let mut packet = [0; PACKET_BYTES_MAX];
            while let Some(length) = self.read(from, &mut packet) {
                self.take(from, &packet[..length], now, ledger);
            }
        }
        while self.on_their_way.peek().is_some_and(|Reverse(first)| first.at <= now)
            && let Some(Reverse(parcel)) = self.on_their_way.pop()
        {
            self.bring(&parcel, ledger);
        }
    }

    /// The next packet that `from` sends.
    fn read(&self, from: Ipv4Addr, packet: &mut [u8]) -> Option<usize> {
        match (&self.hosts[&from].0).read(packet) {
            Ok(length) => Some(length),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("the interface of {from}: {error}"),
        }
    }

    /// Decides what becomes of a packet.
    fn take(&mut self, from: Ipv4Addr, packet: &[u8], now: Nanos, ledger: &mut Ledger) {
        let to = match addresses(packet) {
            Some((source, to)) if source == from && self.hosts.contains_key(&to) => to,
            // What a kernel says of IPv6 when an interface comes up.
            None if packet.first().is_some_and(|first| first >> 4 == 6) => return,
            _ => return ledger.foreign += 1,
        };
        let (_, rng) = self.hosts.get_mut(&from).expect("it is one of them");
        let copies = self.conditions.copies(rng);
        let carried = ledger.pairs.entry((from, to)).or_default();
        carried.sent += 1;
        carried.lost += u64::from(copies.is_empty());
        carried.doubled += u64::from(copies.len() > 1);
        let (pair, number) = ((from, to), carried.sent);
        self.on_their_way.extend(
            copies.into_iter().map(|delay| {
                Reverse(Parcel { at: now + delay, pair, number, packet: packet.into() })
            }),
        );
    }

    fn bring(&mut self, parcel: &Parcel, ledger: &mut Ledger) {
        let (file, _) = self.hosts.get_mut(&parcel.pair.1).expect("it is one of them");
        let written = file.write(&parcel.packet).expect("the interface takes packets");
        assert_eq!(written, parcel.packet.len());
        let carried = ledger.pairs.entry(parcel.pair).or_default();
        carried.overtaken += u64::from(parcel.number < carried.latest);
        carried.latest = carried.latest.max(parcel.number);
    }
}

/// Source and destination of a whole IPv4 packet (RFC 791): a fragment is none.
fn addresses(packet: &[u8]) -> Option<Pair> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_fragment = header[6] & 0b0011_1111 != 0 || header[7] != 0;
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let is_whole = header[0] >> 4 == 4 && length == packet.len() && !is_fragment;
    is_whole.then(|| (address(12), address(16)))
}
