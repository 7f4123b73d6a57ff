//! Distributions that p-values are read from.

/// The probability that a standard normal variable is at most `x`.
pub fn normal_cdf(x: f64) -> f64 {
    let tail = gamma_tail(0.5, x * x / 2.0) / 2.0;
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The probability that a standard normal variable is as far from zero as `x`, or farther.
pub fn normal_p(x: f64) -> f64 {
    gamma_tail(0.5, x * x / 2.0)
}

/// The p-value of a chi-square statistic.
pub fn chi_square_p(statistic: f64, degrees_of_freedom: usize) -> f64 {
    gamma_tail(degrees_of_freedom as f64 / 2.0, statistic / 2.0)
}

/// The probability that a Kolmogorov variable is over `x`; Stephens' correction for finite
/// samples (1970) is in the argument.
pub(super) fn kolmogorov_tail(x: f64) -> f64 {
    if x < 0.2 {
        return 1.0; // the series converges slowly there, and the tail is 1 to twelve digits
    }
    let term = |k: f64| (-2.0 * k * k * x * x).exp();
    let sum: f64 = (1..=100).map(f64::from).map(|k| term(k) - term(k + 1.0)).step_by(2).sum();
    (2.0 * sum).clamp(0.0, 1.0)
}

/// The regularized upper incomplete gamma function Q(a, x) (Press et al., "Numerical Recipes",
/// third edition, 6.2): a series near the origin, Lentz's continued fraction beyond.
fn gamma_tail(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 { 1.0 - front * lower_series(a, x) } else { front * upper_fraction(a, x) }
}

fn lower_series(a: f64, x: f64) -> f64 {
    let mut term = 1.0 / a;
    let mut sum = term;
    let mut divisor = a;
    while term > sum * f64::EPSILON {
        divisor += 1.0;
        term *= x / divisor;
        sum += term;
    }
    sum
}

fn upper_fraction(a: f64, x: f64) -> f64 {
    let tiny = f64::MIN_POSITIVE / f64::EPSILON;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / tiny;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for i in (1..10_000).map(f64::from) {
        let numerator = -i * (i - a);
        b += 2.0;
        d = 1.0 / (numerator * d + b);
        c = b + numerator / c;
        fraction *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    fraction
}

/// The logarithm of the gamma function, by Stirling's series shifted to where it is exact to
/// fourteen digits.
fn ln_gamma(a: f64) -> f64 {
    if a < 12.0 {
        return ln_gamma(a + 1.0) - a.ln();
    }
    let square = a * a;
    let series = (1.0 / 12.0 - (1.0 / 360.0 - 1.0 / (1260.0 * square)) / square) / a;
    (a - 0.5) * a.ln() - a + std::f64::consts::TAU.ln() / 2.0 + series
}

/// The probability that the statistic of Anderson and Darling is over `z`, for many samples
/// (Marsaglia and Marsaglia, "Evaluating the Anderson-Darling Distribution", 2004: 2e-5 off at
/// most). Beyond their range it falls as the largest term of the statistic does, whose weight is
/// 1/2: as exp(-z).
pub(super) fn anderson_darling_tail(z: f64) -> f64 {
    const NEAR: [f64; 6] = [2.00012, 0.247_105, 0.064_982_1, 0.034_796_2, 0.011_672, 0.001_686_91];
    const FAR: [f64; 6] = [1.0776, 2.30695, 0.43424, 0.082_433, 0.008_056, 0.000_314_6];
    /// Where the fit ends.
    const END: f64 = 8.0;
    match z {
        _ if z <= 0.0 => 1.0,
        _ if z < 2.0 => {
            let [first, rest @ ..] = NEAR;
            let fit = first + z * alternating(rest, z);
            1.0 - (-1.233_714_1 / z).exp() / z.sqrt() * fit
        }
        _ => {
            let [first, rest @ ..] = FAR;
            let within = z.min(END);
            let fit = first - within * alternating(rest, within);
            -(-fit.exp()).exp_m1() * (within - z).exp()
        }
    }
}

/// a - z (b - z (c - z (d - z e))).
fn alternating(coefficients: [f64; 5], z: f64) -> f64 {
    coefficients.into_iter().rev().fold(0.0, |sum, coefficient| coefficient - z * sum)
}
