//! A node's keys of each epoch: made ahead, kept through their grace, then erased from disk.

use super::{Custody, LoadError};
use crate::crypto::random::Rng;
use crate::pki::{EpochKeys, EpochPublic, KeyError};

/// What says which epochs count: the consensuses and the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calendar {
    /// The consensus before the followed one.
    pub(super) before: Option<u64>,
    /// The consensus that is followed.
    pub(super) followed: Option<u64>,
    /// By this machine's clock.
    pub(super) now: u64,
}

impl Calendar {
    /// Which epochs' packets a node takes: of now and the next epoch, of the consensus that is
    /// followed, and in grace of the one before it and of the epoch before (which a node that was
    /// started again does not remember to have followed). At most three; what is in grace gives
    /// way.
    fn in_force(self) -> Vec<u64> {
        let Calendar { before, followed, now } = self;
        let mut epochs = vec![now, now + 1];
        for epoch in followed.into_iter().chain(before).chain(now.checked_sub(1)) {
            if !epochs.contains(&epoch) && epochs.len() < crate::worker::tables::EPOCHS_MAX {
                epochs.push(epoch);
            }
        }
        epochs.sort_unstable();
        epochs
    }

    /// Whether keys of `epoch` are of no use to anybody any more.
    ///
    /// This machine's clock alone does not say so: it may be wrong, and others may still have to
    /// use an old consensus. So nothing is over while none is followed; then what comes before
    /// all that is in force, and what was made while the authorities were away for long, too late
    /// for the followed consensus and too early for the next.
    fn is_over(self, epoch: u64) -> bool {
        let Some(followed) = self.followed else { return false };
        let is_left_out = followed + 1 < epoch && epoch + 1 < self.now;
        is_left_out || self.in_force().iter().all(|of| epoch < *of)
    }
}

/// The keys in force.
#[derive(Debug)]
pub(super) struct Rotation {
    custody: Custody,
    /// In ascending order of their epochs.
    keys: Vec<EpochKeys>,
}

impl Rotation {
    pub(super) fn new(custody: Custody) -> Self {
        Rotation { custody, keys: Vec::new() }
    }

    /// Sees to it that the keys in force are at hand, and no others: makes those of now and the
    /// next epoch if there are none, and erases what is over.
    ///
    /// A mix key that ended with its replay table, or was cut off while it was made, is made anew
    /// where it can still be published; what was sent under it is lost.
    ///
    /// # Errors
    /// When a key cannot be read or stored. What cannot be erased is said in the log.
    pub(super) fn turn(&mut self, calendar: Calendar, rng: &mut Rng) -> Result<(), LoadError> {
        let (epochs, stored) = (calendar.in_force(), self.custody.epochs()?);
        self.keys.retain(|keys| epochs.contains(&keys.epoch));
        for epoch in &epochs {
            if self.keys.iter().all(|keys| keys.epoch != *epoch) {
                let found = match stored.contains(epoch) {
                    true => self.load(*epoch)?,
                    false => None,
                };
                let made = match found.is_none() && *epoch >= calendar.now {
                    true => Some(self.make(*epoch, rng)?),
                    false => None,
                };
                self.keys.extend(found.or(made));
            }
        }
        self.keys.sort_unstable_by_key(|keys| keys.epoch);
        for over in stored.into_iter().filter(|epoch| calendar.is_over(*epoch)) {
            match self.custody.forget(over) {
                Ok(()) => tracing::debug!("keys of epoch {over} erased"),
                Err(error) => tracing::warn!("keys of epoch {over} are not erased: {error}"),
            }
        }
        Ok(())
    }

    /// The keys in force, in ascending order of their epochs.
    pub(super) fn keys(&self) -> &[EpochKeys] {
        &self.keys
    }

    /// What is published in `epoch`: its keys and those of the next.
    pub(super) fn public(&self, epoch: u64) -> Vec<EpochPublic> {
        let published = self.keys.iter().filter(|keys| keys.epoch >= epoch);
        published.map(EpochPublic::of).collect()
    }

    /// The keys of `epoch`; none if they are of no use any more.
    fn load(&self, epoch: u64) -> Result<Option<EpochKeys>, LoadError> {
        match self.custody.load(epoch) {
            Err(LoadError::KeyGone(_)) => {
                tracing::warn!("the mix key of epoch {epoch} ended with its replay table");
                Ok(None)
            }
            Err(LoadError::Key(KeyError::Format { path, fault, .. })) => {
                tracing::warn!("{}: {fault}", path.display());
                Ok(None)
            }
            found => Ok(Some(found?)),
        }
    }

    fn make(&self, epoch: u64, rng: &mut Rng) -> Result<EpochKeys, LoadError> {
        let keys = self.custody.make(epoch, rng)?;
        tracing::debug!("keys of epoch {epoch} made");
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::KeyFolder;
    use crate::replay::Memory;
    use std::fs;
    use std::path::PathBuf;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let unique = format!("mixline-rotation-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(unique);
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        fn rotation(&self) -> Rotation {
            let folder = KeyFolder::with_credentials(&self.0, None);
            Rotation::new(Custody::over(Memory::anonymous(), folder))
        }

        fn has(&self, epoch: u64) -> bool {
            self.0.join(format!("epoch-{epoch}.key")).exists()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn epochs(rotation: &Rotation) -> Vec<u64> {
        rotation.keys().iter().map(|keys| keys.epoch).collect()
    }

    fn calendar(before: Option<u64>, followed: Option<u64>, now: u64) -> Calendar {
        Calendar { before, followed, now }
    }

    fn in_force(before: Option<u64>, followed: Option<u64>, now: u64) -> Vec<u64> {
        calendar(before, followed, now).in_force()
    }

    #[test]
    fn the_epochs_in_force_are_at_most_three_and_those_in_use_come_first() {
        assert_eq!(in_force(None, Some(7), 7), [6, 7, 8]);
        assert_eq!(in_force(Some(5), Some(7), 7), [5, 7, 8]);
        assert_eq!(in_force(Some(6), Some(7), 7), [6, 7, 8]);
        assert_eq!(in_force(Some(6), Some(8), 7), [6, 7, 8]);
        // Without a newer consensus, the keys of the last one stay in use.
        assert_eq!(in_force(None, Some(3), 7), [3, 7, 8]);
        assert_eq!(in_force(Some(2), Some(3), 7), [3, 7, 8]);
    }

    #[test]
    fn keys_are_made_ahead_kept_over_a_restart_and_erased_after_their_grace() {
        let scratch = Scratch::new("turn");
        let mut rng = Rng::from_seed([1; 32]);
        let mut rotation = scratch.rotation();
        rotation.turn(calendar(None, None, 7), &mut rng).unwrap();
        assert_eq!(epochs(&rotation), [7, 8]);
        let eight = rotation.keys()[1].mix.public();

        let mut rotation = scratch.rotation();
        rotation.turn(calendar(Some(7), Some(8), 8), &mut rng).unwrap();
        assert_eq!(epochs(&rotation), [7, 8, 9]);
        assert_eq!(rotation.keys()[1].mix.public(), eight);
        let published: Vec<_> = rotation.public(8).iter().map(|keys| keys.epoch).collect();
        assert_eq!(published, [8, 9]);

        rotation.turn(calendar(Some(8), Some(9), 9), &mut rng).unwrap();
        assert_eq!(epochs(&rotation), [8, 9, 10]);
        assert!(!scratch.has(7));
    }

    #[test]
    fn a_clock_that_is_set_back_or_ahead_for_a_while_costs_no_key() {
        for wrong in [6, 7, 9, 20] {
            let scratch = Scratch::new(&format!("clock-{wrong}"));
            let mut rng = Rng::from_seed([4; 32]);
            let mut rotation = scratch.rotation();
            rotation.turn(calendar(None, Some(8), 8), &mut rng).unwrap();
            let before = rotation.public(8);
            assert_eq!(before.len(), 2);
            rotation.turn(calendar(None, Some(8), wrong), &mut rng).unwrap();
            rotation.turn(calendar(None, Some(8), 8), &mut rng).unwrap();
            assert!(rotation.public(8) == before, "{wrong}");
        }
    }

    #[test]
    fn without_a_consensus_nothing_is_over() {
        let scratch = Scratch::new("nothing-followed");
        let mut rng = Rng::from_seed([5; 32]);
        scratch.rotation().turn(calendar(None, Some(7), 7), &mut rng).unwrap();
        let mut rotation = scratch.rotation();
        rotation.turn(calendar(None, None, 12), &mut rng).unwrap();
        assert!(scratch.has(7) && scratch.has(8));
        rotation.turn(calendar(None, Some(12), 12), &mut rng).unwrap();
        assert!(!scratch.has(7) && !scratch.has(8));
    }

    #[test]
    fn keys_made_while_the_authorities_are_away_do_not_pile_up() {
        let scratch = Scratch::new("away");
        let mut rng = Rng::from_seed([6; 32]);
        let mut rotation = scratch.rotation();
        for now in 7..17 {
            rotation.turn(calendar(None, Some(7), now), &mut rng).unwrap();
        }
        let kept: Vec<_> = (0..20).filter(|epoch| scratch.has(*epoch)).collect();
        assert_eq!(kept, [7, 8, 15, 16, 17]);
    }

    #[test]
    fn a_mix_key_that_ended_with_its_table_is_made_anew_for_now_and_not_for_the_past() {
        let scratch = Scratch::new("gone");
        let mut rng = Rng::from_seed([3; 32]);
        let mut rotation = scratch.rotation();
        rotation.turn(calendar(None, Some(6), 6), &mut rng).unwrap();
        rotation.turn(calendar(None, Some(6), 7), &mut rng).unwrap();
        let publics: Vec<_> = rotation.keys().iter().map(|keys| keys.mix.public()).collect();
        for epoch in [6, 7] {
            fs::remove_file(scratch.0.join(format!("mix-{epoch}.key"))).unwrap();
        }
        let mut rotation = scratch.rotation();
        rotation.turn(calendar(None, Some(6), 7), &mut rng).unwrap();
        assert_eq!(epochs(&rotation), [7, 8]);
        assert_ne!(rotation.keys()[0].mix.public(), publics[1]);
        assert_eq!(rotation.keys()[1].mix.public(), publics[2]);
    }

    #[test]
    fn a_key_file_that_was_cut_off_is_made_again() {
        let scratch = Scratch::new("cut");
        let mut rng = Rng::from_seed([2; 32]);
        fs::write(scratch.0.join("epoch-8.key"), b"").unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        let closed = fs::Permissions::from_mode(0o600);
        fs::set_permissions(scratch.0.join("epoch-8.key"), closed).unwrap();
        let mut rotation = scratch.rotation();
        rotation.turn(calendar(None, None, 7), &mut rng).unwrap();
        assert_eq!(epochs(&rotation), [7, 8]);
    }
}
