//! Which windows of a benchmark count, on invented times: no test measures any.

#[path = "../benches/peers/windows.rs"]
mod windows;

use windows::{Band, Spread, WINDOWS_MIN, Window};

const BAND: Band = Band { luckiest: 997.0, best: 1000.0, worst: 1030.0 };

/// Windows in the band in which ours takes 10, 11, ... and the peer three times that.
fn undisturbed(count: usize) -> Vec<Window> {
    (10..).take(count).map(|ours| window(1000.0, f64::from(ours))).collect()
}

fn window(marker: f64, ours: f64) -> Window {
    Window { marker, ours, peer: 3.0 * ours }
}

#[test]
fn the_band_begins_where_a_hundredth_of_the_markers_is_faster_and_is_three_percent_wide() {
    let markers = (0..300).rev().map(|index| 997.0 + f64::from(index));
    assert_eq!(Band::of(markers), BAND);
    let few = Band::of([2000.0, 1000.0].into_iter());
    assert_eq!((few.best, few.worst), (1000.0, 1030.0));
}

#[test]
fn a_window_counts_up_to_both_ends_of_the_band() {
    let windows = [999.0, 1000.0, 1030.0, 1031.0].map(|marker| window(marker, 1.0));
    assert_eq!(BAND.counted(&windows).collect::<Vec<_>>(), [&windows[1], &windows[2]]);
}

#[test]
fn figures_are_minimum_and_median_of_the_windows_that_count() {
    let mut windows = undisturbed(21);
    windows.insert(7, window(1100.0, 1.0));
    windows.insert(9, window(900.0, 1.0));
    let summary = BAND.summary(&windows).unwrap();
    assert_eq!(summary.ours, Spread { minimum: 10.0, median: 20.0, scaled: 20.0 });
    assert_eq!(summary.peer, Spread { minimum: 30.0, median: 60.0, scaled: 60.0 });
    assert_eq!((summary.ratio(), summary.median_ratio()), (3.0, 3.0));
}

#[test]
fn scaled_figures_are_those_of_the_best_marker() {
    let windows = [1000.0, 1010.0, 1020.0].map(|marker| window(marker, marker / 100.0));
    let summary = BAND.summary(&windows.repeat(7)).unwrap();
    assert!((summary.ours.scaled - 10.0).abs() < 1e-9, "{summary:?}");
    assert!((summary.ours.median - 10.1).abs() < 1e-9, "{summary:?}");
}

#[test]
fn too_few_windows_that_count_give_no_figures() {
    let windows = undisturbed(WINDOWS_MIN);
    assert!(BAND.summary(&windows).is_some());
    assert_eq!(BAND.summary(&windows[1..]), None);
}
