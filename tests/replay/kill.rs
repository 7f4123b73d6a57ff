//! A process that inserts, and is killed: whatever it had acknowledged is there afterwards.

use crate::folder::{EPOCH, Folder, key_in};
use mixline::crypto::random::Rng;
use mixline::replay::{Death, MemoryError, Verdict};
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;

const KILLS: u64 = 25;
/// Inserts that are acknowledged before a kill.
const ACKNOWLEDGED_EACH: Range<u32> = 1000..9000;
const PACKETS_MAX: u64 = 2_000_000;
/// What the child finds in its environment.
const FOLDER: &str = "MIXLINE_TEST_REPLAY_FOLDER";
const ROUND: &str = "MIXLINE_TEST_REPLAY_ROUND";
/// The kernel's number for a store where there is no memory any more (signal(7)).
const SIGBUS: i32 = 7;

/// Which tag it is: the round, the thread, and how many came before.
type Number = u64;

fn number(round: u64, thread: u64, count: u64) -> Number {
    round << 48 | thread << 40 | count
}

fn tag(number: Number) -> [u8; 32] {
    let mut tag = [0; 32];
    tag[..8].copy_from_slice(&number.to_le_bytes());
    tag
}

/// The process that the tests below kill, and no test: two threads that insert, and acknowledge
/// each insert on stderr.
#[test]
#[ignore = "it is the child of the tests beside it"]
fn child() {
    let (Ok(folder), Ok(round)) = (std::env::var(FOLDER), std::env::var(ROUND)) else { return };
    let round: u64 = round.parse().expect("a number");
    let key = key_in(&PathBuf::from(folder), PACKETS_MAX).expect("the key is there, or is made");
    let insert_all = |thread| {
        for count in 0.. {
            let number = number(round, thread, count);
            assert_ne!(key.table().insert(&tag(number)), Verdict::Full);
            // In one piece, with nothing in between that a kill could lose.
            if io::stderr().write_all(&number.to_le_bytes()).is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| insert_all(0));
        insert_all(1);
    });
}

struct Inserter {
    process: Child,
    acknowledgements: ChildStderr,
}

impl Inserter {
    fn start(folder: &Folder, round: u64) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "kill::child", "--ignored", "--nocapture"])
            .env(FOLDER, &folder.0)
            .env(ROUND, round.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let acknowledgements = process.stderr.take().expect("it is piped");
        Inserter { process, acknowledgements }
    }

    /// The next acknowledged insert; none when the process has ended.
    fn next(&mut self) -> Option<Number> {
        let mut bytes = [0; 8];
        self.acknowledgements.read_exact(&mut bytes).ok()?;
        Some(Number::from_le_bytes(bytes))
    }
}

impl Drop for Inserter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn every_acknowledged_insert_is_seen_after_each_of_twenty_five_kills() {
    let folder = Folder::new("kill");
    let mut chance = Rng::from_seed([3; 32]);
    let mut acknowledged = vec![];
    for round in 0..KILLS {
        let mut inserter = Inserter::start(&folder, round);
        let Range { start, end } = ACKNOWLEDGED_EACH;
        for _ in 0..start + chance.below(end - start) {
            acknowledged.push(inserter.next().expect("it lives until it is killed"));
        }
        inserter.process.kill().expect("it is ours");
        acknowledged.extend(std::iter::from_fn(|| inserter.next()));
        assert_eq!(inserter.process.wait().expect("it ends").signal(), Some(9));

        let key = folder.key(PACKETS_MAX).expect("the key is as it was");
        let lost = acknowledged
            .iter()
            .filter(|&&number| key.table().insert(&tag(number)) != Verdict::Seen);
        assert_eq!(lost.count(), 0, "of {} after {} kills", acknowledged.len(), round + 1);
    }
    eprintln!("{KILLS} kills, {} acknowledged inserts, none lost", acknowledged.len());
    let key = folder.key(PACKETS_MAX).expect("the key is as it was");
    let others = (0..10_000).map(|count| tag(number(KILLS, 0, count)));
    let seen = others.filter(|other| key.table().insert(other) == Verdict::Seen).count();
    assert!(seen <= 5, "{seen} of 10 000 that never came are seen");
}

#[test]
fn a_table_that_is_cut_off_ends_its_process_and_is_dead_to_the_next() {
    let folder = Folder::new("cut");
    let mut inserter = Inserter::start(&folder, 0);
    assert!(inserter.next().is_some());
    let file = OpenOptions::new().write(true).open(folder.file()).expect("the table");
    file.set_len(8192).expect("it can be cut");
    while inserter.next().is_some() {}
    assert_eq!(inserter.process.wait().expect("it ends").signal(), Some(SIGBUS));
    let error = folder.key(PACKETS_MAX).unwrap_err();
    assert!(matches!(error, MemoryError::Dead { why: Death::Damaged, .. }), "{error}");
    assert!(error.to_string().contains(&format!("epoch-{EPOCH}")), "{error}");
}
