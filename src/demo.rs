//! `mixline demo`: a whole network of separate processes on this machine, and messages through it.
//!
//! Authority, gateways, mixes and clients are this program started again, the nodes each on a
//! loopback address of its own, or in a network of its own; the demo only starts them, hands
//! messages to the clients, compares what they receive, and ends every process that it started.

mod machines;
mod messages;
mod network;
mod processes;
mod report;
mod site;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::client::api::ApiError;
use crate::clock;
use crate::host::namespace::IpError;
use crate::network::InitError;

pub use messages::Line;
use messages::Traffic;
use network::Network;
pub use report::Report;

/// What a demo is made of.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Mixes, in three layers.
    pub mixes: usize,
    /// Messages to send.
    pub messages: usize,
    /// Leave the network running afterwards, until Ctrl-C.
    pub keep: bool,
    /// Put each node into a network of its own, where packets go by AF_XDP.
    pub xdp: bool,
    /// Print the report as JSON, without progress.
    pub json: bool,
}

/// Layers of mixes in the demo.
pub const LAYERS: u8 = 3;
/// Gateways in the demo: the sender's and the recipient's.
pub const GATEWAYS: usize = 2;

/// Why a demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The folder for the network's files.
    #[error("cannot make the working folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The network's files.
    #[error("cannot make the network's files: {0}")]
    Init(#[from] InitError),
    /// A process did not start.
    #[error("cannot start {name}: {source}")]
    Start {
        /// The process.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A process ended early.
    #[error("{name} ended early ({status}): {last_words}")]
    Ended {
        /// The process.
        name: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last line of its log.
        last_words: String,
    },
    /// The network did not come up.
    #[error(
        "after {seconds} s only {ready} of {nodes} nodes have all their links: is the machine \
         overloaded?"
    )]
    NotReady {
        /// How many are ready.
        ready: usize,
        /// How many there are.
        nodes: usize,
        /// How long we waited.
        seconds: u64,
    },
    /// A client printed what we cannot read, or nothing.
    #[error("{name} did not answer as it should: {line:?}")]
    Client {
        /// The client.
        name: String,
        /// What it printed.
        line: Option<String>,
    },
    /// A client refuses.
    #[error("a client does not do as it should: {0}")]
    Api(#[from] ApiError),
    /// All sets of loopback addresses that were tried are taken.
    #[error("no free loopback addresses in 127.77.0.0/16 port {port}: is another demo running?")]
    NoAddresses {
        /// The port.
        port: u16,
    },
    /// No network for a node.
    #[error(
        "cannot make network namespaces: {0}: that takes CAP_SYS_ADMIN, and AF_XDP in them \
         CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_IPC_LOCK: run `mixline demo --xdp` as root"
    )]
    Namespace(std::io::Error),
    /// No interfaces in it.
    #[error("cannot connect the nodes' networks: {0}")]
    Interfaces(#[from] IpError),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// Set by Ctrl-C; the demo then ends its processes and removes its files.
pub type Interrupt = Arc<AtomicBool>;

/// Runs the demo and prints its report.
///
/// # Errors
/// When the network cannot be started or does not answer; messages that are lost are no error but
/// part of the report.
pub fn run(options: Options, interrupt: &Interrupt) -> Result<Report, DemoError> {
    let progress = report::Progress::new(options);
    let mut network = Network::start(options, interrupt, &progress)?;
    let started = clock::now();
    let traffic = Traffic::run(&mut network, options.messages, interrupt, &progress)?;
    let elapsed = clock::now() - started;
    if options.keep {
        stay(&mut network, interrupt, options.json)?;
    }
    let totals = network.finish();
    Ok(Report::new(&traffic, &totals, elapsed, options))
}

/// Leaves the network running until Ctrl-C.
fn stay(network: &mut Network, interrupt: &Interrupt, json: bool) -> Result<(), DemoError> {
    if !json {
        // Nobody may be reading: that is no reason to stop.
        let _ = writeln!(std::io::stderr(), "{}", network.how_to_use());
    }
    while !interrupt.load(Ordering::Relaxed) {
        network.check_processes()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Returns an error once Ctrl-C was pressed.
fn check(interrupt: &Interrupt) -> Result<(), DemoError> {
    if interrupt.load(Ordering::Relaxed) { Err(DemoError::Interrupted) } else { Ok(()) }
}
