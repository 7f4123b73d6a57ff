//! `cargo bench --bench peers`: ours beside other implementations, in one process on one core.
//!
//! Both sides of a comparison are timed in turns, in short windows, with a marker in each that
//! tells whether the machine was undisturbed; the result is minimum against minimum
//! (`docs/performance.md`).

#[path = "peers/aws_lc.rs"]
mod aws_lc;
#[path = "peers/hop.rs"]
mod hop;
#[path = "peers/link.rs"]
mod link;
#[path = "peers/report.rs"]
mod report;
#[path = "peers/sampling.rs"]
mod sampling;
#[path = "peers/sender.rs"]
mod sender;
#[path = "peers/stages.rs"]
mod stages;
#[path = "peers/switches.rs"]
mod switches;
#[path = "peers/ticks.rs"]
mod ticks;
#[path = "peers/windows.rs"]
mod windows;
#[path = "peers/x25519.rs"]
mod x25519;

use clap::Parser;
use mixline::clock::Nanos;
use mixline::crypto::tier::Tier;
use mixline::host::{self, Machine};
use report::{Group, Report};
use std::io::{self, Write};
use std::process::ExitCode;

/// Times mixline beside other implementations.
#[derive(Parser)]
#[command(bin_name = "cargo bench --bench peers --")]
struct Options {
    /// Only comparisons whose name contains one of these.
    names: Vec<String>,
    /// Time of each comparison; twice as much where the machine is disturbed.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=600))]
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

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        // `cargo test` starts benchmarks too, and tests measure nothing.
        return ExitCode::SUCCESS;
    }
    match refusal().map_or_else(|| measure(&options), Err) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "peers: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Why nothing is measured, if this program or its environment is none to measure.
fn refusal() -> Option<String> {
    if cfg!(debug_assertions) {
        let remedy = "run `cargo bench --bench peers`";
        return Some(format!("this is a debug build, whose times mean nothing: {remedy}"));
    }
    if cfg!(all(target_arch = "x86_64", target_feature = "avx")) {
        let remedy =
            "remove target-cpu and target-feature from RUSTFLAGS and cargo's configuration";
        return Some(format!("this build is not for baseline x86-64: {remedy}"));
    }
    Tier::of_process().err().map(|error| error.to_string())
}

fn measure(options: &Options) -> Result<(), String> {
    let machine = Machine::look(Tier::chosen().name().as_str());
    let core = host::cores().into_iter().next_back().unwrap_or_default();
    if !host::pin(core) {
        return Err(format!("the kernel refuses to keep this thread on core {core}"));
    }
    let mut groups = groups();
    for group in &mut groups {
        group.comparisons.retain(|comparison| options.wants(&comparison.name));
    }
    let mut all: Vec<_> = groups.iter_mut().flat_map(|group| &mut group.comparisons).collect();
    let seconds = all.len() as u64 * options.seconds;
    if all.is_empty() {
        return Err("no comparison has such a name".into());
    }
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{machine}.\n");
    let _ = writeln!(io::stderr(), "on core {core}, for {seconds} to {} s", 2 * seconds);

    let start = ticks::Moment::now();
    let band = sampling::sample_all(&mut all, Nanos::from_secs(options.seconds));
    let report = Report { groups: &groups, band, ticks_per_ns: start.ticks_per_ns() };
    let _ = write!(out, "{report}");
    match report.undecided() {
        names if names.is_empty() => Ok(()),
        names => {
            let names = names.join(", ");
            Err(format!("the machine was disturbed too often; run again for: {names}"))
        }
    }
}

fn groups() -> Vec<Group> {
    vec![
        Group { title: "Whole hops, batches of 32", comparisons: hop::whole() },
        Group { title: "Hops by size of the batch", comparisons: hop::batches() },
        Group { title: "X25519, batches of 32", comparisons: x25519::comparisons() },
        Group { title: "Packets of five hops, made", comparisons: sender::comparisons() },
        Group { title: "Link frames, sealed and opened", comparisons: link::comparisons() },
        Group { title: "Stages and kernels, batches of 32", comparisons: stages::comparisons() },
    ]
}
