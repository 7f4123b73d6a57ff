//! The demo's processes: started, heard, and ended by their pid, whatever happens.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::DemoError;
use crate::host::namespace::Namespace;

/// A process of ours. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) name: String,
    log: PathBuf,
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Process {
    /// Starts this program again with `arguments`, in the network `place` if it is not to be in
    /// ours; `environment` is added to ours.
    ///
    /// What it logs goes to a file in `folder`, and is shown if it ends early.
    pub(super) fn start<A: AsRef<OsStr>>(
        name: &str,
        folder: &Path,
        place: Option<&Namespace>,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &OsStr)],
    ) -> Result<Self, DemoError> {
        let start = |source| DemoError::Start { name: name.to_owned(), source };
        let program = std::env::current_exe().map_err(start)?;
        let log = folder.join(format!("{name}.log"));
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).map_err(start)?);
        if let Some(place) = place {
            place.place(&mut command);
        }
        let mut child = command.spawn().map_err(start)?;
        let (sender, lines) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Process { name: name.to_owned(), log, child, lines })
    }

    /// Whether it has ended; then how, and the last it said.
    pub(super) fn ended(&mut self) -> Option<DemoError> {
        let status = self.child.try_wait().ok().flatten()?;
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last_words = log.lines().last().unwrap_or("it said nothing").to_owned();
        Some(DemoError::Ended { name: self.name.clone(), status, last_words })
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) {
        crate::host::terminate(self.pid());
    }

    /// Waits for the last line that it prints.
    pub(super) fn finish(self, patience: Duration) -> Option<String> {
        let mut last = None;
        while let Ok(line) = self.lines.recv_timeout(patience) {
            last = Some(line);
        }
        last
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error here means that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
