//! How well keys and tables are kept: real mounts, in a mount namespace of the test's own.

use crate::folder::key_in;
use mixline::host;
use mixline::replay::{Memory, MemoryError, Tier};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the child finds in its environment: the folder on which the file system was mounted.
const FOLDER: &str = "MIXLINE_TEST_TIER_FOLDER";
/// 64 MB of table: many huge pages.
const PACKETS_MAX: u64 = 24_000_000;

/// Runs the test `child` of this file where a tmpfs with `options` is mounted on a folder that
/// nobody else sees.
fn mounted(options: &str, child: &str) {
    if host::user() != 0 {
        eprintln!("left out: only root may mount");
        return;
    }
    let folder = std::env::temp_dir().join(format!("mixline-tier-{}-{child}", std::process::id()));
    fs::create_dir(&folder).expect("a new folder can be made");
    let script = "mount -t tmpfs -o \"$1\" mixline \"$2\" && shift 2 && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", options])
        .arg(&folder)
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", &format!("tiers::{child}"), "--ignored", "--nocapture"])
        .env(FOLDER, &folder)
        .output()
        .expect("unshare, of util-linux");
    // Nothing was ever on it here.
    fs::remove_dir(&folder).expect("it is empty");
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}{err}");
}

fn mount_point() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// What `mixline check` says of a network's node whose tables lie in `folder`, and its status.
fn check(folder: &Path, replay: &str) -> (Option<i32>, String) {
    let network = folder.join("network");
    let mixline = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixline"));
        command.env("RUNTIME_DIRECTORY", folder);
        command
    };
    if !network.exists() {
        let made = mixline()
            .args(["network", "init", "--static"])
            .arg(&network)
            .output()
            .expect("it starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let config = network.join("nodes/mix-1-1/mixline.toml");
    let text = fs::read_to_string(&config).expect("it was made");
    let text = text.replace("#packets_max = 8000000", replay);
    let changed = config.with_file_name("changed.toml");
    fs::write(&changed, text).expect("there is room");
    let output = mixline().arg("check").arg(changed).output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_tmpfs_of_its_own_has_huge_pages_and_needs_no_remedy() {
    mounted("huge=advise,noswap,mode=0700,size=256m", "own");
}

#[test]
#[ignore = "it is the child of the test above"]
fn own() {
    let Some(folder) = mount_point() else { return };
    let memory = Memory::in_folder(&folder.join("tables")).expect("it is in memory");
    assert_eq!((memory.tier(), memory.remedy(1 << 20)), (Tier::Own, None));
    let key = key_in(&folder.join("tables"), PACKETS_MAX).expect("there is room");
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("its memory");
    let mapped = rollup.lines().find_map(|line| {
        line.strip_prefix("ShmemPmdMapped:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    let table_bytes = PACKETS_MAX * 20 / 7;
    // But for the last part of a huge page.
    let huge = mapped.expect("the kernel says so") << 10;
    assert!(huge + (2 << 20) > table_bytes, "{huge} of {table_bytes} bytes");
    drop(key);
    let (status, said) = check(&folder, "packets_max = 1000000");
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("a tmpfs of its own") && !said.contains("mount -t"), "{said}");
    assert!(
        said.contains("1000000 packets x 2.857 bytes, 2.7 MiB each, 3 of them 8 MiB"),
        "{said}"
    );
}

#[test]
fn a_plain_tmpfs_is_taken_and_its_remedy_said() {
    mounted("mode=0700,size=64m", "plain");
}

#[test]
#[ignore = "it is the child of the test above"]
fn plain() {
    let Some(folder) = mount_point() else { return };
    let memory = Memory::in_folder(&folder.join("tables")).expect("it is in memory");
    assert_eq!(memory.tier(), Tier::Plain { huge: false, swaps: true });
    let (status, said) = check(&folder, "packets_max = 1000000");
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("a plain tmpfs") && said.contains("noswap,huge=advise"), "{said}");
}

#[test]
fn a_tmpfs_that_is_too_small_is_refused_before_anything_is_taken() {
    mounted("mode=0700,size=8m", "small");
}

#[test]
#[ignore = "it is the child of the test above"]
fn small() {
    let Some(folder) = mount_point() else { return };
    let (status, said) = check(&folder, "packets_max = 1500000");
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("lower replay.packets") && said.contains("remount,size="), "{said}");
    // And by a process that goes on all the same, at the first page that is not there.
    let error = key_in(&folder.join("tables"), PACKETS_MAX).unwrap_err();
    assert!(matches!(error, MemoryError::NoRoom { .. }), "{error}");
    let left = fs::read_dir(folder.join("tables")).expect("the folder").count();
    assert_eq!(left, 0, "nothing looks whole");
}
