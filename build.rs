//! Compiles the XDP program and makes its Rust types: `bpf/` becomes `shield.rs` in the build's
//! output folder, which `src/io/shield/program.rs` includes.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "bpf/shield.bpf.c";

fn main() {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=PATH");
    if let Err(message) = build() {
        println!("cargo::error={message}");
    }
}

/// One line says what is wrong, if it is the machine and not the program.
fn build() -> Result<(), String> {
    let clang = Command::new("clang").arg("--version").stdout(Stdio::null()).status();
    if !clang.is_ok_and(|status| status.success()) {
        return Err("clang, which compiles the XDP program, is missing: run `make`, or \
             `apt-get install --no-install-recommends clang`"
            .into());
    }
    let variable = |name| env::var(name).map_err(|_| format!("cargo sets no {name}"));
    let output = PathBuf::from(variable("OUT_DIR")?).join("shield.rs");
    // Where Debian keeps <asm/types.h>, which clang looks for elsewhere when it compiles for BPF.
    let headers = format!("-I/usr/include/{}-linux-gnu", variable("CARGO_CFG_TARGET_ARCH")?);
    SkeletonBuilder::new()
        .source(SOURCE)
        // The first instruction set with a compare-and-swap.
        .clang_args([headers.as_str(), "-mcpu=v3", "-Wall", "-Wextra"])
        // Nobody reads what is generated, and not every toolchain has a rustfmt.
        .rustfmt("cat")
        .build_and_generate(&output)
        .map_err(|error| format!("{error:#}").replace('\n', " "))
}
