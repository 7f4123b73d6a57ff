//! A node's process that an audit has started: gone with it, whatever happens.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::AuditError;
use crate::host::namespace::Namespace;

/// A process of ours. Dropping it ends it.
pub(super) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts this program again as the node `name` with the configuration `config`, in the
    /// network `place` if it is not to be in ours. What it logs and keeps goes to `folder`.
    pub(super) fn start(
        name: &str,
        config: &Path,
        folder: &Path,
        place: Option<&Namespace>,
    ) -> Result<Self, AuditError> {
        let start = |source| AuditError::Start { name: name.to_owned(), source };
        let log = folder.join(format!("{name}.log"));
        let mut command = Command::new(std::env::current_exe().map_err(start)?);
        command
            .args(["run", "--die-with-parent"])
            .arg(config)
            .env("RUNTIME_DIRECTORY", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).map_err(start)?);
        if let Some(place) = place {
            place.place(&mut command);
        }
        let child = command.spawn().map_err(start)?;
        Ok(Process { name: name.to_owned(), log, child })
    }

    /// An error if it has ended.
    pub(super) fn check(&mut self) -> Result<(), AuditError> {
        match self.child.try_wait().ok().flatten() {
            None => Ok(()),
            Some(status) => {
                let log = self.log();
                let last_words = log.lines().last().unwrap_or("it said nothing").to_owned();
                Err(AuditError::Ended { name: self.name.clone(), status, last_words })
            }
        }
    }

    /// All that it has said.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error here means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
