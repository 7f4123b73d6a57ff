//! The last consensus on disk: whole or not at all, and verified again when it is read.

use crate::clock::UnixMicros;
use crate::pki::{Consensus, TrustAnchor};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The consensus in `path`, if there is one that is still valid. A file that is not is no reason
/// not to start: a new one is fetched.
pub(super) fn read(path: &Path, anchor: &TrustAnchor, wall: UnixMicros) -> Option<Arc<Consensus>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!("cannot read the consensus {}: {error}", path.display());
            return None;
        }
    };
    match Consensus::verify(&bytes, anchor, wall, None) {
        Ok(consensus) => Some(Arc::new(consensus)),
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

/// The name under which a file is written before it is whole. The processes of one folder may
/// share a file, so it is their own.
fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}
