//! Arguments to calls; the error to stderr, and an exit status.

mod audit;
mod authority;
mod client;
mod failure;
mod keys;
mod node;
mod signals;
mod user;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::clock::{self, Nanos};
use crate::crypto::random::Rng;
use crate::crypto::tier::Tier;
use crate::{demo, host, network};

pub use failure::{Failure, Status};

/// A mix network node: messages in layers, mixed and sent on, so that no observer can tell who
/// writes to whom.
#[derive(Debug, Parser)]
#[command(name = "mixline", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node.
    Run(node::RunArguments),
    /// Run directory authorities.
    #[command(subcommand)]
    Authority(authority::AuthorityCommand),
    /// Check a node's configuration, keys and documents, offline.
    Check(node::FileArgument),
    /// Make keys: a node's, in a folder, or a mailbox's.
    Keygen(keys::KeygenArguments),
    /// Look at keys.
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Make networks.
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Run a client for all applications of this user.
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Print an invitation to a gateway.
    Invite(node::InviteArguments),
    /// Send messages to a mailbox.
    Send(user::SendArguments),
    /// Receive what arrives in a mailbox.
    Recv(user::ReceiveArguments),
    /// Print the address of the mailbox.
    Address(user::AddressArguments),
    /// Say how the client is.
    Status(user::StatusArguments),
    /// Run a whole network on this machine and send messages through it.
    Demo(DemoArguments),
    /// Measure what an observer of a node's wires can tell.
    Audit(audit::AuditArguments),
}

#[derive(Debug, Subcommand)]
enum NetworkCommand {
    /// Make all keys and documents of a new network, in a new folder.
    Init(InitArguments),
}

/// How long a process runs that goes on by itself.
#[derive(Debug, Args)]
struct Lifetime {
    /// Stop when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
}

impl Lifetime {
    fn begin(&self) {
        if self.die_with_parent {
            host::die_with_parent();
        }
    }
}

#[derive(Debug, Args)]
struct InitArguments {
    /// The folder to make.
    folder: PathBuf,
    /// The network's name.
    #[arg(long, default_value = "local")]
    network: String,
    /// Mixes in all, spread evenly over the layers.
    #[arg(long, default_value_t = 6)]
    mixes: usize,
    /// Layers of mixes.
    #[arg(long, default_value_t = 3)]
    layers: u8,
    /// Gateways.
    #[arg(long, default_value_t = 2)]
    gateways: usize,
    /// Directory authorities; more than half of them sign.
    #[arg(long, default_value_t = 1)]
    authorities: usize,
    /// Bytes of every packet's payload.
    #[arg(long, default_value_t = 1024)]
    payload_bytes: usize,
    /// Mean delay at every hop, as "100ms".
    #[arg(long, default_value = "100ms", value_parser = humantime::parse_duration)]
    delay_mean: Duration,
    /// No directory: one consensus, made now, in a file that all share.
    #[arg(long = "static")]
    fixed: bool,
    /// The length of an epoch, as "2m".
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    epoch: Duration,
    /// The address and TCP port of the authority.
    #[arg(long, default_value = "127.77.0.100:7780")]
    authority: std::net::SocketAddr,
    /// With --static: how long the documents are valid, as "24h".
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
    valid: Duration,
    /// The address before that of the first node; each node has one of its own.
    #[arg(long, default_value = "127.77.0.0")]
    addresses: std::net::Ipv4Addr,
    /// The UDP port of every node.
    #[arg(long, default_value_t = 7700)]
    port: u16,
}

#[derive(Debug, Args)]
struct DemoArguments {
    /// Mixes, in three layers.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(3..=240))]
    mixes: u8,
    /// Messages to send.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    messages: u32,
    /// Leave the network running afterwards, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Put each node into a network of its own, where packets go by AF_XDP; needs root.
    #[arg(long)]
    xdp: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Does what the command line says; the process's exit status.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            // Nobody may be reading; the exit status says the least.
            let _ = writeln!(io::stderr(), "mixline: {failure}");
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    Tier::of_process()?;
    match command {
        Command::Run(arguments) => node::run(&arguments)?,
        Command::Authority(authority::AuthorityCommand::Run(arguments)) => {
            authority::run(&arguments)?;
        }
        Command::Authority(authority::AuthorityCommand::Keygen(arguments)) => {
            authority::generate(&arguments)?;
        }
        Command::Check(arguments) => node::check(&arguments)?,
        Command::Keygen(arguments) => keys::generate(&arguments)?,
        Command::Key(keys::KeyCommand::Show(arguments)) => keys::show(&arguments)?,
        Command::Network(NetworkCommand::Init(arguments)) => init(&arguments)?,
        Command::Client(client::ClientCommand::Run(arguments)) => client::run(&arguments)?,
        Command::Invite(arguments) => node::invite(&arguments)?,
        Command::Send(arguments) => user::send(&arguments)?,
        Command::Address(arguments) => user::address(&arguments)?,
        Command::Status(arguments) => user::status(&arguments)?,
        Command::Recv(arguments) => user::receive(&arguments)?,
        Command::Demo(arguments) => return run_demo(&arguments),
        Command::Audit(arguments) => return audit::run(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}

fn init(arguments: &InitArguments) -> Result<(), Failure> {
    let options = network::Options {
        network: arguments.network.clone(),
        mixes: arguments.mixes,
        layers: arguments.layers,
        gateways: arguments.gateways,
        authorities: arguments.authorities,
        payload_bytes: arguments.payload_bytes,
        delay_mean: arguments.delay_mean,
        valid: arguments.valid,
        directory: (!arguments.fixed).then_some(network::DirectoryPlan {
            address: arguments.authority,
            epoch: arguments.epoch,
        }),
        addresses: arguments.addresses,
        port: arguments.port,
        ..network::Options::new(arguments.folder.clone())
    };
    let made = network::init(&options, &mut Rng::from_os(), clock::wall())?;
    let mut text = format!(
        "network {}: trust anchor {}, consensus {}, client {}\n",
        made.network,
        made.anchor.display(),
        made.consensus.display(),
        made.client.display(),
    );
    if let Some(config) = &made.authority {
        let address = arguments.authority;
        let config = config.display();
        text.push_str(&format!("  authority  {address}  mixline authority run {config}\n"));
    }
    for node in &made.nodes {
        text.push_str(&format!(
            "  {}  {}  mixline run {}\n",
            node.name,
            node.address,
            node.config.display()
        ));
    }
    print(&text)
}

fn run_demo(arguments: &DemoArguments) -> Result<ExitCode, Failure> {
    let options = demo::Options {
        mixes: arguments.mixes.into(),
        messages: arguments.messages as usize,
        keep: arguments.keep,
        xdp: arguments.xdp,
        json: arguments.json,
    };
    let interrupt = signals::stop_on_signal()?;
    let report = demo::run(options, &interrupt)?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&report);
        print(&format!("{}\n", text.unwrap_or_default()))?;
    } else {
        print(&format!("{report}\n"))?;
    }
    Ok(if report.is_perfect() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes to standard output; a reader that has gone away is no error.
fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Status::Failure, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn parse_span(text: &str) -> Result<Nanos, humantime::DurationError> {
    humantime::parse_duration(text).map(Nanos::from)
}
