//! A user without privileges, whoever runs the test: the program and a folder that are this user's.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mixline::host;

/// The number of a user who owns nothing else.
const USER: u32 = 65_534;

/// The folders of one test, removed at its end.
pub(crate) struct Nobody {
    /// The program, where everybody may start it.
    program: PathBuf,
    /// In memory, where replay tables may lie.
    pub(crate) folder: PathBuf,
}

impl Nobody {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("mixline-{name}-{}", std::process::id());
        let program = std::env::temp_dir().join(&name);
        let folder = Path::new("/dev/shm").join(&name);
        fs::create_dir(&program).expect("a new folder can be made");
        fs::create_dir(&folder).expect("a new folder can be made");
        let nobody = Nobody { program, folder };
        fs::copy(env!("CARGO_BIN_EXE_mixline"), nobody.binary()).expect("the program is there");
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&nobody.program, everybody).expect("it is ours");
        nobody.own(&nobody.folder);
        nobody
    }

    fn binary(&self) -> PathBuf {
        self.program.join("mixline")
    }

    /// Gives this user the file or folder, with all that is in it.
    pub(crate) fn own(&self, path: &Path) {
        if host::user() == 0 {
            chown(path, Some(USER), Some(USER)).expect("root may");
        }
        for entry in fs::read_dir(path).into_iter().flatten() {
            self.own(&entry.expect("it can be read").path());
        }
    }

    /// The program, started as this user.
    pub(crate) fn mixline(&self) -> Command {
        let mut command = self.environment(Command::new(self.binary()));
        if host::user() == 0 {
            command.uid(USER).gid(USER);
        }
        command
    }

    /// The program, started as this user with `capabilities`, and nothing else that root could.
    pub(crate) fn mixline_with(&self, capabilities: &[&str]) -> Command {
        let with = |sign: &str| {
            let all = capabilities.iter().map(|name| format!("{sign}{name}"));
            all.collect::<Vec<_>>().join(",")
        };
        let mut command = self.environment(Command::new("setpriv"));
        let user = USER.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        command.args(["--bounding-set", &format!("-all,{}", with("+"))]);
        command.args(["--inh-caps", &format!("-all,{}", with("+"))]);
        command.args(["--ambient-caps", &format!("-all,{}", with("+"))]);
        command.arg("--").arg(self.binary());
        command
    }

    fn environment(&self, mut command: Command) -> Command {
        command.env("RUNTIME_DIRECTORY", &self.folder).env("TMPDIR", &self.folder);
        command.stdin(Stdio::null());
        command
    }

    #[track_caller]
    pub(crate) fn holds_no_files(&self) {
        let left = fs::read_dir(&self.folder).expect("it is there");
        let left: Vec<_> = left.map(|entry| entry.expect("readable").path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.program);
        let _ = fs::remove_dir_all(&self.folder);
    }
}
