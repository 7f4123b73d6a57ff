//! The keys of a node, in one folder: `identity.key`, `link.key`, `epoch-<n>.key` for each epoch
//! whose packets it takes, `mix-<n>.key` until the node takes that one into its memory, and
//! `invitation-<second>.key` with the end of its time.

mod invitation;

use super::file::{KeyFile, Kind};
use super::{KeyError, SigningKey};
use crate::crypto::random::Rng;
use crate::crypto::{kem, x25519};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

pub use invitation::InvitationKey;

const IDENTITY: Kind = Kind { name: "identity key 1", bytes: 32 };
const LINK: Kind = Kind { name: "link key 1", bytes: 32 };
const AUTHORITY: Kind = Kind { name: "authority key 1", bytes: 32 };
/// The public half of the mix key, then the link's KEM key.
const EPOCH: Kind = Kind { name: "epoch keys 2", bytes: 32 + kem::SECRET_BYTES };
/// A mix key that no packet was accepted under yet.
const MIX: Kind = Kind { name: "mix key 1", bytes: 32 };

/// The keys that a node keeps for long.
#[derive(Debug)]
pub struct NodeKeys {
    /// Signs its descriptors; its public half is the node's identity.
    pub identity: SigningKey,
    /// Authenticates it to its neighbours.
    pub link: x25519::Secret,
}

impl NodeKeys {
    /// New keys.
    pub fn generate(rng: &mut Rng) -> Self {
        NodeKeys { identity: SigningKey::generate(rng), link: x25519::Secret::random(rng) }
    }
}

/// The keys of a node for one epoch, erased together when it is over.
#[derive(Clone, Debug)]
pub struct EpochKeys {
    /// The epoch.
    pub epoch: u64,
    /// Unwraps the packets that senders made for this epoch.
    pub mix: x25519::Secret,
    /// Makes the handshakes of this epoch post-quantum.
    pub kem: Arc<kem::Secret>,
}

impl EpochKeys {
    /// New keys for `epoch`.
    pub fn generate(epoch: u64, rng: &mut Rng) -> Self {
        EpochKeys {
            epoch,
            mix: x25519::Secret::random(rng),
            kem: Arc::new(kem::Secret::generate()),
        }
    }
}

/// The folder where a node's keys lie.
#[derive(Clone, Debug)]
pub struct KeyFolder {
    folder: PathBuf,
    credentials: Option<PathBuf>,
}

impl KeyFolder {
    /// Keys in `folder`, except those that the service manager hands over in
    /// `$CREDENTIALS_DIRECTORY`: these come first.
    pub fn new(folder: &Path) -> Self {
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self::with_credentials(folder, credentials)
    }

    /// As [`KeyFolder::new`], with the folder of credentials named.
    pub fn with_credentials(folder: &Path, credentials: Option<PathBuf>) -> Self {
        KeyFolder { folder: folder.to_path_buf(), credentials }
    }

    /// Makes the folder, for its owner only, if there is none yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self) -> Result<(), KeyError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|source| KeyError::from_io(&self.folder, source))
    }

    /// Loads the long-lived keys.
    ///
    /// # Errors
    /// When a file is missing, readable by others, or no key.
    pub fn node_keys(&self) -> Result<NodeKeys, KeyError> {
        let identity = self.read_32("identity.key", IDENTITY)?;
        let link = self.read_32("link.key", LINK)?;
        Ok(NodeKeys {
            identity: SigningKey::from_secret(&identity),
            link: x25519::Secret::from_bytes(*link),
        })
    }

    /// Stores the long-lived keys in new files.
    ///
    /// # Errors
    /// When a file exists already or cannot be made.
    pub fn create_node_keys(&self, keys: &NodeKeys) -> Result<(), KeyError> {
        self.own("identity.key", IDENTITY).create(keys.identity.secret())?;
        self.own("link.key", LINK).create(keys.link.as_bytes())
    }

    /// Loads the keys of `epoch`, whose mix key no node has taken yet.
    ///
    /// # Errors
    /// When a file is missing, readable by others, or no key.
    pub fn epoch_keys(&self, epoch: u64) -> Result<EpochKeys, KeyError> {
        let file = self.own(&mix_file(epoch), MIX);
        let mix = self.mix_key(epoch)?.ok_or(KeyError::Missing(file.path))?;
        self.epoch_keys_with(epoch, mix)
    }

    /// The mix key of `epoch`, if it still lies here.
    ///
    /// It is never one of the credentials: those cannot be erased, and a key that comes back
    /// would meet an empty replay table.
    ///
    /// # Errors
    /// When the file is readable by others, or no key.
    pub fn mix_key(&self, epoch: u64) -> Result<Option<x25519::Secret>, KeyError> {
        match self.own(&mix_file(epoch), MIX).read_32() {
            Ok(key) => Ok(Some(x25519::Secret::from_bytes(*key))),
            Err(KeyError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Loads the keys of `epoch` whose mix key, `mix`, lies elsewhere.
    ///
    /// # Errors
    /// When the file is missing, readable by others, or made for another mix key.
    pub fn epoch_keys_with(&self, epoch: u64, mix: x25519::Secret) -> Result<EpochKeys, KeyError> {
        let file = self.found(&epoch_file(epoch), EPOCH);
        let bytes = file.read()?;
        let (public, kem) = bytes.split_at(32);
        if *public != mix.public() {
            return Err(file.fault("it goes with another mix key"));
        }
        let kem = kem::Secret::from_bytes(kem).map_err(|_| file.fault("it holds no such keys"))?;
        Ok(EpochKeys { epoch, mix, kem: Arc::new(kem) })
    }

    /// The public half of the mix key of `epoch`.
    ///
    /// # Errors
    /// When the file of the epoch is missing, readable by others, or no key.
    pub fn mix_public(&self, epoch: u64) -> Result<[u8; 32], KeyError> {
        let mut public = [0; 32];
        public.copy_from_slice(&self.found(&epoch_file(epoch), EPOCH).read()?[..32]);
        Ok(public)
    }

    /// Stores the keys of an epoch in new files.
    ///
    /// # Errors
    /// When a file exists already or cannot be made.
    pub fn create_epoch_keys(&self, keys: &EpochKeys) -> Result<(), KeyError> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(EPOCH.bytes));
        bytes.extend_from_slice(&keys.mix.public());
        bytes.extend_from_slice(&keys.kem.to_bytes());
        self.own(&epoch_file(keys.epoch), EPOCH).create(&bytes)?;
        self.own(&mix_file(keys.epoch), MIX).create(keys.mix.as_bytes())
    }

    /// Erases the mix key of an epoch, if it lies here: the node has it in its memory.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn erase_mix_key(&self, epoch: u64) -> Result<(), KeyError> {
        self.erase(&self.own(&mix_file(epoch), MIX))
    }

    /// Erases the keys of an epoch that is over, as far as they are there.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn erase_epoch_keys(&self, epoch: u64) -> Result<(), KeyError> {
        self.erase_mix_key(epoch)?;
        self.erase(&self.own(&epoch_file(epoch), EPOCH))
    }

    /// The epochs whose keys lie in the folder, in ascending order.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn epochs(&self) -> Result<Vec<u64>, KeyError> {
        self.numbers("epoch-")
    }

    /// Loads the authority's key `name`.
    ///
    /// # Errors
    /// When the file is missing, readable by others, or no key.
    pub fn authority_key(&self, name: &str) -> Result<SigningKey, KeyError> {
        let secret = self.read_32(&format!("{name}.key"), AUTHORITY)?;
        Ok(SigningKey::from_secret(&secret))
    }

    /// Stores an authority's key in the new file `<name>.key`.
    ///
    /// # Errors
    /// When the file exists already or cannot be made.
    pub fn create_authority_key(&self, name: &str, key: &SigningKey) -> Result<(), KeyError> {
        self.own(&format!("{name}.key"), AUTHORITY).create(key.secret())
    }

    /// The numbers between `prefix` and `.key` in the names of the folder's files, in ascending
    /// order.
    fn numbers(&self, prefix: &str) -> Result<Vec<u64>, KeyError> {
        let number = |name: &OsStr| {
            name.to_str()?.strip_prefix(prefix)?.strip_suffix(".key")?.parse::<u64>().ok()
        };
        let failed = |source| KeyError::from_io(&self.folder, source);
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            numbers.extend(number(&entry.map_err(failed)?.file_name()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read_32(&self, name: &str, kind: Kind) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        self.found(name, kind).read_32()
    }

    /// Erases `file` for good: afterwards no power loss brings it back.
    fn erase(&self, file: &KeyFile) -> Result<(), KeyError> {
        match file.erase() {
            Err(KeyError::Missing(_)) => return Ok(()),
            erased => erased?,
        }
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| KeyError::from_io(&self.folder, source))
    }

    /// The file `name` among the credentials if it is there, else in the folder.
    fn found(&self, name: &str, kind: Kind) -> KeyFile {
        let credential = self.credentials.as_ref().map(|folder| folder.join(name));
        match credential.filter(|path| path.exists()) {
            Some(path) => KeyFile { path, kind, is_credential: true },
            None => self.own(name, kind),
        }
    }

    fn own(&self, name: &str, kind: Kind) -> KeyFile {
        KeyFile { path: self.folder.join(name), kind, is_credential: false }
    }
}

fn epoch_file(epoch: u64) -> String {
    format!("epoch-{epoch}.key")
}

fn mix_file(epoch: u64) -> String {
    format!("mix-{epoch}.key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    /// A folder of one test, removed at its end.
    pub(super) struct Scratch(pub(super) PathBuf);

    impl Scratch {
        pub(super) fn new(name: &str) -> Self {
            let unique = format!("mixline-keys-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(unique);
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        pub(super) fn keys(&self) -> KeyFolder {
            KeyFolder::with_credentials(&self.0, None)
        }

        fn set_mode(&self, name: &str, mode: u32) {
            fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn stored(name: &str) -> (Scratch, NodeKeys) {
        let scratch = Scratch::new(name);
        let keys = NodeKeys::generate(&mut Rng::from_seed([5; 32]));
        scratch.keys().create_node_keys(&keys).unwrap();
        (scratch, keys)
    }

    #[test]
    fn stored_keys_are_the_same_when_loaded_and_closed_to_others() {
        let (scratch, keys) = stored("roundtrip");
        let epoch = EpochKeys::generate(7, &mut Rng::from_seed([6; 32]));
        scratch.keys().create_epoch_keys(&epoch).unwrap();
        let loaded = scratch.keys().node_keys().unwrap();
        assert_eq!(loaded.identity.id(), keys.identity.id());
        assert_eq!(loaded.link.public(), keys.link.public());
        let loaded = scratch.keys().epoch_keys(7).unwrap();
        assert_eq!(loaded.mix.public(), epoch.mix.public());
        assert_eq!(loaded.kem.to_bytes(), epoch.kem.to_bytes());
        for name in ["identity.key", "link.key", "epoch-7.key", "mix-7.key"] {
            let mode = fs::metadata(scratch.0.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_key_that_group_or_others_can_read_is_refused_with_the_remedy() {
        let (scratch, _) = stored("exposed");
        for mode in [0o640, 0o604, 0o620, 0o601] {
            scratch.set_mode("identity.key", mode);
            let error = scratch.keys().node_keys().unwrap_err();
            let path = scratch.0.join("identity.key");
            assert!(error.to_string().contains(&format!("chmod 0600 {}", path.display())));
            assert_eq!(error.exit_code(), 77, "{mode:o}");
        }
        scratch.set_mode("identity.key", 0o400);
        assert!(scratch.keys().node_keys().is_ok());
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let (scratch, keys) = stored("overwrite");
        let before = fs::read(scratch.0.join("identity.key")).unwrap();
        let error = scratch.keys().create_node_keys(&keys).unwrap_err();
        assert!(matches!(error, KeyError::Exists(path) if path.ends_with("identity.key")));
        assert_eq!(fs::read(scratch.0.join("identity.key")).unwrap(), before);
    }

    #[test]
    fn a_file_that_is_no_key_of_its_kind_is_refused_by_name() {
        let (scratch, _) = stored("format");
        let path = scratch.0.join("identity.key");
        let good = fs::read(&path).unwrap();
        let other_kind = fs::read(scratch.0.join("link.key")).unwrap();
        let longer = [&good[..], b"x"].concat();
        let mut no_base64 = good.clone();
        no_base64[30] = b'*';
        let bad = [&[][..], &good[..good.len() - 1], &good[..10], &longer, &other_kind, &no_base64];
        for bytes in bad {
            fs::write(&path, bytes).unwrap();
            let error = scratch.keys().node_keys().unwrap_err();
            assert!(matches!(&error, KeyError::Format { path: named, .. } if *named == path));
            assert_eq!(error.exit_code(), 78);
        }
    }

    #[test]
    fn a_missing_key_is_missing_input() {
        let scratch = Scratch::new("missing");
        let error = scratch.keys().node_keys().unwrap_err();
        assert!(error.to_string().contains("identity.key"));
        assert_eq!(error.exit_code(), 66);
    }

    #[test]
    fn credentials_come_first_and_may_show_the_group_bits_of_an_access_list() {
        let (scratch, keys) = stored("credentials");
        let own = Scratch::new("credentials-own");
        let folder = KeyFolder::with_credentials(&own.0, Some(scratch.0.clone()));
        own.keys().create_node_keys(&NodeKeys::generate(&mut Rng::from_seed([8; 32]))).unwrap();
        scratch.set_mode("identity.key", 0o440);
        assert_eq!(folder.node_keys().unwrap().identity.id(), keys.identity.id());
        scratch.set_mode("identity.key", 0o444);
        assert_eq!(folder.node_keys().unwrap_err().exit_code(), 77);
        fs::remove_file(scratch.0.join("identity.key")).unwrap();
        assert_ne!(folder.node_keys().unwrap().identity.id(), keys.identity.id());
    }

    #[test]
    fn a_mix_key_that_was_taken_is_known_by_its_public_half_alone() {
        let (scratch, _) = stored("taken");
        let keys = EpochKeys::generate(7, &mut Rng::from_seed([6; 32]));
        scratch.keys().create_epoch_keys(&keys).unwrap();
        scratch.keys().erase_mix_key(7).unwrap();
        assert!(scratch.keys().mix_key(7).unwrap().is_none());
        assert_eq!(scratch.keys().epoch_keys(7).unwrap_err().exit_code(), 66);
        assert_eq!(scratch.keys().mix_public(7).unwrap(), keys.mix.public());
        let again = scratch.keys().epoch_keys_with(7, keys.mix.clone()).unwrap();
        assert_eq!(again.kem.public(), keys.kem.public());
        let other = x25519::Secret::from_bytes([1; 32]);
        assert_eq!(scratch.keys().epoch_keys_with(7, other).unwrap_err().exit_code(), 78);
    }

    #[test]
    fn the_epochs_in_a_folder_are_listed_until_they_are_erased() {
        let (scratch, _) = stored("epochs");
        let mut rng = Rng::from_seed([9; 32]);
        for epoch in [10, 9] {
            scratch.keys().create_epoch_keys(&EpochKeys::generate(epoch, &mut rng)).unwrap();
        }
        assert_eq!(scratch.keys().epochs().unwrap(), [9, 10]);
        scratch.keys().erase_epoch_keys(9).unwrap();
        assert_eq!(scratch.keys().epochs().unwrap(), [10]);
        assert_eq!(scratch.keys().epoch_keys(9).unwrap_err().exit_code(), 66);
    }
}
