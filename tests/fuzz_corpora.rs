//! The fuzz targets over their committed corpora and seeds, without a fuzzer.

#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is the library of the fuzzer's package")]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use targets::{TARGETS, Target};

fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name)
}

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder(target)).expect("every target has a corpus");
    entries.map(|entry| fs::read(entry.expect("a file").path()).expect("a readable file")).collect()
}

#[test]
fn the_committed_corpora_break_nothing_and_reach_beyond_the_first_check() {
    for target in TARGETS {
        let accepted = corpus(target).iter().filter(|input| (target.run)(input)).count();
        assert!(accepted > 0, "{}: no input is accepted: write the seeds anew", target.name);
    }
}

#[test]
fn changed_seeds_break_nothing() {
    for target in TARGETS {
        for seed in (target.seeds)() {
            for cut in [0, seed.len() / 2, seed.len().saturating_sub(1)] {
                (target.run)(&seed[..cut]);
            }
            for place in (0..seed.len()).step_by(seed.len() / 50 + 1) {
                let mut changed = seed.clone();
                changed[place] ^= 1 << (place % 8);
                (target.run)(&changed);
            }
        }
    }
}

#[test]
#[ignore = "for use by hand, when a format has changed: writes the seeds into the corpora"]
fn write_the_seeds_into_the_corpora() {
    for target in TARGETS {
        fs::create_dir_all(folder(target)).unwrap();
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder(target).join(format!("seed-{number}")), seed).unwrap();
        }
    }
}
