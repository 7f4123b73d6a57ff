//! Wipes what computations leave behind on the stack.
//!
//! A kernel spills limbs of secrets into its frame, where no destructor reaches them. Whoever has
//! called kernels overwrites that part of the stack once for the whole batch.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// More than the frames of all kernels and of their facades below one call together
/// (`tests/crypto_kernels.rs` measures the kernels').
pub const STACK_BYTES: usize = 64 << 10;

/// Overwrites [`STACK_BYTES`] of stack below the caller's frame.
#[inline(never)]
pub fn stack() {
    let mut frame = MaybeUninit::<[u8; STACK_BYTES]>::uninit();
    frame.write([0; STACK_BYTES]);
    // SAFETY: no instruction at all; the compiler must assume that the zeros are read.
    unsafe {
        std::arch::asm!("/* {} */", in(reg) frame.as_ptr(), options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leaves a pattern in its frame, or counts how much of it is there.
    #[inline(never)]
    fn spill(pattern: Option<u8>) -> usize {
        const FRAME_BYTES: usize = STACK_BYTES / 2;
        let mut frame = MaybeUninit::<[u8; FRAME_BYTES]>::uninit();
        let bytes = frame.as_mut_ptr().cast::<u8>();
        let mut found = 0;
        for offset in 0..FRAME_BYTES {
            // SAFETY: the offset lies inside the array.
            let byte = unsafe { bytes.add(offset) };
            match pattern {
                // SAFETY: the place is ours, and writing asks nothing of what it holds.
                Some(pattern) => unsafe { byte.write_volatile(pattern) },
                None => {
                    let value: u8;
                    // SAFETY: an ordinary load from a place that is ours; what an earlier call
                    // left there is just what is looked for, which only assembly may ask.
                    unsafe {
                        std::arch::asm!(
                            "mov {value}, byte ptr [{byte}]",
                            value = out(reg_byte) value,
                            byte = in(reg) byte,
                            options(nostack, preserves_flags, readonly),
                        );
                    }
                    found += usize::from(value == 0xa5);
                }
            }
        }
        found
    }

    #[test]
    fn what_a_call_left_on_the_stack_is_gone() {
        spill(Some(0xa5));
        assert!(spill(None) > STACK_BYTES / 4, "the test sees what is left");
        spill(Some(0xa5));
        stack();
        assert_eq!(spill(None), 0);
    }
}
