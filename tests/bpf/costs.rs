//! What the program costs.

use std::thread;

use mixline::host;
use mixline::io::shield::{Settings, Shield};

use crate::frames::{self, Frame};
use crate::{address, at_once, bpf, load, open};

#[test]
fn what_a_frame_costs_is_printed() {
    let over = Settings { per_source: at_once(1), ..open() };
    let flooded = Settings { strangers: at_once(1), ..open() };
    let (foreign, short) = (Frame::v4().to_port(53), Frame::v4().with_payload(100));
    let stranger = Frame::from(address("198.19.0.1:4000"));
    let rows = [
        ("foreign: another port", open(), foreign),
        ("dropped: short", open(), short),
        ("let in: peer", open(), Frame::v4()),
        ("let in: client", open(), Frame::v6()),
        ("let in: stranger", open(), stranger),
        ("dropped: stranger over its budget", over, stranger),
        ("dropped: strangers over theirs", flooded, stranger),
    ];
    eprintln!("ns on one core, ns on every core at once");
    for (name, settings, frame) in rows {
        let Some(shield) = load(&settings) else { return };
        shield.guests().set_peers([frames::V4_SOURCE.ip()]).unwrap();
        shield.guests().add_client(frames::V6_SOURCE).unwrap();
        let cores = host::cores();
        let (alone, together) = (cost(&shield, frame, &cores[..1]), cost(&shield, frame, &cores));
        eprintln!("{alone:4} {together:4}  {name}");
    }
}

/// Nanoseconds that one frame takes, while each of `cores` judges such frames; the best
/// of many times.
fn cost(shield: &Shield, frame: Frame, cores: &[usize]) -> u128 {
    let best = |core: usize| {
        assert!(host::pin(core));
        let frame = frame.bytes();
        (0..5).map(|_| bpf::run(shield.program(), &frame, 500_000).1.as_nanos()).min()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = cores.iter().map(|core| scope.spawn(move || best(*core))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).max().unwrap_or_default()
    })
}
