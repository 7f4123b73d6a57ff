//! Processes of a test: started in folders of its own, watched from outside, gone with it.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a process may take to do what it must.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of this test, removed at its end; in memory, so that replay tables can lie in it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = base.join(format!("mixline-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("a new folder can be made");
        Folder(path)
    }

    /// The program, which leaves nothing outside of this folder.
    pub(crate) fn mixline(&self) -> Command {
        let mut command = mixline();
        command.env("RUNTIME_DIRECTORY", &self.0);
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn mixline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixline"));
    command.stdin(Stdio::null());
    command
}

/// A process of this test, killed at its end.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub(crate) fn ends_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let mut status = None;
        within(patience, || {
            status = self.0.try_wait().ok().flatten();
            status.is_some()
        });
        status
    }
}

/// Whether it comes `about` in time.
pub(crate) fn within(patience: Duration, mut about: impl FnMut() -> bool) -> bool {
    let end = now() + patience;
    while !about() {
        if now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

#[expect(clippy::disallowed_methods, reason = "a test of real processes in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A demo of a test, in a folder of the test.
pub(crate) struct Demo {
    pub(crate) process: Process,
    log: JoinHandle<Vec<String>>,
}

/// How a demo ended, and what it printed.
pub(crate) struct End {
    pub(crate) status: ExitStatus,
    pub(crate) report: String,
    pub(crate) log: Vec<String>,
}

impl Demo {
    /// A demo with these `options` that leaves its network running.
    pub(crate) fn command(folder: &Folder, options: &[&str]) -> Command {
        let mut command = folder.mixline();
        command.args(["demo", "--keep"]).args(options).env("TMPDIR", &folder.0);
        command
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        let (demo, log) = Self::spawn(command);
        Demo { process: demo, log: thread::spawn(|| log.map_while(Result::ok).collect()) }
    }

    /// The network stands and the messages are delivered when this returns.
    pub(crate) fn stand(command: &mut Command) -> Self {
        let (demo, mut log) = Self::spawn(command);
        let mut said = Vec::new();
        let stands = log.by_ref().map_while(Result::ok).any(|line| {
            said.push(line);
            said.last().is_some_and(|line| line.contains("until Ctrl-C"))
        });
        assert!(stands, "the network comes up: {said:?}");
        // It has more to say, and would not survive that nobody hears it.
        Demo { process: demo, log: thread::spawn(|| log.map_while(Result::ok).collect()) }
    }

    fn spawn(command: &mut Command) -> (Process, Lines<BufReader<ChildStderr>>) {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut demo = Process(child.expect("the program starts"));
        let log = demo.0.stderr.take().expect("it is piped");
        (demo, BufReader::new(log).lines())
    }

    /// Authority, nodes and clients.
    pub(crate) fn children(&self) -> Vec<u32> {
        children_of(self.process.0.id())
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> End {
        let status = self.process.ends_within(PATIENCE).expect("it ends");
        let mut report = String::new();
        let mut output = self.process.0.stdout.take().expect("it is piped");
        output.read_to_string(&mut report).expect("it is text");
        End { status, report, log: self.log.join().expect("it reads") }
    }
}

pub(crate) fn children_of(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task");
    let Ok(tasks) = fs::read_dir(path) else { return vec![] };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
        .flat_map(|children| {
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

/// Whether the process is there and has not ended (a zombie has).
pub(crate) fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z'))
    })
}
