//! Peers and clients: who is not a stranger.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::thread;

use mixline::host::privileges::{self, Privilege};
use mixline::io::shield::{Reason, Shield, ShieldError};

use crate::frames::Frame;
use crate::{address, bpf, closed, dropped, ip, judge, let_in, load};

#[test]
fn peers_are_known_by_their_address_whatever_their_port() {
    let Some(shield) = load(&closed()) else { return };
    shield.guests().set_peers([ip("198.18.0.2"), ip("2001:2::2")]).unwrap();
    for source in ["198.18.0.2:1", "198.18.0.2:4000", "[2001:2::2]:4000"] {
        let frame = Frame::from(address(source)).bytes();
        assert_eq!(judge(&shield, &frame), let_in(Reason::Peer), "{source}");
    }
    for source in ["198.18.0.3:4000", "[2001:2::3]:4000"] {
        let frame = Frame::from(address(source)).bytes();
        assert_eq!(judge(&shield, &frame), dropped(Reason::StrangersBudget), "{source}");
    }
}

#[test]
fn a_client_is_a_stranger_from_another_port() {
    let Some(shield) = load(&closed()) else { return };
    for client in ["198.18.0.2:4000", "[2001:2::2]:4000"] {
        shield.guests().add_client(address(client)).unwrap();
        let frame = Frame::from(address(client)).bytes();
        assert_eq!(judge(&shield, &frame), let_in(Reason::Client), "{client}");
        let other = SocketAddr::new(address(client).ip(), 4001);
        let frame = Frame::from(other).bytes();
        assert_eq!(judge(&shield, &frame), dropped(Reason::StrangersBudget), "{other}");
        shield.guests().remove_client(address(client)).unwrap();
        let frame = Frame::from(address(client)).bytes();
        assert_eq!(judge(&shield, &frame), dropped(Reason::StrangersBudget), "{client}");
    }
}

#[test]
fn peers_are_replaced_as_a_set() {
    let Some(shield) = load(&closed()) else { return };
    let guests = shield.guests();
    let reason = |host: u8| {
        judge(&shield, &Frame::from(SocketAddr::new([198, 18, 1, host].into(), 1)).bytes()).1
    };
    let set =
        |hosts: Range<u8>| guests.set_peers(hosts.map(|host| IpAddr::from([198, 18, 1, host])));
    set(0..4).unwrap();
    // All four change, though there are four places.
    for first in [2, 4, 0] {
        set(first..first + 4).unwrap();
        for host in 0..10 {
            let peer = (first..first + 4).contains(&host);
            assert_eq!(reason(host) == Reason::Peer, peer, "host {host} of {first}..");
        }
    }
    set(0..0).unwrap();
    assert!((0..10).all(|host| reason(host) == Reason::StrangersBudget));
}

#[test]
fn a_full_list_says_so_and_stays_as_it_is() {
    let Some(shield) = load(&closed()) else { return };
    let guests = shield.guests();
    guests.set_peers([ip("198.18.0.2")]).unwrap();
    let many = (0..5).map(|host| IpAddr::from([198, 18, 1, host]));
    let error = guests.set_peers(many).unwrap_err();
    assert!(matches!(error, ShieldError::Full { guests: "peers", places: 4 }), "{error}");
    let frame = |source: SocketAddr| judge(&shield, &Frame::from(source).bytes());
    assert_eq!(frame(address("198.18.0.2:1")), let_in(Reason::Peer));
    assert_eq!(frame(address("198.18.1.0:1")), dropped(Reason::StrangersBudget));

    let client = |port| SocketAddr::new(ip("198.18.0.9"), port);
    (0..4).for_each(|port| guests.add_client(client(port)).unwrap());
    let error = guests.add_client(client(4)).unwrap_err();
    assert!(matches!(error, ShieldError::Full { guests: "clients", places: 4 }), "{error}");
    // Whoever is on the list may be added again, and leaves a place.
    guests.add_client(client(0)).unwrap();
    guests.remove_client(client(0)).unwrap();
    guests.remove_client(client(0)).unwrap();
    guests.add_client(client(4)).unwrap();
    assert_eq!(frame(client(4)), let_in(Reason::Client));
}

#[test]
fn lists_and_counters_need_no_privilege() {
    let Some(shield) = load(&closed()) else { return };
    thread::scope(|scope| {
        let deprived = scope.spawn(|| {
            bpf::drop_privileges();
            let guests = shield.guests();
            guests.set_peers([ip("198.18.0.2")]).unwrap();
            guests.set_peers([ip("198.18.0.3")]).unwrap();
            guests.add_client(address("198.18.0.4:1")).unwrap();
            guests.remove_client(address("198.18.0.4:1")).unwrap();
            shield.counters().unwrap();
        });
        deprived.join().unwrap();
    });
    let frame = Frame::from(address("198.18.0.3:1")).bytes();
    assert_eq!(judge(&shield, &frame), let_in(Reason::Peer));
}

#[test]
fn the_lists_follow_when_all_privileges_were_given_up() {
    let Some(shield) = load(&closed()) else { return };
    let (frame, client) = (Frame::from(address("198.18.0.3:1")).bytes(), address("198.18.0.4:1"));
    assert_eq!(judge(&shield, &frame), dropped(Reason::StrangersBudget));
    thread::scope(|scope| {
        // As a node does it, which stays user 0: by descriptors that are open, in this thread.
        let deprived = scope.spawn(|| {
            privileges::drop_of_thread().unwrap();
            assert_eq!(privileges::missing(), Privilege::ALL);
            shield.guests().set_peers([ip("198.18.0.3")]).unwrap();
            shield.guests().add_client(client).unwrap();
            assert!(Shield::load(&closed()).is_err());
        });
        deprived.join().unwrap();
    });
    assert_eq!(judge(&shield, &frame), let_in(Reason::Peer));
    assert_eq!(judge(&shield, &Frame::from(client).bytes()), let_in(Reason::Client));
}
