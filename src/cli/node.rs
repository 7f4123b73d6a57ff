//! `run` and `check`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::signals::hear;
use super::{Failure, Lifetime, Status, print};
use crate::clock::{self, UnixMicros};
use crate::config::{LogLevel, NodeFile};
use crate::crypto::tier::Tier;
use crate::host::{self, Machine, privileges};
use crate::node::{self, Custody, Faces, Identity, LoadError, Member, NodeError, Stop};
use crate::pki::{Invitation, KeyFolder, Role};

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The node's configuration.
    file: PathBuf,
    #[command(flatten)]
    lifetime: Lifetime,
}

#[derive(Debug, Args)]
pub(super) struct FileArgument {
    /// The node's configuration.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct InviteArguments {
    /// The gateway's configuration.
    file: PathBuf,
    /// How long the invitation is valid, as "30d".
    #[arg(long, default_value = "30d", value_parser = humantime::parse_duration)]
    valid: Duration,
    /// The gateway's address and port as clients reach it, if it is not the listed one.
    #[arg(long)]
    address: Option<SocketAddr>,
    /// The address of an authority, for clients that need a newer consensus.
    #[arg(long)]
    authority: Option<String>,
}

/// Prints an invitation to a gateway: one string.
pub(super) fn invite(arguments: &InviteArguments) -> Result<(), Failure> {
    let file = NodeFile::load(&arguments.file)?;
    let folder = KeyFolder::new(&file.keys);
    // The mix key is not needed, and may be where only the running node finds it.
    let consensus = node::load_consensus(&file.network, &file.consensus)?;
    let keys = folder.node_keys()?;
    let listed = node::listed(&consensus, &keys)?;
    let address = arguments.address.or(listed.addresses().first().copied());
    let Some(address) = address.filter(|_| listed.role() == Role::Gateway) else {
        let message = format!("{} {} takes no clients", listed.role(), listed.name());
        return Err(Failure::new(Status::Usage, message));
    };
    let wall = clock::wall();
    let is_new = folder.invitation_key(wall)?.is_none();
    let valid_until = wall.as_secs().saturating_add(arguments.valid.as_secs());
    let key = folder.extend_invitation_key(UnixMicros::from_secs(valid_until), wall)?;
    if is_new {
        eprintln!("mixline: the key of the invited is new: restart the gateway if it is running");
    }
    let invitation = Invitation {
        genesis: consensus.genesis(),
        geometry: consensus.geometry(),
        gateway: listed.id(),
        link_public: *listed.link_public(),
        kem_public: Box::new(*key.kem.public()),
        valid_until: UnixMicros::from_secs(valid_until),
        address,
        authority: arguments.authority.clone(),
    };
    print(&format!("{invitation}\n"))
}

/// Runs a node until SIGTERM or SIGINT.
pub(super) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    arguments.lifetime.begin();
    let file = NodeFile::load(&arguments.file)?;
    start_log(file.log);
    let options = node::Options::of(&file);
    let faces = Faces { address: file.listen[0], metrics: file.metrics.as_ref() };
    if let Some(membership) = &file.membership {
        options.check_membership(membership, faces.address)?;
    }
    sweep(&file)?;
    node::try_start(&options, &faces)?;
    let stop = Stop::default();
    stop_on_signal(stop.clone())?;
    let (identity, member) = match Member::load(&file, &options)? {
        None => {
            let identity = Identity::load(&file)?;
            identity.custody.forget_before(identity.consensus.epoch())?;
            (identity, None)
        }
        Some(mut member) => {
            let Some(identity) = member.join(&stop)? else { return Ok(()) };
            (identity, Some(member))
        }
    };
    options.check_lab(&identity.consensus)?;
    options.memory_plan(identity.consensus.geometry())?;
    // Reading too few descriptors is no reason not to start: clients then find the node full.
    let _ = host::raise_descriptor_limit();
    let listed = identity.listed()?;
    identity.check_address(faces.address)?;
    tracing::info!(
        "{} {} of network {}, epoch {}, on {}",
        listed.role(),
        listed.name(),
        identity.consensus.network(),
        identity.consensus.epoch(),
        faces.address,
    );
    let memory = identity.custody.memory();
    tracing::info!("{memory}");
    if let Some(remedy) = memory.remedy(options.table_bytes()) {
        tracing::info!("{remedy}");
    }
    options.check_room(&identity.custody).map_err(NodeError::from)?;
    tracing::info!("{}", Machine::look(Tier::chosen().name().as_str()));
    let totals = node::run(&identity, &options, &faces, member, &stop)?;
    tracing::info!("stopped");
    if let Some(totals) = totals {
        print(&format!("{}\n", serde_json::to_string(&totals).unwrap_or_default()))?;
    }
    Ok(())
}

/// Checks everything that can be checked without the network.
pub(super) fn check(arguments: &FileArgument) -> Result<(), Failure> {
    let file = NodeFile::load(&arguments.file)?;
    let options = node::Options::of(&file);
    options.check_memory()?;
    if let Some(membership) = &file.membership {
        options.check_membership(membership, file.listen[0])?;
    }
    let identity = match Identity::load(&file) {
        Err(error) if file.membership.is_some() && may_come(&error) => {
            return print("configuration and keys fit; there is no consensus yet\n");
        }
        Err(LoadError::KeyGone(epoch)) if file.membership.is_some() => {
            return print(&format!(
                "configuration, keys and consensus of epoch {epoch} fit; its mix key is not to be \
                 found from here: a running node has it in its memory, and one that has lost it \
                 makes a new one\n"
            ));
        }
        identity => identity?,
    };
    options.check_lab(&identity.consensus)?;
    identity.check_address(file.listen[0])?;
    let listed = identity.listed()?;
    let plan = options.memory_plan(identity.consensus.geometry())?;
    options.check_room(&identity.custody).map_err(NodeError::from)?;
    let memory = identity.custody.memory();
    let remedy = memory.remedy(options.table_bytes());
    let remedy = remedy.map(|remedy| format!("{remedy}\n")).unwrap_or_default();
    print(&format!(
        "{} {} of network {}: configuration, keys and consensus of epoch {} fit\n{plan}\n{memory}\n\
         {remedy}mixing by {}\n",
        listed.role(),
        listed.name(),
        identity.consensus.network(),
        identity.consensus.epoch(),
        options.strategy,
    ))
}

/// Whether a member of a network gets what is missing when it runs.
fn may_come(error: &LoadError) -> bool {
    matches!(error, LoadError::Read { .. } | LoadError::Consensus { .. })
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
    let mut signals = hear(&[SIGTERM, SIGINT, SIGHUP])?;
    let (sender, dropped) = mpsc::channel();
    std::thread::spawn(move || {
        // Privileges belong to threads, and this one needs none.
        let _ = sender.send(privileges::drop_of_thread());
        for _ in signals.forever() {
            stop.request();
        }
    });
    match dropped.recv() {
        Ok(Err(error)) => Err(Failure::new(Status::Permission, error)),
        _ => Ok(()),
    }
}

/// Logs of the control threads to stderr; the data plane has none.
pub(super) fn start_log(level: LogLevel) {
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
