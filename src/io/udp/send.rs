//! The sending half: one `sendmmsg(2)` for a flush, one message for each run to one address.

use super::address::RawAddress;
use super::control::Control;
use super::outbox::{Outbox, count_refused};
use super::{DATAGRAM_BYTES_MAX, EMPTY_HEADER, EMPTY_VECTOR};
use crate::io::{BATCH, PortCounters, Unsent};
use arrayvec::ArrayVec;
use socket2::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

pub(super) struct Sender {
    outbox: Outbox,
    /// Whether the kernel cuts a run into datagrams; off for good once it failed to.
    segments: bool,
}

impl Sender {
    pub(super) fn new(datagram_bytes: usize, on_ipv6: bool, segments: bool) -> Self {
        Sender { outbox: Outbox::new(datagram_bytes, on_ipv6), segments }
    }

    pub(super) fn segments(&self) -> bool {
        self.segments
    }

    pub(super) fn queued(&self) -> usize {
        self.outbox.queue.len()
    }

    pub(super) fn queue<E>(
        &mut self,
        counters: &mut PortCounters,
        fill: impl FnOnce(&mut [u8]) -> Result<SocketAddr, E>,
    ) -> Result<(), Unsent<E>> {
        self.outbox.put(counters, fill)
    }

    /// Sends all that waits, or all that the kernel has room for.
    pub(super) fn flush(&mut self, socket: &Socket, counters: &mut PortCounters) {
        if self.segments {
            self.gather();
        }
        while !self.outbox.queue.is_empty() {
            match self.submit(socket) {
                Ok(count) => {
                    counters.sent += count as u64;
                    self.outbox.release(count);
                }
                Err(error) if is_for_later(&error) => break,
                Err(error) => self.give_up(&error, counters),
            }
        }
    }

    /// Brings together what goes to one address, first come first, each in its old order.
    fn gather(&mut self) {
        let Outbox { queue, destinations, .. } = &mut self.outbox;
        let mut rest = queue.as_mut_slice();
        while let Some(&head) = rest.first() {
            let to = destinations[head];
            let run = bring_forward(rest, |frame| destinations[frame] == to);
            rest = &mut rest[run..];
        }
    }

    /// How many datagrams from position `first` of the queue on travel as one message.
    fn run(&self, first: usize) -> usize {
        if !self.segments {
            return 1;
        }
        let Outbox { queue, destinations, .. } = &self.outbox;
        let to = destinations[queue[first]];
        let same = |frame: &&usize| destinations[**frame] == to;
        let run_max = (DATAGRAM_BYTES_MAX / self.outbox.datagram_bytes).max(1);
        queue[first..].iter().take(run_max).take_while(same).count()
    }

    /// Offers the whole queue to the kernel; returns how many datagrams it took, or why it did
    /// not take the first run.
    fn submit(&self, socket: &Socket) -> io::Result<usize> {
        let mut vectors = [EMPTY_VECTOR; BATCH];
        for (vector, frame) in vectors.iter_mut().zip(&self.outbox.queue) {
            let bytes = self.outbox.frame(*frame);
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
        }
        let segment_bytes = u16::try_from(self.outbox.datagram_bytes).unwrap_or(u16::MAX);
        let mut control = Control::segment(segment_bytes);
        let (vectors, control) = (vectors.as_mut_ptr(), control.as_mut_ptr());
        let mut headers = [EMPTY_HEADER; BATCH];
        let mut runs = ArrayVec::<usize, BATCH>::new();
        let mut first = 0;
        for header in &mut headers {
            let Some(frame) = self.outbox.queue.get(first) else { break };
            let run = self.run(first);
            let header = &mut header.msg_hdr;
            header.msg_name = self.outbox.destination(*frame).as_ptr().cast_mut().cast();
            header.msg_namelen = RawAddress::LENGTH;
            header.msg_iov = vectors.wrapping_add(first);
            header.msg_iovlen = run;
            if run > 1 {
                header.msg_control = control;
                header.msg_controllen = Control::SEGMENT_BYTES;
            }
            runs.push(run);
            first += run;
        }
        let taken = send_messages(socket, &mut headers[..runs.len()])?;
        Ok(runs.iter().take(taken).sum())
    }

    /// The kernel refused the first run for good: try it datagram by datagram if the fault may
    /// lie with running it as one, else drop and count it.
    fn give_up(&mut self, error: &io::Error, counters: &mut PortCounters) {
        let run = self.run(0);
        let code = error.raw_os_error();
        // `udp(7)`, UDP_SEGMENT: EIO from a device without checksum offload, EINVAL from a kernel
        // that wants it otherwise.
        if run > 1 && matches!(code, Some(libc::EIO | libc::EINVAL)) {
            self.segments = false;
            return;
        }
        count_refused(code, run, counters);
        self.outbox.release(run);
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Moves the frames that belong to the front, keeping the order of these and of all others;
/// returns how many. Allocates nothing, which a stable sort would.
fn bring_forward(frames: &mut [usize], belongs: impl Fn(usize) -> bool) -> usize {
    let mut front = 0;
    for index in 0..frames.len() {
        if belongs(frames[index]) {
            frames[front..=index].rotate_right(1);
            front += 1;
        }
    }
    front
}

/// One system call; returns how many messages the kernel took, at least one.
fn send_messages(socket: &Socket, headers: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
    // SAFETY: the caller made each header point to an address, vectors, frames and perhaps a
    // control message of the sizes it states, all alive until the call returns. The kernel only
    // reads them, writes `msg_len` of each header, and keeps no pointer.
    let taken = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT)
    };
    usize::try_from(taken).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Port as _;
    use crate::io::udp::socket::set;
    use crate::io::udp::{Options, UdpPort};
    use std::convert::Infallible;

    fn queue(sender: &mut Sender, ports: &[u16]) {
        for &port in ports {
            let to = SocketAddr::from(([127, 0, 0, 1], port));
            sender.queue(&mut PortCounters::default(), |_| Ok::<_, Infallible>(to)).unwrap();
        }
    }

    fn order(sender: &Sender) -> Vec<(u16, usize)> {
        let port = |frame: &usize| sender.outbox.destinations[*frame].parsed().unwrap().port();
        // Frames are taken from the last on: this counts them in the order they were queued.
        sender.outbox.queue.iter().map(|frame| (port(frame), BATCH - 1 - frame)).collect()
    }

    #[test]
    fn gathering_keeps_the_order_within_each_destination() {
        let mut sender = Sender::new(10, false, true);
        queue(&mut sender, &[5, 3, 5, 9, 3, 5]);
        sender.gather();
        assert_eq!(order(&sender), [(5, 0), (5, 2), (5, 5), (3, 1), (3, 4), (9, 3)]);
        assert_eq!((sender.run(0), sender.run(3), sender.run(5)), (3, 2, 1));
    }

    #[test]
    fn a_run_never_exceeds_what_one_ip_packet_holds() {
        let mut sender = Sender::new(20_000, false, true);
        queue(&mut sender, &[5; 10]);
        assert_eq!(sender.run(0), 3);
        let mut sender = Sender::new(DATAGRAM_BYTES_MAX, false, true);
        queue(&mut sender, &[5; 2]);
        assert_eq!(sender.run(0), 1);
    }

    #[test]
    fn when_the_kernel_cannot_segment_runs_are_sent_one_by_one() {
        let mut sender = Sender::new(10, false, true);
        let mut counters = PortCounters::default();
        queue(&mut sender, &[5; 4]);
        sender.give_up(&io::Error::from_raw_os_error(libc::EIO), &mut counters);
        assert_eq!((sender.queued(), sender.run(0)), (4, 1));
        assert_eq!(counters, PortCounters::default());
    }

    #[test]
    fn a_kernel_that_refuses_runs_gets_every_datagram_singly() {
        let open = || UdpPort::open(&Options::new("127.77.7.1:0".parse().unwrap(), 100)).unwrap();
        let (mut a, mut b) = (open(), open());
        // Without checksums there is no segmentation: `udp_send_skb` answers EINVAL.
        set(&a.socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).unwrap();
        for number in 0..20 {
            let to = b.local();
            a.send(|frame| {
                frame.fill(number);
                Ok::<_, Infallible>(to)
            })
            .unwrap();
        }
        a.flush();
        assert!(!a.sender.segments());
        assert_eq!((a.counters().sent, a.queued()), (20, 0));
        let mut numbers = Vec::new();
        b.receive(BATCH, |_, datagram| numbers.push(datagram[0]));
        assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    }

    #[test]
    fn each_refusal_is_counted_by_its_kind_and_frees_the_frame() {
        let mut sender = Sender::new(10, false, false);
        let mut counters = PortCounters::default();
        queue(&mut sender, &[1, 2, 3]);
        for code in [libc::EMSGSIZE, libc::ENETUNREACH, libc::EPERM] {
            sender.give_up(&io::Error::from_raw_os_error(code), &mut counters);
        }
        let expected = PortCounters { too_long: 1, unreachable: 1, send_failed: 1, ..counters };
        assert_eq!((counters, sender.outbox.free.len()), (expected, BATCH));
    }

    #[test]
    fn what_has_no_way_out_of_this_socket_is_unreachable() {
        let mut sender = Sender::new(10, false, true);
        let mut counters = PortCounters::default();
        for to in ["[::1]:9", "127.0.0.1:0"] {
            let to: SocketAddr = to.parse().unwrap();
            sender.queue(&mut counters, |_| Ok::<_, Infallible>(to)).unwrap();
        }
        assert_eq!(
            (counters.unreachable, sender.queued(), sender.outbox.free.len()),
            (2, 0, BATCH)
        );
    }
}
