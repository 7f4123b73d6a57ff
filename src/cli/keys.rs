//! `keygen` and `key show`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;

use super::{Failure, print};
use crate::crypto::random::Rng;
use crate::pki::{EpochKeys, KeyFolder, NodeKeys};

#[derive(Debug, Args)]
pub(super) struct KeygenArguments {
    /// The key folder of the node; it is made if it is not there.
    folder: PathBuf,
    /// Make the keys of this epoch in a folder that has the node's keys already.
    #[arg(long)]
    epoch: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Print the public halves of a node's keys.
    Show(ShowArguments),
}

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// The key folder of the node.
    folder: PathBuf,
}

/// Makes keys; never overwrites one.
pub(super) fn generate(arguments: &KeygenArguments) -> Result<(), Failure> {
    let folder = KeyFolder::new(&arguments.folder);
    let rng = &mut Rng::from_os();
    match arguments.epoch {
        Some(epoch) => folder.create_epoch_keys(&EpochKeys::generate(epoch, rng))?,
        None => {
            folder.create()?;
            folder.create_node_keys(&NodeKeys::generate(rng))?;
        }
    }
    show(&ShowArguments { folder: arguments.folder.clone() })
}

/// Prints public keys.
pub(super) fn show(arguments: &ShowArguments) -> Result<(), Failure> {
    let folder = KeyFolder::new(&arguments.folder);
    let keys = folder.node_keys()?;
    let mut text = format!(
        "identity  {}\nlink      {}\n",
        keys.identity.id(),
        HEXLOWER.encode(&keys.link.public()[..])
    );
    for epoch in folder.epochs()? {
        let public = HEXLOWER.encode(&folder.mix_public(epoch)?);
        text.push_str(&format!("mix       {public}  epoch {epoch}\n"));
    }
    print(&text)
}
