//! One secret key in one file: a line that names its kind, then its bytes in base64.
//!
//! Files are made with mode 0600 and only where none is yet. One that others can read, or that
//! holds anything but a key of its kind, is refused: such a key is no secret, or a mistake.

use data_encoding::BASE64;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Mode bits that let others than the owner at a file.
const MODE_GROUP_AND_OTHERS: u32 = 0o077;
/// Mode bits that let everybody at a file.
const MODE_OTHERS: u32 = 0o007;

/// Why a key file cannot be used or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no such file.
    #[error("{}: no such key file: check the path, or make the keys first", .0.display())]
    Missing(PathBuf),
    /// Others than its owner can read the file.
    #[error("{}: mode {mode:04o} lets others read the key: run `chmod 0600 {}`",
        .path.display(), .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// This process may not read or make the file.
    #[error("{}: permission denied: run as the owner of the keys", .0.display())]
    Denied(PathBuf),
    /// The file holds something else than a key of its kind.
    #[error("{}: not a key file of kind \"{kind}\": {fault}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The kind of key that was expected.
        kind: &'static str,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A key is there already, and keys are never overwritten.
    #[error("{}: exists already and is never overwritten: move it away first", .0.display())]
    Exists(PathBuf),
    /// Reading or writing failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl KeyError {
    /// The exit status for this error (sysexits: 66 no input, 77 permission, 78 configuration).
    pub const fn exit_code(&self) -> u8 {
        match self {
            KeyError::Missing(_) => 66,
            KeyError::Exposed { .. } | KeyError::Denied(_) => 77,
            KeyError::Format { .. } => 78,
            KeyError::Exists(_) | KeyError::Io { .. } => 1,
        }
    }

    pub(super) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => KeyError::Missing(path),
            io::ErrorKind::PermissionDenied => KeyError::Denied(path),
            io::ErrorKind::AlreadyExists => KeyError::Exists(path),
            _ => KeyError::Io { path, source },
        }
    }
}

/// What a key file holds.
#[derive(Clone, Copy, Debug)]
pub(in crate::pki) struct Kind {
    /// Its first line, after "mixline ".
    pub(in crate::pki) name: &'static str,
    /// Bytes of the key.
    pub(in crate::pki) bytes: usize,
}

impl Kind {
    fn heading(self) -> String {
        format!("mixline {}\n", self.name)
    }

    /// Bytes of a whole file: heading, base64, newline.
    fn file_bytes(self) -> usize {
        self.heading().len() + BASE64.encode_len(self.bytes) + 1
    }
}

/// A key file: where, and of which kind.
#[derive(Clone, Debug)]
pub(in crate::pki) struct KeyFile {
    /// Where it lies.
    pub(in crate::pki) path: PathBuf,
    /// What it holds.
    pub(in crate::pki) kind: Kind,
    /// Whether the group's bits may be set.
    ///
    /// The files of `$CREDENTIALS_DIRECTORY` are owned by root and opened to the service's user
    /// by an access control list, whose mask shows as the group's bits; the folder itself is
    /// closed to everybody else (systemd.exec(5), "Credentials").
    pub(in crate::pki) is_credential: bool,
}

impl KeyFile {
    /// The key in the file.
    ///
    /// # Errors
    /// When the file is missing, not readable, readable by others, or no key of this kind.
    pub(in crate::pki) fn read(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let failed = |source| KeyError::from_io(&self.path, source);
        let file = File::open(&self.path).map_err(failed)?;
        self.check_access(&file)?;
        // One byte more than allowed, so that a longer file shows; sized once, because a buffer
        // that grows leaves copies of the key behind.
        let limit = self.kind.file_bytes() + 1;
        let mut text = Zeroizing::new(Vec::with_capacity(limit + 64));
        file.take(limit as u64).read_to_end(&mut text).map_err(failed)?;
        self.parse(&text)
    }

    /// The key in the file, of a kind that has 32 bytes.
    ///
    /// # Errors
    /// As [`KeyFile::read`].
    pub(in crate::pki) fn read_32(&self) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&self.read()?);
        Ok(key)
    }

    /// Makes the file, which must not exist, with `key`.
    ///
    /// # Errors
    /// When there is a file already, or it cannot be made or written.
    pub(in crate::pki) fn create(&self, key: &[u8]) -> Result<(), KeyError> {
        assert_eq!(key.len(), self.kind.bytes, "a key of another kind");
        let mut text = Zeroizing::new(String::with_capacity(self.kind.file_bytes()));
        text.push_str(&self.kind.heading());
        BASE64.encode_append(key, &mut text);
        text.push('\n');
        let failed = |source| KeyError::from_io(&self.path, source);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Overwrites and removes the file. On media that copy on write, older bytes may survive:
    /// there, only the disk's encryption erases.
    ///
    /// # Errors
    /// When it cannot be opened, written or removed.
    pub(in crate::pki) fn erase(&self) -> Result<(), KeyError> {
        let failed = |source| KeyError::from_io(&self.path, source);
        let mut file = OpenOptions::new().write(true).open(&self.path).map_err(failed)?;
        file.write_all(&vec![0; self.kind.file_bytes()]).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::remove_file(&self.path).map_err(failed)
    }

    /// Judges the file that is open, not the name, which could meanwhile name another.
    fn check_access(&self, file: &File) -> Result<(), KeyError> {
        let metadata = file.metadata().map_err(|source| KeyError::from_io(&self.path, source))?;
        if !metadata.is_file() {
            return Err(self.fault("it is not a regular file"));
        }
        let mode = metadata.permissions().mode() & 0o7777;
        let closed_to = if self.is_credential { MODE_OTHERS } else { MODE_GROUP_AND_OTHERS };
        if mode & closed_to == 0 {
            Ok(())
        } else {
            Err(KeyError::Exposed { path: self.path.clone(), mode })
        }
    }

    fn parse(&self, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let body = text
            .strip_prefix(self.kind.heading().as_bytes())
            .ok_or_else(|| self.fault("its first line names another kind"))?;
        if text.len() != self.kind.file_bytes() {
            return Err(self.fault("it has a wrong length"));
        }
        let encoded = body.strip_suffix(b"\n").ok_or_else(|| self.fault("it does not end"))?;
        let mut key = Zeroizing::new(vec![0; BASE64.decode_len(encoded.len()).unwrap_or(0)]);
        match BASE64.decode_mut(encoded, &mut key) {
            Ok(bytes) if bytes == self.kind.bytes => key.truncate(bytes),
            _ => return Err(self.fault("its second line is not base64")),
        }
        Ok(key)
    }

    /// That the file holds something else, because of `fault`.
    pub(super) fn fault(&self, fault: &'static str) -> KeyError {
        KeyError::Format { path: self.path.clone(), kind: self.kind.name, fault }
    }
}
