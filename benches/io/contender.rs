//! A port in its network: a generator in front, a forwarder behind, and the time of its rounds.

use crate::generator::Generator;
use crate::network::{self, INSIDE, Network, OUTSIDE};
use crate::usage::{self, Deferred};
use mixline::clock::Nanos;
use mixline::io::{BATCH, Port};
use mixline::sphinx::Geometry;
use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Where forwarders receive.
const PORT: u16 = 4000;
/// The first source port of generators.
const FIRST_SOURCE_PORT: u16 = 10_000;
/// Datagrams that a forwarder takes in one turn: as many as a worker does.
const TURN: usize = BATCH / 2;
/// A forwarder that finds nothing so many times gets no more.
const IDLE_TURNS: usize = 1000;

/// One port, or none for the generator alone.
pub(crate) struct Contender {
    pub(crate) name: String,
    /// Those that count.
    pub(crate) rounds: Vec<Round>,
    network: Network,
    generator: Generator,
    forwarder: Option<Box<dyn Forward>>,
}

/// The processor time of one round, in nanoseconds a datagram.
#[derive(Clone, Copy)]
pub(crate) struct Round {
    /// Until all had arrived.
    pub(crate) arrival: f64,
    /// From then on until all were sent.
    pub(crate) forwarding: f64,
}

impl Contender {
    /// A generator in front of an interface that takes nothing.
    pub(crate) fn generator() -> io::Result<Self> {
        Self::in_network("generator", 1, Network::new(false)?, None)
    }

    /// The port that `open` opens at an address of its network, with what must last as long.
    pub(crate) fn new<P: Port + 'static, K: 'static, E: Display>(
        name: &str,
        flows: u16,
        open: impl FnOnce(SocketAddr) -> Result<(P, K), E>,
    ) -> io::Result<Self> {
        let network = Network::new(true)?;
        network.enter_inside()?;
        let port = open(SocketAddr::new(IpAddr::V4(INSIDE.1), PORT));
        network.enter_outside()?;
        let (port, kept) = port.map_err(|error| io::Error::other(error.to_string()))?;
        Self::in_network(name, flows, network, Some(Box::new(Forwarder::new(port, kept))))
    }

    fn in_network(
        name: &str,
        flows: u16,
        network: Network,
        forwarder: Option<Box<dyn Forward>>,
    ) -> io::Result<Self> {
        let headers = network::headers(FIRST_SOURCE_PORT, PORT);
        let datagram_bytes = Geometry::DEFAULT.datagram_bytes();
        let outside = network::interface(OUTSIDE.0)?;
        let generator = Generator::new(outside, &headers, datagram_bytes, flows)?;
        let (name, rounds) = (name.to_owned(), Vec::new());
        Ok(Contender { name, rounds, network, generator, forwarder })
    }

    /// One burst, forwarded completely.
    pub(crate) fn round(&mut self, burst: u32, deferred: &Deferred) -> Result<(), String> {
        self.network.enter_outside().map_err(|error| error.to_string())?;
        let deferred_before = deferred.time();
        let start = usage::processor_time();
        self.generator.fire(burst).map_err(|error| format!("the generator: {error}"))?;
        let arrived = usage::processor_time();
        if let Some(forwarder) = &mut self.forwarder {
            forward(&mut **forwarder, burst as usize)?;
        }
        let end = usage::processor_time();
        if deferred.time() == deferred_before {
            let of_each = |span: Nanos| span.0 as f64 / f64::from(burst);
            let (arrival, forwarding) = (of_each(arrived - start), of_each(end - arrived));
            self.rounds.push(Round { arrival, forwarding });
        }
        Ok(())
    }
}

fn forward(forwarder: &mut dyn Forward, burst: usize) -> Result<(), String> {
    let (mut count, mut idle_turns) = (0, 0);
    while count < burst && idle_turns < IDLE_TURNS {
        match forwarder.turn() {
            0 => idle_turns += 1,
            forwarded => count += forwarded,
        }
    }
    if count < burst {
        return Err(format!("{count} of {burst} datagrams came: {}", forwarder.story()));
    }
    Ok(())
}

/// A [`Forwarder`] of any port.
trait Forward {
    /// Sends what waits, but not more than [`TURN`], back to where it came from; returns how many.
    fn turn(&mut self) -> usize;
    /// What happened at the port.
    fn story(&self) -> String;
}

struct Forwarder<P, K> {
    port: P,
    _kept: K,
    sources: Vec<SocketAddr>,
    /// One after the other.
    datagrams: Vec<u8>,
}

impl<P: Port, K> Forwarder<P, K> {
    fn new(port: P, kept: K) -> Self {
        let sources = Vec::with_capacity(TURN);
        let datagrams = Vec::with_capacity(TURN * port.datagram_bytes());
        Forwarder { port, _kept: kept, sources, datagrams }
    }
}

impl<P: Port, K> Forward for Forwarder<P, K> {
    fn turn(&mut self) -> usize {
        let Forwarder { port, sources, datagrams, .. } = self;
        sources.clear();
        datagrams.clear();
        let count = port.receive(TURN, |source, datagram| {
            sources.push(source);
            datagrams.extend_from_slice(datagram);
        });
        let datagrams = datagrams.chunks_exact(port.datagram_bytes());
        for (source, datagram) in sources.iter().zip(datagrams) {
            while port.send(|frame| write(frame, datagram, *source)).is_err() {
                port.flush();
            }
        }
        // What a port leaves queued belongs to this round.
        port.flush();
        while port.queued() > 0 {
            port.flush();
        }
        count
    }

    fn story(&self) -> String {
        format!("{:?}", self.port.counters())
    }
}

fn write(frame: &mut [u8], datagram: &[u8], to: SocketAddr) -> Result<SocketAddr, Infallible> {
    frame.copy_from_slice(datagram);
    Ok(to)
}
