//! `cargo bench --bench replay`: what it costs to ask whether a packet came before, and how much
//! memory the answer takes.
//!
//! The calls are those of a worker: a group of 32 tags is given its places, then each is recorded.
//! Costs are processor time of the thread, the minimum of short rounds; every tag is new, in a
//! table as full as it is planned to be (`docs/replay.md` has figures).

#[path = "replay/anchor.rs"]
mod anchor;
#[path = "replay/filled.rs"]
mod filled;
#[path = "replay/pages.rs"]
mod pages;
#[path = "io/usage.rs"]
#[expect(dead_code, reason = "another benchmark uses the rest")]
mod usage;

use clap::Parser;
use filled::{Asking, Filled};
use mixline::crypto::tier::Tier;
use mixline::host::{self, Machine};
use std::io::{self, Write};
use std::process::ExitCode;

/// Times the replay filter.
#[derive(Parser)]
#[command(bin_name = "cargo bench --bench replay --")]
struct Options {
    /// Only tables whose name contains one of these.
    names: Vec<String>,
    /// What cargo gives to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part))
    }
}

/// A table to be measured.
struct Subject {
    name: &'static str,
    table_bytes: u64,
    /// Whether the kernel may give it huge pages.
    huge: bool,
}

const SUBJECTS: [Subject; 4] = [
    Subject { name: "64mib", table_bytes: 64 << 20, huge: true },
    Subject { name: "1gib", table_bytes: 1 << 30, huge: true },
    Subject { name: "4gib", table_bytes: 4 << 30, huge: true },
    Subject { name: "1gib_small_pages", table_bytes: 1 << 30, huge: false },
];
/// What must be left to others beside a table.
const SPARE_BYTES: u64 = 512 << 20;

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        // `cargo test` starts benchmarks too, and tests measure nothing.
        return ExitCode::SUCCESS;
    }
    if cfg!(debug_assertions) {
        let _ = writeln!(io::stderr(), "replay: a debug build: run `cargo bench --bench replay`");
        return ExitCode::FAILURE;
    }
    say(&format!("{}.", Machine::look(Tier::chosen().name().as_str())));
    for subject in SUBJECTS.iter().filter(|subject| options.wants(subject.name)) {
        measure(subject);
    }
    if options.wants("anchor") {
        say("a peer in the same place: a HashSet<[u8; 32]> of 1 000 000 tags behind a mutex");
        result("anchor_mutex_hash_set", anchor::ns(), "ns");
    }
    ExitCode::SUCCESS
}

fn measure(subject: &Subject) {
    let Subject { name, table_bytes, huge } = *subject;
    let available = host::memory_available_bytes().unwrap_or(u64::MAX);
    if available < table_bytes + SPARE_BYTES {
        let mebibytes = available >> 20;
        return say(&format!("{name}: left out, only {mebibytes} MiB of memory are available"));
    }
    pages::allow_huge(huge);
    let Ok(filled) = Filled::of(table_bytes) else {
        return say(&format!("{name}: left out, the kernel has no memory for it"));
    };
    let mut filled = filled;
    say(&format!(
        "{name}: {} tags in it, {:.3} full, {:.0} % on huge pages",
        filled.tags(),
        filled.fill_ratio(),
        100.0 * pages::huge_bytes() as f64 / table_bytes as f64,
    ));
    let together = filled.cost(Asking::InGroups, 1);
    result(&format!("replay_{name}"), together.ns, "ns");
    if huge {
        result(&format!("replay_{name}_one_by_one"), filled.cost(Asking::OneByOne, 1).ns, "ns");
        if host::cores().len() > 1 {
            let two = filled.cost(Asking::InGroups, 2);
            result(&format!("replay_{name}_two_threads"), two.ns, "ns");
        }
        result(&format!("replay_{name}_false_positives"), filled.false_positives() * 1e6, "ppm");
        result(&format!("replay_{name}_memory"), filled.bits_per_packet(), "bits/packet");
    }
}

fn result(name: &str, value: f64, unit: &str) {
    say(&format!("RESULT {name} {value:.1} {unit}"));
}

fn say(line: &str) {
    // Nobody may be reading.
    let _ = writeln!(io::stdout(), "{line}");
}
