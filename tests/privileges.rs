//! Giving up privileges: a process that has done so has none, gets none back, and still does what
//! a node does.
//!
//! Only a process of one thread may try, so this program has no harness: it starts itself again.

use std::env;
use std::fs;
use std::net::UdpSocket;
use std::process::{Command, ExitCode};

use mixline::host::netlink::Netlink;
use mixline::host::privileges::{self, Privilege};
use mixline::host::user;
use socket2::{Domain, Protocol, Socket, Type};

/// Set in the process that gives up what it has.
const INSIDE: &str = "MIXLINE_TEST_INSIDE";
/// Without root there is little to give up; that fails the test where this is set.
const REQUIRE: &str = "MIXLINE_REQUIRE_XDP";

fn main() -> ExitCode {
    if env::var_os(INSIDE).is_some() {
        nothing_is_left_and_nothing_comes_back();
        return ExitCode::SUCCESS;
    }
    if user() != 0 {
        let why = "it needs root, to have something to give up";
        assert!(env::var_os(REQUIRE).is_none(), "privileges: {why}");
        eprintln!("SKIP privileges: {why}");
    }
    let program = env::current_exe().expect("a program");
    let status = Command::new(program).env(INSIDE, "1").status().expect("it starts");
    assert!(status.success(), "{status}");
    eprintln!("test nothing_is_left_and_nothing_comes_back ... ok");
    ExitCode::SUCCESS
}

fn nothing_is_left_and_nothing_comes_back() {
    if user() == 0 {
        assert_eq!(privileges::missing(), []);
        raw_socket().expect("root may have raw sockets");
    }
    // Twice, as when there was nothing to give up.
    for _ in 0..2 {
        privileges::drop_all().expect("there is one thread");
        assert_eq!(privileges::missing(), Privilege::ALL);
        assert!(raw_socket().is_err(), "a raw socket");
    }
    let names: Vec<_> = privileges::missing().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["CAP_BPF", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK"]);
    a_program_that_it_starts_has_none();
    threads_that_it_starts_have_none();
    it_still_does_what_a_node_does();
}

fn raw_socket() -> std::io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))
}

/// User 0 would have all of them again in every program that it starts.
fn a_program_that_it_starts_has_none() {
    let output = Command::new("cat").arg("/proc/self/status").output().expect("cat starts");
    let status = String::from_utf8(output.stdout).expect("text");
    for set in ["CapEff", "CapPrm"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000\n")), "{status}");
    }
}

fn threads_that_it_starts_have_none() {
    let missing = std::thread::spawn(privileges::missing).join().expect("it does not panic");
    assert_eq!(missing, Privilege::ALL);
}

fn it_still_does_what_a_node_does() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("it is bound");
    socket.send_to(b"!", address).expect("loopback is up");
    assert_eq!(socket.recv(&mut [0; 2]).expect("it was sent"), 1);

    let folder = env::temp_dir().join(format!("mixline-privileges-{}", std::process::id()));
    fs::create_dir(&folder).expect("a folder of its own");
    fs::write(folder.join("key"), "!").expect("a file of its own");
    assert_eq!(fs::read(folder.join("key")).expect("it is there"), b"!");
    fs::remove_dir_all(&folder).expect("it is its own");

    let mut netlink = Netlink::open().expect("questions take no privilege");
    let link = netlink.link_of(address.ip()).expect("there is one");
    assert!(link.is_loopback);
}
