//! The authority's state on disk: one file a descriptor, one file a consensus, each whole.

use super::AuthorityError;
use super::register::Kept;
use crate::clock::UnixMicros;
use crate::directory::write_whole;
use crate::pki::{Consensus, Descriptor, NodeId, TrustAnchor};
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
    /// Opens the folder, made if there is none, and reads what it holds. What is no longer valid
    /// is left out.
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
        let consensuses = read_all(&state.consensuses)?.into_iter().filter_map(|(_, bytes)| {
            let consensus = Consensus::verify(&bytes, anchor, wall, None).ok()?;
            Some((consensus, bytes))
        });
        let kept = Kept { descriptors: descriptors.collect(), consensuses: consensuses.collect() };
        Ok((state, kept))
    }

    pub(super) fn keep_descriptor(&self, descriptor: &Descriptor) -> io::Result<()> {
        write_whole(&self.descriptor(descriptor.id()), descriptor.signed_bytes())
    }

    pub(super) fn keep_consensus(&self, epoch: u64, bytes: &[u8]) -> io::Result<()> {
        write_whole(&self.consensus(epoch), bytes)
    }

    /// Removes what is no longer needed; a file that stays is left out at the next start.
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
