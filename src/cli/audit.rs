//! `audit`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::signals::stop_on_signal;
use super::{Failure, Status, print};
use crate::audit::live::{self, Options, Outcome, Subject};

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
    let options = Options { subject, quick: arguments.quick, plots: arguments.plots.clone() };
    let interrupt = stop_on_signal()?;
    let report = live::run(&options, &interrupt)?;
    if arguments.json {
        let text = serde_json::to_string_pretty(&report);
        print(&format!("{}\n", text.unwrap_or_default()))?;
    } else {
        print(&format!("{report}\n"))?;
    }
    Ok(match report.outcome {
        Outcome::Holds => ExitCode::SUCCESS,
        Outcome::Fails => ExitCode::FAILURE,
        Outcome::Inconclusive => ExitCode::from(Status::TryAgain as u8),
    })
}
