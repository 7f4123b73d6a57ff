//! What needs an interface or a socket, and what keeps a program from them.

use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;

use mixline::io::shield::{Attachment, Reason, Shield, ShieldError};

use crate::bpf::{self, Verdict};
use crate::frames::Frame;
use crate::{judge, let_in, load, open};

#[test]
fn without_a_socket_on_the_queue_the_kernels_socket_gets_the_datagram() {
    let Some(shield) = load(&open()) else { return };
    let socket = bpf::Socket::new();
    shield.serve(0, socket.as_fd()).unwrap();
    assert_eq!(judge(&shield, &Frame::v4().bytes()), let_in(Reason::Stranger));
    assert_eq!(shield.counters().unwrap().of(Reason::Unserved), 0);
    drop(socket);
    assert_eq!(judge(&shield, &Frame::v4().bytes()), (Verdict::Pass, Reason::Stranger));
    assert_eq!(shield.counters().unwrap().of(Reason::Unserved), 1);
}

#[test]
fn a_queue_without_a_place_is_named() {
    let Some(shield) = load(&open()) else { return };
    let error = shield.serve(64, bpf::socket()).unwrap_err();
    assert!(error.to_string().contains("queue 64"), "{error}");
}

#[test]
fn without_privileges_the_error_names_them() {
    if load(&open()).is_none() {
        return;
    }
    let deprived = thread::spawn(|| {
        bpf::drop_privileges();
        Shield::load(&open()).map(drop).unwrap_err().to_string()
    });
    let error = deprived.join().unwrap();
    assert!(error.contains("cap_bpf and cap_net_admin"), "{error}");
}

/// Its index, in every network.
const LOOPBACK: u32 = 1;

/// What `ip` says of an interface of this thread's network.
fn shown(interface: &str) -> String {
    let output = Command::new("ip").args(["link", "show", interface]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_interface_is_held_and_given_back() {
    let Some(mut shield) = load(&open()) else { return };
    let alone = thread::spawn(move || {
        bpf::leave_network();
        assert!(!shown("lo").contains("xdp"));
        shield.attach(LOOPBACK, Attachment::Generic).unwrap();
        assert!(shown("lo").contains("xdpgeneric"), "{}", shown("lo"));
        shield.attach(LOOPBACK, Attachment::Generic).unwrap();
        drop(shield);
        assert!(!shown("lo").contains("xdp"), "{}", shown("lo"));
    });
    alone.join().unwrap();
}

#[test]
fn a_driver_with_xdp_takes_it_natively() {
    let Some(mut shield) = load(&open()) else { return };
    let alone = thread::spawn(move || {
        bpf::leave_network();
        let words = "link add shield0 index 77 type veth peer name shield1";
        assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success());
        shield.attach(77, Attachment::Native).unwrap();
        assert!(shown("shield0").contains(" xdp "), "{}", shown("shield0"));
        drop(shield);
        assert!(!shown("shield0").contains("xdp"), "{}", shown("shield0"));
    });
    alone.join().unwrap();
}

#[test]
fn what_keeps_a_program_from_an_interface_is_named() {
    let Some(mut shield) = load(&open()) else { return };
    let Some(mut second) = load(&open()) else { return };
    let alone = thread::spawn(move || {
        bpf::leave_network();
        let mut refused = |interface, attachment| second.attach(interface, attachment).unwrap_err();
        let error = refused(77, Attachment::Generic);
        assert!(matches!(error, ShieldError::NoInterface(_)), "{error}");
        let error = refused(LOOPBACK, Attachment::Native);
        assert!(matches!(error, ShieldError::NoNative(_)), "{error}");
        assert!(error.to_string().contains("driver of lo"), "{error}");
        shield.attach(LOOPBACK, Attachment::Generic).unwrap();
        let error = refused(LOOPBACK, Attachment::Generic);
        assert!(matches!(error, ShieldError::Occupied { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("`shield`") && text.contains("ip link set dev lo xdp off"), "{text}");
    });
    alone.join().unwrap();
}
