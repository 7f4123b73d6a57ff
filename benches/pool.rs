//! `cargo bench --bench pool`: what it costs to mix a packet, to hand it over, and how late it is.
//!
//! Costs are processor time of the thread, the minimum of short rounds: what others take of the
//! core does not count, and what they leave in its caches counts in some rounds only. A hand-over
//! is time on the clock, again the minimum of rounds (`docs/mixing.md` has figures).

#[path = "pool/handoff.rs"]
mod handoff;
#[path = "pool/lateness.rs"]
mod lateness;
#[path = "pool/steady.rs"]
mod steady;
#[path = "io/usage.rs"]
#[expect(dead_code, reason = "the other benchmark uses the rest")]
mod usage;

use clap::Parser;
use mixline::crypto::tier::Tier;
use mixline::host::{self, Machine};
use std::io::{self, Write};
use std::process::ExitCode;

/// Times the mix.
#[derive(Parser)]
#[command(bin_name = "cargo bench --bench pool --")]
struct Options {
    /// Only measurements whose name contains one of these.
    names: Vec<String>,
    /// Seconds of each measurement, without what comes before the steady state.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// What cargo gives to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part))
    }
}

/// One figure: its name, its value, and the unit of that.
type Figure = (String, f64, &'static str);

/// What measures: a name, and what gives its figures in so many seconds.
struct Measurement {
    name: &'static str,
    run: Box<dyn Fn(u64) -> Vec<Figure>>,
}

impl Measurement {
    fn new(name: &'static str, run: impl Fn(u64) -> Vec<Figure> + 'static) -> Self {
        Measurement { name, run: Box::new(run) }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        // `cargo test` starts benchmarks too, and tests measure nothing.
        return ExitCode::SUCCESS;
    }
    if cfg!(debug_assertions) {
        let _ = writeln!(io::stderr(), "pool: a debug build: run `cargo bench --bench pool`");
        return ExitCode::FAILURE;
    }
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}.", Machine::look(Tier::chosen().name().as_str()));
    for measurement in measurements().iter().filter(|one| options.wants(one.name)) {
        for (name, value, unit) in (measurement.run)(options.seconds) {
            // Nobody may be reading.
            let _ = writeln!(out, "RESULT {name} {value:.1} {unit}");
        }
    }
    ExitCode::SUCCESS
}

fn measurements() -> Vec<Measurement> {
    let mut all = steady::measurements();
    // Two threads that share a core hand nothing over, they take turns.
    if let [first, .., last] = host::cores()[..] {
        all.extend(handoff::measurements([first, last]));
        all.extend(lateness::measurements([first, last]));
    }
    all
}
