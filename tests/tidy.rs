//! Style that a machine can hold: who may import whom, sizes, names, and where unsafe code lives.
//!
//! Each rule is one test that lists every breach it finds. Function length and documentation
//! are left to the lints in `Cargo.toml` and `clippy.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a module may import of the others.
enum Imports {
    /// Only these, which stand above it.
    Only(&'static [&'static str]),
    /// Anything above it: it composes them.
    Any,
}
use Imports::{Any, Only};

/// The top-level modules in the order of `src/lib.rs`, which is the order a packet travels; a
/// module that is not written yet may be listed. `docs/architecture.md` has the reasons.
const MODULES: &[(&str, Imports)] = &[
    ("sync", Only(&[])),
    ("clock", Only(&[])),
    ("crypto", Only(&["clock"])),
    ("host", Only(&[])),
    ("metrics", Only(&[])),
    ("wire", Only(&[])),
    ("io", Only(&["clock", "crypto", "host", "wire"])),
    ("link", Only(&["clock", "crypto"])),
    ("sphinx", Only(&["crypto"])),
    ("replay", Only(&["crypto", "host", "sync"])),
    ("pool", Only(&["clock", "crypto"])),
    ("pki", Only(&["clock", "crypto", "sphinx"])),
    ("directory", Only(&["clock", "crypto", "pki"])),
    ("route", Only(&["clock", "crypto", "pki", "sphinx"])),
    ("cover", Only(&["clock", "crypto", "pki", "route", "sphinx"])),
    ("message", Only(&["clock", "crypto", "pki", "route", "sphinx"])),
    (
        "worker",
        Only(&[
            "clock", "crypto", "host", "io", "link", "metrics", "pool", "replay", "sphinx", "sync",
            "wire",
        ]),
    ),
    ("store", Only(&["clock", "crypto"])),
    ("gateway", Only(&["clock", "crypto", "link", "metrics", "pki", "route", "sphinx", "store"])),
    (
        "client",
        Only(&["clock", "cover", "crypto", "io", "link", "message", "pki", "route", "sphinx"]),
    ),
    ("http", Only(&[])),
    ("authority", Only(&["clock", "crypto", "directory", "http", "pki", "sphinx"])),
    ("config", Any),
    ("network", Any),
    ("node", Any),
    ("demo", Any),
    ("audit", Any),
    ("cli", Any),
];

/// What `crypto` is to `io`: its simulated network draws losses and delays.
const PARTS: &[(&str, &str, &str)] = &[("io", "crypto", "crypto::random")];

/// Files, and folders with all below them, that may contain unsafe code.
const UNSAFE_PLACES: &[&str] = &[
    "benches/dudect/control.rs",
    "benches/io/generator.rs",
    "benches/io/network.rs",
    "benches/io/usage.rs",
    "benches/peers/aws_lc.rs",
    "benches/peers/switches.rs",
    "benches/peers/ticks.rs",
    "benches/replay/pages.rs",
    "src/crypto/aes_ctr/vaes.rs",
    "src/crypto/blake2b/avx512.rs",
    "src/crypto/chacha20/avx512.rs",
    "src/crypto/chacha20/scalar.rs",
    "src/crypto/header.rs",
    "src/crypto/lanes/avx512.rs",
    "src/crypto/sha256/avx512.rs",
    "src/crypto/vectors.rs",
    "src/crypto/wipe.rs",
    "src/crypto/x25519/avx512.rs",
    "src/crypto/x25519/scalar.rs",
    "src/host.rs",
    "src/host/",
    "src/io/shield/link.rs",
    "src/io/shield/program.rs",
    "src/io/udp.rs",
    "src/io/udp/",
    "src/io/uring.rs",
    "src/io/uring/",
    "src/io/xdp/mapping.rs",
    "src/io/xdp/memory.rs",
    "src/io/xdp/socket.rs",
    "src/replay/map.rs",
    "src/worker/ring.rs",
    "src/worker/slab.rs",
    "tests/support/allocator.rs",
    "tests/support/bpf.rs",
    "tests/support/flood.rs",
    "tests/support/hosts.rs",
    "tests/support/redirect.rs",
    "tests/support/tun.rs",
    "tests/support/valgrind.rs",
    "tests/support/wire.rs",
];

const FILE_LINES_MAX: usize = 500;
const LINE_COLUMNS_MAX: usize = 100;

/// Text that must not stand anywhere, and what to do instead. The escapes keep this very file
/// clean.
const BANNED: &[(&str, &str)] = &[
    ("TO\u{44}O", "finish it, or open an issue"),
    ("FIX\u{4d}E", "fix it, or open an issue"),
    ("X\u{58}X", "say what is meant"),
    ("to\u{64}o!", "finish it"),
    ("unimplement\u{65}d!", "finish it"),
    ("db\u{67}!", "remove it"),
    ("super::sup\u{65}r::", "write the path from crate"),
    ("fn g\u{65}t_", "name what is returned"),
    ("target-cpu=nat\u{69}ve", "kernels carry target_feature; the build is for baseline x86-64"),
];

/// Names that say nothing about what a file owns.
const BANNED_FILES: &[&str] =
    &["common", "data", "handler", "helpers", "info", "manager", "misc", "util", "utils"];

/// One Rust file of the package, its path relative to the package.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The part before the unit tests.
    fn code(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default()
    }

    /// All lines, numbered from 1, without those that are only comment.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines()).filter(|(_, line)| !is_comment(line))
    }

    /// The top-level module that the file belongs to; none for the roots, `lib` and `main`.
    fn module(&self) -> Option<&str> {
        let path = self.path.strip_prefix("src/")?.trim_end_matches(".rs");
        let module = path.split('/').next()?;
        (module != "lib" && module != "main").then_some(module)
    }

    /// What follows each `crate::`, with the items of a group one by one; unit tests may use
    /// whatever helps them.
    fn crate_imports(&self) -> Vec<String> {
        let lines = self.code().lines().filter(|line| !is_comment(line));
        let code: String = lines.map(|line| format!("{line}\n")).collect();
        code.split("crate::").skip(1).flat_map(paths_at_start).collect()
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The path, or all paths of the braced group, with which `text` starts.
fn paths_at_start(text: &str) -> Vec<String> {
    let Some(group) = text.strip_prefix('{') else {
        let is_path = |c: &char| c.is_alphanumeric() || matches!(c, '_' | ':');
        return vec![text.chars().take_while(is_path).collect()];
    };
    let mut depth = 1;
    let mut paths = vec![String::new()];
    for c in group.chars() {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        match (depth, c) {
            (0, _) => break,
            (1, ',') => paths.push(String::new()),
            _ if c.is_whitespace() => {}
            _ => paths.last_mut().expect("never empty").push(c),
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below `folders`, in order of path.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = vec![];
    let mut pending: Vec<PathBuf> = folders.iter().map(|folder| package().join(folder)).collect();
    while let Some(folder) = pending.pop() {
        // Not every folder need exist.
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() && !path.ends_with("target") {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a readable file");
                let path = path.strip_prefix(package()).unwrap_or(&path);
                found.push(Source { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no sources found");
    found
}

fn all_sources() -> Vec<Source> {
    sources(&["src", "tests", "fuzz", "benches"])
}

#[track_caller]
fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

fn position(module: &str) -> Option<usize> {
    MODULES.iter().position(|(name, _)| *name == module)
}

#[test]
fn the_import_table_has_no_cycle() {
    for (index, (module, imports)) in MODULES.iter().enumerate() {
        let Only(allowed) = imports else { continue };
        for import in *allowed {
            let above = position(import).is_some_and(|place| place < index);
            assert!(above, "{module} may not import {import}: it does not stand above it");
        }
    }
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let mut breaches = vec![];
    for source in sources(&["src"]) {
        let Some(module) = source.module() else { continue };
        let Some(index) = position(module) else {
            breaches.push(format!("{}: {module} is not in the table", source.path));
            continue;
        };
        for path in source.crate_imports() {
            let import = path.split("::").next().unwrap_or_default();
            let allowed = match &MODULES[index].1 {
                Only(allowed) => allowed.contains(&import),
                Any => position(import).is_some_and(|place| place < index),
            };
            let whole = PARTS.iter().all(|(user, used, part)| {
                *user != module || *used != import || path.starts_with(part)
            });
            if import != module && !(allowed && whole) {
                breaches.push(format!("{}: {module} may not import {path}", source.path));
            }
        }
        if source.path.matches('/').count() == 1 && source.code().contains("super::") {
            breaches.push(format!("{}: write crate:: to leave a module", source.path));
        }
    }
    assert_none(&breaches);
}

#[test]
fn the_documentation_tells_the_same_imports() {
    let page = fs::read_to_string(package().join("docs/architecture.md")).expect("it is there");
    for (module, imports) in MODULES {
        let Only(allowed) = imports else { continue };
        let row = page.lines().find(|line| line.starts_with(&format!("| `{module}` |")));
        let Some(row) = row else {
            let built = package().join(format!("src/{module}.rs")).exists();
            assert!(!built, "docs/architecture.md has no row for {module}");
            continue;
        };
        let told = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let told: Vec<&str> = match told.trim_matches('`') {
            "-" => vec![],
            names => names.split(' ').collect(),
        };
        assert_eq!(told, *allowed, "docs/architecture.md: {row}");
    }
}

#[test]
fn the_table_of_contents_has_the_order_of_the_import_table() {
    let lib = fs::read_to_string(package().join("src/lib.rs")).unwrap();
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.split(';').next());
    let places: Vec<usize> = declared
        .map(|module| position(module).unwrap_or_else(|| panic!("{module} is not in the table")))
        .collect();
    assert!(!places.is_empty() && places.is_sorted(), "src/lib.rs: {places:?}");
}

#[test]
fn files_are_short_and_lines_are_narrow() {
    let mut breaches = vec![];
    for source in all_sources() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            breaches.push(format!("{}: {lines} lines", source.path));
        }
        for (number, line) in (1..).zip(source.text.lines()) {
            if line.chars().count() > LINE_COLUMNS_MAX {
                breaches.push(format!("{}:{number}: line too long", source.path));
            }
        }
    }
    assert_none(&breaches);
}

#[test]
fn nothing_is_left_undone_or_badly_named() {
    let mut breaches = vec![];
    for source in all_sources() {
        let name = Path::new(&source.path).file_stem().unwrap().to_str().unwrap();
        if BANNED_FILES.contains(&name) {
            breaches.push(format!("{}: name the file for what it owns", source.path));
        }
        for (number, line) in (1..).zip(source.text.lines()) {
            for (text, advice) in BANNED.iter().filter(|(text, _)| line.contains(text)) {
                breaches.push(format!("{}:{number}: {text}: {advice}", source.path));
            }
        }
    }
    assert_none(&breaches);
}

#[test]
fn a_module_is_a_file_beside_its_folder_and_its_top_says_what_it_owns() {
    let mut breaches = vec![];
    for source in all_sources() {
        if source.path.ends_with("/mod.rs") {
            breaches.push(format!("{}: use foo.rs and foo/", source.path));
        }
        if !source.text.starts_with("//! ") {
            breaches.push(format!("{}: say at the top what it owns", source.path));
        }
    }
    assert_none(&breaches);
}

#[test]
fn unsafe_code_stands_only_in_the_listed_files() {
    let mut breaches = vec![];
    for source in all_sources() {
        if UNSAFE_PLACES.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        for (number, line) in source.lines() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            if line.split(|c| !is_word(c)).any(|word| matches!(word, "unsafe" | "unsafe_code")) {
                breaches.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    // This file names what it looks for.
    breaches.retain(|breach| !breach.starts_with("tests/tidy.rs:"));
    assert_none(&breaches);
}

#[test]
fn no_file_relaxes_a_lint_as_a_whole() {
    let mut breaches = vec![];
    for source in all_sources() {
        for (number, line) in source.lines() {
            let relaxes = line.starts_with("#![allow(") || line.starts_with("#![expect(");
            if relaxes && line != "#![allow(unsafe_code)]" {
                breaches.push(format!("{}:{number}: {line}", source.path));
            }
        }
    }
    assert_none(&breaches);
}

#[test]
fn every_dependency_has_its_reason_and_every_reason_its_dependency() {
    let manifest = fs::read_to_string(package().join("Cargo.toml")).expect("it is there");
    let page = fs::read_to_string(package().join("docs/dependencies.md")).expect("it is there");
    let in_dependencies = |section: &str| section.ends_with("dependencies]");
    let mut section = "";
    let mut listed = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if let Some((name, _)) = line.split_once(" = ")
            && in_dependencies(section)
        {
            listed.insert(name.to_owned());
        }
    }
    let row = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let reasons: BTreeSet<_> = page.lines().filter_map(row).collect();
    assert_eq!(listed, reasons);
}

#[test]
fn the_fuzzers_have_the_versions_of_the_package() {
    let versions = |lock: &str| -> BTreeSet<(String, String)> {
        let text = fs::read_to_string(package().join(lock)).expect("it is there");
        let value = |line: &str, key| Some(line.strip_prefix(key)?.trim_matches('"').to_owned());
        let lines: Vec<_> = text.lines().collect();
        lines
            .windows(2)
            .filter_map(|pair| Some((value(pair[0], "name = ")?, value(pair[1], "version = ")?)))
            .collect()
    };
    let (package, fuzz) = (versions("Cargo.lock"), versions("fuzz/Cargo.lock"));
    let names: BTreeSet<_> = package.iter().map(|(name, _)| name).collect();
    let other = fuzz.iter().filter(|one| names.contains(&one.0) && !package.contains(*one));
    assert_eq!(other.collect::<Vec<_>>(), Vec::<&(String, String)>::new());
}

#[test]
fn imports_are_read_from_single_paths_and_from_groups() {
    let text = "use crate::clock::Nanos;\n\
        use crate::{\n    crypto::{random, sha256},\n    host,\n};\n\
        // crate::comment\nfn f() -> crate::link::Frame {}\n";
    let source = Source { path: "src/x.rs".into(), text: text.into() };
    let expected = ["clock::Nanos", "crypto::{random,sha256}", "host", "link::Frame"];
    assert_eq!(source.crate_imports(), expected);
}
