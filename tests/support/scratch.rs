//! Where one test keeps its files, and how it starts the program so that nothing is left outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folders of one test, removed at its end, but for the files of one that failed.
pub(crate) struct Scratch {
    /// On a disk.
    pub(crate) files: PathBuf,
    /// In memory: mix keys and replay tables.
    memory: PathBuf,
}

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("mixline-{name}-{}", std::process::id());
        let files = std::env::temp_dir().join(&name);
        let memory = Path::new("/dev/shm").join(&name);
        for folder in [&files, &memory] {
            fs::create_dir(folder).expect("a new folder can be made");
        }
        Scratch { files, memory }
    }

    /// The program.
    pub(crate) fn mixline(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixline"));
        command.env("RUNTIME_DIRECTORY", &self.memory);
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.memory);
        if std::thread::panicking() {
            eprintln!("the files stay in {}", self.files.display());
        } else {
            let _ = fs::remove_dir_all(&self.files);
        }
    }
}
