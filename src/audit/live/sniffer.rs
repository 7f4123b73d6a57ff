//! The wire, as anybody sees it who has tapped it: times and headers of all datagrams.

use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};

use arrayvec::ArrayVec;
use socket2::Socket;

use super::AuditError;
use super::lab::WIRE;
use super::neighbour::{NAME_BYTES, Name};
use crate::audit::observation::HEADER_BYTES_MAX;
use crate::clock::Nanos;
use crate::host::event::{self, Watch};
use crate::host::stamped;

/// Headers of ethernet, IPv4 without options, and UDP.
const HEADERS_BYTES: usize = 14 + 20 + 8;
/// What of a packet is looked at: its headers, and the link header of docs/link-protocol.md.
const SEEN_BYTES: usize = HEADERS_BYTES + 16;
/// Where ethernet says what it carries, and IPv4 what that carries; IPv4 and UDP.
const ETHERTYPE: (usize, [u8; 2]) = (12, [8, 0]);
const PROTOCOL: (usize, u8) = (23, 17);
/// Where UDP has the port that it comes from.
const SOURCE_PORT: usize = 34;
/// How long what has come may wait: the kernel says when it came.
const LOOK: Nanos = Nanos::from_millis(5);

const _: () = assert!(SEEN_BYTES <= HEADER_BYTES_MAX && NAME_BYTES <= 16);

/// A datagram into the node, or out of it.
pub(super) struct Seen {
    pub(super) name: Name,
    pub(super) at: Nanos,
}

/// A datagram out of the node, with what the wire shows of it.
pub(super) struct SeenOut {
    pub(super) seen: Seen,
    pub(super) source_port: u16,
    pub(super) header: ArrayVec<u8, HEADER_BYTES_MAX>,
}

/// What passed, in the order of the wire.
#[derive(Default)]
pub(super) struct Log {
    pub(super) into: Vec<Seen>,
    pub(super) out: Vec<SeenOut>,
    /// Between which times something was lost before it could be looked at.
    pub(super) stalls: Vec<(Nanos, Nanos)>,
}

/// A tap at our end of the wire.
pub(super) struct Sniffer {
    socket: Socket,
    packet_bytes: usize,
}

impl Sniffer {
    /// Taps the wire for datagrams of `datagram_bytes`.
    pub(super) fn open(datagram_bytes: usize) -> Result<Self, AuditError> {
        let socket = stamped::tap(WIRE).map_err(AuditError::Tap)?;
        Ok(Sniffer { socket, packet_bytes: HEADERS_BYTES + datagram_bytes })
    }

    /// Looks until `stop`.
    pub(super) fn look(&self, stop: &AtomicBool) -> Log {
        let fd = self.socket.as_raw_fd();
        let (mut log, mut frame) = (Log::default(), [0; SEEN_BYTES]);
        let (mut dropped, mut last) = (0, Nanos::ZERO);
        while !stop.load(Ordering::Relaxed) {
            event::wait(&mut [Watch::new(fd, false)], Some(LOOK.as_duration()));
            std::thread::sleep(LOOK.as_duration());
            while let Ok(Some(stamped)) = stamped::receive(fd, &mut frame) {
                let at = Nanos(stamped.unix_ns);
                if stamped.dropped != dropped {
                    dropped = stamped.dropped;
                    log.stalls.push((last, at));
                }
                last = at;
                if stamped.bytes == self.packet_bytes {
                    note(&mut log, &frame, at, stamped.is_outgoing());
                }
            }
        }
        log
    }
}

/// Keeps what is a datagram; what goes out of this machine goes into the node.
fn note(log: &mut Log, frame: &[u8; SEEN_BYTES], at: Nanos, is_into: bool) {
    let is_udp = frame[ETHERTYPE.0..][..2] == ETHERTYPE.1 && frame[PROTOCOL.0] == PROTOCOL.1;
    let Some(&name) = frame[HEADERS_BYTES..].first_chunk().filter(|_| is_udp) else { return };
    let seen = Seen { name, at };
    if is_into {
        log.into.push(seen);
        return;
    }
    let source_port = u16::from_be_bytes([frame[SOURCE_PORT], frame[SOURCE_PORT + 1]]);
    let header = frame.iter().copied().collect();
    log.out.push(SeenOut { seen, source_port, header });
}
