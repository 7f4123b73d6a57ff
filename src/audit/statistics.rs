//! Statistics for tests that judge randomness: each test compares a p-value, or an effect size,
//! with a bar that a correct program fails so rarely that a fixed seed never shows it.

mod distributions;

use std::cmp::Ordering;

use distributions::{anderson_darling_tail, kolmogorov_tail};
pub use distributions::{chi_square_p, normal_cdf, normal_p};

/// The p-value below which a test fails: one in ten thousand.
pub const P_MIN: f64 = 1e-4;

/// What a cell of a table must be able to expect for its statistic to be chi-square (Cochran,
/// 1954).
pub const CELL_MIN: f64 = 5.0;

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

/// The p-value of "the samples come from the continuous distribution `cdf`" (Anderson and Darling):
/// like [`kolmogorov_smirnov_p`], with more weight on both ends; sorts the samples. A sample
/// that `cdf` thinks impossible counts as the least possible one of ten times as many.
pub fn anderson_darling_p(samples: &mut [f64], cdf: impl Fn(f64) -> f64) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    let n = samples.len() as f64;
    let floor = 0.1 / n;
    let levels: Vec<f64> =
        samples.iter().map(|&sample| cdf(sample).clamp(floor, 1.0 - floor)).collect();
    let both_ends = levels.iter().zip(levels.iter().rev());
    let term = |(rank, (low, high)): (usize, (&f64, &f64))| {
        (2 * rank + 1) as f64 * (low.ln() + (-high).ln_1p())
    };
    let sum: f64 = both_ends.enumerate().map(term).sum();
    anderson_darling_tail(-n - sum / n)
}

/// How well scores tell two classes apart: the probability that a score of `second` is over one of
/// `first`, half of what is equal counted in (Mann and Whitney). One half: not at all.
pub fn area_under_curve(first: &[f64], second: &[f64]) -> f64 {
    let labelled = |scores: &[f64], is_second| -> Vec<(f64, bool)> {
        scores.iter().map(|&score| (score, is_second)).collect()
    };
    let mut scores = [labelled(first, false), labelled(second, true)].concat();
    scores.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0.0, 0.0);
    for equal in scores.chunk_by(|a, b| a.0.total_cmp(&b.0) == Ordering::Equal) {
        let seconds = equal.iter().filter(|score| score.1).count() as f64;
        let firsts = equal.len() as f64 - seconds;
        wins += seconds * (below + firsts / 2.0);
        below += firsts;
    }
    wins / (first.len() as f64 * second.len() as f64)
}

/// The standard error of [`area_under_curve`] when nothing tells the classes apart, from how many
/// are of each (Mann and Whitney, 1947).
pub fn area_error(first: usize, second: usize) -> f64 {
    let (n, m) = (first as f64, second as f64);
    ((n + m + 1.0) / (12.0 * n * m)).sqrt()
}

/// The p-value of "rows and columns of `table` are independent" (Pearson's chi-square, of any
/// number of rows): a row a class, a column a value. Columns are pooled, in order, until each
/// cell can expect [`CELL_MIN`]. With nothing to compare it is 1.
///
/// # Panics
/// When rows have different lengths.
pub fn homogeneity_p(table: &[Vec<u64>]) -> f64 {
    let totals: Vec<u64> = table.iter().map(|row| row.iter().sum()).collect();
    let rows: Vec<&Vec<u64>> = table.iter().filter(|row| row.iter().sum::<u64>() > 0).collect();
    let (sum, least) =
        (totals.iter().sum::<u64>(), totals.iter().filter(|&&total| total > 0).min());
    let Some(&least) = least else { return 1.0 };
    let column_min = CELL_MIN * sum as f64 / least as f64;
    let columns = pooled(&rows, column_min);
    if rows.len() < 2 || columns.len() < 2 {
        return 1.0;
    }
    let mut statistic = 0.0;
    for column in &columns {
        let share = column.iter().sum::<u64>() as f64 / sum as f64;
        for (count, row) in column.iter().zip(&rows) {
            let expected = share * row.iter().sum::<u64>() as f64;
            statistic += (*count as f64 - expected).powi(2) / expected;
        }
    }
    chi_square_p(statistic, (rows.len() - 1) * (columns.len() - 1))
}

/// The columns of `rows`, neighbours put together until each holds at least `column_min`.
fn pooled(rows: &[&Vec<u64>], column_min: f64) -> Vec<Vec<u64>> {
    let values = rows.first().map_or(0, |row| row.len());
    let mut columns: Vec<Vec<u64>> = vec![];
    let mut open = vec![0; rows.len()];
    for value in 0..values {
        open.iter_mut().zip(rows).for_each(|(cell, row)| *cell += row[value]);
        if open.iter().sum::<u64>() as f64 >= column_min {
            columns.push(std::mem::replace(&mut open, vec![0; rows.len()]));
        }
    }
    // What is left over is too little for a column of its own.
    if let Some(last) = columns.last_mut() {
        last.iter_mut().zip(open).for_each(|(cell, more)| *cell += more);
    }
    columns
}

/// Variance over mean of counts: 1 for those of a Poisson process.
pub fn dispersion(counts: &[u64]) -> f64 {
    let n = counts.len() as f64;
    let mean = counts.iter().sum::<u64>() as f64 / n;
    let squares: f64 = counts.iter().map(|&count| (count as f64 - mean).powi(2)).sum();
    squares / (n - 1.0) / mean
}

/// The standard error of [`dispersion`] over so many counts of a Poisson process.
pub fn dispersion_error(counts: usize) -> f64 {
    (2.0 / (counts as f64 - 1.0)).sqrt()
}

/// The p-value of "no value says anything about the next `lags` ones" (Ljung and Box, 1978); gaps
/// are values that were not seen.
pub fn autocorrelation_p(values: &[Option<f64>], lags: usize) -> f64 {
    let seen: Vec<f64> = values.iter().copied().flatten().collect();
    let mean = seen.iter().sum::<f64>() / seen.len() as f64;
    let variance = seen.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / seen.len() as f64;
    let of_lag = |lag: usize| {
        let pairs = values.iter().zip(values.iter().skip(lag));
        let products = pairs.filter_map(|(one, other)| Some(((*one)? - mean) * ((*other)? - mean)));
        let (count, sum) = products.fold((0usize, 0.0), |(n, sum), product| (n + 1, sum + product));
        // A correlation over so many pairs has one over so many as its variance.
        if count == 0 { 0.0 } else { (sum / variance).powi(2) / count as f64 }
    };
    chi_square_p((1..=lags).map(of_lag).sum(), lags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;

    fn assert_near(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 1e-6, "{value} instead of {expected}");
    }

    #[test]
    fn the_normal_distribution_agrees_with_tables() {
        assert_near(normal_cdf(0.0), 0.5);
        assert_near(normal_cdf(1.0), 0.841_344_746_07);
        assert_near(normal_cdf(-3.0), 0.001_349_898_03);
    }

    #[test]
    fn the_chi_square_distribution_agrees_with_tables() {
        assert_near(chi_square_p(3.841_458_821, 1), 0.05);
        assert_near(chi_square_p(18.307_038_05, 10), 0.05);
        assert_near(chi_square_p(149.449_252_8, 100), 0.001);
        assert_near(chi_square_p(10.0, 10), 0.440_493_285_1);
    }

    #[test]
    fn uniform_samples_pass_and_exponential_ones_fail_the_test_for_uniformity() {
        let mut rng = Rng::from_seed([1; 32]);
        let mut samples: Vec<f64> = (0..10_000).map(|_| rng.unit()).collect();
        assert!(kolmogorov_smirnov_p(&mut samples, |x| x) > 0.01);
        assert!(kolmogorov_smirnov_p(&mut samples, |x| x.powf(1.1)) < P_MIN);
    }

    #[test]
    fn the_kolmogorov_distribution_agrees_with_tables() {
        // 10 000 evenly spaced samples, all too low by the distance of the 5 % point (1.3581).
        let shift = 1.3581 / (100.0 + 0.12 + 0.0011);
        let mut samples: Vec<f64> = (1..=10_000).map(|rank| f64::from(rank) / 10_000.0).collect();
        let p = kolmogorov_smirnov_p(&mut samples, |x| (x - shift).max(0.0));
        assert!((p - 0.05).abs() < 1e-4, "{p}");
    }

    #[test]
    fn a_fair_die_passes_and_a_loaded_one_fails() {
        assert!(uniform_p(&[1003, 998, 1041, 962, 1010, 986]) > 0.1);
        assert!(uniform_p(&[1200, 960, 960, 960, 960, 960]) < P_MIN);
    }

    #[test]
    fn tau_tells_ascending_from_descending_and_counts_pairs() {
        assert_near(kendall_tau(&[1, 2, 3, 4]), 1.0);
        assert_near(kendall_tau(&[4, 3, 2, 1]), -1.0);
        assert_near(kendall_tau(&[2, 1, 3]), 1.0 / 3.0);
    }

    #[test]
    fn two_samples_of_one_distribution_pass_and_of_two_fail() {
        let mut rng = Rng::from_seed([9; 32]);
        let mut sample =
            |scale: f64| (0..4000).map(|_| -scale * rng.unit().ln()).collect::<Vec<_>>();
        let (mut first, mut second, mut slower) = (sample(1.0), sample(1.0), sample(1.2));
        assert!(two_sample_p(&mut first, &mut second) > 0.01);
        assert!(two_sample_p(&mut first, &mut slower) < P_MIN);
        // Of samples without overlap the distance is 1.
        assert!(two_sample_p(&mut [1.0; 50], &mut [2.0; 50]) < 1e-20);
    }

    #[test]
    fn rates_are_compared_by_count_and_time() {
        assert_near(poisson_rates_p((100, 1.0), (200, 2.0)), 1.0);
        // 20 more than the 100 expected of 200, whose standard deviation is the root of 50: 2.828.
        assert_near(poisson_rates_p((120, 1.0), (80, 1.0)), 0.004_677_734_981);
        assert!(poisson_rates_p((1200, 1.0), (800, 1.0)) < P_MIN);
    }

    #[test]
    fn the_anderson_darling_distribution_agrees_with_tables() {
        // By numerical inversion of the characteristic function (Imhof, 1961).
        let exact = [
            (0.5, 0.746_816),
            (1.0, 0.357_267),
            (1.933, 0.099_994),
            (2.492, 0.050_022),
            (3.878, 0.010_001),
            (6.0, 0.000_967),
            (8.0, 0.000_114),
        ];
        for (z, p) in exact {
            assert!((anderson_darling_tail(z) - p).abs() < 3e-5, "{z}: {p}");
        }
        assert!(anderson_darling_tail(20.0) < 1e-8);
    }

    #[test]
    fn anderson_and_darling_look_at_the_ends() {
        let mut rng = Rng::from_seed([2; 32]);
        let mut samples: Vec<f64> = (0..10_000).map(|_| rng.unit()).collect();
        assert!(anderson_darling_p(&mut samples, |x| x) > 0.01);
        // One sample in a hundred is at the very end: too few for Kolmogorov and Smirnov.
        samples[..100].fill(1.0);
        assert!(anderson_darling_p(&mut samples, |x| x) < P_MIN);
        assert!(kolmogorov_smirnov_p(&mut samples, |x| x) > 0.01);
    }

    #[test]
    fn the_area_is_the_share_of_pairs_in_order() {
        assert_near(area_under_curve(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        assert_near(area_under_curve(&[1.0, 3.0], &[2.0, 4.0]), 0.75);
        assert_near(area_under_curve(&[1.0, 1.0], &[1.0, 2.0]), 0.75);
        assert_near(area_under_curve(&[2.0; 7], &[2.0; 9]), 0.5);
        // 4700 windows of each class, three errors: the bar of the sixth test.
        assert!((3.0 * area_error(4_700, 4_700) - 0.018).abs() < 2e-4);
    }

    #[test]
    fn the_homogeneity_of_a_table_agrees_with_a_calculation_by_hand() {
        // Every cell expects 30 and is 5 off: a statistic of 4 times 25/30.
        assert_near(homogeneity_p(&[vec![25, 35], vec![35, 25]]), chi_square_p(10.0 / 3.0, 1));
        // Rows in proportion, and one that nothing fell into.
        assert_near(homogeneity_p(&[vec![10, 20, 30], vec![20, 40, 60], vec![0; 3]]), 1.0);
        assert_near(homogeneity_p(&[vec![100, 0], vec![100, 0]]), 1.0);
        assert!(homogeneity_p(&[vec![1000, 0, 0], vec![0, 1000, 0]]) < 1e-20);
        // Values that are too rare are put together.
        let rare: Vec<u64> = (0..100).map(|value| value % 2).collect();
        let other: Vec<u64> = (0..100).map(|value| (value + 1) % 2).collect();
        assert!(homogeneity_p(&[rare, other]) > 0.99);
    }

    #[test]
    fn counts_of_a_poisson_process_are_dispersed_by_one_and_do_not_depend_on_each_other() {
        let mut rng = Rng::from_seed([3; 32]);
        let mut counts = vec![0u64; 10_000];
        (0..1_000_000).for_each(|_| counts[rng.below(10_000) as usize] += 1);
        assert!((dispersion(&counts) - 1.0).abs() < 3.0 * dispersion_error(counts.len()));
        let values: Vec<_> = counts.iter().map(|&count| Some(count as f64)).collect();
        assert!(autocorrelation_p(&values, 10) > 0.01);
        let smooth: Vec<_> =
            counts.windows(2).map(|pair| Some((pair[0] + pair[1]) as f64)).collect();
        assert!(autocorrelation_p(&smooth, 10) < P_MIN);
        let apart = values.iter().flat_map(|&value| [value, None]).collect::<Vec<_>>();
        assert!(autocorrelation_p(&apart, 10) > 0.01);
        assert_near(dispersion(&[1, 2, 3]), 0.5);
    }
}
