//! Packets on their way out: the nodes behind the one under test, which know each packet again.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::generator::Run;
use super::neighbour::{Came, Name, Neighbour};
use crate::clock::Nanos;
use crate::crypto::tier::Tier;
use crate::crypto::x25519;
use crate::host::event::{self, Watch};
use crate::pki::Consensus;
use crate::sphinx::{Hop, Packet, Unwrapper};

/// Packets that are opened together.
const OPENED_TOGETHER: usize = 32;
/// How long to wait for more before one looks after the links, and again until what has come
/// is looked at: the kernel says when it came.
const LOOK: Nanos = Nanos::from_millis(5);

/// A datagram that came out.
#[derive(Clone, Copy)]
pub(super) struct Out {
    pub(super) name: Name,
    /// When, by the kernel's wall clock.
    pub(super) at: Nanos,
    pub(super) source: SocketAddr,
    /// Which packet it carried, if it was one of this run.
    pub(super) number: Option<u64>,
}

/// What the sink saw.
#[derive(Default)]
pub(super) struct Log {
    pub(super) out: Vec<Out>,
    /// Between which times datagrams were lost before they could be looked at.
    pub(super) stalls: Vec<(Nanos, Nanos)>,
}

/// Packets that wait to be known again: which key each is for, where its line stands, its bytes.
struct Waiting {
    owner: usize,
    place: usize,
    packet: Vec<u8>,
}

/// Takes what comes to the nodes `behind` until `stop`, and counts packets of `run` in `known`.
pub(super) fn take(
    behind: &mut [Neighbour],
    consensus: &Consensus,
    run: Run,
    (stop, known): (&AtomicBool, &AtomicU64),
) -> Log {
    let geometry = consensus.geometry();
    let mut unwrapper = Unwrapper::new(Tier::chosen(), geometry, OPENED_TOGETHER);
    let keys: Vec<_> = behind.iter().map(|neighbour| neighbour.mix.clone()).collect();
    let mut watches: Vec<_> =
        behind.iter().map(|neighbour| Watch::new(neighbour.fd(), false)).collect();
    let (mut log, mut waiting) = (Log::default(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        event::wait(&mut watches, Some(LOOK.as_duration()));
        std::thread::sleep(LOOK.as_duration());
        for (owner, neighbour) in behind.iter_mut().enumerate() {
            let before = (neighbour.dropped, log.out.len());
            neighbour.turn(|Came { name, at, source, packet }| {
                if let Some(body) = packet {
                    let packet = body[..geometry.packet_bytes()].to_vec();
                    waiting.push(Waiting { owner, place: log.out.len(), packet });
                }
                log.out.push(Out { name, at, source, number: None });
            });
            if neighbour.dropped > before.0
                && let (Some(first), Some(last)) = (log.out.get(before.1), log.out.last())
            {
                log.stalls.push((first.at, last.at));
            }
        }
        for batch in waiting.chunks_mut(OPENED_TOGETHER) {
            let found = recognise(&mut unwrapper, &keys, run, &mut log.out, batch);
            known.fetch_add(found, Ordering::Relaxed);
        }
        waiting.clear();
    }
    log
}

/// Looks which packets these are; how many are of this run.
fn recognise(
    unwrapper: &mut Unwrapper,
    keys: &[x25519::Secret],
    run: Run,
    out: &mut [Out],
    waiting: &mut [Waiting],
) -> u64 {
    let places: Vec<_> = waiting.iter().map(|waiting| waiting.place).collect();
    let mut packets: Vec<_> = waiting
        .iter_mut()
        .map(|waiting| Packet { bytes: &mut waiting.packet, secret: &keys[waiting.owner] })
        .collect();
    let outcomes = unwrapper.check(&mut packets).finish();
    let mut known = 0;
    for (place, outcome) in places.into_iter().zip(outcomes) {
        if let Ok(Hop::Final { destination, .. }) = outcome {
            out[place].number = run.number(destination);
            known += u64::from(out[place].number.is_some());
        }
    }
    known
}
