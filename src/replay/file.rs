//! One file with a mix key and its table: made whole, checked before it is used, wiped when it is
//! over.

use super::fingerprints::{PATH_LINES, lines_for};
use super::header::{self, Header};
use super::map::{self, Map};
use super::{Death, MemoryError, OPEN, Options};
use crate::crypto::random::Rng;
use crate::crypto::x25519::Secret;
use crate::host;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use zeroize::Zeroizing;

/// What the name of a file ends with until it is whole.
pub(super) const UNFINISHED: &str = "new";
/// What the system counts a file's memory in (stat(2)).
const BLOCK_BYTES: u64 = 512;
/// Mode bits that let others than the owner at a file.
const MODE_GROUP_AND_OTHERS: u32 = 0o077;

/// Opens and checks the file of `epoch`; nothing if there is none.
pub(super) fn open(path: &Path, epoch: u64) -> Result<Option<(File, Header)>, MemoryError> {
    let failed = |source| MemoryError::io(path, source);
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let file = match file {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    check_owner(path)?;
    let damaged = || MemoryError::dead(path, Death::Damaged);
    let mut bytes = Zeroizing::new([0; header::BYTES]);
    file.read_exact_at(&mut *bytes, 0).map_err(|_| damaged())?;
    let header = Header::decode(&bytes).ok_or_else(damaged)?;
    let metadata = file.metadata().map_err(failed)?;
    // All of it was taken when it was made: where a page is missing now, what it said is lost.
    let is_whole = map::file_bytes(header.lines) == Some(metadata.len())
        && metadata.blocks().saturating_mul(BLOCK_BYTES) >= metadata.len();
    if header.epoch != epoch || header.lines < PATH_LINES as u64 || !is_whole {
        return Err(damaged());
    }
    if header.boot_id != boot_id().map_err(failed)? {
        return Err(MemoryError::dead(path, Death::OtherBoot));
    }
    Ok(Some((file, header)))
}

/// Makes the file of `epoch`. It has its name only when it is whole, so that a process that is
/// killed meanwhile leaves nothing that looks like damage.
pub(super) fn create(
    path: &Path,
    epoch: u64,
    secret: &Secret,
    options: Options,
    rng: &mut Rng,
) -> Result<(Map, Header), MemoryError> {
    let failed = |source| MemoryError::io(path, source);
    let header = Header {
        epoch,
        lines: lines_for(options.lanes()),
        hash_key: Zeroizing::new(rng.bytes()),
        secret: secret.clone(),
        boot_id: boot_id().map_err(failed)?,
    };
    let unfinished = path.with_extension(UNFINISHED);
    erase(&unfinished)?; // of an earlier try
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .map_err(failed)?;
    let bytes = map::file_bytes(header.lines).unwrap_or(u64::MAX);
    let map = file.set_len(bytes).and_then(|()| Map::shared(&file, header.lines));
    let map = map.map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::OutOfMemory
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::InvalidInput => {
                let place = path.parent().unwrap_or(path).display().to_string();
                MemoryError::NoRoom { place, bytes }
            }
            _ => failed(error),
        }
    })?;
    map.state().store(OPEN, Relaxed);
    file.write_all_at(&*header.encode(), 0).map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)?;
    Ok((map, header))
}

/// Wipes the key in a file, if there is one, and removes it: whoever still has it open finds
/// none in it.
pub(super) fn erase(path: &Path) -> Result<(), MemoryError> {
    match OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path) {
        Ok(file) => file.write_all_at(&[0; header::BYTES], 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(error),
    }
    .and_then(|()| fs::remove_file(path))
    .map_err(|source| MemoryError::io(path, source))
}

/// In a folder that everybody may write to, somebody else could have made ours first.
pub(super) fn check_owner(path: &Path) -> Result<(), MemoryError> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(|source| MemoryError::io(path, source))?,
    };
    let is_closed = metadata.mode() & MODE_GROUP_AND_OTHERS == 0;
    if metadata.uid() == host::user() && is_closed && !metadata.is_symlink() {
        Ok(())
    } else {
        Err(MemoryError::Exposed(path.to_path_buf()))
    }
}

fn boot_id() -> io::Result<[u8; header::BOOT_ID_BYTES]> {
    host::boot_id()?.as_bytes().try_into().map_err(|_| io::ErrorKind::InvalidData.into())
}
