//! `run` and `check`.

use std::path::PathBuf;

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Failure, Status, print};
use crate::config::{LogLevel, NodeFile};
use crate::host::{self, Machine};
use crate::node::{self, Custody, Faces, Identity, Stop};
use crate::pki::KeyFolder;

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The node's configuration.
    file: PathBuf,
    /// Stop when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
}

#[derive(Debug, Args)]
pub(super) struct FileArgument {
    /// The node's configuration.
    file: PathBuf,
}

/// Runs a node until SIGTERM or SIGINT.
pub(super) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    if arguments.die_with_parent {
        host::die_with_parent();
    }
    let file = NodeFile::load(&arguments.file)?;
    start_log(file.log);
    sweep(&file)?;
    let identity = Identity::load(&file)?;
    if let Some(oldest) = identity.epochs.iter().map(|keys| keys.epoch).min() {
        identity.custody.forget_before(oldest)?;
    }
    let options = node::Options::of(&file);
    options.check_lab(&identity)?;
    options.memory_plan(identity.consensus.geometry())?;
    // Reading too few descriptors is no reason not to start: clients then find the node full.
    let _ = host::raise_descriptor_limit();
    let stop = Stop::default();
    stop_on_signal(stop.clone())?;
    let listed = identity.listed()?;
    let address = file.listen[0];
    tracing::info!(
        "{} {} of network {}, epoch {}, on {} by udp",
        listed.role(),
        listed.name(),
        identity.consensus.network(),
        identity.consensus.epoch(),
        address,
    );
    tracing::info!("{}", identity.custody.memory());
    tracing::info!("{}", Machine::look(crate::crypto::tier()));
    let faces = Faces { address, metrics: file.metrics.as_ref() };
    let totals = node::run(&identity, &options, &faces, &stop)?;
    tracing::info!("stopped");
    if options.lab {
        print(&format!("{}\n", serde_json::to_string(&totals).unwrap_or_default()))?;
    }
    Ok(())
}

/// Checks everything that can be checked without the network.
pub(super) fn check(arguments: &FileArgument) -> Result<(), Failure> {
    let file = NodeFile::load(&arguments.file)?;
    let identity = Identity::load(&file)?;
    let options = node::Options::of(&file);
    options.check_lab(&identity)?;
    options.check_memory()?;
    let listed = identity.listed()?;
    let memory = options.memory_plan(identity.consensus.geometry())?;
    print(&format!(
        "{} {} of network {}: configuration, keys and consensus of epoch {} fit\n{memory}\n",
        listed.role(),
        listed.name(),
        identity.consensus.network(),
        identity.consensus.epoch(),
    ))
}

/// Erases the keys whose replay tables were lost, and says so.
fn sweep(file: &NodeFile) -> Result<(), Failure> {
    let keys = KeyFolder::new(&file.keys).node_keys()?;
    for death in Custody::of(file, &keys.identity.id())?.sweep()? {
        tracing::warn!("{death}; erased");
    }
    Ok(())
}

fn stop_on_signal(stop: Stop) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGTERM, SIGINT])
        .map_err(|error| Failure::new(Status::Failure, format!("cannot hear signals: {error}")))?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            stop.request();
        }
    });
    Ok(())
}

/// Logs of the control threads to stderr; the data plane has none.
fn start_log(level: LogLevel) {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(terminal)
        .with_writer(std::io::stderr)
        .init();
}
