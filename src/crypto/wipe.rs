//! Wipes what computations leave behind on the stack.
//!
//! A kernel spills limbs of secrets into its frame, where no destructor reaches them; inlined, it
//! spills them into its caller's. So who calls kernels does it by way of [`after`], once for a
//! whole batch.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// More than the frames of all kernels and of all that calls them below [`after`] together
/// (`tests/crypto_kernels.rs` measures the kernels').
pub const STACK_BYTES: usize = 64 << 10;

/// Does `work`, then overwrites the [`STACK_BYTES`] of stack that it had, its own frame included.
pub fn after<T>(work: impl FnOnce() -> T) -> T {
    let done = apart(work);
    stack();
    done
}

/// Does `work` in a frame that begins where that of [`stack`] will: below their common caller's.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn stack() {
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
    use std::hint::black_box;

    const FRAME_BYTES: usize = STACK_BYTES / 2;

    /// Leaves a pattern in the frame of its caller, as a kernel does that is inlined, or counts how
    /// much of it is there.
    #[inline(always)]
    fn spill(pattern: Option<u8>) -> usize {
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

    /// How much of the pattern is below the caller's frame, where an earlier call has left it.
    #[inline(never)]
    fn left() -> usize {
        spill(None)
    }

    #[inline(never)]
    fn work_alone() {
        spill(Some(0xa5));
    }

    /// What it still has to do keeps its frame where it is while the stack is wiped.
    #[inline(never)]
    fn work_and_wipe() {
        after(|| spill(Some(0xa5)));
        black_box(0);
    }

    #[test]
    fn what_is_spilled_by_work_that_is_inlined_is_gone() {
        work_alone();
        assert!(left() > FRAME_BYTES / 2, "the test sees what is left");
        work_and_wipe();
        assert_eq!(left(), 0);
    }

    #[test]
    fn what_is_spilled_by_calls_of_the_work_is_gone() {
        work_alone();
        assert!(left() > FRAME_BYTES / 2, "the test sees what is left");
        after(work_alone);
        assert_eq!(left(), 0);
    }
}
