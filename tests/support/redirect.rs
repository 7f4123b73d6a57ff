//! The smallest XDP program that serves an AF_XDP port: UDP datagrams to one port go to the socket
//! of their queue, everything else to the kernel. What it lacks is tested elsewhere; here it
//! keeps the tests of the port apart from the rules of the real program.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

// linux/bpf.h: commands, kinds, flags.
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const CALL_REDIRECT_MAP: i32 = 51;
const XDP_PASS: i32 = 2;
// linux/if_link.h
const FLAGS_SKB_MODE: u32 = 1 << 1;
const FLAGS_DRV_MODE: u32 = 1 << 2;

const QUEUES_MAX: u32 = 64;

/// The program while it is attached: it is gone when this is dropped.
pub(crate) struct Redirect {
    map: OwnedFd,
    _link: OwnedFd,
}

impl Redirect {
    /// Attaches the program for UDP port `port` to the interface with this number, of this thread's
    /// network namespace, in the driver or behind it.
    pub(crate) fn attach(index: u32, is_native: bool, port: u16) -> io::Result<Self> {
        let map = bpf(MAP_CREATE, &[u64::from(MAP_TYPE_XSKMAP) | 4 << 32, pair(4, QUEUES_MAX)])?;
        let program = load(&program(map.as_raw_fd(), port))?;
        let mode = if is_native { FLAGS_DRV_MODE } else { FLAGS_SKB_MODE };
        let program = program.as_raw_fd().cast_unsigned();
        let link = bpf(LINK_CREATE, &[pair(program, index), pair(ATTACH_XDP, mode)])?;
        Ok(Redirect { map, _link: link })
    }

    /// Lets `socket` have what comes by `queue`.
    pub(crate) fn serve(&self, queue: u32, socket: BorrowedFd) -> io::Result<()> {
        let map = self.map.as_raw_fd().cast_unsigned();
        let (key, value) = (queue, socket.as_raw_fd());
        let place = |word: *const u32| word.expose_provenance() as u64;
        let words = [pair(map, 0), place(&raw const key), place((&raw const value).cast()), 0];
        call(MAP_UPDATE_ELEM, &words).map(drop)
    }
}

/// Two fields of 32 bits in the order of memory.
fn pair(first: u32, second: u32) -> u64 {
    let [a, b] = [first, second].map(u32::to_ne_bytes);
    u64::from_ne_bytes([a, b].concat().try_into().expect("8 bytes"))
}

/// bpf(2) with the first words of its attributes, the others being zero.
fn call(command: libc::c_long, words: &[u64]) -> io::Result<libc::c_long> {
    let mut attributes = [0u64; 18];
    attributes[..words.len()].copy_from_slice(words);
    let bytes = size_of_val(&attributes);
    // SAFETY: the attributes are live and their length is passed; what they point to lives in the
    // callers for the length of the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), bytes) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for commands that make a descriptor.
fn bpf(command: libc::c_long, words: &[u64]) -> io::Result<OwnedFd> {
    let fd = i32::try_from(call(command, words)?).expect("descriptors are small");
    // SAFETY: the kernel just made `fd` for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn load(instructions: &[u64]) -> io::Result<OwnedFd> {
    let count = u32::try_from(instructions.len()).expect("a few");
    let place = |start: *const u8| start.expose_provenance() as u64;
    let mut words = [0; 9];
    words[0] = pair(PROG_TYPE_XDP, count);
    words[1] = place(instructions.as_ptr().cast());
    words[2] = place(c"GPL".as_ptr().cast());
    words[8] = pair(0, ATTACH_XDP);
    bpf(PROG_LOAD, &words)
}

/// One instruction: operation, registers, offset, number (Documentation/bpf/standardization).
fn instruction(operation: u8, (to, from): (u8, u8), offset: i16, number: i32) -> u64 {
    let mut bytes = [operation, to | from << 4, 0, 0, 0, 0, 0, 0];
    bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
    bytes[4..].copy_from_slice(&number.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// The program. Registers: 2 the frame, behind a VLAN tag if there is one, less its first 12
/// bytes; 3 the frame's end; 5 ethernet's type, then UDP's destination; 6 the context.
fn program(map: i32, port: u16) -> Vec<u64> {
    const PASS: i16 = 31;
    let copy = |registers| instruction(0xbf, registers, 0, 0);
    let set = |to, number| instruction(0xb7, (to, 0), 0, number);
    let add = |to, number| instruction(0x07, (to, 0), 0, number);
    let load_u8 = |registers, at| instruction(0x71, registers, at, 0);
    let load_u16 = |registers, at| instruction(0x69, registers, at, 0);
    let load_u32 = |registers, at| instruction(0x61, registers, at, 0);
    // Jumps: `at` is where the instruction stands, `to` where it leads.
    let if_equal = |at: i16, to: i16, r, number| instruction(0x15, (r, 0), to - at - 1, number);
    let unless_equal = |at: i16, to: i16, r, number| instruction(0x55, (r, 0), to - at - 1, number);
    let if_greater = |at: i16, to: i16, registers| instruction(0x2d, registers, to - at - 1, 0);
    let jump = |at: i16, to: i16| instruction(0x05, (0, 0), to - at - 1, 0);
    let on_wire = |word: u16| i32::from(word.to_be());
    vec![
        copy((6, 1)),
        load_u32((2, 1), 0),
        load_u32((3, 1), 4),
        copy((4, 2)),
        add(4, 18),
        if_greater(5, PASS, (4, 3)),
        load_u16((5, 2), 12),
        unless_equal(7, 10, 5, on_wire(0x8100)),
        load_u16((5, 2), 16),
        add(2, 4),
        if_equal(10, 18, 5, on_wire(0x86dd)),
        unless_equal(11, PASS, 5, on_wire(0x0800)),
        // IPv4 without options.
        copy((4, 2)),
        add(4, 42),
        if_greater(14, PASS, (4, 3)),
        load_u8((0, 2), 23),
        load_u16((5, 2), 36),
        jump(17, 23),
        // IPv6 without extension headers.
        copy((4, 2)),
        add(4, 62),
        if_greater(20, PASS, (4, 3)),
        load_u8((0, 2), 20),
        load_u16((5, 2), 56),
        // Both.
        unless_equal(23, PASS, 0, libc::IPPROTO_UDP),
        unless_equal(24, PASS, 5, on_wire(port)),
        load_u32((2, 6), 16),
        // The map's address, in two instructions.
        instruction(0x18, (1, 1), 0, map),
        0,
        set(3, XDP_PASS),
        instruction(0x85, (0, 0), 0, CALL_REDIRECT_MAP),
        instruction(0x95, (0, 0), 0, 0),
        set(0, XDP_PASS),
        instruction(0x95, (0, 0), 0, 0),
    ]
}
