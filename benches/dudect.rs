//! `cargo bench --bench dudect`: does the time that a kernel takes tell its secrets?
//!
//! The method of Reparaz, Balasch and Verbauwhede ("Dude, is my code constant time?", 2017): one
//! class of inputs has a fixed secret, the other a random one; both are timed in random order, and
//! Welch's t-test compares the two. |t| above 4.5 says that the classes differ. The test is made
//! for all samples and, because the machine's interruptions drown small differences, for what
//! remains below each of several limits.
//!
//! The fixed secret is drawn once. With `--zero` it is all zero, and the processor takes part: it
//! works a little faster on words without ones, as the control shows, which has no branch and no
//! address that could (`docs/performance.md`).

#[path = "dudect/control.rs"]
mod control;
#[path = "dudect/kernels.rs"]
mod kernels;
#[path = "peers/ticks.rs"]
#[expect(dead_code, reason = "the other benchmark uses the rest")]
mod ticks;
#[path = "dudect/welch.rs"]
mod welch;

use clap::{Parser, value_parser};
use kernels::Kernel;
use mixline::crypto::random::Rng;
use mixline::crypto::tier::Tier;
use mixline::host;
use std::io::{self, Write};
use std::process::ExitCode;
use welch::Tests;

/// Samples that only set the limits.
const WARM_UP: usize = 20_000;

/// Looks for secrets in the time that kernels take.
#[derive(Parser)]
#[command(bin_name = "cargo bench --bench dudect --")]
struct Options {
    /// Only kernels whose name contains one of these.
    names: Vec<String>,
    /// Samples of each kernel.
    #[arg(long, default_value_t = 10_000_000, value_parser = value_parser!(u64).range(50_000..))]
    samples: u64,
    /// Makes the fixed secret all zero, instead of drawing it once.
    #[arg(long)]
    zero: bool,
    /// What cargo gives to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part))
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        // `cargo test` starts benchmarks too, and tests measure nothing.
        return ExitCode::SUCCESS;
    }
    if let Some(core) = host::cores().last() {
        // Only steadier: the classes alternate on whatever core they run.
        let _ = core_affinity::set_for_current(core_affinity::CoreId { id: *core });
    }
    let tier = Tier::chosen();
    let mut leaks = 0;
    for (name, kernel) in kernels::all(tier).into_iter().filter(|(name, _)| options.wants(name)) {
        let t = measure(kernel, &options);
        let name = format!("dudect_{}_{name}", tier.name().as_str());
        let line = format!("RESULT {name} {t:.2} t vs limit {:.2}\n", welch::LIMIT / t);
        // Nobody may be reading; the exit status says the least.
        let _ = io::stdout().write_all(line.as_bytes());
        leaks += u32::from(t > welch::LIMIT);
    }
    if leaks > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// The largest |t| of a kernel.
fn measure(mut kernel: Kernel, options: &Options) -> f64 {
    let mut rng = Rng::from_os();
    if !options.zero {
        kernel.fix(&mut rng);
    }
    let warm_up: Vec<f64> = (0..WARM_UP).map(|_| sample(&mut kernel, &mut rng).1).collect();
    let mut tests = Tests::new(warm_up);
    for _ in 0..options.samples {
        let (is_random, time) = sample(&mut kernel, &mut rng);
        tests.add(is_random, time);
    }
    tests.t_max()
}

/// One call of the kernel, of a class at random. Both classes are prepared in the same way.
fn sample(kernel: &mut Kernel, rng: &mut Rng) -> (bool, f64) {
    let is_random = rng.next_u64() & 1 == 1;
    kernel.prepare(is_random, rng);
    let time = ticks::of(|| kernel.run());
    (is_random, time as f64)
}
