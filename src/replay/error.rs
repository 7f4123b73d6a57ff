//! Why a key and its table cannot be had, and what an operator can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a key and its table cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The folder is on a disk.
    #[error(
        "{}: replay.folder is on a disk: name a folder on a tmpfs, below /run or /dev/shm, so \
         that keys and replay tables end with the power and never wait for the disk", .0.display()
    )]
    OnDisk(PathBuf),
    /// The folder or a file in it is not this user's alone.
    #[error("{}: belongs to another user or is open to others: remove it, or name another \
        replay.folder", .0.display())]
    Exposed(PathBuf),
    /// Another process has it.
    #[error("{}: another process uses it: is this node running already?", .0.display())]
    InUse(PathBuf),
    /// There is not enough memory.
    #[error(
        "no memory for {bytes} bytes of replay tables in {place}: lower \
        replay.packets_per_second (or packets_max), or give the tmpfs more (mount -o \
        remount,size=...)"
    )]
    NoRoom {
        /// Where.
        place: String,
        /// How much it takes.
        bytes: u64,
    },
    /// The file is no longer to be trusted, nor the key in it to be used.
    #[error("{}: {why}: the mix key in it must not be used any more", .path.display())]
    Dead {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        why: Death,
    },
    /// Something else failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// How a key and its table came to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Death {
    /// The machine was started again since.
    #[error("made before the machine was started again")]
    OtherBoot,
    /// Its bytes are not those that were written.
    #[error("damaged")]
    Damaged,
    /// Its key is not the one that is asked for.
    #[error("made for another key")]
    OtherKey,
}

impl MemoryError {
    /// The exit status for this error (sysexits: 66 no input, 69 unavailable, 77 permission, 78
    /// configuration).
    pub fn exit_code(&self) -> u8 {
        match self {
            MemoryError::OnDisk(_) | MemoryError::NoRoom { .. } => 78,
            MemoryError::Exposed(_) => 77,
            MemoryError::InUse(_) => 69,
            MemoryError::Dead { .. } => 66,
            MemoryError::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => 77,
                _ => 1,
            },
        }
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        MemoryError::Io { path: path.to_path_buf(), source }
    }

    pub(super) fn dead(path: &Path, why: Death) -> Self {
        MemoryError::Dead { path: path.to_path_buf(), why }
    }
}
