//! What the node tells of its stalls, asked over HTTP: in laboratories it does.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::neighbour::wall_nanos;
use crate::clock::{self, Nanos};

/// How often to ask: well before the node forgets.
const EVERY: Nanos = Nanos::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);
/// How long an answer may take, and how long one may take by which clocks are compared.
const PATIENCE: Duration = Duration::from_secs(2);
const COMPARABLE: Nanos = Nanos::from_millis(1);
/// By how much the wall clock may be set while we look.
const STEP_MAX: u64 = 1_000_000;

/// What was told.
#[derive(Default)]
pub(super) struct Told {
    /// Stalls of the node's workers, by the wall clock.
    pub(super) stalls: Vec<(Nanos, Nanos)>,
    /// Times in which the wall clock was set.
    pub(super) steps: Vec<(Nanos, Nanos)>,
    /// Whether it answered, and every time from the first answer on.
    pub(super) is_complete: bool,
}

/// Asks the node whose metrics are at `address`, until `stop` and then once more.
pub(super) fn follow(address: SocketAddr, stop: &AtomicBool) -> Told {
    let (mut stalls, mut told) = (BTreeSet::new(), Told::default());
    let mut ahead: Option<u64> = None;
    let (mut last, mut next) = (wall_nanos(), clock::now());
    loop {
        let is_last = stop.load(Ordering::Relaxed);
        if clock::now() >= next || is_last {
            next = clock::now() + EVERY;
            let asked = clock::now();
            match ask(address).as_deref().and_then(parse) {
                None => told.is_complete = false,
                Some((node_now, of_workers)) => {
                    told.is_complete = told.is_complete || ahead.is_none();
                    let (now, wall) = (clock::now(), wall_nanos());
                    // By how much the wall is ahead of the node's clock.
                    let latest = wall.0.wrapping_sub(node_now.0);
                    if now - asked < COMPARABLE || ahead.is_none() {
                        let before = ahead.replace(latest).unwrap_or(latest);
                        if before.abs_diff(latest) > STEP_MAX {
                            told.steps.push((last, wall));
                        }
                    }
                    stalls.extend(of_workers);
                }
            }
            last = wall_nanos();
        }
        if is_last {
            break;
        }
        thread::sleep(LOOK);
    }
    let by_wall = |at: u64| Nanos(at.wrapping_add(ahead.unwrap_or_default()));
    told.stalls = stalls.into_iter().map(|(from, until)| (by_wall(from), by_wall(until))).collect();
    told
}

/// What the node answers, if it does.
fn ask(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!("GET /stalls HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

/// The node's clock and its stalls by that clock, from lines "now T" and "worker FROM UNTIL".
fn parse(text: &str) -> Option<(Nanos, Vec<(u64, u64)>)> {
    let (first, rest) = text.split_once('\n')?;
    let now = first.strip_prefix("now ")?.parse().ok()?;
    let stall = |line: &str| {
        let mut words = line.split(' ').skip(1).map(str::parse);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    };
    rest.lines().map(stall).collect::<Option<_>>().map(|stalls| (Nanos(now), stalls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_are_read_as_the_node_writes_them() {
        let text = "now 90\n0 10 20\n1 30 40\n";
        assert_eq!(parse(text), Some((Nanos(90), vec![(10, 20), (30, 40)])));
        assert_eq!(parse("now 7\n"), Some((Nanos(7), vec![])));
        for broken in ["", "now\n", "now x\n", "now 7\n0 1\n", "now 7\n0 1 x\n"] {
            assert_eq!(parse(broken), None, "{broken:?}");
        }
    }
}
