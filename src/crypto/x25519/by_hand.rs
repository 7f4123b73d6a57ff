//! The field of 2^255 - 19 in the plainest way, for tests.

use super::curve::P;

/// a b mod p, by doubling and adding; `a` is below p.
pub(super) fn product(a: &[u64; 4], b: &[u64; 4]) -> [u64; 4] {
    (0..256).rev().fold([0; 4], |total, bit| {
        let doubled = sum(&total, &total);
        let is_set = b[bit / 64] >> (bit % 64) & 1 == 1;
        if is_set { sum(&doubled, a) } else { doubled }
    })
}

/// a + b mod p, of numbers below p.
pub(super) fn sum(a: &[u64; 4], b: &[u64; 4]) -> [u64; 4] {
    let sum = chained(a, b, u64::overflowing_add);
    if is_below_p(&sum) { sum } else { chained(&sum, &P, u64::overflowing_sub) }
}

/// a - b mod p, of numbers below p.
pub(super) fn difference(a: &[u64; 4], b: &[u64; 4]) -> [u64; 4] {
    sum(a, &chained(&P, b, u64::overflowing_sub))
}

fn is_below_p(number: &[u64; 4]) -> bool {
    number.iter().rev().lt(P.iter().rev())
}

fn chained(a: &[u64; 4], b: &[u64; 4], step: fn(u64, u64) -> (u64, bool)) -> [u64; 4] {
    let mut carry = false;
    std::array::from_fn(|k| {
        let (word, first) = step(a[k], b[k]);
        let (word, second) = step(word, u64::from(carry));
        carry = first | second;
        word
    })
}
