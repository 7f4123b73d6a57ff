//! Whether a public u-coordinate is of the curve or of its twist, for points one by one.
//!
//! It is of the curve when u^3 + A u^2 + u is a square modulo p = 2^255 - 19: when its Jacobi
//! symbol is not -1. By the law of reciprocity that takes no more than a gcd (H. Cohen, "A Course
//! in Computational Algebraic Number Theory", algorithm 1.4.10). The time depends on the point.

use super::Point;
use super::curve::{A, P};
use super::words::words_of;

type Number = [u64; 4];

/// Whether `point` lies on the curve.
pub(super) fn is_on_curve(point: &Point) -> bool {
    let mut u = words_of(point);
    u[3] &= P[3];
    // ((u + A) u + 1) u
    let sum = product(&plus(u, A), &u);
    is_square(product(&plus(sum, 1), &u))
}

/// Whether the Jacobi symbol of `a` and p is 1 or 0, by the binary gcd.
///
/// Half of the comparisons come out either way, so that a jump would often be mispredicted: what
/// depends on them is masked.
fn is_square(mut a: Number) -> bool {
    let mut n = P;
    // Bit 1: whether the symbol's sign has changed.
    let mut sign = 0;
    while a[0] | a[1] | a[2] | a[3] != 0 {
        let zeros = a[0].trailing_zeros().min(63);
        a = shifted(&a, zeros);
        // The symbol of 2 and n is -1 for n = 3 or 5 mod 8.
        sign ^= u64::from(zeros) << 1 & (n[0] ^ n[0] >> 1);
        if a[0] & 1 == 0 {
            continue;
        }
        let ((above, less), (below, _)) = (minus(&a, &n), minus(&n, &a));
        // That of n and a is another than that of a and n if both are 3 mod 4.
        sign ^= a[0] & n[0] & less;
        n = choose(less, &a, &n);
        a = choose(less, &below, &above);
    }
    sign & 2 == 0 || n != [1, 0, 0, 0]
}

/// a b mod p, below 2^255 + 2^12.
fn product(a: &Number, b: &Number) -> Number {
    let mut wide = [0_u64; 8];
    for i in 0..4 {
        let mut carry = 0;
        for j in 0..4 {
            (wide[i + j], carry) = multiply_add(a[i], b[j], wide[i + j], carry);
        }
        wide[i + 4] = carry;
    }
    // 2^256 = 38.
    let mut number = [0; 4];
    let mut carry = 0;
    for k in 0..4 {
        (number[k], carry) = multiply_add(wide[k + 4], 38, wide[k], carry);
    }
    let over = carry << 1 | number[3] >> 63;
    number[3] &= P[3];
    plus(number, 19 * over)
}

/// a b + c + d, as its low and its high word.
#[expect(clippy::cast_possible_truncation, reason = "the low word")]
fn multiply_add(a: u64, b: u64, c: u64, d: u64) -> (u64, u64) {
    let sum = u128::from(a) * u128::from(b) + u128::from(c) + u128::from(d);
    (sum as u64, (sum >> 64) as u64)
}

/// The sum of a number well below 2^256 and a small one.
fn plus(mut number: Number, mut small: u64) -> Number {
    for word in &mut number {
        let (sum, wraps) = word.overflowing_add(small);
        (*word, small) = (sum, u64::from(wraps));
    }
    number
}

/// a - b modulo 2^256, and all ones if a < b, else zero.
fn minus(a: &Number, b: &Number) -> (Number, u64) {
    let mut difference = [0; 4];
    let mut borrows = false;
    for k in 0..4 {
        let (less, first) = a[k].overflowing_sub(b[k]);
        let (less, second) = less.overflowing_sub(u64::from(borrows));
        (difference[k], borrows) = (less, first | second);
    }
    (difference, u64::from(borrows).wrapping_neg())
}

/// `yes` where `mask` is all ones, `no` where it is zero.
fn choose(mask: u64, yes: &Number, no: &Number) -> Number {
    std::array::from_fn(|k| yes[k] & mask | no[k] & !mask)
}

/// a / 2^bits, for less than 64 bits.
fn shifted(a: &Number, bits: u32) -> Number {
    // In two steps, since a shift by 64 is none.
    let from_above = |word: u64| word << 1 << (63 - bits);
    [
        a[0] >> bits | from_above(a[1]),
        a[1] >> bits | from_above(a[2]),
        a[2] >> bits | from_above(a[3]),
        a[3] >> bits,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;
    use crate::crypto::x25519::serial;

    #[test]
    fn every_point_is_judged_as_the_reference_judges_it() {
        let mut rng = Rng::from_seed([1; 32]);
        for round in 0..=255 {
            let mut near_p = [0xff; 32];
            near_p[0] = round;
            let mut small = [0; 32];
            small[0] = round;
            small[31] = round & 0x80;
            let mut sparse = [0; 32];
            sparse[usize::from(round / 8)] = 1 << (round % 8);
            for point in [near_p, small, sparse, rng.bytes(), rng.bytes()] {
                assert_eq!(is_on_curve(&point), serial::is_on_curve(&point), "{point:x?}");
            }
        }
    }
}
