//! The program as people use it: commands, errors, exit statuses, processes that end.

#[allow(dead_code, reason = "each test uses its part of it")]
#[path = "support/processes.rs"]
mod processes;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use mixline::crypto::tier::{self, Tier};
use mixline::host;
use processes::{Demo, Folder, PATIENCE, Process, is_alive, mixline, now, within};

fn run(arguments: &[&str]) -> Output {
    mixline().args(arguments).output().expect("the program starts")
}

/// Exit status and the error's text.
fn failure(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Makes a network's files below `folder`; the folder of the first node.
fn init(folder: &Path, addresses: &str) -> PathBuf {
    let network = folder.join("network");
    let network_text = network.to_str().expect("the path is text");
    let output = run(&["network", "init", network_text, "--static", "--addresses", addresses]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    network.join("nodes").join("mix-1-1")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2() {
    assert_eq!(failure(&["mix"]).0, Some(2));
    assert_eq!(failure(&["demo", "--mixes", "2"]).0, Some(2));
    let (status, error) = failure(&["send", "client.toml", "--to", "nobody"]);
    assert_eq!(status, Some(2));
    assert!(error.contains("--to"), "{error}");
}

#[test]
fn a_missing_configuration_ends_with_66_and_names_the_file() {
    let (status, error) = failure(&["check", "/nonexistent/mixline.toml"]);
    assert_eq!(status, Some(66));
    assert!(error.contains("/nonexistent/mixline.toml"), "{error}");
}

#[test]
fn a_network_that_was_made_is_checked_and_its_keys_shown() {
    let folder = Folder::new("check");
    let node = init(&folder.0, "127.76.1.0");
    let output = run(&["check", text(&node.join("mixline.toml"))]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = run(&["key", "show", text(&node.join("keys"))]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("identity") && shown.contains("epoch 1"), "{shown}");
}

#[test]
fn an_unknown_key_ends_with_78_and_is_shown_in_its_line() {
    let folder = Folder::new("unknown-key");
    let node = init(&folder.0, "127.76.2.0").join("mixline.toml");
    let mut configuration = fs::read_to_string(&node).expect("the file is there");
    configuration.push_str("\n[mixx]\nfoo = 1\n");
    fs::write(&node, configuration).expect("the file can be written");
    let (status, error) = failure(&["run", text(&node)]);
    assert_eq!(status, Some(78));
    assert!(error.contains("mixline.toml:") && error.contains('^'), "{error}");
}

#[test]
fn an_unknown_tier_of_cryptography_ends_with_78_and_is_told_which_there_are() {
    let output = mixline().args(["demo"]).env("MIXLINE_CRYPTO", "avx2").output();
    let output = output.expect("the program starts");
    assert_eq!(output.status.code(), Some(78));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("MIXLINE_CRYPTO") && error.contains("scalar"), "{error}");
}

#[test]
fn a_demo_delivers_every_message_on_every_tier_of_the_machine() {
    for tier in Tier::all() {
        let folder = Folder::new("tiers");
        let mut command = folder.mixline();
        command.args(["demo", "--messages", "20"]).env(tier::VARIABLE, tier.name().as_str());
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(report.contains("20 of 20 messages delivered, 0 duplicates"), "{report}");
        assert!(report.contains(tier.name().as_str()), "{report}");
    }
}

#[test]
fn a_key_file_that_others_can_read_ends_with_77_and_says_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("open-key");
    let node = init(&folder.0, "127.76.3.0");
    let key = node.join("keys").join("identity.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("the key is ours");
    let (status, error) = failure(&["check", text(&node.join("mixline.toml"))]);
    assert_eq!(status, Some(77));
    assert!(error.contains("identity.key") && error.contains("chmod 0600"), "{error}");
}

#[test]
fn keys_are_made_private_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("keygen");
    let keys = folder.0.join("keys");
    assert!(run(&["keygen", text(&keys)]).status.success());
    let mode = fs::metadata(keys.join("identity.key")).expect("there is a key").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let before = fs::read(keys.join("identity.key")).expect("there is a key");
    let (status, error) = failure(&["keygen", text(&keys)]);
    assert_eq!(status, Some(1), "{error}");
    assert_eq!(fs::read(keys.join("identity.key")).expect("there is a key"), before);
}

#[test]
fn a_taken_address_ends_with_69_and_names_it() {
    let folder = Folder::new("taken");
    let node = init(&folder.0, "127.76.4.0").join("mixline.toml");
    let _taken = UdpSocket::bind((Ipv4Addr::new(127, 76, 4, 1), 7700)).expect("it was free");
    let output = folder.mixline().args(["run", text(&node)]).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(69));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("127.76.4.1:7700"), "{error}");
}

#[test]
fn a_member_that_cannot_start_says_so_before_it_waits_for_its_network() {
    let folder = Folder::new("member-taken");
    let network = folder.0.join("network");
    assert!(
        run(&["network", "init", text(&network), "--addresses", "127.76.8.0"]).status.success()
    );
    let node = network.join("nodes").join("mix-1-1").join("mixline.toml");
    let ends = |status: i32, word: &str| {
        let child = folder.mixline().args(["run", text(&node)]).stderr(Stdio::piped()).spawn();
        let mut process = Process(child.expect("the program starts"));
        let ended = process.ends_within(PATIENCE).expect("it does not wait");
        let mut error = String::new();
        let mut log = process.0.stderr.take().expect("it is piped");
        std::io::Read::read_to_string(&mut log, &mut error).expect("it is text");
        assert!(ended.code() == Some(status) && error.contains(word), "{ended}: {error}");
    };
    let taken = UdpSocket::bind((Ipv4Addr::new(127, 76, 8, 1), 7700)).expect("it was free");
    ends(69, "127.76.8.1:7700");
    drop(taken);
    let configuration = fs::read_to_string(&node).expect("the file is there");
    let listen = "listen = [\"127.76.8.1:7700\"]";
    let elsewhere = format!("{listen}\naddresses = [\"127.76.8.9:7700\"]");
    let changed = configuration.replacen(listen, &elsewhere, 1);
    assert_ne!(changed, configuration);
    fs::write(&node, changed).expect("it can be written");
    ends(78, "node.addresses begins with 127.76.8.9:7700");
}

#[test]
fn a_gateway_invites_without_its_mix_key_and_a_mix_changes_nothing() {
    let folder = Folder::new("invite");
    let mix = init(&folder.0, "127.76.9.0");
    let gateway = mix.with_file_name("gateway-1");
    for keys in [&mix, &gateway].map(|node| node.join("keys")) {
        // As when the running node has taken it into its memory.
        fs::remove_file(keys.join("mix-1.key")).expect("it is there");
    }
    let output = run(&["invite", text(&gateway.join("mixline.toml"))]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (status, error) = failure(&["invite", text(&mix.join("mixline.toml"))]);
    assert!(status == Some(2) && error.contains("takes no clients"), "{error}");
    let files = fs::read_dir(mix.join("keys")).expect("the keys are there");
    let names = files.map(|entry| entry.expect("it can be read").file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with("invitation")));
}

#[test]
fn a_gateway_that_does_not_answer_ends_with_69_and_names_it() {
    let folder = Folder::new("silent");
    let network = init(&folder.0, "127.76.5.0");
    let client = network.join("../../client.toml");
    let (status, error) = failure(&["recv", text(&client), "--count", "1"]);
    assert_eq!(status, Some(69));
    assert!(error.contains("gateway-1") && error.contains("127.76.5.7:7700"), "{error}");
}

#[test]
fn a_node_ends_with_0_on_sigterm_and_prints_its_totals_in_a_laboratory() {
    let folder = Folder::new("sigterm");
    let node = init(&folder.0, "127.76.6.0").join("mixline.toml");
    let child = folder
        .mixline()
        .args(["run", text(&node)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut process = Process(child);
    let mut log = BufReader::new(process.0.stderr.take().expect("it is piped"));
    let mut line = String::new();
    log.read_line(&mut line).expect("it says that it starts");
    host::terminate(process.0.id());
    let status = process.ends_within(PATIENCE).expect("it ends");
    assert!(status.success(), "{status}");
    let output = process.0.stdout.take().expect("it is piped");
    let mut totals = String::new();
    BufReader::new(output).read_line(&mut totals).expect("it prints");
    assert!(totals.contains("\"datagram_bytes\":1408"), "{totals}");
}

#[test]
fn a_message_written_by_hand_is_read_by_hand() {
    let folder = Folder::new("by-hand");
    let node = init(&folder.0, "127.76.7.0");
    let nodes = fs::read_dir(node.parent().expect("it has a parent")).expect("it is a folder");
    let _nodes: Vec<Process> = nodes
        .map(|entry| entry.expect("it can be read").path().join("mixline.toml"))
        .map(|file| {
            let child = folder
                .mixline()
                .args(["run", "--die-with-parent", text(&file)])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            Process(child.expect("the program starts"))
        })
        .collect();
    let client = folder.0.join("network").join("client.toml");
    let mut receiver = Process(
        mixline()
            .args(["recv", "--count", "1", text(&client)])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts"),
    );
    let mut output = BufReader::new(receiver.0.stdout.take().expect("it is piped")).lines();
    let address = output.next().expect("it prints").expect("it is text");
    let message = "through five layers: äöü";

    // The links between the nodes come up one after the other; until then packets are dropped.
    let end = now() + PATIENCE;
    let mut received = None;
    let (lines, arrived) = std::sync::mpsc::channel();
    std::thread::spawn(move || output.for_each(|line| drop(lines.send(line))));
    while received.is_none() && now() < end {
        let mut sender = mixline()
            .args(["send", "--to", &address, text(&client)])
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut input = sender.stdin.take().expect("it is piped");
        input.write_all(message.as_bytes()).expect("it reads");
        drop(input);
        assert!(sender.wait().expect("it ends").success());
        received = arrived.recv_timeout(Duration::from_secs(3)).ok();
    }
    assert_eq!(received.expect("it arrives").expect("it is text"), message);
    assert!(receiver.ends_within(PATIENCE).expect("it ends").success());
}

/// A demo in `folder` whose network stands, and its processes.
fn standing_demo(folder: &Folder) -> (Demo, Vec<u32>) {
    let demo = Demo::stand(&mut Demo::command(folder, &["--messages", "5"]));
    let children = demo.children();
    assert!(children.len() >= 8, "{children:?}");
    (demo, children)
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_behind() {
    let folder = Folder::new("interrupted");
    let (demo, children) = standing_demo(&folder);
    host::terminate(demo.process.0.id());
    assert!(demo.end().status.success(), "it ends well");
    let alive: Vec<_> = children.into_iter().filter(|&pid| is_alive(pid)).collect();
    assert_eq!(alive, [0; 0], "processes left");
    assert_eq!(fs::read_dir(&folder.0).expect("it is there").count(), 0, "files left");
}

#[test]
fn a_demo_that_is_killed_takes_its_processes_with_it() {
    let folder = Folder::new("killed");
    let (mut demo, children) = standing_demo(&folder);
    demo.process.0.kill().expect("it is ours");
    demo.end();
    let all_gone = || !children.iter().any(|&pid| is_alive(pid));
    assert!(within(PATIENCE, all_gone), "processes left: {children:?}");
}
