//! Secret scalars in the digits that the kernels read. No branch, no address depends on them.

use super::words::words_of;

/// l, the order of the base point: 2^252 + 27742317777372353535851937790883648493.
const ORDER: [u64; 4] = [0x5812_631a_5cf5_d3ed, 0x14de_f9de_a2f7_9cd6, 0, 1 << 60];

/// For the ladder: each bit of the clamped scalar XORed with the next higher one. Where it is set,
/// the ladder changes sides.
pub(super) fn changes(scalar: &[u8; 32]) -> [u64; 4] {
    let scalar = clamped(scalar);
    let halved = halved(&scalar);
    std::array::from_fn(|k| scalar[k] ^ halved[k])
}

/// For the comb: 256 digits of 1 or -1 (a bit set or not) whose value is an eighth of the clamped
/// scalar, or its negative, modulo l.
///
/// An odd number t below 2^256 has such digits: half of t + 2^256 - 1 in binary, which is half of
/// t with the top bit set. An even one is subtracted from l, which is odd. That changes the sign
/// of the product, but not its u-coordinate.
pub(super) fn signs(scalar: &[u8; 32]) -> [u64; 4] {
    let mut eighth = clamped(scalar);
    for _ in 0..3 {
        eighth = halved(&eighth);
    }
    let even = (eighth[0] & 1).wrapping_sub(1);
    let complement = order_less(&eighth);
    let odd = std::array::from_fn(|k| eighth[k] & !even | complement[k] & even);
    let mut signs = halved(&odd);
    signs[3] |= 1 << 63;
    signs
}

/// RFC 7748, section 5: bits 0, 1, 2 and 255 are cleared, bit 254 is set.
fn clamped(scalar: &[u8; 32]) -> [u64; 4] {
    let mut words = words_of(scalar);
    words[0] &= !7;
    words[3] = words[3] & u64::MAX >> 1 | 1 << 62;
    words
}

fn halved(number: &[u64; 4]) -> [u64; 4] {
    let [a, b, c, d] = *number;
    [a >> 1 | b << 63, b >> 1 | c << 63, c >> 1 | d << 63, d >> 1]
}

/// l - `number`, which is below 2^252.
fn order_less(number: &[u64; 4]) -> [u64; 4] {
    let mut difference = [0; 4];
    let mut borrow = 0;
    for k in 0..4 {
        let (less, wraps) = ORDER[k].overflowing_sub(number[k]);
        let (less, wraps_again) = less.overflowing_sub(borrow);
        difference[k] = less;
        borrow = u64::from(wraps | wraps_again);
    }
    difference
}
