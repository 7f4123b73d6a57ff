//! An audit of a running node over real ports: the audit plays the nodes around it.
//!
//! What goes in and what comes out is seen where an observer would see it. Which datagram in became
//! which datagram out the generator knows, which built the packets; the node is only asked when it
//! stood still.

mod clients;
mod generator;
mod join;
mod lab;
mod neighbour;
mod port;
mod process;
mod sink;
mod sniffer;
mod stalls;
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::audit::{Finding, judge};
use crate::clock::Nanos;
use crate::config::ConfigError;
use crate::host;
use crate::network::InitError;
use crate::node::LoadError;
use crate::pki::Rate;

use lab::Lab;
use stream::Plan;

/// Which node is measured.
#[derive(Clone, Debug)]
pub enum Subject {
    /// One that the audit starts, in a network made for it.
    Own,
    /// One that somebody else runs.
    Node {
        /// Where it listens.
        address: SocketAddr,
        /// The folder of its network, as `mixline network init --static` made it: the audit plays
        /// the other nodes, and needs their keys.
        network: PathBuf,
    },
}

/// What an audit shall do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which node is measured.
    pub subject: Subject,
    /// Less than three minutes, with bars that are wider for it.
    pub quick: bool,
    /// Where plots go.
    pub plots: PathBuf,
    /// Whether nothing is shown meanwhile.
    pub silent: bool,
}

/// Why an audit did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A folder or file.
    #[error("{}: {source}", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The network's files could not be made.
    #[error("cannot make a network for the audit: {0}")]
    Init(#[from] InitError),
    /// A configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Keys or documents.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No node of the network is there.
    #[error(
        "no node of the network in {} listens on {address}: it has {known}", .folder.display()
    )]
    UnknownNode {
        /// What was asked for.
        address: SocketAddr,
        /// The network.
        folder: PathBuf,
        /// Where its nodes listen.
        known: String,
    },
    /// Its consensus does not list it.
    #[error("the consensus does not list {0}, or without an address and keys of its epoch")]
    NotListed(String),
    /// Its documents change while it is measured.
    #[error(
        "the network in {} has a directory: the audit plays nodes of a network whose documents \
         stay as they are: make one by `mixline network init --static`", .0.display()
    )]
    NotFixed(PathBuf),
    /// A process did not start.
    #[error("cannot start {name}: {source}")]
    Start {
        /// The process.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The node ended.
    #[error("{name} ended early ({status}): {last_words}")]
    Ended {
        /// The node.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last line of its log.
        last_words: String,
    },
    /// No network namespace.
    #[error("cannot make network namespaces: {0}: that takes root")]
    Namespace(std::io::Error),
    /// No wire.
    #[error("cannot lay a wire: {step}: {said}")]
    Interfaces {
        /// What was tried.
        step: String,
        /// The answer.
        said: String,
    },
    /// No tap on the wire.
    #[error("cannot look at the wire: {0}")]
    Tap(std::io::Error),
    /// A neighbour's address cannot be had.
    #[error(
        "cannot play the node on {address}: {source}: the audit runs on the machine that has the \
         addresses of all nodes beside the one it measures, and those nodes do not run"
    )]
    Neighbour {
        /// The neighbour's address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The node does not answer.
    #[error("only {up} of {all} links to the node came up: does it run, and with the same keys?")]
    NoLinks {
        /// Links that are up.
        up: usize,
        /// Links that there should be.
        all: usize,
    },
    /// No socket for a client.
    #[error("cannot open a client's socket on {address}: {source}")]
    Client {
        /// The client's address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A client cannot connect.
    #[error("no client can connect to the gateway: {0}")]
    Gateway(String),
    /// The gateway lets no clients in.
    #[error("only {ready} of {all} clients were let in: is the machine overloaded?")]
    NotReady {
        /// Clients that are.
        ready: usize,
        /// Clients that there are.
        all: usize,
    },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// Set by Ctrl-C; the audit then ends its processes and removes its files.
pub type Interrupt = Arc<AtomicBool>;

/// Who looks on: told what happens, and may end it.
struct Watch<'a> {
    interrupt: &'a Interrupt,
}

impl Watch<'_> {
    fn check(&self) -> Result<(), AuditError> {
        match self.interrupt.load(Ordering::Relaxed) {
            true => Err(AuditError::Interrupted),
            false => Ok(()),
        }
    }

    fn phase(&self, name: &str, span: Nanos) {
        eprintln!("{name} {}", span.as_secs_f64());
    }

    fn tick(&self, _left: Nanos) {}
}

/// Measures a node.
///
/// # Errors
/// When it cannot be measured; what it fails is no error but a finding.
pub fn run(options: &Options, interrupt: &Interrupt) -> Result<Vec<Finding>, AuditError> {
    host::go_first();
    let watch = Watch { interrupt };
    let mut lab = match &options.subject {
        Subject::Own => Lab::of_our_own()?,
        Subject::Node { address, network } => Lab::of_another(*address, network)?,
    };
    let plan = Plan { rate: Rate::per_second(5000), span: Nanos::from_secs(20) };
    let streamed = stream::pass(&lab, plan, &watch)?;
    lab.check()?;
    eprintln!("{}", lab.log());
    let passages = &streamed.observation.passages;
    let residence = |passage: &crate::audit::Passage| {
        let arrival = streamed.observation.arrivals[passage.arrival].at;
        let departure = streamed.observation.departures[passage.departure].at;
        (departure.0 as f64 - arrival.0 as f64) / 1e6
    };
    let mean = passages.iter().map(residence).sum::<f64>() / passages.len() as f64;
    let asked = passages.iter().map(|one| one.delay.as_secs_f64() * 1e3).sum::<f64>()
        / passages.len() as f64;
    eprintln!(
        "handed {} came {} arrivals {} departures {} span {:?} cut {} stalls {:?} knows {} mean {mean} ms asked {asked}",
        streamed.handed,
        streamed.came,
        streamed.observation.arrivals.len(),
        streamed.observation.departures.len(),
        streamed.span,
        streamed.cut,
        streamed.stalls,
        streamed.knows_stalls
    );
    Ok(judge(&streamed.observation))
}
