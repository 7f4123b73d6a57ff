//! T1 to T5 on a real mix with 1, 2 and 4 threads, and on faults between it and the wire.
//!
//! Keys of links come from the system, and with them the headers of datagrams; everything else is
//! seeded. So headers are judged apart, by bars that they fail once in a million runs.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use mixline::audit::{self, Bar, Finding, Observation, Test, Verdict};

use crate::faults::{self, wrap};
use crate::junction;
use crate::traffic::{PACKETS, PACKETS_INSIDE};

static ONE: LazyLock<Observation> = LazyLock::new(|| junction::run(1));
static TWO: LazyLock<Observation> = LazyLock::new(|| junction::run(2));
static FOUR: LazyLock<Observation> = LazyLock::new(|| junction::run(4));

/// The same without the headers.
fn without_headers(observation: &Observation) -> Observation {
    let mut observation = observation.clone();
    for departure in &mut observation.departures {
        departure.mark.header.clear();
    }
    observation
}

/// The findings of all tests, told.
fn judged(what: &str, observation: &Observation) -> Vec<Finding> {
    let findings = audit::judge(observation);
    for finding in &findings {
        let Finding { test, what: value, measured, expected, bar, samples, verdict, .. } = finding;
        let expected = expected.map_or("-".into(), |expected| format!("{expected:.4}"));
        eprintln!(
            "{what}: {test} {value}: {measured:.4}, {expected}, {bar:.4?}, {samples}, {verdict:?}"
        );
    }
    findings
}

/// The tests that find something to fail.
fn failed(what: &str, observation: &Observation) -> BTreeSet<Test> {
    let findings = judged(what, observation);
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fails);
    failed.map(|finding| finding.test).collect()
}

#[track_caller]
fn assert_anonymous(what: &str, observation: &Observation) {
    // The replay table takes one packet in ten thousand for another, or fewer.
    let lost = PACKETS - observation.passages.len();
    assert!(lost <= PACKETS / 10_000, "{lost} packets never came out");
    let inside = observation.packets_inside() / f64::from(PACKETS_INSIDE);
    assert!((inside - 1.0).abs() < 0.02, "{inside}");
    let findings = judged(what, &without_headers(observation));
    assert!(findings.iter().all(|finding| finding.verdict == Verdict::Holds));
    // As many packets as the bars of the tests are made for.
    let has = |test, bar| findings.iter().any(|found| found.test == test && found.bar == bar);
    assert!(has(Test::T1, Bar::Within(0.015)) && has(Test::T3, Bar::Within(0.5)));
    for finding in audit::judge(observation) {
        let Finding { what, measured, expected, bar, .. } = finding;
        if what.contains("header") {
            assert!(measured > 1e-6, "{what}: {measured}");
        } else if let Bar::Within(errors) = bar
            && what.contains("classifier")
        {
            let off = (measured - expected.unwrap()).abs();
            assert!(off < errors * 5.0 / 3.0, "{what}: {measured}");
        }
    }
}

#[test]
fn one_thread_gives_away_no_more_than_an_ideal_mix() {
    assert_anonymous("one thread", &ONE);
}

#[test]
fn two_threads_give_away_no_more_than_an_ideal_mix() {
    assert_anonymous("two threads", &TWO);
}

#[test]
fn four_threads_give_away_no_more_than_an_ideal_mix() {
    assert_anonymous("four threads", &FOUR);
}

#[test]
fn packets_come_in_by_all_threads_that_take_packets_in() {
    let cores = |observation: &Observation| -> BTreeSet<u16> {
        observation.arrivals.iter().map(|arrival| arrival.ingress).collect()
    };
    assert_eq!(cores(&TWO), BTreeSet::from([0, 1]));
    assert_eq!(cores(&FOUR), BTreeSet::from([0, 1, 2]));
}

#[test]
fn a_wrapper_that_sorts_each_tick_by_arrival_is_caught() {
    for observation in [&*ONE, &*TWO] {
        let failed = failed("by arrival", &without_headers(&wrap(observation, faults::by_arrival)));
        assert!(failed.contains(&Test::T4), "{failed:?}");
    }
}

#[test]
fn a_wrapper_that_sends_by_ingress_core_is_caught() {
    for wrapper in [faults::by_core, faults::port_of_core] {
        let failed = failed("by core", &without_headers(&wrap(&TWO, wrapper)));
        assert_eq!(failed, BTreeSet::from([Test::T5]));
    }
}

#[test]
fn a_wrapper_that_sends_every_ten_milliseconds_is_caught() {
    let failed = failed("lattice", &without_headers(&wrap(&ONE, faults::lattice)));
    assert!(failed.contains(&Test::T3), "{failed:?}");
}
