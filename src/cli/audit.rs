//! `audit`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Failure;
use super::signals::stop_on_signal;
use crate::audit::live::{self, Options, Subject};

#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    /// Measure a node that the audit starts, in a network made for it: the default.
    #[arg(long = "self", conflicts_with = "node")]
    own: bool,
    /// Measure the node that listens on this address, of the laboratory network in --network.
    #[arg(long, requires = "network")]
    node: Option<SocketAddr>,
    /// The folder of the node's network, as `mixline network init --static` made it.
    #[arg(long, requires = "node")]
    network: Option<PathBuf>,
    /// Take less than three minutes, with wider bars.
    #[arg(long)]
    quick: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// The folder for the plots.
    #[arg(long, default_value = "mixline-audit")]
    plots: PathBuf,
}

pub(super) fn run(arguments: &AuditArguments) -> Result<ExitCode, Failure> {
    let subject = match (arguments.node, &arguments.network) {
        (Some(address), Some(network)) => Subject::Node { address, network: network.clone() },
        _ => Subject::Own,
    };
    let options = Options {
        subject,
        quick: arguments.quick,
        plots: arguments.plots.clone(),
        silent: arguments.json,
    };
    let interrupt = stop_on_signal()?;
    let findings = live::run(&options, &interrupt)?;
    super::print(&format!("{findings:?}\n"))?;
    Ok(ExitCode::SUCCESS)
}
