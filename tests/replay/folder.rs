//! A folder of one test in shared memory, with the key of one epoch in it.

use mixline::crypto::random::Rng;
use mixline::crypto::x25519::Secret;
use mixline::replay::{EpochKey, Memory, MemoryError, Options};
use std::fs;
use std::path::{Path, PathBuf};

/// The epoch whose key is in the folder.
pub(crate) const EPOCH: u64 = 7;

/// The folder, removed at the test's end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let unique = format!("mixline-replay-{}-{name}", std::process::id());
        Folder(Path::new("/dev/shm").join(unique))
    }

    /// The file of key and table.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.join(format!("epoch-{EPOCH}"))
    }

    /// The key and its table, made if there is none.
    pub(crate) fn key(&self, packets_max: u64) -> Result<EpochKey, MemoryError> {
        key_in(&self.0, packets_max)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The key and its table in `folder`, made if there is none.
pub(crate) fn key_in(folder: &Path, packets_max: u64) -> Result<EpochKey, MemoryError> {
    let secret = Secret::from_bytes([5; 32]);
    let mut rng = Rng::from_seed([9; 32]);
    Memory::in_folder(folder)?.epoch_key(EPOCH, &secret, Options { packets_max }, &mut rng)
}
