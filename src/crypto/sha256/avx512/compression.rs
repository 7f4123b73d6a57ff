//! The compression of SHA-256 (FIPS 180-4, 6.2.2), `16 * G` at a time: word i of all their states
//! or blocks lies side by side.
//!
//! It has a form for any block and one for a block that is known before. Each is a function of its
//! own and loops where it can: together they stay in the instruction cache.

use crate::crypto::sha256::constants::{ROUND_CONSTANTS, Schedule};
use crate::crypto::vectors::wide::{
    Wide, add_u32 as add, rotate_right_u32 as ror, shift_right_u32 as shr, splat_u32 as splat,
    ternary,
};

/// The words of `16 * G` hashes between two blocks.
pub(super) type State<const G: usize> = [Wide<G>; 8];
/// The words of `16 * G` blocks.
pub(super) type Words<const G: usize> = [Wide<G>; 16];

/// FIPS 180-4, 4.1.2: Ch, Maj, and the sum modulo 2, as tables of three bits.
const CHOICE: i32 = 0b1100_1010;
const MAJORITY: i32 = 0b1110_1000;
const PARITY: i32 = 0b1001_0110;

/// Runs `body` for each place of a block, a constant in it: so words and states stay in registers.
macro_rules! each_place {
    ($place:ident => $body:expr) => {
        each_place!($place => $body; 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($place:ident => $body:expr; $($number:literal)*) => {
        $({
            const $place: usize = $number;
            $body;
        })*
    };
}

/// Any block, in whose place its schedule is made.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
pub(super) fn compress<const G: usize>(state: &mut State<G>, words: &mut Words<G>) {
    let mut working = *state;
    for start in [0, 16, 32] {
        scheduling_rounds(&mut working, words, start);
    }
    last_rounds(&mut working, words);
    add_to(state, &working);
}

/// A block that is the same in all lanes and was scheduled before.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
pub(super) fn compress_scheduled<const G: usize>(state: &mut State<G>, schedule: &Schedule) {
    let mut working = *state;
    for words in schedule.as_chunks::<16>().0 {
        each_place!(I => working = round(working, splat(words[I])));
    }
    add_to(state, &working);
}

/// The sixteen rounds from `start` on; leaves the schedule's next sixteen words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn scheduling_rounds<const G: usize>(working: &mut State<G>, words: &mut Words<G>, start: usize) {
    let constants: &[u32; 16] = &ROUND_CONSTANTS[start..].as_chunks().0[0];
    each_place!(I => {
        *working = round(*working, add(words[I], splat(constants[I])));
        words[I] = next_word::<I, G>(words);
    });
}

/// The last sixteen rounds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn last_rounds<const G: usize>(working: &mut State<G>, words: &Words<G>) {
    each_place!(I => {
        *working = round(*working, add(words[I], splat(ROUND_CONSTANTS[48 + I])));
    });
}

/// Step 3: one round, given W(t) + K(t).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn round<const G: usize>([a, b, c, d, e, f, g, h]: State<G>, word: Wide<G>) -> State<G> {
    let sum_1 = ternary::<PARITY, G>(ror::<6, G>(e), ror::<11, G>(e), ror::<25, G>(e));
    let choice = ternary::<CHOICE, G>(e, f, g);
    let t1 = add(add(h, word), add(sum_1, choice));
    let sum_0 = ternary::<PARITY, G>(ror::<2, G>(a), ror::<13, G>(a), ror::<22, G>(a));
    let majority = ternary::<MAJORITY, G>(a, b, c);
    let t2 = add(sum_0, majority);
    [add(t1, t2), a, b, c, add(d, t1), e, f, g]
}

/// Step 1: W(t) from the sixteen words before it, which lie at their places modulo 16; `PLACE` is
/// that of W(t - 16) and W(t).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn next_word<const PLACE: usize, const G: usize>(words: &Words<G>) -> Wide<G> {
    let before = |t: usize| words[(PLACE + 16 - t) % 16];
    let (far, near) = (before(15), before(2));
    let sigma_0 = ternary::<PARITY, G>(ror::<7, G>(far), ror::<18, G>(far), shr::<3, G>(far));
    let sigma_1 = ternary::<PARITY, G>(ror::<17, G>(near), ror::<19, G>(near), shr::<10, G>(near));
    add(add(before(16), before(7)), add(sigma_0, sigma_1))
}

/// Step 4.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn add_to<const G: usize>(state: &mut State<G>, working: &State<G>) {
    for (word, working) in state.iter_mut().zip(working) {
        *word = add(*word, *working);
    }
}
