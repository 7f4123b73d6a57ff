//! Datagrams with the time at which the kernel saw them, and all that passes an interface:
//! `SO_TIMESTAMPNS` (socket(7)) and packet(7).
//!
//! It is how a laboratory looks at wires; no node comes here.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Memory of the kernel for what nobody has taken yet: 30 000 datagrams of 1.4 KB.
const BUFFER_BYTES: usize = 64 << 20;
/// Room for the two things that the kernel says beside a datagram: a timestamp and a count.
const CONTROL_BYTES: usize = 64;
/// Offset and value in `sockaddr_ll` (linux/if_packet.h) of what goes out of this machine.
const PACKET_TYPE_AT: usize = 10;
const PACKET_OUTGOING: u8 = 4;

/// Something that was received.
#[derive(Debug)]
pub struct Stamped {
    /// Its whole length, also if the buffer is shorter.
    pub bytes: usize,
    /// When the kernel saw it, in nanoseconds since 1970.
    pub unix_ns: u64,
    /// How many this socket has lost since it was opened, for want of memory.
    pub dropped: u32,
    name: SockAddr,
}

impl Stamped {
    /// Who sent it: of datagrams.
    pub fn source(&self) -> Option<SocketAddr> {
        self.name.as_socket()
    }

    /// Whether it went out of this machine, and did not come in: of what passes an interface.
    pub fn is_outgoing(&self) -> bool {
        let length = usize::try_from(self.name.len()).unwrap_or_default();
        // SAFETY: the address is that long, and integers without padding between them.
        let bytes = unsafe { std::slice::from_raw_parts(self.name.as_ptr().cast::<u8>(), length) };
        bytes.get(PACKET_TYPE_AT) == Some(&PACKET_OUTGOING)
    }
}

/// A socket that is bound to `address`, never blocks, and stamps what it receives.
///
/// # Errors
/// What the kernel answered: mostly that the address is taken, or of another machine.
pub fn bind(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    stamp(&socket)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A socket that sees all packets which pass `interface`, from the ethernet header on, both those
/// that come in and those that go out; it takes CAP_NET_RAW.
///
/// # Errors
/// What the kernel answered.
pub fn tap(interface: &str) -> io::Result<Socket> {
    let everything = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
    let name = CString::new(interface)?;
    // SAFETY: the name is a live text that ends with a zero.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    // Without a protocol it hears nothing until it is bound to one interface.
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
    stamp(&socket)?;
    // SAFETY: a sockaddr_ll is integers, for which zeros are a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
    address.sll_protocol = everything;
    address.sll_ifindex = index.cast_signed();
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
    // SAFETY: the address is live, initialised, and as long as is said.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// Takes what has come longest ago, as much of it as fits into `buffer`; nothing if there is none.
///
/// # Errors
/// What the kernel answered.
pub fn receive(socket: RawFd, buffer: &mut [u8]) -> io::Result<Option<Stamped>> {
    let mut control = [0_u64; CONTROL_BYTES / 8];
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an msghdr is integers and pointers, for all of which zero bytes are a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_BYTES;
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    let take = |storage: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        header.msg_name = storage.cast();
        // SAFETY: `length` points to the length of the storage, both ours for this call.
        header.msg_namelen = unsafe { *length };
        // SAFETY: the header points to a name, a vector, a buffer and a control area of the sizes
        // it states, all alive until the call returns; the kernel keeps no pointer.
        let came = unsafe { libc::recvmsg(socket, &raw mut header, flags) };
        let came = usize::try_from(came).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: as above.
        unsafe { *length = header.msg_namelen };
        Ok(came)
    };
    // SAFETY: the kernel writes an address and its length, or nothing and zero.
    let (bytes, name) = match unsafe { SockAddr::try_init(take) } {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        taken => taken?,
    };
    let said = Said::read(&control, header.msg_controllen.min(CONTROL_BYTES));
    Ok(Some(Stamped { bytes, unix_ns: said.unix_ns, dropped: said.dropped, name }))
}

/// What the kernel says beside a datagram (cmsg(3)).
#[derive(Debug, Default)]
struct Said {
    unix_ns: u64,
    dropped: u32,
}

impl Said {
    fn read(control: &[u64], filled: usize) -> Self {
        let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut rest = bytes.get(..filled).unwrap_or_default();
        let mut said = Said::default();
        // A length of 8 bytes, level and type of 4 each, the content, padding to 8.
        while let Some((head, _)) = rest.split_first_chunk::<16>() {
            let word = |at: usize| i32::from_ne_bytes(std::array::from_fn(|i| head[at + i]));
            let length = usize::from_ne_bytes(std::array::from_fn(|i| head[i]));
            let Some(content) = rest.get(16..length) else { break };
            match (word(8), word(12)) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => said.unix_ns = nanoseconds(content),
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    let count = content.first_chunk().copied().map(u32::from_ne_bytes);
                    said.dropped = count.unwrap_or_default();
                }
                _ => {}
            }
            rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
        }
        said
    }
}

/// A `timespec` of 64 bits.
fn nanoseconds(content: &[u8]) -> u64 {
    let number = |at: usize| {
        let field = content.get(at..at + 8).and_then(|field| field.first_chunk().copied());
        field.map_or(0, u64::from_ne_bytes)
    };
    number(0).saturating_mul(1_000_000_000).saturating_add(number(8))
}

fn stamp(socket: &Socket) -> io::Result<()> {
    set(socket, libc::SO_TIMESTAMPNS, 1)?;
    set(socket, libc::SO_RXQ_OVFL, 1)?;
    // Past the machine's limit, which takes a privilege, or else within it.
    let bytes = i32::try_from(BUFFER_BYTES).unwrap_or(i32::MAX);
    set(socket, libc::SO_RCVBUFFORCE, bytes).or_else(|_| set(socket, libc::SO_RCVBUF, bytes))
}

fn set(socket: &Socket, name: i32, value: i32) -> io::Result<()> {
    let bytes: libc::socklen_t = 4;
    const { assert!(size_of::<libc::c_int>() == 4) };
    // SAFETY: the option value is a live int, and its size is passed.
    let status = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, value, bytes)
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_datagram_has_its_source_its_length_and_a_time() {
        let receiver = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = receiver.local_addr().unwrap().as_socket().unwrap();
        let mut buffer = [0; 4];
        assert!(receive(receiver.as_raw_fd(), &mut buffer).unwrap().is_none());
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"hello", to).unwrap();
        sender.send_to(b"again", to).unwrap();
        let first = receive(receiver.as_raw_fd(), &mut buffer).unwrap().unwrap();
        assert_eq!((first.bytes, &buffer), (5, b"hell"));
        assert_eq!(first.source(), Some(sender.local_addr().unwrap()));
        let second = receive(receiver.as_raw_fd(), &mut buffer).unwrap().unwrap();
        assert!(first.unix_ns > 1_500_000_000_000_000_000 && first.unix_ns <= second.unix_ns);
    }
}
