//! What a program may ask of the valgrind that runs it (valgrind.h, memcheck.h).
//!
//! Memory that memcheck takes for uninitialised may be moved and computed with, but a jump or an
//! address that depends on it is an error: so it finds what depends on secrets (Langley's ctgrind,
//! 2010).

#![allow(unsafe_code)]

use std::arch::asm;

/// The requests of the tool "MC".
const TOOL: u64 = 0x4d43_0000;
const MAKE_UNDEFINED: u64 = TOOL + 1;
const RUNNING: u64 = 0x1001;

/// The answer of the valgrind around this process, or 0 without one: four rotations that make a
/// whole turn, then an exchange of a register with itself, which no compiler writes.
fn request(code: u64, address: u64, bytes: u64) -> u64 {
    let arguments = [code, address, bytes, 0, 0, 0];
    let mut answer = 0;
    // SAFETY: by themselves the instructions change nothing; valgrind reads the array, which lives
    // as long as they take, and writes the answer.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") answer,
            inout("rdi") 0_u64 => _,
        );
    }
    answer
}

/// Whether this process runs under valgrind.
pub(crate) fn is_here() -> bool {
    request(RUNNING, 0, 0) > 0
}

/// From now on `secret`, and all that is computed from it, must decide nothing.
pub(crate) fn poison(secret: &mut [u8]) {
    request(MAKE_UNDEFINED, secret.as_mut_ptr() as u64, secret.len() as u64);
}
