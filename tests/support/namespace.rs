//! Hosts of their own on this machine: network namespaces whose one way out is a file in our hands.
//!
//! A test runs again in a process that is root of a user namespace with an empty network, so that
//! it needs no privilege, meets nobody's addresses, and leaves nothing behind however it ends.

use std::env;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use mixline::host;

use crate::tun;

/// Set in the process that has namespaces of its own.
const INSIDE: &str = "MIXLINE_TEST_INSIDE";
/// What of the kernel or the system is missing fails the test where this is set, as in `.ci/run`.
const REQUIRE: &str = "MIXLINE_REQUIRE_XDP";

/// Makes a process that is alone in a network.
const UNSHARE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--net"];

/// Runs `body`, which is all of the test `name`, in namespaces of its own.
pub(crate) fn within(name: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        host::die_with_parent();
        return body();
    }
    if let Err(missing) = look() {
        assert!(env::var_os(REQUIRE).is_none(), "{missing}");
        return eprintln!("{name} was not run: {missing}");
    }
    let mut inside = Command::new(UNSHARE[0])
        .args(&UNSHARE[1..])
        .arg(env::current_exe().expect("a program"))
        .args([name, "--exact", "--include-ignored", "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was tried before");
    let said = inside.stderr.take().expect("it is piped");
    for line in BufReader::new(said).lines() {
        eprintln!("{}", line.expect("text"));
    }
    let ended = inside.wait_with_output().expect("it is our child");
    assert!(ended.status.success(), "{name} failed in its namespaces: {}", ended.status);
    let result = String::from_utf8_lossy(&ended.stdout);
    assert!(result.contains("1 passed"), "there is no test {name}");
}

/// Whether all is there that such a test needs; otherwise, what is missing.
fn look() -> Result<(), String> {
    for program in ["ip", "nsenter", "unshare"] {
        Command::new(program).arg("-V").output().map_err(|error| {
            format!("cannot run {program}: {error}: install the packages iproute2 and util-linux")
        })?;
    }
    let door = OpenOptions::new().read(true).write(true).open(tun::DOOR);
    door.map_err(|error| {
        format!("cannot open {}: {error}: run `modprobe tun`, or chmod 0666 it", tun::DOOR)
    })?;
    let tried = Command::new(UNSHARE[0]).args(&UNSHARE[1..]).arg("true").output();
    let tried = tried.map_err(|error| error.to_string())?;
    if tried.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    Err(format!(
        "cannot make namespaces: {}: is user.max_user_namespaces 0, or is this a container that \
         does not allow it?",
        said.trim(),
    ))
}

/// A host. It vanishes, with its processes' way out, when it is dropped.
pub(crate) struct Host {
    pub(crate) address: Ipv4Addr,
    namespace: PathBuf,
    /// A process that does nothing but be there: it ends when this one does.
    holder: Child,
}

impl Host {
    /// A host that has `address`, and the other end of its one interface.
    pub(crate) fn new(address: Ipv4Addr) -> (Self, File) {
        let mut holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare starts");
        // What comes back comes from inside the new namespace.
        let (input, output) = (holder.stdin.as_mut(), holder.stdout.as_mut());
        input.expect("it is piped").write_all(b"!").expect("it listens");
        output.expect("it is piped").read_exact(&mut [0]).expect("it has a namespace");

        let pid = holder.id();
        let namespace = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let host = Host { address, namespace, holder };
        let interface = format!("host-{}", address.octets()[3]);
        let file = tun::open(&interface).expect("the kernel makes interfaces");
        run(ip(&format!("link set {interface} netns {pid}")));
        for words in [
            "link set lo up",
            &format!("address add {address}/32 dev {interface}"),
            // So that nothing is lost but what the relay loses.
            &format!("link set {interface} txqueuelen 100000 up"),
            &format!("route add default dev {interface}"),
        ] {
            run(host.place(&ip(words)));
        }
        (host, file)
    }

    /// `command`, for a process on this host; it has the number that the start returns.
    pub(crate) fn place(&self, command: &Command) -> Command {
        let mut placed = Command::new("nsenter");
        placed.arg(format!("--net={}", self.namespace.display())).arg("--");
        placed.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => placed.env(name, value),
                None => placed.env_remove(name),
            };
        }
        placed
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn ip(words: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    command
}

fn run(mut command: Command) {
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
