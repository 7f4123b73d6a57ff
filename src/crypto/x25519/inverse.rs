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

/// The transition matrix of 62 division steps, times 2^62; |u| + |v| and |q| + |r| are at most
/// 2^62.
struct Steps {
    u: i64,
    v: i64,
    q: i64,
    r: i64,
}

/// The inverse of `x`, below p, in four words; of zero it is zero.
pub(super) fn inverse(x: &[u64; 4]) -> [u64; 4] {
    // Throughout, f = d x and g = e x mod p. In the end g = 0 and f = 1 or -1.
    let (mut f, mut g) = (P, limbs_of(x));
    let (mut d, mut e): (Number, Number) = ([0; LIMBS], [1, 0, 0, 0, 0]);
    // -(delta + 1/2).
    let mut zeta = -1;
    for _ in 0..ROUNDS {
        let steps = divide(&mut zeta, f[0], g[0]);
        steps.apply(&mut f, &mut g);
        steps.apply_mod_p(&mut d, &mut e);
    }
    words_of(&reduced(d, f[LIMBS - 1] >> 63))
}

/// 62 division steps on the low words of f and g: where delta > 0 and g is odd, (f, g) becomes
/// (g, (g - f) / 2) and delta 1 - delta; else (f, (g + (g mod 2) f) / 2) and 1 + delta.
///
/// Instead of g, u and v being halved, f and the upper row of the matrix stay twice as large.
fn divide(zeta: &mut i64, mut f: i64, mut g: i64) -> Steps {
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
    Steps { u, v, q, r }
}

impl Steps {
    /// (f, g) becomes (u f + v g, q f + r g) / 2^62, which is exact.
    fn apply(&self, f: &mut Number, g: &mut Number) {
        let (mut upper, mut lower) = (0_i128, 0_i128);
        for k in 0..LIMBS {
            upper += product(self.u, f[k]) + product(self.v, g[k]);
            lower += product(self.q, f[k]) + product(self.r, g[k]);
            if k > 0 {
                f[k - 1] = low(upper);
                g[k - 1] = low(lower);
            }
            upper >>= LIMB_BITS;
            lower >>= LIMB_BITS;
        }
        f[LIMBS - 1] = whole(upper);
        g[LIMBS - 1] = whole(lower);
    }

    /// (d, e) becomes (u d + v e, q d + r e) / 2^62 mod p: the multiple of p is added that makes
    /// the division exact. Both stay between -2p and p: p times what multiplies a negative one is
    /// added as well.
    fn apply_mod_p(&self, d: &mut Number, e: &mut Number) {
        let (sign_d, sign_e) = (d[LIMBS - 1] >> 63, e[LIMBS - 1] >> 63);
        let mut upper = product(self.u, d[0]) + product(self.v, e[0]);
        let mut lower = product(self.q, d[0]) + product(self.r, e[0]);
        let upper_p = multiple_of_p((self.u & sign_d) + (self.v & sign_e), upper);
        let lower_p = multiple_of_p((self.q & sign_d) + (self.r & sign_e), lower);
        upper = (upper + product(P[0], upper_p)) >> LIMB_BITS;
        lower = (lower + product(P[0], lower_p)) >> LIMB_BITS;
        for k in 1..LIMBS {
            upper += product(self.u, d[k]) + product(self.v, e[k]) + product(P[k], upper_p);
            lower += product(self.q, d[k]) + product(self.r, e[k]) + product(P[k], lower_p);
            d[k - 1] = low(upper);
            e[k - 1] = low(lower);
            upper >>= LIMB_BITS;
            lower >>= LIMB_BITS;
        }
        d[LIMBS - 1] = whole(upper);
        e[LIMBS - 1] = whole(lower);
    }
}

/// `wanted` less what makes `sum` plus that many times p divisible by 2^62.
fn multiple_of_p(wanted: i64, sum: i128) -> i64 {
    wanted - (P_INVERSE.wrapping_mul(low(sum)).wrapping_add(wanted) & LIMB_MASK)
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
