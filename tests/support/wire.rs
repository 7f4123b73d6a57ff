//! Two hosts on one wire, onto which a test can put any frame.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd as _;

use socket2::{Domain, Socket, Type};

use crate::hosts::{Host, INTERFACE, namespace, wire};

// SAFETY: a sockaddr_ll is integers, for all of which zero bytes are a value.
const EMPTY_ADDRESS: libc::sockaddr_ll = unsafe { std::mem::zeroed() };

/// Hosts 1 and 2 at the ends of one wire, with `queues` queues each.
pub(crate) fn pair(queues: u32) -> [Host; 2] {
    let [near, far] = [namespace(), namespace()];
    wire(&near, (&far, INTERFACE), queues);
    [Host::new(near, 1), Host::new(far, 2)]
}

/// Puts `frame` on the wire of `host` as it is.
pub(crate) fn inject(host: &Host, frame: &[u8]) {
    host.namespace.enter(|| {
        let kind = Type::from(libc::SOCK_RAW);
        let socket = Socket::new(Domain::PACKET, kind, None).expect("root may");
        let address = libc::sockaddr_ll {
            sll_family: u16::try_from(libc::AF_PACKET).expect("a small number"),
            sll_ifindex: host.index.cast_signed(),
            ..EMPTY_ADDRESS
        };
        let bytes = u32::try_from(size_of_val(&address)).expect("a small number");
        let (frame, length) = (frame.as_ptr().cast(), frame.len());
        let to = (&raw const address).cast();
        // SAFETY: frame and address are live and their lengths are passed.
        let sent = unsafe { libc::sendto(socket.as_raw_fd(), frame, length, 0, to, bytes) };
        assert_eq!(usize::try_from(sent), Ok(length), "{}", io::Error::last_os_error());
    });
}
