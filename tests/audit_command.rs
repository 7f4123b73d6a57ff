//! `mixline audit` as people use it: arguments, errors, exit statuses, and what a node tells it of
//! its stalls. What an audit measures is tested in virtual time; a whole one is `make audit`.

#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/processes.rs"]
mod processes;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use processes::{Folder, Process, mixline, within};

/// How long what must come may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Exit status and the error's text.
fn failure(arguments: &[&str]) -> (Option<i32>, String) {
    let output = mixline().arg("audit").args(arguments).output().expect("the program starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A network's files in `folder`, on addresses that no other test of this machine has.
fn network(folder: &Folder, subnet: u8, more: &[&str]) -> String {
    let path = folder.0.join("network").to_string_lossy().into_owned();
    let addresses = format!("127.{subnet}.{}.0", std::process::id().to_be_bytes()[3]);
    let made = mixline()
        .args(["network", "init", &path, "--addresses", &addresses])
        .args(more)
        .output()
        .expect("the program starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path
}

/// The address of node `host` of such a network.
fn address(subnet: u8, host: u8) -> String {
    format!("127.{subnet}.{}.{host}:7700", std::process::id().to_be_bytes()[3])
}

#[test]
fn arguments_that_make_no_sense_end_with_2() {
    let node = ["--node", "127.0.0.1:1"];
    assert_eq!(failure(&node).0, Some(2));
    assert_eq!(failure(&["--network", "/nonexistent"]).0, Some(2));
    assert_eq!(failure(&["--self", "--node", "127.0.0.1:1", "--network", "x"]).0, Some(2));
}

#[test]
fn a_node_that_is_none_of_the_network_ends_with_2_and_those_that_are_are_named() {
    let folder = Folder::new("command-stranger");
    let network = network(&folder, 21, &["--static"]);
    let (status, error) = failure(&["--node", "127.0.0.1:1", "--network", &network]);
    assert_eq!(status, Some(2), "{error}");
    assert!(error.contains("127.0.0.1:1") && error.contains(&address(21, 1)), "{error}");
}

#[test]
fn a_folder_that_is_no_network_is_named() {
    let (status, error) = failure(&["--node", "127.0.0.1:1", "--network", "/nonexistent"]);
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains("/nonexistent/nodes"), "{error}");
}

#[test]
fn a_network_with_a_directory_ends_with_78_and_the_remedy_is_named() {
    let folder = Folder::new("command-directory");
    let network = network(&folder, 22, &[]);
    let (status, error) = failure(&["--node", &address(22, 1), "--network", &network]);
    assert_eq!(status, Some(78), "{error}");
    assert!(error.contains("--static"), "{error}");
}

#[test]
fn a_neighbour_whose_address_is_taken_ends_with_69() {
    let folder = Folder::new("command-taken");
    let network = network(&folder, 23, &["--static"]);
    // The first gateway, which stands before every mix of the first layer.
    let gateway = address(23, 7);
    let _held = std::net::UdpSocket::bind(&gateway).expect("it is free");
    let (status, error) = failure(&["--node", &address(23, 1), "--network", &network]);
    assert_eq!(status, Some(69), "{error}");
    assert!(error.contains(&gateway), "{error}");
}

/// The body of the node's answer to a request for its stalls, once it answers.
fn stalls(host: &str) -> Option<(bool, String)> {
    let mut stream = TcpStream::connect(host).ok()?;
    let request = format!("GET /stalls HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.starts_with("HTTP/1.1 200"), body.to_owned()))
}

#[test]
fn a_node_tells_of_its_stalls_in_a_laboratory_and_nowhere_else() {
    for (subnet, detail, tells) in [(24, "lab", true), (25, "private", false)] {
        let folder = Folder::new(&format!("command-{detail}"));
        let network = network(&folder, subnet, &["--static"]);
        let config = format!("{network}/nodes/mix-1-1/mixline.toml");
        let text = fs::read_to_string(&config).expect("it was made");
        assert!(text.contains("detail = \"lab\""), "{text}");
        let text = text.replace("detail = \"lab\"", &format!("detail = \"{detail}\""));
        fs::write(&config, text).expect("it can be written");
        let mut node = folder.mixline();
        node.args(["run", &config]).stdout(Stdio::null()).stderr(Stdio::null());
        let _node = Process(node.spawn().expect("the program starts"));
        let host = address(subnet, 1).replace(":7700", ":9477");
        let mut answer = None;
        within(PATIENCE, || {
            answer = stalls(&host);
            answer.is_some()
        });
        let (told, text) = answer.expect("it answers");
        assert_eq!(told, tells, "{text}");
        assert_eq!(text.starts_with("now "), tells, "{text}");
    }
}

/// What the audit of process `pid` keeps in memory, by names.
fn kept(pid: u32) -> Vec<String> {
    let prefix = format!("mixline-audit-{pid}-");
    let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

#[test]
fn an_interrupted_audit_leaves_nothing_behind() {
    let folder = Folder::new("command-interrupted");
    let plots = folder.0.join("plots");
    let mut audit = mixline();
    audit.args(["audit", "--self", "--quick", "--plots"]).arg(&plots).stderr(Stdio::null());
    let mut audit = Process(audit.spawn().expect("the program starts"));
    let pid = audit.0.id();
    let has_child = within(PATIENCE, || !processes::children_of(pid).is_empty());
    assert!(has_child, "it starts a node");
    assert_eq!(kept(pid).len(), 1);
    let node = processes::children_of(pid);
    mixline::host::terminate(pid);
    let status = audit.ends_within(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(1));
    assert!(node.iter().all(|pid| !processes::is_alive(*pid)), "its node has ended");
    assert_eq!(kept(pid), Vec::<String>::new());
    assert!(!plots.exists());
}
