//! A node's mix keys on their way: made in the key folder, taken into the memory that holds their
//! replay tables, and never to be found on a disk from then on.
//!
//! The order is what protects: first the key lies in memory beside an empty table, then its copy
//! in the key folder is erased, then the first packet is accepted under it. Whenever the power
//! fails, either no packet was ever accepted, or the key is gone.

use std::sync::Arc;

use crate::config::NodeFile;
use crate::crypto::random::Rng;
use crate::crypto::x25519::Secret;
use crate::pki::{EpochKeys, KeyError, KeyFolder, NodeId};
use crate::replay::{self, EpochKey, Memory, MemoryError};

use super::{LoadError, NodeError};

/// Bytes of a node's identity in the name of its folder: enough to tell nodes of a machine apart.
const NAME_BYTES: usize = 8;

/// Where a node's mix keys lie.
#[derive(Clone, Debug)]
pub struct Custody {
    memory: Arc<Memory>,
    /// None where keys were never on a disk.
    folder: Option<KeyFolder>,
}

impl Custody {
    /// Keys that are only ever in this process's memory.
    pub fn anonymous() -> Self {
        Custody { memory: Arc::new(Memory::anonymous()), folder: None }
    }

    /// The keys of the node `id` that runs by `file`.
    ///
    /// # Errors
    /// When the folder for them is on a disk or open to others.
    pub fn of(file: &NodeFile, id: &NodeId) -> Result<Self, LoadError> {
        let name = data_encoding::HEXLOWER.encode(&id.as_bytes()[..NAME_BYTES]);
        let memory = match &file.replay_folder {
            Some(folder) => Memory::in_folder(folder)?,
            None => Memory::choose(&name)?,
        };
        Ok(Self::over(memory, KeyFolder::new(&file.keys)))
    }

    /// Keys that are made in `folder` and taken into `memory`.
    pub(super) fn over(memory: Memory, folder: KeyFolder) -> Self {
        Custody { memory: Arc::new(memory), folder: Some(folder) }
    }

    /// Where keys and tables lie, for people.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Erases what must not be used any more: keys whose tables are damaged or of another boot.
    /// Returns why, for the operator.
    ///
    /// # Errors
    /// When another process uses the memory, or something cannot be erased.
    pub fn sweep(&self) -> Result<Vec<MemoryError>, LoadError> {
        self.memory.claim()?;
        let mut dead = Vec::new();
        for epoch in self.memory.epochs()? {
            match self.memory.secret(epoch) {
                Err(death @ MemoryError::Dead { .. }) => {
                    self.forget(epoch)?;
                    dead.push(death);
                }
                found => drop(found?),
            }
        }
        Ok(dead)
    }

    /// Makes the keys of `epoch`, in the key folder; what was left there of an earlier try, or of
    /// keys that have ended, goes.
    ///
    /// # Errors
    /// When they cannot be stored.
    pub fn make(&self, epoch: u64, rng: &mut Rng) -> Result<EpochKeys, LoadError> {
        self.forget(epoch)?;
        let keys = EpochKeys::generate(epoch, rng);
        if let Some(folder) = &self.folder {
            folder.create_epoch_keys(&keys)?;
        }
        Ok(keys)
    }

    /// The epochs of which something lies in memory or in the key folder.
    ///
    /// # Errors
    /// When one of both cannot be read.
    pub fn epochs(&self) -> Result<Vec<u64>, LoadError> {
        let mut epochs = self.memory.epochs()?;
        if let Some(folder) = &self.folder {
            epochs.extend(folder.epochs()?);
        }
        epochs.sort_unstable();
        epochs.dedup();
        Ok(epochs)
    }

    /// The keys of `epoch`, from wherever they lie; looks only.
    ///
    /// # Errors
    /// [`LoadError::KeyGone`] when the mix key ended with its table; others when a file is
    /// missing, open to others, or damaged.
    pub fn load(&self, epoch: u64) -> Result<EpochKeys, LoadError> {
        let Some(folder) = &self.folder else { return Err(LoadError::KeyGone(epoch)) };
        let public = match folder.mix_public(epoch) {
            Err(KeyError::Missing(_)) => return Err(LoadError::KeyGone(epoch)),
            public => public?,
        };
        let of_epoch = |secret: &Secret| secret.public() == public;
        let mix = match self.memory.secret(epoch)?.filter(of_epoch) {
            Some(taken) => Some(taken),
            None => folder.mix_key(epoch)?,
        };
        let mix = mix.ok_or(LoadError::KeyGone(epoch))?;
        Ok(folder.epoch_keys_with(epoch, mix)?)
    }

    /// Takes the mix key of `keys` into memory, to the table of what was seen under it, and
    /// erases its copy in the key folder. Only then may packets be accepted under it.
    ///
    /// # Errors
    /// When there is not enough memory, another process uses it, or the copy cannot be erased.
    pub fn take(
        &self,
        keys: &EpochKeys,
        options: replay::Options,
        rng: &mut Rng,
    ) -> Result<EpochKey, NodeError> {
        let key = match self.memory.epoch_key(keys.epoch, &keys.mix, options, rng) {
            // The operator has made a new key for the epoch: the old one is of no use to anybody.
            Err(MemoryError::Dead { why: replay::Death::OtherKey, .. }) => {
                self.memory.discard(keys.epoch)?;
                self.memory.epoch_key(keys.epoch, &keys.mix, options, rng)?
            }
            key => key?,
        };
        if let Some(folder) = &self.folder {
            folder.erase_mix_key(keys.epoch)?;
        }
        Ok(key)
    }

    /// Erases the keys of `epoch` everywhere: it is over, or they are dead.
    ///
    /// # Errors
    /// When something cannot be erased.
    pub fn forget(&self, epoch: u64) -> Result<(), LoadError> {
        self.memory.discard(epoch)?;
        if let Some(folder) = &self.folder {
            folder.erase_epoch_keys(epoch)?;
        }
        Ok(())
    }

    /// Erases the keys of all epochs before `epoch`: their grace is over.
    ///
    /// # Errors
    /// When something cannot be erased.
    pub fn forget_before(&self, epoch: u64) -> Result<(), LoadError> {
        self.epochs()?.into_iter().filter(|&of| of < epoch).try_for_each(|of| self.forget(of))
    }
}
