//! The last consensuses on disk: whole or not at all, and verified again when they are read.
//!
//! There are two files: that of an epoch which has begun, and beside it that of the next one,
//! which must not be all that a start finds: who uses it early stands out. Processes may share
//! both, so each write says by itself what it replaces.

use crate::clock::UnixMicros;
use crate::pki::{Consensus, Epochs, TrustAnchor};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The consensuses kept in `path` and beside it, in ascending order of their epochs.
pub(super) fn read(path: &Path, anchor: &TrustAnchor, wall: UnixMicros) -> Vec<Arc<Consensus>> {
    let files = [path, &ahead(path)].map(|path| read_one(path, anchor, wall));
    let mut all: Vec<_> = files.into_iter().flatten().map(|(one, _)| Arc::new(one)).collect();
    all.sort_by_key(|consensus| consensus.epoch());
    all.dedup_by_key(|consensus| consensus.epoch());
    all
}

/// The newest consensus kept in `path` or beside it whose epoch has begun.
pub fn current(path: &Path, anchor: &TrustAnchor, wall: UnixMicros) -> Option<Consensus> {
    let begun = read(path, anchor, wall).into_iter().rfind(|one| has_begun(one, wall));
    begun.and_then(Arc::into_inner)
}

/// Keeps `consensus`, whose exact form is `bytes`; the one of now stays until it begins.
pub(super) fn write(
    path: &Path,
    anchor: &TrustAnchor,
    wall: UnixMicros,
    (consensus, bytes): (&Consensus, &[u8]),
) -> io::Result<()> {
    if has_begun(consensus, wall) {
        return write_whole(path, bytes);
    }
    let ahead = ahead(path);
    let before = read_one(&ahead, anchor, wall).filter(|(before, _)| has_begun(before, wall));
    if let Some((_, before)) = before {
        write_whole(path, &before)?;
    }
    write_whole(&ahead, bytes)
}

/// Whether the epoch of `consensus` has begun; one whose number means no time always has.
pub(super) fn has_begun(consensus: &Consensus, wall: UnixMicros) -> bool {
    Epochs::of(consensus).is_none_or(|epochs| epochs.start(consensus.epoch()) <= wall)
}

/// The consensus in `path`, if there is one that is still valid, and its exact form. A file that
/// is not is no reason not to start: a new one is fetched.
fn read_one(path: &Path, anchor: &TrustAnchor, wall: UnixMicros) -> Option<(Consensus, Vec<u8>)> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("cannot read the consensus {}: {error}", path.display());
            return None;
        }
    };
    match Consensus::verify(&bytes, anchor, wall, None) {
        Ok(consensus) => Some((consensus, bytes)),
        Err(error) => {
            tracing::info!("the consensus kept in {} is of no use: {error}", path.display());
            None
        }
    }
}

/// Writes `bytes` to `path` so that, whatever happens, there is always the old file or the new.
///
/// # Errors
/// When it cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = unfinished(path);
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&unfinished);
    file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))?;
    fs::rename(&unfinished, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The file for the consensus of an epoch that has not begun.
fn ahead(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".next");
    name.into()
}

/// The name under which a file is written before it is whole. The processes of one folder may
/// share a file, so it is their own.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}
