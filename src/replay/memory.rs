//! Where mix keys and their tables lie: a folder in memory that outlives the process and not the
//! power, or, where there is none, the process's own memory.
//!
//! A key and the record of what came under it are one file, so that they live and die together:
//! after a kill the next process goes on under the same key with everything that was seen; after
//! a power loss both are gone. A disk would break both halves: it outlives the power with a table
//! that is behind, and the kernel's writing back stalls whoever stores into it for up to 90 ms.

use super::file::{self, UNFINISHED, check_owner};
use super::map::Map;
use super::{CLOSED, Death, EpochKey, MemoryError, OPEN, Options, Table};
use crate::crypto::random::Rng;
use crate::crypto::x25519::Secret;
use crate::host::mounts::{self, Mount};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

/// Where a service has its folder that nobody names.
const SERVICE_FOLDER: &str = "/run/mixline";
/// Where everybody has memory.
const SHARED_FOLDER: &str = "/dev/shm";

/// How well keys and tables are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// A tmpfs that was mounted for them: huge pages, never swapped out.
    Own,
    /// A tmpfs as there is one on every machine.
    Plain {
        /// Whether its files have huge pages: without, an insertion takes twice as long.
        huge: bool,
        /// Whether it may be swapped out: keys then lie on a disk.
        swaps: bool,
    },
    /// The process's own memory: a restart ends the keys.
    Process,
}

impl Tier {
    fn of(mount: &Mount) -> Self {
        let huge = ["huge=always", "huge=within_size", "huge=advise"];
        let huge = huge.iter().any(|option| mount.has(option));
        // What lies on a ramfs is never swapped out.
        match mount.has("noswap") || mount.kind == "ramfs" {
            true if huge => Tier::Own,
            is_kept => Tier::Plain { huge, swaps: !is_kept },
        }
    }
}

/// Where the keys and tables of one node lie.
#[derive(Debug)]
pub struct Memory {
    /// None: the process's own memory.
    folder: Option<PathBuf>,
    tier: Tier,
    /// Held while this process may change the folder's files.
    lock: Mutex<Option<File>>,
}

impl fmt::Display for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("mix keys and replay tables in ")?;
        let Some(folder) = &self.folder else {
            return out.write_str(
                "this process's memory, because there is no tmpfs to be used: a restart ends \
                 them, and needs the keys of a new epoch",
            );
        };
        let kind = match self.tier {
            Tier::Own => "a tmpfs of its own, on huge pages and never swapped out",
            Tier::Plain { huge: false, swaps: true } => {
                "a plain tmpfs, on small pages and not kept from being swapped out"
            }
            Tier::Plain { huge: true, .. } => "a tmpfs not kept from being swapped out",
            Tier::Plain { .. } | Tier::Process => "a tmpfs on small pages",
        };
        let folder = folder.display();
        write!(out, "{folder} ({kind}): they outlive this process and not the power")
    }
}

impl Memory {
    /// The process's own memory.
    pub fn anonymous() -> Self {
        Memory { folder: None, tier: Tier::Process, lock: Mutex::default() }
    }

    /// Memory in `folder`, which is made when it is first needed.
    ///
    /// # Errors
    /// When it is on a disk, or open to others.
    pub fn in_folder(folder: &Path) -> Result<Self, MemoryError> {
        let Some(mount) = mount_in_memory(folder)? else {
            return Err(MemoryError::OnDisk(folder.to_path_buf()));
        };
        check_owner(folder)?;
        let folder = Some(folder.to_path_buf());
        Ok(Memory { folder, tier: Tier::of(&mount), lock: Mutex::default() })
    }

    /// The best place for the node `name`, where its operator names none: below
    /// `$RUNTIME_DIRECTORY`, `/run/mixline` or `/dev/shm`, whichever is the first that is in
    /// memory; else the process's own memory.
    ///
    /// # Errors
    /// When the folder there is open to others.
    pub fn choose(name: &str) -> Result<Self, MemoryError> {
        let service = std::env::var_os("RUNTIME_DIRECTORY");
        let service = service.iter().flat_map(std::env::split_paths);
        let places = service.chain([SERVICE_FOLDER.into(), SHARED_FOLDER.into()]);
        for place in places.filter(|place: &PathBuf| place.is_dir()) {
            if mount_in_memory(&place)?.is_some() && is_writable(&place) {
                return Self::in_folder(&place.join(format!("mixline-{name}")));
            }
        }
        Ok(Self::anonymous())
    }

    /// How well they are kept.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// What an operator can do to have them kept better, with room for `bytes`; nothing where
    /// that is so.
    pub fn remedy(&self, bytes: u64) -> Option<String> {
        if self.tier == Tier::Own {
            return None;
        }
        // Beside tables in force, those of an epoch that is over and one that comes (rotation).
        let mebibytes = ((bytes / 3 * 5) >> 20) + 2;
        let options = format!("noswap,huge=advise,mode=0700,size={mebibytes}m");
        Some(format!(
            "for a tmpfs of its own: mount -t tmpfs -o {options} mixline {SERVICE_FOLDER} as root, \
             or in /etc/fstab: mixline {SERVICE_FOLDER} tmpfs {options} 0 0; and its folder to the \
             node's user"
        ))
    }

    /// That tables of `bytes` in all fit here beside what is others'.
    ///
    /// # Errors
    /// [`MemoryError::NoRoom`] when they do not; others when the folder cannot be read.
    pub fn check_room(&self, bytes: u64) -> Result<(), MemoryError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let existing = nearest(folder);
        let failed = |source| MemoryError::io(existing, source);
        let mut room = mounts::available_bytes(existing).map_err(failed)?;
        for epoch in self.epochs()? {
            let own = folder.join(format!("epoch-{epoch}"));
            room = room.saturating_add(fs::metadata(own).map_or(0, |own| own.len()));
        }
        match room < bytes {
            true => Err(MemoryError::NoRoom { place: folder.display().to_string(), bytes }),
            false => Ok(()),
        }
    }

    /// Whether keys and tables are still there when the process is started again.
    pub fn outlives_process(&self) -> bool {
        self.folder.is_some()
    }

    /// The secret of `epoch`, if it lies here; looks only.
    ///
    /// # Errors
    /// [`MemoryError::Dead`] when it must not be used any more; others when it cannot be read.
    pub fn secret(&self, epoch: u64) -> Result<Option<Secret>, MemoryError> {
        let Some(path) = self.path(epoch) else { return Ok(None) };
        Ok(file::open(&path, epoch)?.map(|(_, header)| header.secret))
    }

    /// Binds `secret` to its table: the one that lies here if there is one, else a new one.
    ///
    /// # Errors
    /// When the table here belongs to another key or is dead, when there is not enough memory,
    /// or another process uses it.
    pub fn epoch_key(
        &self,
        epoch: u64,
        secret: &Secret,
        options: Options,
        rng: &mut Rng,
    ) -> Result<EpochKey, MemoryError> {
        let Some(path) = self.path(epoch) else {
            return EpochKey::new(secret.clone(), options, rng).map_err(|_| {
                let bytes = options.table_bytes();
                MemoryError::NoRoom { place: "this machine".into(), bytes }
            });
        };
        self.claim()?;
        let (map, header) = match file::open(&path, epoch)? {
            Some((file, header)) => {
                let map = Map::shared(&file, header.lines);
                (map.map_err(|source| MemoryError::io(&path, source))?, header)
            }
            None => file::create(&path, epoch, secret, options, rng)?,
        };
        if header.secret.public() != secret.public() {
            return Err(MemoryError::dead(&path, Death::OtherKey));
        }
        if ![OPEN, CLOSED].contains(&map.state().load(Relaxed)) {
            return Err(MemoryError::dead(&path, Death::Damaged));
        }
        let table = Table { hash_key: header.hash_key, map };
        Ok(EpochKey { secret: header.secret, table })
    }

    /// Removes key and table of `epoch`: it is over, or they are dead.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn discard(&self, epoch: u64) -> Result<(), MemoryError> {
        let Some(path) = self.path(epoch) else { return Ok(()) };
        self.claim()?;
        file::erase(&path)
    }

    /// The epochs of which something lies here, in ascending order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn epochs(&self) -> Result<Vec<u64>, MemoryError> {
        let Some(folder) = self.folder.as_ref().filter(|folder| folder.is_dir()) else {
            return Ok(Vec::new());
        };
        let failed = |source| MemoryError::io(folder, source);
        let mut epochs = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            epochs.extend(epoch_of(&entry.map_err(failed)?.file_name()));
        }
        epochs.sort_unstable();
        Ok(epochs)
    }

    fn path(&self, epoch: u64) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(format!("epoch-{epoch}")))
    }

    /// Makes the folder if there is none, or none any more, and keeps other processes away from it
    /// as long as this lives; whatever changes something here does so by itself. What a process
    /// left unfinished is erased: there may be a key in it.
    ///
    /// # Errors
    /// When it cannot be made, is open to others, or another process has it.
    pub fn claim(&self) -> Result<(), MemoryError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        // Nothing can be half done: the lock is set last.
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if lock.as_ref().is_some_and(|lock| is_file_of(lock, folder)) {
            return Ok(());
        }
        let failed = |source| MemoryError::io(folder, source);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        check_owner(folder)?;
        let opened = File::open(folder).map_err(failed)?;
        match opened.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(MemoryError::InUse(folder.clone())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension() == Some(UNFINISHED.as_ref()) {
                file::erase(&path)?;
            }
        }
        *lock = Some(opened);
        Ok(())
    }
}

fn epoch_of(name: &OsStr) -> Option<u64> {
    name.to_str()?.strip_prefix("epoch-")?.parse().ok()
}

/// The folder, or the nearest above it that is there.
fn nearest(folder: &Path) -> &Path {
    folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

/// The mount in which the folder lies, or is going to lie, if that is in memory.
fn mount_in_memory(folder: &Path) -> Result<Option<Mount>, MemoryError> {
    let existing = nearest(folder);
    let mount = Mount::of(existing).map_err(|source| MemoryError::io(existing, source))?;
    Ok(mount.filter(Mount::is_in_memory))
}

/// Whether `path` still names what was opened as `file`.
fn is_file_of(file: &File, path: &Path) -> bool {
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().map(place).ok() == fs::symlink_metadata(path).map(place).ok()
}

/// Whether this process may make files there.
fn is_writable(folder: &Path) -> bool {
    let unnamed =
        OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).mode(0o600).open(folder);
    unnamed.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::Verdict;
    use crate::replay::header;
    use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

    const OPTIONS: Options = Options { packets_max: 1000 };

    /// A folder of one test in shared memory, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let unique = format!("mixline-memory-{}-{name}", std::process::id());
            Scratch(Path::new(SHARED_FOLDER).join(unique))
        }

        fn memory(&self) -> Memory {
            Memory::in_folder(&self.0).unwrap()
        }

        /// A key of epoch 7 that has seen the tag of ones.
        fn with_key(name: &str) -> Self {
            let scratch = Scratch::new(name);
            let key = scratch.key(&secret()).unwrap();
            assert_eq!(key.table().insert(&[1; 32]), Verdict::New);
            scratch
        }

        fn key(&self, secret: &Secret) -> Result<EpochKey, MemoryError> {
            self.memory().epoch_key(7, secret, OPTIONS, &mut Rng::from_seed([9; 32]))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn secret() -> Secret {
        Secret::from_bytes([5; 32])
    }

    #[test]
    fn a_table_keeps_its_size_when_the_next_is_planned_otherwise() {
        let scratch = Scratch::with_key("size");
        let larger = Options { packets_max: 100_000 };
        let mut rng = Rng::from_seed([9; 32]);
        let key = scratch.memory().epoch_key(7, &secret(), larger, &mut rng).unwrap();
        assert_eq!(key.table().insert(&[1; 32]), Verdict::Seen);
    }

    #[test]
    fn a_key_never_meets_the_table_of_another() {
        let scratch = Scratch::with_key("other");
        let error = scratch.key(&Secret::from_bytes([6; 32])).unwrap_err();
        assert!(matches!(error, MemoryError::Dead { why: Death::OtherKey, .. }), "{error}");
    }

    #[test]
    fn a_discarded_key_is_gone_and_wiped() {
        let scratch = Scratch::with_key("gone");
        let open = File::open(scratch.0.join("epoch-7")).unwrap();
        scratch.memory().discard(7).unwrap();
        scratch.memory().discard(7).unwrap();
        assert!(scratch.memory().secret(7).unwrap().is_none());
        let mut left = [1; header::BYTES];
        open.read_exact_at(&mut left, 0).unwrap();
        assert_eq!(left, [0; header::BYTES]);
    }

    #[test]
    fn what_a_killed_process_left_unfinished_is_wiped_and_removed() {
        let scratch = Scratch::with_key("unfinished");
        let left = scratch.0.join("epoch-8.new");
        fs::copy(scratch.0.join("epoch-7"), &left).unwrap();
        let open = File::open(&left).unwrap();
        assert!(scratch.key(&secret()).is_ok());
        assert!(!left.exists() && scratch.0.join("epoch-7").exists());
        let mut bytes = [1; header::BYTES];
        open.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [0; header::BYTES]);
    }

    #[test]
    fn of_two_processes_one_has_the_tables() {
        let scratch = Scratch::with_key("lock");
        let (first, second) = (scratch.memory(), scratch.memory());
        let take =
            |memory: &Memory| memory.epoch_key(7, &secret(), OPTIONS, &mut Rng::from_seed([9; 32]));
        assert!(take(&first).is_ok());
        assert!(matches!(take(&second), Err(MemoryError::InUse(_))));
        drop(first);
        assert!(take(&second).is_ok());
    }

    #[test]
    fn a_folder_that_was_removed_is_made_again_and_locked() {
        let scratch = Scratch::new("removed");
        let memory = scratch.memory();
        let take = |memory: &Memory, epoch| {
            memory.epoch_key(epoch, &secret(), OPTIONS, &mut Rng::from_seed([9; 32]))
        };
        assert!(take(&memory, 7).is_ok());
        fs::remove_dir_all(&scratch.0).unwrap();
        assert!(take(&memory, 8).is_ok());
        assert_eq!(memory.epochs().unwrap(), [8]);
        assert!(matches!(take(&scratch.memory(), 8), Err(MemoryError::InUse(_))));
    }

    #[test]
    fn a_folder_that_is_not_in_memory_is_refused() {
        // Not a disk, and not memory either: there is one on every machine.
        let on_disk = Path::new("/proc/tables");
        assert!(matches!(Memory::in_folder(on_disk), Err(MemoryError::OnDisk(_))));
    }

    #[test]
    fn a_folder_or_file_that_others_can_open_is_refused() {
        let scratch = Scratch::with_key("open");
        let open = |path: &Path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        };
        open(&scratch.0.join("epoch-7"));
        assert!(matches!(scratch.key(&secret()), Err(MemoryError::Exposed(_))));
        open(&scratch.0);
        assert!(matches!(Memory::in_folder(&scratch.0), Err(MemoryError::Exposed(_))));
    }

    #[test]
    fn a_table_that_no_memory_holds_is_refused_with_its_size_and_leaves_nothing() {
        let scratch = Scratch::new("room");
        let options = Options { packets_max: 1 << 50 };
        let mut rng = Rng::from_seed([9; 32]);
        let error = scratch.memory().epoch_key(7, &secret(), options, &mut rng).unwrap_err();
        assert!(matches!(error, MemoryError::NoRoom { .. }), "{error}");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
    }
}
