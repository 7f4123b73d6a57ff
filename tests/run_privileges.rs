//! What `mixline run` needs of its user, what it says when that is missing, and that nothing of it
//! is left once the node runs: real processes, as root, as an ordinary user, and in between.

#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/hosts.rs"]
mod hosts;
#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/nobody.rs"]
mod nobody;
#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/processes.rs"]
mod processes;
#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/wire.rs"]
mod wire;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hosts::{Host, INTERFACE, is_possible};
use mixline::host;
use nobody::Nobody;
use processes::{Folder, PATIENCE, Process, mixline, within};

/// What AF_XDP needs, in the words of setpriv(1).
const NEEDED: [&str; 4] = ["bpf", "net_admin", "net_raw", "ipc_lock"];

/// A node with these `addresses` before the first that is to take packets as `mode` says: the file
/// of its configuration, in a network below `folder`.
fn node(folder: &Path, addresses: &str, mode: &str) -> PathBuf {
    let network = folder.join("network");
    let mut command = mixline();
    command.args(["network", "init", "--static", "--addresses", addresses]).arg(&network);
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = network.join("nodes").join("mix-1-1").join("mixline.toml");
    let text = fs::read_to_string(&file).expect("it was made");
    let (there, wanted) = ("#mode = \"auto\"", format!("mode = \"{mode}\""));
    assert!(text.contains(there), "{text}");
    fs::write(&file, text.replacen(there, &wanted, 1)).expect("it can be written");
    file
}

/// A process that says when it is ready, and all that it logs until then.
fn start(mut command: Command, folder: &Path, owner: Option<&Nobody>) -> (Process, String) {
    let path = folder.join("notify");
    let notify = UnixDatagram::bind(&path).expect("a socket");
    notify.set_nonblocking(true).expect("a flag");
    if let Some(owner) = owner {
        owner.own(&path);
    }
    command.env("NOTIFY_SOCKET", &path).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process(command.spawn().expect("the program starts"));
    let mut message = [0; 1024];
    let is_ready = within(PATIENCE, || notify.recv(&mut message).is_ok());
    assert!(is_ready && message.starts_with(b"READY=1"), "it is ready in time");
    fs::remove_file(path).expect("it was made");
    // Once more than it has said so far; the port is said before it is ready.
    let mut log = BufReader::new(process.0.stderr.take().expect("it is piped")).lines();
    let mut said = String::new();
    while !said.contains("AF_XDP on") && !said.contains("UDP") {
        said += &log.next().expect("it names its port").expect("text");
        said.push('\n');
    }
    std::thread::spawn(move || log.for_each(drop));
    (process, said)
}

fn ends_well(mut process: Process) {
    host::terminate(process.0.id());
    assert!(process.ends_within(PATIENCE).is_some_and(|status| status.success()), "it ends well");
}

/// Exit status and log of a process that does not want to run.
fn refusal(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("the program starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// That the kernel knows of no privilege in any thread of a process, nor of a way to one.
fn has_no_privilege(pid: u32) {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it is alive");
    let mut count = 0;
    for thread in threads {
        let path = thread.expect("it can be read").path().join("status");
        let status = fs::read_to_string(path).expect("threads of a node stay");
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000\n")), "{status}");
        }
        assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
        count += 1;
    }
    // A worker, and who knows the ways to others, at least.
    assert!(count >= 3, "{count} threads");
}

fn has_program(host: &Host) -> bool {
    let words = ["-oneline", "link", "show", "dev", INTERFACE];
    let shown = host.namespace.enter(|| Command::new("ip").args(words).output());
    let shown = String::from_utf8(shown.expect("ip starts").stdout).expect("text");
    shown.contains(" xdp ") && shown.contains("name shield")
}

#[test]
fn an_ordinary_users_node_says_what_is_missing_and_goes_on_with_sockets() {
    let nobody = Nobody::new("run-auto");
    let file = node(&nobody.folder, "127.76.20.0", "auto");
    nobody.own(&nobody.folder);
    let mut command = nobody.mixline();
    command.arg("run").arg(&file);
    let (process, log) = start(command, &nobody.folder, Some(&nobody));
    let missing = "AF_XDP is not used: it needs CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK";
    assert!(log.contains(missing), "{log}");
    assert!(log.contains("UDP"), "{log}");
    ends_well(process);
}

#[test]
fn an_ordinary_users_node_with_a_named_mode_ends_with_77_and_names_what_is_missing() {
    let nobody = Nobody::new("run-named");
    for mode in ["xdp", "xdp-generic"] {
        let file = node(&nobody.folder, "127.76.21.0", mode);
        nobody.own(&nobody.folder);
        let (status, log) = refusal(nobody.mixline().arg("run").arg(&file));
        assert_eq!(status, Some(77), "{log}");
        let needs = format!(
            "port.mode = \"{mode}\" needs CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK"
        );
        assert!(log.contains(&needs), "{log}");
        fs::remove_dir_all(nobody.folder.join("network")).expect("it was made");
    }
}

#[test]
fn a_node_of_root_has_no_privilege_left_in_any_thread() {
    if !is_possible("a_node_of_root_has_no_privilege_left_in_any_thread") {
        return;
    }
    let [near, _far] = wire::pair(2);
    let folder = Folder::new("run-root");
    for mode in ["xdp", "auto", "udp"] {
        let file = node(&folder.0, "198.18.0.0", mode);
        let mut command = folder.mixline();
        command.arg("run").arg(&file);
        near.namespace.0.place(&mut command);
        let (process, log) = start(command, &folder.0, None);
        assert_eq!(log.contains("AF_XDP on eth0"), mode != "udp", "{log}");
        assert_eq!(has_program(&near), mode != "udp", "{mode}");
        has_no_privilege(process.0.id());
        ends_well(process);
        fs::remove_dir_all(folder.0.join("network")).expect("it was made");
    }
}

#[test]
fn four_capabilities_are_all_that_a_node_needs_for_af_xdp() {
    if !is_possible("four_capabilities_are_all_that_a_node_needs_for_af_xdp") {
        return;
    }
    let [near, _far] = wire::pair(2);
    let nobody = Nobody::new("run-four");
    let file = node(&nobody.folder, "198.18.0.0", "xdp");
    nobody.own(&nobody.folder);
    let mut command = nobody.mixline_with(&NEEDED);
    command.arg("run").arg(&file);
    near.namespace.0.place(&mut command);
    let (process, log) = start(command, &nobody.folder, Some(&nobody));
    assert!(log.contains("AF_XDP on eth0") && log.contains("native"), "{log}");
    assert!(has_program(&near));
    has_no_privilege(process.0.id());
    ends_well(process);
    assert!(!has_program(&near));
}

#[test]
fn without_one_of_the_four_the_node_ends_with_77_and_names_it() {
    if !is_possible("without_one_of_the_four_the_node_ends_with_77_and_names_it") {
        return;
    }
    let [near, _far] = wire::pair(2);
    let nobody = Nobody::new("run-three");
    let file = node(&nobody.folder, "198.18.0.0", "xdp");
    nobody.own(&nobody.folder);
    for missing in NEEDED {
        let three: Vec<_> = NEEDED.into_iter().filter(|name| *name != missing).collect();
        let mut command = nobody.mixline_with(&three);
        command.arg("run").arg(&file);
        near.namespace.0.place(&mut command);
        let (status, log) = refusal(&mut command);
        assert_eq!(status, Some(77), "{log}");
        let needs = format!("port.mode = \"xdp\" needs CAP_{}: ", missing.to_uppercase());
        assert!(log.contains(&needs), "{log}");
    }
}
