//! Strangers: how many of their datagrams are let in.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use mixline::crypto::random::Rng;
use mixline::host;
use mixline::io::shield::{Budget, Reason, Settings};

use crate::bpf::{self, Verdict};
use crate::frames::Frame;
use crate::{address, at_once, dropped, judge, let_in, load, open};

/// Stranger number `n`, each another IPv4 address.
fn stranger(n: u32) -> Vec<u8> {
    let [_, _, high, low] = n.to_be_bytes();
    Frame::from(SocketAddr::new([198, 19, high, low].into(), 4000)).bytes()
}

#[test]
fn a_stranger_gets_its_burst_and_no_more() {
    let Some(shield) = load(&Settings { per_source: at_once(3), ..open() }) else { return };
    for n in 0..4 {
        for _ in 0..3 {
            assert_eq!(judge(&shield, &stranger(n)), let_in(Reason::Stranger));
        }
        for _ in 0..3 {
            assert_eq!(judge(&shield, &stranger(n)), dropped(Reason::SourceBudget));
        }
    }
}

#[test]
fn a_stranger_that_varies_its_port_is_one_stranger() {
    let Some(shield) = load(&Settings { per_source: at_once(3), ..open() }) else { return };
    let sent =
        (0..10).map(|port| judge(&shield, &Frame::from(([198, 18, 0, 9], port).into()).bytes()));
    assert_eq!(sent.filter(|judged| *judged == let_in(Reason::Stranger)).count(), 3);
}

#[test]
fn a_network_of_ipv6_is_one_stranger() {
    let Some(shield) = load(&Settings { per_source: at_once(3), ..open() }) else { return };
    let let_in_from = |network: u16| {
        let host = |host| SocketAddr::new([0x2001, 2, 9, network, 7, host, 0, host].into(), 4000);
        let sent = (1..10).map(|number| judge(&shield, &Frame::from(host(number)).bytes()));
        sent.filter(|judged| *judged == let_in(Reason::Stranger)).count()
    };
    assert_eq!([let_in_from(1), let_in_from(2)], [3, 3]);
}

#[test]
fn a_budget_fills_up_again() {
    let per_source = Budget { per_second: 20, burst: 2 };
    let Some(shield) = load(&Settings { per_source, ..open() }) else { return };
    let let_in_of_ten =
        || (0..10).filter(|_| judge(&shield, &stranger(0)) == let_in(Reason::Stranger)).count();
    assert_eq!(let_in_of_ten(), 2);
    // Long enough for more than two; a silence is not saved up beyond the burst.
    thread::sleep(Duration::from_millis(300));
    assert_eq!(let_in_of_ten(), 2);
}

#[test]
fn a_source_over_its_budget_uses_up_nothing_of_the_others() {
    let settings = Settings { strangers: at_once(10), per_source: at_once(2), ..open() };
    let Some(shield) = load(&settings) else { return };
    for _ in 0..100 {
        judge(&shield, &stranger(0));
    }
    let others: Vec<_> = (1..10).map(|n| judge(&shield, &stranger(n)).1).collect();
    assert_eq!(others[..8], [Reason::Stranger; 8]);
    assert_eq!(others[8], Reason::StrangersBudget);
}

#[test]
fn invented_sources_get_one_budget_together_while_peers_and_clients_pass() {
    let settings = Settings { strangers: at_once(50), per_source: at_once(5), ..open() };
    let Some(shield) = load(&settings) else { return };
    let (peer, client) = (address("198.18.0.2:4000"), address("198.18.0.3:4000"));
    shield.guests().set_peers([peer.ip()]).unwrap();
    shield.guests().add_client(client).unwrap();
    let (peer, client) = (Frame::from(peer).bytes(), Frame::from(client).bytes());
    let mut rng = Rng::from_seed([5; 32]);
    for _ in 0..10_000 {
        let [a, b, c, d] = rng.bytes();
        let source = SocketAddr::new([1 + a % 120, b, c, d].into(), u16::from(a) + 1);
        bpf::run(shield.program(), &Frame::from(source).bytes(), 1);
        assert_eq!(bpf::run(shield.program(), &peer, 1).0, Verdict::Redirect);
        assert_eq!(bpf::run(shield.program(), &client, 1).0, Verdict::Redirect);
    }
    let counters = shield.counters().unwrap();
    assert_eq!([counters.of(Reason::Peer), counters.of(Reason::Client)], [10_000; 2]);
    // One a second comes in beside the burst.
    assert!((50..60).contains(&counters.of(Reason::Stranger)), "{counters:?}");
    let strangers = [Reason::Stranger, Reason::StrangersBudget, Reason::SourceBudget];
    assert_eq!(strangers.map(|reason| counters.of(reason)).iter().sum::<u64>(), 10_000);
}

#[test]
fn the_budget_of_all_strangers_is_exact_on_all_cores_together() {
    const BURST: u32 = 100_000;
    let Some(shield) = load(&Settings { strangers: at_once(BURST), ..open() }) else { return };
    thread::scope(|scope| {
        for core in host::cores() {
            let shield = &shield;
            scope.spawn(move || {
                assert!(host::pin(core));
                let frame = stranger(u32::try_from(core).unwrap());
                bpf::run(shield.program(), &frame, 2 * BURST.cast_signed());
            });
        }
    });
    let let_in = shield.counters().unwrap().of(Reason::Stranger);
    // One a second comes in beside the burst.
    assert!((u64::from(BURST)..u64::from(BURST) + 20).contains(&let_in), "{let_in}");
}

#[test]
fn the_budget_of_a_source_is_exact_on_all_cores_together() {
    const BURST: u32 = 100_000;
    let Some(shield) = load(&Settings { per_source: at_once(BURST), ..open() }) else { return };
    // Entered before, so that no two cores do it at the same time.
    judge(&shield, &stranger(0));
    thread::scope(|scope| {
        for core in host::cores() {
            let shield = &shield;
            scope.spawn(move || {
                assert!(host::pin(core));
                bpf::run(shield.program(), &stranger(0), 2 * BURST.cast_signed());
            });
        }
    });
    let let_in = shield.counters().unwrap().of(Reason::Stranger);
    assert!((u64::from(BURST)..u64::from(BURST) + 20).contains(&let_in), "{let_in}");
}
