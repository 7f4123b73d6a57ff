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
mod plot;
mod port;
mod process;
mod progress;
mod report;
mod sink;
mod sniffer;
mod stalls;
mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::audit::{Finding, Verdict, decoys, judge};
use crate::clock::Nanos;
use crate::config::ConfigError;
use crate::crypto::tier::Tier;
use crate::host::namespace::IpError;
use crate::host::{self, Machine};
use crate::network::InitError;
use crate::node::LoadError;
use crate::pki::Rate;

pub use report::{Clients, Outcome, Report, Traffic};

use join::Streamed;
use lab::Lab;
use progress::Watch;

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
    #[error("cannot lay a wire: {0}")]
    Interfaces(#[from] IpError),
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

/// Packets a second, and for how long, of a quick audit and of a full one.
const QUICK: stream::Plan =
    stream::Plan { rate: Rate::per_second(5000), span: Nanos::from_secs(50) };
const FULL: stream::Plan =
    stream::Plan { rate: Rate::per_second(4000), span: Nanos::from_secs(600) };
/// Clients of each kind, and for how long they are watched.
const QUICK_CLIENTS: clients::Plan = clients::Plan { clients: 24, span: Nanos::from_secs(30) };
const FULL_CLIENTS: clients::Plan = clients::Plan { clients: 24, span: Nanos::from_secs(300) };

/// Measures a node.
///
/// # Errors
/// When it cannot be measured; what it fails is no error but a finding.
pub fn run(options: &Options, interrupt: &Interrupt) -> Result<Report, AuditError> {
    let watch = Watch::new(interrupt);
    // The machine is not what is to be measured.
    host::go_first();
    let lab = match &options.subject {
        Subject::Own => Lab::of_our_own()?,
        Subject::Node { address, network } => Lab::of_another(*address, network)?,
    };
    Audit { options, watch: &watch, lab, retried: vec![] }.run()
}

/// An audit that runs.
struct Audit<'a> {
    options: &'a Options,
    watch: &'a Watch<'a>,
    lab: Lab,
    retried: Vec<Finding>,
}

impl Audit<'_> {
    fn run(mut self) -> Result<Report, AuditError> {
        let (Streamed { observation, traffic, knows_stalls }, mut findings) = self.stream()?;
        self.watch.phase("plots are drawn", Nanos::ZERO);
        let plots = plot::draw(&observation, &self.options.plots)?;
        drop(observation);
        let mut unseen = std::mem::take(&mut self.lab.unseen);
        if !knows_stalls {
            unseen.push(
                "stalls of the node: it does not tell of them (metrics.detail = \"lab\" and \
                 metrics.listen)"
                    .into(),
            );
        }
        let mut cut = traffic.cut;
        let clients = if self.lab.has_clients() {
            let (clients, found) = self.clients()?;
            findings.extend(found);
            cut = cut.max(clients.cut);
            Some(clients)
        } else {
            unseen.push("decoys (T6): a mix has no clients".into());
            None
        };
        Ok(Report {
            node: self.lab.describe(),
            port: self.lab.port(),
            machine: Machine::look(Tier::chosen().name().as_str()).to_string(),
            quick: self.options.quick,
            traffic,
            clients,
            outcome: Report::outcome(&findings, cut),
            findings,
            retried: self.retried,
            unseen,
            plots,
        })
    }

    /// T1 to T5: a stream, and if something fails, a fresh one.
    fn stream(&mut self) -> Result<(Streamed, Vec<Finding>), AuditError> {
        let plan = if self.options.quick { QUICK } else { FULL };
        let (first, found) = self.one_stream(plan)?;
        if Report::outcome(&found, first.traffic.cut) != Outcome::Fails {
            return Ok((first, found));
        }
        self.note_failures(&found);
        drop(first);
        let (second, again) = self.one_stream(plan)?;
        Ok((second, of_both(found, again)))
    }

    fn one_stream(&mut self, plan: stream::Plan) -> Result<(Streamed, Vec<Finding>), AuditError> {
        let streamed = stream::pass(&self.lab, plan, self.watch)?;
        self.lab.check()?;
        self.watch.phase("tests are made", Nanos::ZERO);
        self.watch.say(&streamed.traffic.to_string());
        let findings = judge(&streamed.observation);
        Ok((streamed, findings))
    }

    /// T6, likewise.
    fn clients(&mut self) -> Result<(Clients, Vec<Finding>), AuditError> {
        let plan = if self.options.quick { QUICK_CLIENTS } else { FULL_CLIENTS };
        let (first, found) = self.one_watch(plan)?;
        if Report::outcome(&found, first.cut) != Outcome::Fails {
            return Ok((first, found));
        }
        self.note_failures(&found);
        let (second, again) = self.one_watch(plan)?;
        Ok((second, of_both(found, again)))
    }

    fn one_watch(&self, plan: clients::Plan) -> Result<(Clients, Vec<Finding>), AuditError> {
        let watched = clients::watch(&self.lab, plan, self.watch)?;
        self.watch.phase("tests are made", Nanos::ZERO);
        let what = "a client that writes against a silent one";
        let findings = decoys::judge(what, [&watched.active, &watched.idle]);
        let clients = Clients {
            clients: plan.clients,
            windows: watched.active.windows.len(),
            messages: watched.messages,
            cut: watched.cut,
        };
        Ok((clients, findings))
    }

    fn note_failures(&mut self, findings: &[Finding]) {
        for finding in findings.iter().filter(|finding| finding.verdict == Verdict::Fails) {
            let Finding { test, what, measured, .. } = finding;
            self.watch.say(&format!("{test} {what}: {measured}: it is tried again"));
            self.retried.push(finding.clone());
        }
    }
}

/// The findings of a second try, where what held at first holds: each test may fail once by chance
/// or through the machine.
fn of_both(first: Vec<Finding>, second: Vec<Finding>) -> Vec<Finding> {
    if first.len() != second.len() {
        return second;
    }
    let either = |(first, second): (Finding, Finding)| {
        let fails_anew = first.verdict == Verdict::Holds && second.verdict == Verdict::Fails;
        if fails_anew { first } else { second }
    };
    first.into_iter().zip(second).map(either).collect()
}
