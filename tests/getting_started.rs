//! `docs/getting-started.md` as it stands: its commands on two machines, and what they print.
//!
//! A machine is a network namespace, a home and a shell. Of a block that begins with `# on alpha`
//! or `# on beta` every line is run by that machine's shell; a `text` block behind it is what it
//! prints, "..." being anything. One that begins with `a moment later` is run again until it does.
//! Three things are not as on the page: epochs are shorter, `scp` is a script that copies, and
//! `curl` one that does without the package.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Set in the process that has namespaces of its own: the folder of the machines.
const INSIDE: &str = "MIXLINE_TEST_INSIDE";
/// Where nobody may make namespaces there is no test, unless this is set, as in `.ci/run`.
const REQUIRE: &str = "MIXLINE_REQUIRE_XDP";
const UNSHARE: &[&str] =
    &["--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"];
/// The page's epochs, and the test's.
const EPOCHS: (&str, &str) = ("20m", "12s");
/// What the parser of configurations says.
const OTHERS: &[&str] = &["unknown field", "missing field", "invalid type"];
/// How long a command may take, and how long what it is to say may take to become true.
const PATIENCE: Duration = Duration::from_secs(60);

const SCP: &str = r#"#!/bin/sh
for last; do :; done
while [ $# -gt 1 ]; do
  case "$1" in
    alpha:*|beta:*) cp -r "$MACHINES/${1%%:*}/${1#*:}" "$last" ;;
    *) cp -r "$1" "$MACHINES/${last%%:*}/${last#*:}" ;;
  esac || exit 1
  shift
done
"#;

const CURL: &str = r#"#!/bin/bash
rest=${2#http://}
host=${rest%%/*}
exec 3<>"/dev/tcp/${host%:*}/${host#*:}" || exit 7
printf 'GET /%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "${rest#*/}" "$host" >&3
sed '1,/^\r$/d' <&3
"#;

#[expect(clippy::disallowed_methods, reason = "a test of real processes in real time")]
fn now() -> Instant {
    Instant::now()
}

/// Some commands of the page.
#[derive(Default)]
struct Block {
    line: usize,
    machine: usize,
    again: bool,
    commands: String,
    output: Option<Vec<String>>,
}

/// The page's blocks.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = vec![];
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) else {
            if line == "```" {
                // What is for reading ends where it ends.
                lines.by_ref().find(|(_, line)| *line == "```");
            }
            continue;
        };
        let inside: Vec<String> = lines
            .by_ref()
            .map(|(_, line)| line.to_owned())
            .take_while(|line| line != "```")
            .collect();
        match kind {
            "sh" => blocks.push(Block::new(number + 2, &inside)),
            "text" => blocks.last_mut().expect("output of something").output = Some(inside),
            kind => panic!("line {}: a block of {kind}", number + 1),
        }
    }
    blocks
}

impl Block {
    fn new(line: usize, inside: &[String]) -> Self {
        let (place, again) = match inside[0].split_once(", ") {
            Some((place, "a moment later")) => (place, true),
            Some(_) => panic!("line {line}: when?"),
            None => (inside[0].as_str(), false),
        };
        let machine = match place {
            "# on alpha" => 0,
            "# on beta" => 1,
            _ => panic!("line {line}: where?"),
        };
        let commands = inside.join("\n").replace(EPOCHS.0, EPOCHS.1);
        Block { line, machine, again, commands, output: None }
    }

    /// Commands that are not on the page.
    fn setup(commands: &str) -> Self {
        Block { commands: commands.to_owned(), ..Block::default() }
    }

    /// Whether `said` has, in a row, lines that fit those of the page.
    fn fits(&self, said: &str) -> bool {
        let Some(expected) = &self.output else { return true };
        let said: Vec<&str> = said.lines().collect();
        said.windows(expected.len().max(1)).any(|window| {
            window.iter().zip(expected).all(|(line, expected)| line_fits(line, expected))
        })
    }
}

/// Whether `line` is `expected`, in which "..." is anything.
fn line_fits(line: &str, expected: &str) -> bool {
    let mut parts = expected.split("...");
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
    }
    rest.ends_with(last)
}

/// A machine: a shell that keeps its folder and its variables from block to block.
struct Machine {
    name: &'static str,
    folder: PathBuf,
    shell: Child,
    input: ChildStdin,
    said: Receiver<String>,
    blocks: usize,
}

impl Machine {
    fn start(name: &'static str, root: &Path, program: &[&str]) -> Self {
        let folder = root.join(name);
        fs::create_dir(&folder).expect("a new folder can be made");
        let program_folder = Path::new(env!("CARGO_BIN_EXE_mixline")).parent().expect("a folder");
        let path = std::env::var("PATH").expect("there is a path");
        let path = format!("{}:{}:{path}", root.join("bin").display(), program_folder.display());
        let mut shell = Command::new(program[0])
            .args(&program[1..])
            .current_dir(&folder)
            .env("HOME", &folder)
            .env("PATH", path)
            .env("MACHINES", root)
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("RUNTIME_DIRECTORY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let input = shell.stdin.take().expect("it is piped");
        let output = BufReader::new(shell.stdout.take().expect("it is piped"));
        let (sender, said) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Machine { name, folder, shell, input, said, blocks: 0 }
    }

    /// Runs commands until one fails; what they said, and the status of the last.
    fn run(&mut self, commands: &str, again: bool) -> (String, String) {
        self.blocks += 1;
        let file = self.folder.join(format!(".block-{}", self.blocks));
        fs::write(&file, commands).expect("the folder is ours");
        let read = format!(". {} < /dev/null 2>&1", file.display());
        let line = match again {
            // What may fail may not end the shell.
            true => format!("(set -e; {read}); status=$?; echo; echo MARK $status\n"),
            false => format!(
                "trap 'status=$?; echo; echo MARK $status' EXIT; set -e; {read}; \
                 set +e; trap - EXIT; echo; echo MARK 0\n"
            ),
        };
        self.input.write_all(line.as_bytes()).expect("the shell listens");
        let (mut text, end) = (String::new(), now() + PATIENCE);
        loop {
            match self.said.recv_timeout(end.saturating_duration_since(now())) {
                Ok(line) => match line.strip_prefix("MARK ") {
                    Some(status) => return (text, status.to_owned()),
                    None => text.push_str(&format!("{line}\n")),
                },
                Err(error) => return (text, error.to_string()),
            }
        }
    }

    /// Runs a block of the page as the page promises.
    fn follow(&mut self, block: &Block) {
        let end = now() + PATIENCE;
        loop {
            let (said, status) = self.run(&block.commands, block.again);
            let is_good = status == "0" && block.fits(&said);
            if is_good {
                return;
            }
            let last = !block.again || now() > end;
            assert!(
                !last,
                "line {} on {}: {status}\n{said}\n{}",
                block.line,
                self.name,
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// The end of every log of this machine.
    fn logs(&self) -> String {
        let script = "cd ~/two; tail -n 5 *.log */log";
        let output = Command::new("sh").args(["-c", script]).env("HOME", &self.folder).output();
        output.map_or_else(|_| String::new(), |out| String::from_utf8_lossy(&out.stdout).into())
    }
}

/// The two machines, joined by a cable.
fn machines(root: &Path) -> [Machine; 2] {
    let mut alpha = Machine::start("alpha", root, &["bash"]);
    let mut beta = Machine::start("beta", root, &["unshare", "--net", "bash"]);
    // What it says comes from within its namespace.
    beta.follow(&Block::setup("true"));
    let pid = beta.shell.id();
    alpha.follow(&Block::setup(&format!(
        "mount -t tmpfs tmpfs /dev/shm
        ip link set lo up
        ip link add cable type veth peer name other
        ip link set other netns {pid}
        ip address add 10.77.0.1/24 dev cable
        ip link set cable up"
    )));
    beta.follow(&Block::setup(
        "ip link set lo up
        ip address add 10.77.0.2/24 dev other
        ip link set other up",
    ));
    [alpha, beta]
}

/// What is missing for machines of our own.
fn missing() -> Option<String> {
    for (program, package) in [("unshare", "util-linux"), ("ip", "iproute2"), ("bash", "bash")] {
        if let Err(error) = Command::new(program).arg("-V").stdout(Stdio::null()).output() {
            return Some(format!("{program}: {error}: install the package {package}"));
        }
    }
    let tried = Command::new("unshare").args(UNSHARE).arg("true").output();
    let tried = tried.map_err(|error| error.to_string()).and_then(|tried| {
        let said = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
        tried.status.success().then_some(()).ok_or(said)
    });
    tried.err().map(|said| format!("no namespaces: {said}"))
}

/// Runs the test `name` again, alone in namespaces, if there can be some.
fn go_inside(name: &str) {
    if let Some(missing) = missing() {
        assert!(std::env::var_os(REQUIRE).is_none(), "{missing}");
        return eprintln!("{name} was not run: {missing}");
    }
    let root = std::env::temp_dir().join(format!("mixline-two-{}", std::process::id()));
    fs::create_dir_all(root.join("bin")).expect("a new folder can be made");
    let status = Command::new("unshare")
        .args(UNSHARE)
        .arg(std::env::current_exe().expect("a program"))
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, &root)
        .status();
    fs::remove_dir_all(&root).expect("the folder is ours");
    assert!(status.expect("it was tried before").success(), "{name} failed in its namespaces");
}

#[test]
fn the_page_does_what_it_says() {
    let Some(root) = std::env::var_os(INSIDE).map(PathBuf::from) else {
        return go_inside("the_page_does_what_it_says");
    };
    for (name, script) in [("scp", SCP), ("curl", CURL)] {
        let path = root.join("bin").join(name);
        fs::write(&path, script).expect("the folder is ours");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
    }
    let mut machines = machines(&root);
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/getting-started.md"));
    for block in blocks(&page.expect("the page is there")) {
        machines[block.machine].follow(&block);
    }
}

#[test]
fn every_message_that_the_page_explains_is_one_of_the_programs() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(package.join("docs/getting-started.md")).expect("it is there");
    let (_, table) = page.split_once("| it says | what to do |\n").expect("the page has a table");
    let mut sources = String::new();
    read_sources(&package.join("src"), &mut sources);
    for row in table.lines().skip(1) {
        let says = row.split(" | ").next().expect("a row has columns");
        for message in says.split('`').skip(1).step_by(2) {
            let known = sources.contains(message) || OTHERS.contains(&message);
            assert!(known, "no program says {message:?}");
        }
    }
}

/// The text of all sources, strings in one piece.
fn read_sources(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).expect("it is a folder") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            read_sources(&path, sources);
            continue;
        }
        let text = fs::read_to_string(&path).expect("it is text");
        let lines = text.lines().map(|line| line.trim_start().trim_end_matches('\\'));
        lines.for_each(|line| sources.push_str(line));
    }
}

#[test]
fn three_dots_stand_for_anything() {
    for (line, expected, fits) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("abc", "a...", true),
        ("abc", "...c", true),
        ("abcd", "a...c...", true),
        ("abcd", "a...d...c", false),
        ("abc", "b...", false),
    ] {
        assert_eq!(line_fits(line, expected), fits, "{line} {expected}");
    }
}
