//! What a node needs from its files: keys and consensus, checked against each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::assemble::slots_in_flight;
use super::{Custody, Identity, Options};
use crate::clock::{self, UnixMicros};
use crate::config::{self, ConfigError, Detail, NodeFile};
use crate::directory;
use crate::host;
use crate::pki::{Consensus, ConsensusError, InvitationKey, KeyError, KeyFolder};
use crate::replay::MemoryError;
use crate::worker::roles::Roles;

/// Neighbours that a node of a changing network has room for; 3 KB each.
const NEIGHBOURS_MAX: u32 = 256;
/// How long the key of the invited is in force that an unlisted gateway makes: 30 days.
const INVITATION_KEY_S: u64 = 30 * 86_400;

/// Why the files do not make a node.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The trust anchor.
    #[error(transparent)]
    Anchor(#[from] ConfigError),
    /// The consensus cannot be read.
    #[error("cannot read the consensus {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The consensus is refused.
    #[error("consensus {path}: {source}")]
    Consensus {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ConsensusError,
    },
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The memory of mix keys and replay tables.
    #[error(transparent)]
    Replay(#[from] MemoryError),
    /// A mix key that ended with its replay table, or was never made.
    #[error(
        "there is no mix key of epoch {0} to go on with: it ends with its replay table, as it \
         must, when the machine is started again or the memory is lost. The epoch needs a new \
         key: remove epoch-{0}.key if it is there, run `mixline keygen --epoch {0}` on the key \
         folder, and have the consensus made anew"
    )]
    KeyGone(u64),
}

impl LoadError {
    /// The exit status of a command that ends with this.
    pub fn exit_code(&self) -> u8 {
        match self {
            LoadError::Anchor(error) => error.exit_code(),
            LoadError::Read { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => 66,
                std::io::ErrorKind::PermissionDenied => 77,
                _ => 1,
            },
            LoadError::Consensus { source, .. } => source.exit_code(),
            LoadError::Key(error) => error.exit_code(),
            LoadError::Replay(error) => error.exit_code(),
            LoadError::KeyGone(_) => 66,
        }
    }
}

/// The consensus in `path`, or that of the next epoch beside it once this has begun, verified by
/// the trust anchor in `network`.
///
/// # Errors
/// When a file cannot be read, or the consensus is not to be trusted now.
pub fn load_consensus(network: &Path, path: &Path) -> Result<Consensus, LoadError> {
    let anchor = config::load_anchor(network)?;
    if let Some(current) = directory::current_kept(path, &anchor, clock::wall()) {
        return Ok(current);
    }
    // There is none: why not?
    let path = path.to_owned();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(LoadError::Read { path, source }),
    };
    Consensus::verify(&bytes, &anchor, clock::wall(), None)
        .map_err(|source| LoadError::Consensus { path, source })
}

impl Identity {
    /// The identity that a node's files make.
    ///
    /// # Errors
    /// When one is missing, damaged, open to others, or not to be trusted.
    pub fn load(file: &NodeFile) -> Result<Self, LoadError> {
        let folder = KeyFolder::new(&file.keys);
        let keys = folder.node_keys()?;
        let consensus = Arc::new(load_consensus(&file.network, &file.consensus)?);
        let custody = Custody::of(file, &keys.identity.id())?;
        let epochs = vec![custody.load(consensus.epoch())?];
        let invitation = invitation_key(&folder, file.gateway.unlisted)?;
        Ok(Identity { keys, epochs, invitation, custody, consensus })
    }
}

/// The key of those whom a gateway has invited; one whose time is over is erased. An unlisted
/// gateway has one from the start, so that the first invitation needs no restart.
pub(super) fn invitation_key(
    folder: &KeyFolder,
    unlisted: bool,
) -> Result<Option<InvitationKey>, LoadError> {
    let wall = clock::wall();
    if let Err(error) = folder.erase_expired_invitation_keys(wall) {
        tracing::warn!("an expired key of the invited is not erased: {error}");
    }
    match folder.invitation_key(wall)? {
        None if unlisted => {
            let valid_until = UnixMicros::from_secs(wall.as_secs() + INVITATION_KEY_S);
            Ok(Some(folder.extend_invitation_key(valid_until, wall)?))
        }
        key => Ok(key),
    }
}

impl Options {
    /// The options that a node's file gives.
    pub fn of(file: &NodeFile) -> Self {
        let workers = file.workers.count.unwrap_or_else(|| host::cores().len());
        let roles = Roles::of(workers);
        let share = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Options {
            workers,
            pin: file.workers.pin,
            port: file.port.clone(),
            // What is in flight between threads comes on top: its size follows from the workers.
            slots: share(file.slots + slots_in_flight(roles)),
            packets_max: share((file.packets_max / roles.owners().len()).max(1)),
            strategy: file.strategy,
            replay: file.replay,
            unlisted: file.gateway.unlisted,
            mailboxes: file.gateway.store.clone(),
            mailbox_folder: Some(file.gateway.folder.clone()),
            neighbours_max: if file.membership.is_some() { NEIGHBOURS_MAX } else { 0 },
            lab: file.detail == Detail::Lab,
            ..Options::default()
        }
    }
}
