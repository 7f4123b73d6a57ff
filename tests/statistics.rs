//! The statistics that other tests rely on, against tables.

use mixline::audit::statistics::{
    P_MIN, chi_square_p, kendall_tau, kolmogorov_smirnov_p, normal_cdf, poisson_rates_p,
    two_sample_p, uniform_p,
};
use mixline::crypto::random::Rng;

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
    let mut sample = |scale: f64| (0..4000).map(|_| -scale * rng.unit().ln()).collect::<Vec<_>>();
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
