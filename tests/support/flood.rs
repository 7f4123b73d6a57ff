//! Datagrams from anybody, at a steady rate: whole frames put onto a wire, whoever they say they
//! are from.

#![allow(unsafe_code)]

use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{array, io, ptr, thread};

use mixline::clock;
use mixline::crypto::random::Rng;
use mixline::wire::{Ends, Ethernet, Headers};
use socket2::{Domain, Socket, Type};

use crate::hosts::{Host, mac};

/// Frames that one system call takes.
const BATCH: usize = 64;

// SAFETY: a sockaddr_ll is integers, for all of which zero bytes are a value.
const EMPTY_ADDRESS: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
// SAFETY: an mmsghdr is integers and pointers, for all of which zero bytes are a value.
const EMPTY_HEADER: libc::mmsghdr = unsafe { std::mem::zeroed() };

/// A frame from `source` to `node`, which is host 1 on the wire, with noise of a datagram's length.
pub(crate) fn frame(
    source: SocketAddrV4,
    node: SocketAddr,
    bytes: usize,
    rng: &mut Rng,
) -> Vec<u8> {
    let SocketAddr::V4(destination) = node else { panic!("{node} is not IPv4") };
    let ethernet = Ethernet { destination: mac(1), source: mac(2), vlan_tag: None };
    let headers = Headers { ethernet, ends: Ends::V4 { source, destination } };
    let mut frame = vec![0; headers.bytes() + bytes];
    rng.fill(&mut frame[headers.bytes()..]);
    headers.write(&mut frame);
    frame
}

/// Who floods, until told to stop.
#[derive(Default)]
pub(crate) struct Flood {
    stop: AtomicBool,
    sent: AtomicU64,
}

impl Flood {
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Frames sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Puts `frames`, again and again, onto the wire of this thread's interface with the number of
    /// `host`'s, so many a second.
    pub(crate) fn run(&self, host: &Host, frames: &[Vec<u8>], per_second: f64) {
        let socket = Socket::new(Domain::PACKET, Type::from(libc::SOCK_RAW), None);
        let socket = socket.expect("root may");
        set(&socket, libc::PACKET_QDISC_BYPASS);
        let mut address = libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).expect("a small number"),
            sll_ifindex: host.index.cast_signed(),
            ..EMPTY_ADDRESS
        };
        let (mut next, mut sent) = (frames.iter().cycle(), 0);
        let mut last = clock::now();
        while !self.stop.load(Ordering::Acquire) {
            thread::sleep(Duration::from_micros(200));
            let now = clock::now();
            // Who was not let run does not make up for it all at once.
            let span = (now - last).as_secs_f64().min(0.01);
            last = now;
            #[expect(clippy::cast_possible_truncation, reason = "it is from 0 to some thousands")]
            #[expect(clippy::cast_sign_loss, reason = "it is from 0 to some thousands")]
            let mut due = (span * per_second).round() as usize;
            while due > 0 {
                let some: [&[u8]; BATCH] = array::from_fn(|_| &next.next().expect("frames")[..]);
                let count = due.min(BATCH);
                due -= count;
                sent += send(&socket, &mut address, &some[..count]);
            }
            self.sent.store(sent, Ordering::Release);
        }
    }
}

fn set(socket: &Socket, option: libc::c_int) {
    let value: libc::c_int = 1;
    let bytes = u32::try_from(size_of_val(&value)).expect("a small number");
    let place = ptr::from_ref(&value).cast();
    // SAFETY: the socket is open, and the value is live and its length passed.
    let answer =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, place, bytes) };
    assert_eq!(answer, 0, "option {option}: {}", io::Error::last_os_error());
}

/// How many were sent: fewer where the kernel had no memory for more.
fn send(socket: &Socket, address: &mut libc::sockaddr_ll, frames: &[&[u8]]) -> u64 {
    let address_bytes = u32::try_from(size_of_val(address)).expect("a small number");
    let mut parts: [libc::iovec; BATCH] =
        [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut headers = [EMPTY_HEADER; BATCH];
    for ((header, part), frame) in headers.iter_mut().zip(&mut parts).zip(frames) {
        // The kernel only reads it.
        *part = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        header.msg_hdr.msg_name = ptr::from_mut(address).cast();
        header.msg_hdr.msg_namelen = address_bytes;
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    let count = u32::try_from(frames.len()).expect("a batch");
    // SAFETY: `count` headers are there, and what they point to lives to the end of this function.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
    u64::try_from(sent).unwrap_or(0)
}

/// Lets this thread, and what it starts, go before the other work of the machine: in real time, or
/// as far as that is allowed.
pub(crate) fn hurry() {
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter is live, and as the policy has it.
    let answer = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const first) };
    if answer != 0 {
        // SAFETY: no memory is involved.
        let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -15) };
    }
}
