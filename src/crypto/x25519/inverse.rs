//! The inverse of one number mod p = 2^255 - 19 in constant time, by division steps.
//!
//! D. J. Bernstein, B.-Y. Yang, "Fast constant-time gcd computation and modular inversion", TCHES
//! 2019(3), in the variant of P. Wuille for libsecp256k1, which starts from delta = 1/2: then 590
//! steps bring g to 0 for any modulus below 2^256. Ten times 62 are made.
//!
//! Numbers are a0 + a1 2^62 + ... + a4 2^248: limbs of 62 bits, the last with the sign.

const LIMBS: usize = 5;
const LIMB_BITS: u32 = 62;
const LIMB_MASK: i64 = (1 << LIMB_BITS) - 1;
const ROUNDS: u32 = 10;
const _: () = assert!(ROUNDS * LIMB_BITS >= 590);

/// p: 2^255 is 128 * 2^248.
const P: Number = [-19, 0, 0, 0, 128];
/// The inverse of p mod 2^62, by Newton's iteration: each doubles the bits that are right.
const P_INVERSE: i64 = {
    let mut inverse: i64 = 1;
    let mut bits = 1;
    while bits < LIMB_BITS {
        inverse = inverse.wrapping_mul(2_i64.wrapping_sub(inverse.wrapping_mul(P[0])));
        bits *= 2;
    }
    inverse & LIMB_MASK
};
const _: () = assert!(P_INVERSE.wrapping_mul(P[0]) & LIMB_MASK == 1);

type Number = [i64; LIMBS];

/// A row of the transition matrix of 62 division steps, times 2^62; |a| + |b| is at most 2^62.
struct Row {
    a: i64,
    b: i64,
}

/// The inverse of `x`, below p, in four words; of zero it is zero.
pub(super) fn inverse(x: &[u64; 4]) -> [u64; 4] {
    // Throughout, f = d x and g = e x mod p. In the end g = 0 and f = 1 or -1.
    let (mut f, mut g) = (P, limbs_of(x));
    let (mut d, mut e): (Number, Number) = ([0; LIMBS], [1, 0, 0, 0, 0]);
    // -(delta + 1/2).
    let mut zeta = -1;
    for _ in 0..ROUNDS {
        let [upper, lower] = divide(&mut zeta, f[0], g[0]);
        (f, g) = (upper.apply(&f, &g), lower.apply(&f, &g));
        (d, e) = (upper.apply_mod_p(&d, &e), lower.apply_mod_p(&d, &e));
    }
    words_of(&reduced(d, f[LIMBS - 1] >> 63))
}

/// 62 division steps on the low words of f and g: where delta > 0 and g is odd, (f, g) becomes
/// (g, (g - f) / 2) and delta 1 - delta; else (f, (g + (g mod 2) f) / 2) and 1 + delta.
///
/// Instead of g, u and v being halved, f and the upper row of the matrix stay twice as large.
fn divide(zeta: &mut i64, mut f: i64, mut g: i64) -> [Row; 2] {
    let (mut u, mut v, mut q, mut r) = (1_i64, 0_i64, 0_i64, 1_i64);
    for _ in 0..LIMB_BITS {
        // All ones where delta > 0, and where g is odd.
        let positive = *zeta >> 63;
        let odd = (g & 1).wrapping_neg();
        let negated = |value: i64| (value ^ positive).wrapping_sub(positive);
        g = g.wrapping_add(negated(f) & odd);
        q = q.wrapping_add(negated(u) & odd);
        r = r.wrapping_add(negated(v) & odd);
        let swaps = positive & odd;
        *zeta = (*zeta ^ swaps).wrapping_sub(1);
        f = f.wrapping_add(g & swaps);
        u = u.wrapping_add(q & swaps);
        v = v.wrapping_add(r & swaps);
        g >>= 1;
        u = u.wrapping_mul(2);
        v = v.wrapping_mul(2);
    }
    [Row { a: u, b: v }, Row { a: q, b: r }]
}

impl Row {
    /// (a x + b y) / 2^62, which is exact.
    fn apply(&self, x: &Number, y: &Number) -> Number {
        self.combine(x, y, 0)
    }

    /// (a x + b y) / 2^62 mod p: the multiple of p is added that makes the division exact. All
    /// numbers stay between -2p and p: p times what multiplies a negative one is added as well.
    fn apply_mod_p(&self, x: &Number, y: &Number) -> Number {
        let (sign_x, sign_y) = (x[LIMBS - 1] >> 63, y[LIMBS - 1] >> 63);
        let wanted = (self.a & sign_x) + (self.b & sign_y);
        let sum = product(self.a, x[0]) + product(self.b, y[0]);
        let excess = P_INVERSE.wrapping_mul(low(sum)).wrapping_add(wanted) & LIMB_MASK;
        self.combine(x, y, wanted - excess)
    }

    /// (a x + b y + c p) / 2^62, where the sum has no low limb.
    fn combine(&self, x: &Number, y: &Number, c: i64) -> Number {
        let mut number = [0; LIMBS];
        let mut sum = 0;
        for k in 0..LIMBS {
            sum += product(self.a, x[k]) + product(self.b, y[k]) + product(c, P[k]);
            if k > 0 {
                number[k - 1] = low(sum);
            }
            sum >>= LIMB_BITS;
        }
        number[LIMBS - 1] = whole(sum);
        number
    }
}

/// `number`, between -2p and p, or its negative where `sign` is all ones, brought below p.
fn reduced(mut number: Number, sign: i64) -> Number {
    let add_p_if_negative = |number: &mut Number| {
        let negative = number[LIMBS - 1] >> 63;
        for k in 0..LIMBS {
            number[k] += P[k] & negative;
        }
    };
    add_p_if_negative(&mut number);
    for limb in &mut number {
        *limb = (*limb ^ sign) - sign;
    }
    carry(&mut number);
    add_p_if_negative(&mut number);
    carry(&mut number);
    number
}

fn carry(number: &mut Number) {
    for k in 0..LIMBS - 1 {
        number[k + 1] += number[k] >> LIMB_BITS;
        number[k] &= LIMB_MASK;
    }
}

fn product(a: i64, b: i64) -> i128 {
    i128::from(a) * i128::from(b)
}

#[expect(clippy::cast_possible_truncation, reason = "the low limb of a longer number")]
fn low(number: i128) -> i64 {
    number as i64 & LIMB_MASK
}

#[expect(clippy::cast_possible_truncation, reason = "the top limb is all that is left")]
fn whole(number: i128) -> i64 {
    number as i64
}

fn limbs_of(words: &[u64; 4]) -> Number {
    let [a, b, c, d] = words.map(u64::cast_signed);
    let high = |word: i64, bits: u32| word.cast_unsigned().wrapping_shr(bits).cast_signed();
    [
        a & LIMB_MASK,
        (high(a, 62) | b << 2) & LIMB_MASK,
        (high(b, 60) | c << 4) & LIMB_MASK,
        (high(c, 58) | d << 6) & LIMB_MASK,
        high(d, 56),
    ]
}

fn words_of(number: &Number) -> [u64; 4] {
    let [a, b, c, d, e] = number.map(i64::cast_unsigned);
    [a | b << 62, b >> 2 | c << 60, c >> 4 | d << 58, d >> 6 | e << 56]
}

#[cfg(test)]
mod tests {
    use super::inverse;
    use crate::crypto::random::Rng;
    use crate::crypto::x25519::by_hand::product;
    use crate::crypto::x25519::curve::P;

    #[test]
    fn a_number_times_its_inverse_is_one() {
        let mut rng = Rng::from_seed([1; 32]);
        for small in 1..100 {
            let near_p = [P[0] - small, P[1], P[2], P[3]];
            let any = std::array::from_fn(|k| rng.next_u64() >> u32::from(k == 3));
            for number in [[small, 0, 0, 0], [0, 0, 0, small], near_p, any] {
                assert_eq!(product(&number, &inverse(&number)), [1, 0, 0, 0], "{number:x?}");
            }
        }
    }

    #[test]
    fn the_inverse_of_zero_is_zero() {
        assert_eq!(inverse(&[0; 4]), [0; 4]);
    }
}
