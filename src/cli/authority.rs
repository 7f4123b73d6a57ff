//! `authority run` and `authority keygen`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::node::start_log;
use super::signals::hear;
use super::{Failure, Lifetime, print};
use crate::authority::{Authority, Options};
use crate::config::{self, AuthorityFile};
use crate::crypto::random::Rng;
use crate::pki::{KeyFolder, SigningKey};

#[derive(Debug, Subcommand)]
pub(super) enum AuthorityCommand {
    /// Run a directory authority.
    Run(RunArguments),
    /// Make the key of a directory authority, and print its public half.
    Keygen(KeygenArguments),
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The authority's configuration.
    file: PathBuf,
    #[command(flatten)]
    lifetime: Lifetime,
}

#[derive(Debug, Args)]
pub(super) struct KeygenArguments {
    /// The key folder of the authority; it is made if it is not there.
    folder: PathBuf,
}

/// Makes an authority's key; never overwrites one.
pub(super) fn generate(arguments: &KeygenArguments) -> Result<(), Failure> {
    let folder = KeyFolder::new(&arguments.folder);
    let key = SigningKey::generate(&mut Rng::from_os());
    folder.create()?;
    folder.create_authority_key("authority", &key)?;
    print(&format!("authority  {}\n", HEXLOWER.encode(&key.public())))
}

/// Runs an authority until SIGTERM or SIGINT.
pub(super) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    arguments.lifetime.begin();
    let AuthorityFile { network, keys, listen, state, policy, log } =
        AuthorityFile::load(&arguments.file)?;
    start_log(log);
    let anchor = config::load_anchor(&network)?;
    let key = KeyFolder::new(&keys).authority_key("authority")?;
    let mut signals = hear(&[SIGTERM, SIGINT])?;
    let name = anchor.network().to_owned();
    let authority = Authority::start(Options { anchor, key, policy, listen, state })?;
    tracing::info!("authority of network {name} on http://{}", authority.address());
    signals.forever().next();
    drop(authority);
    tracing::info!("stopped");
    Ok(())
}
