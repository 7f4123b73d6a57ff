//! Statistics for tests that judge randomness: each test compares a p-value, or an effect size,
//! with a bar that a correct program fails so rarely that a fixed seed never shows it.

/// The p-value below which a test fails: one in ten thousand.
pub const P_MIN: f64 = 1e-4;

/// The probability that a standard normal variable is at most `x`.
pub fn normal_cdf(x: f64) -> f64 {
    let tail = gamma_tail(0.5, x * x / 2.0) / 2.0;
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The p-value of a chi-square statistic.
pub fn chi_square_p(statistic: f64, degrees_of_freedom: usize) -> f64 {
    gamma_tail(degrees_of_freedom as f64 / 2.0, statistic / 2.0)
}

/// The p-value of "all categories are equally likely", from their counts.
pub fn uniform_p(counts: &[u64]) -> f64 {
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let statistic = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
    chi_square_p(statistic, counts.len() - 1)
}

/// The p-value of "the samples come from the continuous distribution `cdf`" (Kolmogorov and
/// Smirnov); sorts the samples.
pub fn kolmogorov_smirnov_p(samples: &mut [f64], cdf: impl Fn(f64) -> f64) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let n = samples.len() as f64;
    let mut distance = 0.0f64;
    for (rank, &sample) in samples.iter().enumerate() {
        let expected = cdf(sample);
        let below = expected - rank as f64 / n;
        let above = (rank + 1) as f64 / n - expected;
        distance = distance.max(below).max(above);
    }
    kolmogorov_tail((n.sqrt() + 0.12 + 0.11 / n.sqrt()) * distance)
}

/// Kendall's tau of a sequence against its ascending order: 1 when ascending, -1 when
/// descending, 0 on average when shuffled. Quadratic in the length.
pub fn kendall_tau<T: PartialOrd>(sequence: &[T]) -> f64 {
    let (mut concordant, mut discordant) = (0u64, 0u64);
    for (index, first) in sequence.iter().enumerate() {
        for second in &sequence[index + 1..] {
            concordant += u64::from(first < second);
            discordant += u64::from(first > second);
        }
    }
    (concordant as f64 - discordant as f64) / (concordant + discordant) as f64
}

/// The probability that a Kolmogorov variable is over `x`; Stephens' correction for finite
/// samples (1970) is in the argument.
fn kolmogorov_tail(x: f64) -> f64 {
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

/// The p-value of "both samples come from one continuous distribution" (Kolmogorov and Smirnov);
/// sorts the samples.
pub fn two_sample_p(first: &mut [f64], second: &mut [f64]) -> f64 {
    first.sort_unstable_by(f64::total_cmp);
    second.sort_unstable_by(f64::total_cmp);
    let (n, m) = (first.len() as f64, second.len() as f64);
    let (mut i, mut j, mut distance) = (0, 0, 0.0f64);
    while i < first.len() && j < second.len() {
        let at = first[i].min(second[j]);
        while i < first.len() && first[i] <= at {
            i += 1;
        }
        while j < second.len() && second[j] <= at {
            j += 1;
        }
        distance = distance.max((i as f64 / n - j as f64 / m).abs());
    }
    let effective = (n * m / (n + m)).sqrt();
    kolmogorov_tail((effective + 0.12 + 0.11 / effective) * distance)
}

/// The p-value of "two Poisson processes have one rate", from how many events each had in how
/// long a time: given their sum, the first count is binomial.
pub fn poisson_rates_p(first: (u64, f64), second: (u64, f64)) -> f64 {
    let ((count, span), (other_count, other_span)) = (first, second);
    let sum = (count + other_count) as f64;
    if sum == 0.0 {
        return 1.0;
    }
    let share = span / (span + other_span);
    let deviation = (count as f64 - sum * share) / (sum * share * (1.0 - share)).sqrt();
    2.0 * normal_cdf(-deviation.abs())
}
