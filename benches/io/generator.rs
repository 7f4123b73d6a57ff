//! Datagrams made in the kernel: they arrive at an interface in bursts, as from a network card.
//!
//! `BPF_PROG_TEST_RUN` with `BPF_F_TEST_XDP_LIVE_FRAMES` (linux/bpf.h) runs a program over copies
//! of a frame and does with each what the program says; ours redirects it to one end of a pair of
//! interfaces. That costs about a tenth of a microsecond a frame, where sending would cost as much
//! as what is to be measured; and frames come to the other end in batches, as cards deliver them.
//! A sender on the same core would deliver them one by one, and nothing could be coalesced.

#![allow(unsafe_code)]

use mixline::wire::{Ends, Headers};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

// Commands, kinds and flags of linux/bpf.h.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TEST_RUN: libc::c_int = 10;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 2;

/// Frames that the kernel passes on together: what one poll of a card takes at most (NAPI_WEIGHT).
const FRAMES_AT_ONCE: u32 = 64;

/// Where an IPv4 frame without tag has the port of its source, and its payload.
const SOURCE_PORT_AT: i16 = 34;
const PAYLOAD_AT: i16 = 42;

/// Sends copies of one datagram from many source ports.
pub(crate) struct Generator {
    program: OwnedFd,
    frame: Vec<u8>,
}

impl Generator {
    /// Will send what `headers` say, of `datagram_bytes`, through `interface` of the network
    /// namespace that this thread is in. Each comes from one of `flows` ports, a power of two,
    /// drawn at random, from the port in `headers` on.
    pub(crate) fn new(
        interface: u32,
        headers: &Headers,
        datagram_bytes: usize,
        flows: u16,
    ) -> io::Result<Self> {
        let mut frame = vec![0; headers.bytes() + datagram_bytes];
        // The program lowers this word by as much as it raises the port: the checksum stays right.
        let word = usize::from(PAYLOAD_AT.cast_unsigned());
        frame[word..word + 2].copy_from_slice(&flows.to_be_bytes());
        headers.write(&mut frame);
        let Ends::V4 { source, .. } = headers.ends else {
            return Err(io::Error::other("the generator makes IPv4"));
        };
        let program = load(&program(interface.cast_signed(), source.port(), flows))?;
        Ok(Generator { program, frame })
    }

    /// Delivers `count` datagrams: the kernel's work of receiving them is done when this returns.
    pub(crate) fn fire(&self, count: u32) -> io::Result<()> {
        let run = TestRun {
            program: self.program.as_raw_fd().cast_unsigned(),
            input_bytes: u32::try_from(self.frame.len()).unwrap_or(u32::MAX),
            input: self.frame.as_ptr() as u64,
            repeat: count,
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            frames_at_once: FRAMES_AT_ONCE,
            ..TestRun::default()
        };
        // SAFETY: `input` points to the bytes of `frame`, which lives until the call returns and
        // is only read.
        unsafe { bpf(BPF_PROG_TEST_RUN, &run) }.map(drop)
    }
}

/// One instruction of BPF (linux/bpf.h, `struct bpf_insn`).
#[derive(Clone, Copy)]
#[repr(C)]
struct Instruction {
    operation: u8,
    /// The destination in the low half, the source in the high.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// What the generator runs on each frame: redirects it to `interface`, from `first_port` plus a
/// random number below `flows`.
fn program(interface: i32, first_port: u16, flows: u16) -> [Instruction; 21] {
    const LOAD_WORD: u8 = 0x61;
    const STORE_HALF: u8 = 0x6b;
    const MOVE: u8 = 0xbf;
    const MOVE_CONSTANT: u8 = 0xb7;
    const ADD_CONSTANT: u8 = 0x07;
    const SUBTRACT: u8 = 0x1f;
    const AND_CONSTANT: u8 = 0x57;
    const TO_BIG_ENDIAN: u8 = 0xdc;
    const JUMP_IF_ABOVE: u8 = 0x2d;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    const RANDOM: i32 = 7; // BPF_FUNC_get_prandom_u32
    const REDIRECT: i32 = 23; // BPF_FUNC_redirect
    const DROP: i32 = 1; // XDP_DROP
    // Of registers, by what they hold here; 0 has results, 1 and 2 are arguments too.
    const FRAME: u8 = 6;
    const END: u8 = 2;

    let op = |operation, to: u8, from: u8, offset, immediate| Instruction {
        operation,
        registers: to | from << 4,
        offset,
        immediate,
    };
    let payload_end = i32::from(PAYLOAD_AT) + 2;
    [
        op(LOAD_WORD, FRAME, 1, 0, 0), // struct xdp_md: data, data_end
        op(LOAD_WORD, END, 1, 4, 0),
        op(MOVE, 3, FRAME, 0, 0),
        op(ADD_CONSTANT, 3, 0, 0, payload_end),
        op(JUMP_IF_ABOVE, 3, END, 14, 0), // too short: to the drop at the end
        op(CALL, 0, 0, 0, RANDOM),
        op(AND_CONSTANT, 0, 0, 0, i32::from(flows) - 1),
        op(MOVE, 1, 0, 0, 0),
        op(ADD_CONSTANT, 1, 0, 0, i32::from(first_port)),
        op(TO_BIG_ENDIAN, 1, 0, 0, 16),
        op(STORE_HALF, FRAME, 1, SOURCE_PORT_AT, 0),
        op(MOVE_CONSTANT, 2, 0, 0, i32::from(flows)),
        op(SUBTRACT, 2, 0, 0, 0),
        op(TO_BIG_ENDIAN, 2, 0, 0, 16),
        op(STORE_HALF, FRAME, 2, PAYLOAD_AT, 0),
        op(MOVE_CONSTANT, 1, 0, 0, interface),
        op(MOVE_CONSTANT, 2, 0, 0, 0),
        op(CALL, 0, 0, 0, REDIRECT),
        op(EXIT, 0, 0, 0, 0),
        op(MOVE_CONSTANT, 0, 0, 0, DROP),
        op(EXIT, 0, 0, 0, 0),
    ]
}

/// The fields of `union bpf_attr` that BPF_PROG_LOAD needs.
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
}

/// The fields of `union bpf_attr` for BPF_PROG_TEST_RUN.
#[derive(Default)]
#[repr(C)]
struct TestRun {
    program: u32,
    result: u32,
    input_bytes: u32,
    output_bytes: u32,
    input: u64,
    output: u64,
    repeat: u32,
    duration: u32,
    context_in_bytes: u32,
    context_out_bytes: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    frames_at_once: u32,
    padding: u32,
}

fn load(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let load = ProgramLoad {
        kind: BPF_PROG_TYPE_XDP,
        instruction_count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        instructions: instructions.as_ptr() as u64,
        licence: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
    };
    // SAFETY: the instructions and the licence outlive the call, which only reads them.
    let fd = unsafe { bpf(BPF_PROG_LOAD, &load) }?;
    // SAFETY: the kernel just made `fd` for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attributes` are those of `command`; what they point to is as they say and outlives the call.
unsafe fn bpf<A>(command: libc::c_int, attributes: &A) -> io::Result<RawFd> {
    // SAFETY: the kernel reads `size_of::<A>()` bytes at `attributes`, and takes the fields that
    // are not there as zero; for the rest the caller answers.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<A>())
    };
    RawFd::try_from(result).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)
}
