//! The key of the invited: its file's name tells until when invitations with it are valid.

use super::KeyFolder;
use crate::clock::UnixMicros;
use crate::crypto::kem;
use crate::pki::keys::KeyError;
use crate::pki::keys::file::Kind;
use std::sync::Arc;

const INVITATION: Kind = Kind { name: "invitation key 1", bytes: kem::SECRET_BYTES };
/// What the file's name begins with; the second since 1970 in which its time is over follows.
const PREFIX: &str = "invitation-";

/// The KEM key that a gateway accepts from those it has invited, beside those of the epochs.
#[derive(Debug)]
pub struct InvitationKey {
    /// Until when invitations with it are valid.
    pub valid_until: UnixMicros,
    /// The key.
    pub kem: Arc<kem::Secret>,
}

impl KeyFolder {
    /// The key of the invited, if there is one that is valid at `wall`.
    ///
    /// # Errors
    /// When the folder cannot be read, or the file is readable by others, or no key.
    pub fn invitation_key(&self, wall: UnixMicros) -> Result<Option<InvitationKey>, KeyError> {
        let ends_s = self.numbers(PREFIX)?.into_iter();
        let Some(latest_s) = ends_s.filter(|end_s| *end_s > wall.as_secs()).max() else {
            return Ok(None);
        };
        let file = self.own(&invitation_file(latest_s), INVITATION);
        let kem = kem::Secret::from_bytes(&file.read()?);
        let kem = Arc::new(kem.map_err(|_| file.fault("it holds no such key"))?);
        Ok(Some(InvitationKey { valid_until: UnixMicros::from_secs(latest_s), kem }))
    }

    /// Erases the keys of the invited whose time is over at `wall`: what was sent to them must not
    /// be opened later.
    ///
    /// # Errors
    /// When the folder cannot be read, or a file cannot be removed.
    pub fn erase_expired_invitation_keys(&self, wall: UnixMicros) -> Result<(), KeyError> {
        let mut ends_s = self.numbers(PREFIX)?;
        ends_s.retain(|end_s| *end_s <= wall.as_secs());
        let mut expired = ends_s.into_iter().map(invitation_file);
        expired.try_for_each(|name| self.erase(&self.own(&name, INVITATION)))
    }

    /// A key of the invited that is valid until `valid_until` or longer: the one that is there,
    /// its time extended, or a new one.
    ///
    /// # Errors
    /// When a file cannot be read or made.
    pub fn extend_invitation_key(
        &self,
        valid_until: UnixMicros,
        wall: UnixMicros,
    ) -> Result<InvitationKey, KeyError> {
        let path = |end: UnixMicros| self.folder.join(invitation_file(end.as_secs()));
        match self.invitation_key(wall)? {
            Some(key) if key.valid_until >= valid_until => Ok(key),
            Some(InvitationKey { valid_until: before, kem }) => {
                let failed = |source| KeyError::from_io(&self.folder, source);
                std::fs::rename(path(before), path(valid_until)).map_err(failed)?;
                Ok(InvitationKey { valid_until, kem })
            }
            None => {
                let kem = Arc::new(kem::Secret::generate());
                let file = self.own(&invitation_file(valid_until.as_secs()), INVITATION);
                file.create(&kem.to_bytes())?;
                Ok(InvitationKey { valid_until, kem })
            }
        }
    }
}

fn invitation_file(end_s: u64) -> String {
    format!("{PREFIX}{end_s}.key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::keys::folder::tests::Scratch;

    #[test]
    fn a_key_of_the_invited_is_erased_when_its_time_is_over() {
        let scratch = Scratch::new("invited");
        let [start, middle, end] = [1000, 2000, 3000].map(UnixMicros::from_secs);
        let keys = scratch.keys();
        keys.extend_invitation_key(middle, start).unwrap();
        keys.erase_expired_invitation_keys(start).unwrap();
        assert_eq!(keys.invitation_key(start).unwrap().unwrap().valid_until, middle);
        keys.extend_invitation_key(end, middle).unwrap();
        assert!(scratch.0.join("invitation-2000.key").exists());
        keys.erase_expired_invitation_keys(middle).unwrap();
        assert!(!scratch.0.join("invitation-2000.key").exists());
        assert_eq!(keys.invitation_key(middle).unwrap().unwrap().valid_until, end);
    }
}
