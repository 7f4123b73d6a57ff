//! `client run`, and the client of a command that finds no daemon.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;

use super::signals::stop_on_signal;
use super::{Failure, Lifetime, Status};
use crate::client::api;
use crate::client::daemon::{Daemon, Listener, Parts};
use crate::client::spool::{Spool, SpoolError};
use crate::client::{Client, Connection};
use crate::clock::{self, Nanos};
use crate::config::{ClientFile, GatewayChoice, LogLevel};
use crate::crypto::random::Rng;
use crate::crypto::sha256;
use crate::directory::{self, Follower};
use crate::io::udp::{self, UdpPort};
use crate::io::wake;
use crate::node::load_consensus;
use crate::pki::{Consensus, Invitation, MailboxKeys, Node, Role};

/// How long the authorities may take to have a consensus for us.
const FETCH_MAX: Nanos = Nanos::from_secs(30);
/// How long a gateway may take to let us in.
const CONNECT_MAX: Nanos = Nanos::from_secs(15);
/// How often a waiting command looks around.
pub(super) const LOOK: Nanos = Nanos::from_millis(100);

#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Run the client until SIGTERM or SIGINT.
    Run(RunArguments),
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The client's configuration.
    file: PathBuf,
    /// The gateway that keeps the mailbox, by name or identity; the configuration has the default.
    #[arg(long)]
    gateway: Option<GatewayChoice>,
    /// The invitation to enter by; the configuration has the default. Other users of this machine
    /// can read a command line: prefer `client.invitation` there.
    #[arg(long, conflicts_with = "gateway")]
    invite: Option<Invitation>,
    /// The mailbox's key file, made if it is not there; the configuration has the default.
    #[arg(long)]
    mailbox: Option<PathBuf>,
    /// The file in which messages wait for a reader; the configuration has the default.
    #[arg(long)]
    spool: Option<PathBuf>,
    /// The unix socket to listen at; the configuration has the default.
    #[arg(long)]
    socket: Option<PathBuf>,
    #[command(flatten)]
    lifetime: Lifetime,
}

/// Runs a daemon.
pub(super) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    arguments.lifetime.begin();
    super::node::start_log(LogLevel::default());
    let stop = stop_on_signal()?;
    let mut file = ClientFile::load(&arguments.file)?;
    let given = arguments.socket.clone();
    let socket = given.unwrap_or_else(|| socket_path(&file, &arguments.file));
    let entry = Entry::given(arguments.gateway.as_ref(), arguments.invite.as_ref());
    file.mailbox = arguments.mailbox.clone().unwrap_or(file.mailbox);
    file.spool = arguments.spool.clone().unwrap_or(file.spool);
    let local = LocalDaemon::start(&file, entry, Reading::Mailbox)?;
    let listener = Listener::open(&socket, local.daemon.door())?;
    tracing::info!("gateway {}, socket {}", local.gateway, listener.path().display());
    while !stop.load(Ordering::Relaxed) && !local.daemon.has_ended() {
        std::thread::sleep(LOOK.as_duration());
    }
    drop(listener);
    local.stop()?;
    tracing::info!("stopped");
    Ok(())
}

/// Where the daemon of the configuration `path` listens.
pub(super) fn socket_path(file: &ClientFile, path: &Path) -> PathBuf {
    if let Some(socket) = &file.socket {
        return socket.clone();
    }
    let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty())
    else {
        return path.with_file_name("client.sock");
    };
    // One for each configuration.
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let digest = sha256::digest(&[whole.as_os_str().as_encoded_bytes()]);
    let name = format!("client-{}.sock", HEXLOWER.encode(&digest[..8]));
    PathBuf::from(folder).join("mixline").join(name)
}

/// Which mailbox a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// That of its configuration.
    Mailbox,
    /// That of its configuration, or if another process reads it, one that ends with it: enough
    /// to send.
    MailboxOrNone,
}

/// A daemon in this process.
pub(super) struct LocalDaemon {
    daemon: Daemon,
    follower: Option<Follower>,
    gateway: String,
}

impl LocalDaemon {
    /// The client of `file`, by way of `entry` or its own.
    pub(super) fn start(
        file: &ClientFile,
        entry: Option<Entry>,
        reading: Reading,
    ) -> Result<Self, Failure> {
        let entry = entry.map_or_else(|| Entry::of(file), Ok)?;
        let (keys, spool) = mailbox(file, reading)?;
        let consensus = consensus(file)?;
        let (node, address) = entry.gateway(&consensus)?;
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let datagram_bytes = consensus.geometry().datagram_bytes();
        let port = UdpPort::open(&udp::Options::new(local, datagram_bytes))?;
        let (sleeper, waker) = wake::pair()?;
        let mut rng = Rng::from_os();
        let (now, wall) = (clock::now(), clock::wall());
        let connection = match &entry {
            Entry::Invitation(invitation) => {
                Connection::invited(invitation, port, now, wall, &mut rng)
            }
            Entry::Gateway(_) => Connection::new(&consensus, node, port, now, wall, &mut rng),
        };
        let connection = connection.map_err(|error| Failure::new(Status::Configuration, error))?;
        let gateway = format!("{} at {address}", node.name());
        let client = Client::new(connection, consensus.clone(), node.id(), keys, rng);
        let daemon = Daemon::start(Parts { client, spool, sleeper, waker })?;
        let follow = daemon.follower();
        let follower = file.directory()?.map(|options| Follower::start(options, follow));
        let follower = follower.transpose().map_err(directory::FollowerError::from)?;
        Ok(LocalDaemon { daemon, follower, gateway })
    }

    /// A connection to it, once the gateway has let us in.
    pub(super) fn connect(&self, stop: &AtomicBool) -> Result<api::Connection, Failure> {
        let mut connection = self.enter()?;
        let start = clock::now();
        loop {
            let status = connection.status()?;
            if status.connected {
                return Ok(connection);
            }
            if let Some(refusal) = status.refusal {
                let message = format!("gateway {}: {refusal}", self.gateway);
                return Err(Failure::new(Status::Unavailable, message));
            }
            if clock::now() - start > CONNECT_MAX || stop.load(Ordering::Relaxed) {
                let message = format!(
                    "gateway {} does not answer: is it running, is UDP let through, is this \
                     machine's clock right?",
                    self.gateway
                );
                return Err(Failure::new(Status::Unavailable, message));
            }
            std::thread::sleep(LOOK.as_duration() / 4);
        }
    }

    /// A connection to it, whether the gateway is there or not.
    pub(super) fn enter(&self) -> Result<api::Connection, Failure> {
        let stream = self.daemon.door().enter().map_err(api::ApiError::from)?;
        Ok(api::Connection::over(stream)?)
    }

    pub(super) fn stop(self) -> Result<(), Failure> {
        drop(self.follower);
        Ok(self.daemon.stop()?)
    }
}

/// How a client comes into the network.
pub(super) enum Entry {
    Gateway(Option<GatewayChoice>),
    Invitation(Box<Invitation>),
}

impl Entry {
    /// What the command line says.
    pub(super) fn given(
        gateway: Option<&GatewayChoice>,
        invitation: Option<&Invitation>,
    ) -> Option<Self> {
        match (gateway, invitation) {
            (_, Some(invitation)) => Some(Entry::Invitation(Box::new(invitation.clone()))),
            (Some(gateway), None) => Some(Entry::Gateway(Some(gateway.clone()))),
            (None, None) => None,
        }
    }

    /// What the configuration says.
    pub(super) fn of(file: &ClientFile) -> Result<Self, Failure> {
        match &file.invitation {
            Some(path) => Ok(Entry::Invitation(Box::new(read_invitation(path)?))),
            None => Ok(Entry::Gateway(file.gateway.clone())),
        }
    }

    /// The gateway, and where it is.
    fn gateway<'a>(&self, consensus: &'a Consensus) -> Result<(&'a Node, SocketAddr), Failure> {
        let (node, address) = match self {
            Entry::Invitation(invitation) => {
                let checked = invitation.check(&consensus.genesis(), clock::wall());
                checked.map_err(|error| Failure::new(Status::Configuration, error))?;
                let gateway = GatewayChoice::Id(invitation.gateway);
                (choose_gateway(consensus, Some(&gateway))?, Some(invitation.address))
            }
            Entry::Gateway(gateway) => {
                let node = choose_gateway(consensus, gateway.as_ref())?;
                (node, node.addresses().first().copied())
            }
        };
        let nowhere = || format!("gateway {} has no address", node.name());
        let address = address.ok_or_else(|| Failure::new(Status::Configuration, nowhere()))?;
        Ok((node, address))
    }
}

fn read_invitation(path: &Path) -> Result<Invitation, Failure> {
    let fault = |error: &dyn std::fmt::Display| format!("invitation {}: {error}", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(Status::InputMissing, fault(&error)))?;
    text.parse().map_err(|error| Failure::new(Status::Configuration, fault(&error)))
}

/// The keys of the mailbox, and the spool of what came into it.
fn mailbox(file: &ClientFile, reading: Reading) -> Result<(MailboxKeys, Spool), Failure> {
    match Spool::open(&file.spool) {
        Err(SpoolError::InUse(_)) if reading == Reading::MailboxOrNone => {
            let keys = MailboxKeys::generate(&mut Rng::from_os());
            Ok((keys, Spool::in_memory()?))
        }
        spool => Ok((load_or_make(&file.mailbox)?, spool?)),
    }
}

fn load_or_make(path: &Path) -> Result<MailboxKeys, Failure> {
    if path.exists() {
        return Ok(MailboxKeys::load(path)?);
    }
    let keys = MailboxKeys::generate(&mut Rng::from_os());
    keys.create(path)?;
    Ok(keys)
}

/// The consensus of now: from the authorities, or from the file if there are none.
fn consensus(file: &ClientFile) -> Result<Arc<Consensus>, Failure> {
    match file.directory()? {
        Some(options) => Ok(directory::obtain(options, FETCH_MAX)?),
        None => Ok(Arc::new(load_consensus(&file.network, &file.consensus)?)),
    }
}

/// The gateway that `wanted` names.
fn choose_gateway<'a>(
    consensus: &'a Consensus,
    wanted: Option<&GatewayChoice>,
) -> Result<&'a Node, Failure> {
    let found = match wanted {
        Some(GatewayChoice::Id(id)) => consensus.node(id),
        Some(GatewayChoice::Name(name)) => consensus.node_named(name),
        None => None,
    };
    found.filter(|node| node.role() == Role::Gateway).ok_or_else(|| {
        let names: Vec<_> = consensus.gateways().iter().map(Node::name).collect();
        let names = names.join(", ");
        let message = match wanted {
            Some(wanted) => format!("{wanted} is no gateway of the consensus: it has {names}"),
            None => format!("no gateway chosen: use --gateway with one of {names}"),
        };
        Failure::new(Status::Usage, message)
    })
}
