//! Key and table in one file: what outlives the process, and what ends both.

use crate::folder::{EPOCH, Folder};
use mixline::crypto::sha256;
use mixline::replay::{Death, FILL_CLOSED, MemoryError, Verdict};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;

const PACKETS_MAX: u64 = 1000;
/// The first page: the header's text with its boot id and its checksum, then the state.
const BOOT_ID: std::ops::Range<usize> = 112..148;
const TEXT_BYTES: usize = 180;
const STATE: usize = 512;
const PAGE_BYTES: usize = 4096;

/// A key that has seen the tag of ones.
fn used(name: &str) -> Folder {
    let folder = Folder::new(name);
    let key = folder.key(PACKETS_MAX).expect("it is made");
    assert_eq!(key.table().insert(&[1; 32]), Verdict::New);
    folder
}

/// The file's first page, changed.
fn change(folder: &Folder, change: impl FnOnce(&mut [u8; PAGE_BYTES])) {
    let file = OpenOptions::new().read(true).write(true).open(folder.file()).expect("the table");
    let mut page = [0; PAGE_BYTES];
    file.read_exact_at(&mut page, 0).expect("a header");
    change(&mut page);
    file.write_all_at(&page, 0).expect("it can be written");
}

#[track_caller]
fn assert_dead(folder: &Folder, expected: Death) {
    let error = folder.key(PACKETS_MAX).expect_err("it is dead");
    assert!(matches!(error, MemoryError::Dead { why, .. } if why == expected), "{error}");
    assert_eq!(error.exit_code(), 66);
}

#[test]
fn what_was_seen_is_seen_after_the_key_is_taken_again() {
    let folder = used("again");
    let key = folder.key(PACKETS_MAX).expect("it is there");
    assert_eq!(key.table().insert(&[1; 32]), Verdict::Seen);
    assert_eq!(key.table().insert(&[2; 32]), Verdict::New);
}

#[test]
fn a_key_of_another_boot_is_dead() {
    let folder = used("boot");
    change(&folder, |page| {
        let boot_id = fs::read("/proc/sys/kernel/random/boot_id").expect("a boot id");
        assert_eq!(page[BOOT_ID], boot_id[..BOOT_ID.len()]);
        page[BOOT_ID].fill(b'0');
        let checksum = sha256::digest(&[&page[..BOOT_ID.end]]);
        page[BOOT_ID.end..TEXT_BYTES].copy_from_slice(&checksum);
    });
    assert_dead(&folder, Death::OtherBoot);
}

#[test]
fn a_header_with_any_byte_changed_is_dead() {
    let folder = used("header");
    for byte in (0..TEXT_BYTES).step_by(7).chain(STATE..STATE + 8) {
        change(&folder, |page| page[byte] ^= 0x10);
        assert_dead(&folder, Death::Damaged);
        change(&folder, |page| page[byte] ^= 0x10);
    }
    assert!(folder.key(PACKETS_MAX).is_ok(), "it is as it was");
}

#[test]
fn a_table_of_another_length_or_under_another_name_is_dead() {
    let folder = used("length");
    let file = OpenOptions::new().write(true).open(folder.file()).expect("the table");
    let bytes = file.metadata().expect("a length").len();
    for other in [bytes + 1, bytes - 1, 0] {
        file.set_len(other).expect("it can be set");
        assert_dead(&folder, Death::Damaged);
    }
    let folder = used("name");
    fs::rename(folder.file(), folder.0.join("epoch-8")).expect("it can be renamed");
    fs::copy(folder.0.join("epoch-8"), folder.file()).expect("there is room");
    assert!(folder.key(PACKETS_MAX).is_ok(), "the same under its own name");
    fs::rename(folder.file(), folder.0.join("epoch-9")).expect("it can be renamed");
    let memory = mixline::replay::Memory::in_folder(&folder.0).expect("it is ours");
    assert!(matches!(memory.secret(9), Err(MemoryError::Dead { .. })));
    assert!(matches!(memory.secret(EPOCH), Ok(None)));
}

#[test]
fn a_table_of_which_pages_are_missing_is_dead() {
    let folder = used("hole");
    let file = OpenOptions::new().write(true).open(folder.file()).expect("the table");
    let bytes = file.metadata().expect("a length").len();
    // Cut off and made as long again: the header is right, and what was seen is lost.
    file.set_len(PAGE_BYTES as u64).expect("it can be cut");
    file.set_len(bytes).expect("it can be made longer");
    assert_dead(&folder, Death::Damaged);
}

#[test]
fn a_full_table_refuses_whatever_is_new_and_still_knows_what_it_has_seen() {
    let folder = Folder::new("full");
    let key = folder.key(300).expect("it is made");
    let tag = |count: u32| {
        let mut tag = [0; 32];
        tag[..4].copy_from_slice(&count.to_le_bytes());
        tag
    };
    let first: Vec<_> = (0..2000).map(|count| key.table().insert(&tag(count))).collect();
    let refused = first.iter().filter(|verdict| **verdict == Verdict::Full).count();
    assert!(refused > 1000 && first.contains(&Verdict::New), "{refused} refused");
    assert!(key.table().fill_ratio() >= FILL_CLOSED);
    key.close();
    drop(key);
    // Also for the next process.
    let key = folder.key(300).expect("it is there");
    assert!(key.is_closed());
    for (count, first) in (0..).zip(first) {
        let again = if first == Verdict::Full { Verdict::Full } else { Verdict::Seen };
        assert_eq!(key.table().insert(&tag(count)), again);
    }
}
