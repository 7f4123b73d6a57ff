//! The authority's state on disk: one file a descriptor, one file a consensus, each whole.

use super::AuthorityError;
use super::register::Kept;
use crate::clock::{Nanos, UnixMicros};
use crate::directory::write_whole;
use crate::pki::{Consensus, ConsensusError, Descriptor, NodeId, TrustAnchor};
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The folder of the state.
#[derive(Debug)]
pub(super) struct State {
    descriptors: PathBuf,
    consensuses: PathBuf,
}

impl State {
    /// Opens the folder, made if there is none, and reads what it holds. A consensus is kept
    /// whatever the time, and its epoch though it cannot be read: it was signed.
    pub(super) fn open(
        folder: &Path,
        anchor: &TrustAnchor,
        wall: UnixMicros,
    ) -> Result<(Self, Kept), AuthorityError> {
        let state = State {
            descriptors: folder.join("descriptors"),
            consensuses: folder.join("consensuses"),
        };
        for path in [&state.descriptors, &state.consensuses] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.map_err(|source| AuthorityError::State { path: path.clone(), source })?;
        }
        let descriptors = read_all(&state.descriptors)?.into_iter().filter_map(|(path, bytes)| {
            let read = Descriptor::verify(&bytes, anchor.network());
            read.map_err(|error| tracing::warn!("{}: left out: {error}", path.display())).ok()
        });
        let mut kept = Kept { descriptors: descriptors.collect(), ..Kept::default() };
        for (path, bytes) in read_all(&state.consensuses)? {
            match verify_of_any_time(&bytes, anchor, wall) {
                Ok(consensus) => kept.consensuses.push((consensus, bytes)),
                Err(error) => {
                    tracing::warn!("{}: no other is signed instead: {error}", path.display());
                    kept.unreadable.extend(epoch_of(&path));
                }
            }
        }
        Ok((state, kept))
    }

    pub(super) fn keep_descriptor(&self, descriptor: &Descriptor) -> io::Result<()> {
        write_whole(&self.descriptor(descriptor.id()), descriptor.signed_bytes())
    }

    pub(super) fn keep_consensus(&self, epoch: u64, bytes: &[u8]) -> io::Result<()> {
        write_whole(&self.consensus(epoch), bytes)
    }

    /// Removes what is no longer needed; a file that stays is forgotten again at the next start.
    pub(super) fn forget(&self, descriptors: &[NodeId], epochs: &[u64]) {
        let descriptors = descriptors.iter().map(|id| self.descriptor(*id));
        let consensuses = epochs.iter().map(|epoch| self.consensus(*epoch));
        for path in descriptors.chain(consensuses) {
            let _ = fs::remove_file(path);
        }
    }

    fn descriptor(&self, id: NodeId) -> PathBuf {
        self.descriptors.join(format!("{id}.cbor"))
    }

    fn consensus(&self, epoch: u64) -> PathBuf {
        self.consensuses.join(format!("{epoch}.cbor"))
    }
}

/// The consensus in `bytes`, be it of the past or, for a clock that goes wrong, of the future.
fn verify_of_any_time(
    bytes: &[u8],
    anchor: &TrustAnchor,
    wall: UnixMicros,
) -> Result<Consensus, ConsensusError> {
    let verify = |wall| Consensus::verify(bytes, anchor, wall, None);
    match verify(wall) {
        Err(ConsensusError::NotYetValid { epoch, seconds }) => {
            tracing::warn!(
                "epoch {epoch}, signed before, begins later: check this machine's clock"
            );
            verify(wall + Nanos::from_secs(seconds))
        }
        Err(ConsensusError::Expired { seconds, .. }) => {
            verify(UnixMicros::from_secs(wall.as_secs().saturating_sub(seconds + 1)))
        }
        verified => verified,
    }
}

/// The epoch after which a file is named.
fn epoch_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// All whole files of a folder.
fn read_all(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, AuthorityError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        |source| AuthorityError::State { path, source }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.extension() == Some(OsStr::new("cbor")) {
            let bytes = fs::read(&path).map_err(failed(&path))?;
            files.push((path, bytes));
        }
    }
    Ok(files)
}
