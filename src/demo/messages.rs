//! The demo's messages: sent at one end, compared at the other.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use data_encoding::BASE64;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::network::Network;
use super::processes::Process;
use super::report::Progress;
use super::{DemoError, Interrupt, check};
use crate::clock::{self, Nanos};
use crate::crypto::random::Rng;
use crate::crypto::sha256;

/// How long after the last message something may still arrive.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// How long the demo goes on listening for duplicates when all messages are there.
const DUPLICATES_WAIT: Duration = Duration::from_millis(500);
/// Between two messages that are handed in: half of the rate at which the client sends, so that
/// the delays shown are the network's and not those of a queue.
const HAND_IN_GAP_MEAN: Nanos = Nanos::from_millis(10);
/// How often it looks whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(50);

/// One line of `mixline send --lines` and of `mixline recv --json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// The message.
    pub base64: String,
}

/// What became of the messages.
#[derive(Debug)]
pub(super) struct Traffic {
    pub(super) sent: usize,
    pub(super) delivered: usize,
    pub(super) duplicated: usize,
    /// Messages that arrived but were never sent.
    pub(super) foreign: usize,
    pub(super) bytes: usize,
    /// From the sender's input to the recipient's output, in microseconds.
    pub(super) latency_us: Histogram<u64>,
}

impl Traffic {
    /// Sends `count` random messages through `network` and waits for them.
    pub(super) fn run(
        network: &Network,
        count: usize,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<Self, DemoError> {
        let receiver = network.start_receiver()?;
        let address = receiver.address.clone();
        let sender = network.start_sender(&address)?;
        let mut exchange = Exchange::new(receiver.process, sender, count);
        let feeder = exchange.send(network.message_bytes_max())?;
        exchange.wait(&feeder, interrupt, progress)?;
        Ok(exchange.traffic)
    }
}

/// The messages under way.
struct Exchange {
    receiver: Process,
    sender: Process,
    handed_in: Arc<Mutex<HandedIn>>,
    traffic: Traffic,
}

/// By the message's hash: when it was handed in, and how often it has arrived.
type HandedIn = HashMap<[u8; 32], (Nanos, usize)>;

impl Exchange {
    fn new(receiver: Process, sender: Process, count: usize) -> Self {
        let traffic = Traffic {
            sent: count,
            delivered: 0,
            duplicated: 0,
            foreign: 0,
            bytes: 0,
            latency_us: new_histogram(),
        };
        Exchange { receiver, sender, handed_in: Arc::default(), traffic }
    }

    /// Hands all messages to the sending client, at random times, on a thread of its own.
    fn send(&mut self, bytes_max: usize) -> Result<JoinHandle<()>, DemoError> {
        let silent = DemoError::Client { name: self.sender.name.clone(), line: None };
        let mut input = self.sender.input().ok_or(silent)?;
        let mut rng = Rng::from_os();
        let messages: Vec<_> =
            (0..self.traffic.sent).map(|_| random_message(bytes_max, &mut rng)).collect();
        self.traffic.bytes = messages.iter().map(Vec::len).sum();
        let handed_in = self.handed_in.clone();
        Ok(thread::spawn(move || {
            for message in messages {
                thread::sleep(rng.exponential(HAND_IN_GAP_MEAN).as_duration());
                let line = Line { base64: BASE64.encode(&message) };
                let line = serde_json::to_string(&line).unwrap_or_default();
                lock(&handed_in).insert(sha256::digest(&[&message]), (clock::now(), 0));
                if writeln!(input, "{line}").is_err() {
                    return;
                }
            }
        }))
    }

    fn wait(
        &mut self,
        feeder: &JoinHandle<()>,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(), DemoError> {
        let mut last = clock::now();
        loop {
            check(interrupt)?;
            let patience = if self.traffic.delivered == self.traffic.sent {
                DUPLICATES_WAIT
            } else {
                QUIET_MAX
            };
            if feeder.is_finished() && clock::now() - last > Nanos::from(patience) {
                return Ok(());
            }
            let Some(line) = self.receiver.line(LOOK) else {
                if let Some(ended) = self.receiver.ended() {
                    return Err(ended);
                }
                // The sender ends by itself when all is sent; not before.
                if !feeder.is_finished()
                    && let Some(ended) = self.sender.ended()
                {
                    return Err(ended);
                }
                continue;
            };
            last = clock::now();
            self.take(&line, last)?;
            progress.messages(self.traffic.delivered);
        }
    }

    fn take(&mut self, line: &str, now: Nanos) -> Result<(), DemoError> {
        let message = serde_json::from_str::<Line>(line)
            .ok()
            .and_then(|line| BASE64.decode(line.base64.as_bytes()).ok())
            .ok_or_else(|| DemoError::Client {
                name: self.receiver.name.clone(),
                line: Some(line.to_owned()),
            })?;
        match lock(&self.handed_in).get_mut(&sha256::digest(&[&message])) {
            None => self.traffic.foreign += 1,
            Some((sent, copies)) => {
                *copies += 1;
                if *copies > 1 {
                    self.traffic.duplicated += 1;
                } else {
                    self.traffic.delivered += 1;
                    self.traffic.latency_us.saturating_record((now - *sent).0 / 1_000);
                }
            }
        }
        Ok(())
    }
}

fn lock(handed_in: &Mutex<HandedIn>) -> MutexGuard<'_, HandedIn> {
    handed_in.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random bytes of a random length, at least enough to be unlike every other message.
fn random_message(bytes_max: usize, rng: &mut Rng) -> Vec<u8> {
    const BYTES_MIN: usize = 16;
    let spread = u32::try_from(bytes_max.saturating_sub(BYTES_MIN) + 1).unwrap_or(1);
    let mut message = vec![0; BYTES_MIN + rng.below(spread) as usize];
    rng.fill(&mut message);
    message
}

/// One microsecond to ten minutes, three digits.
fn new_histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants and in order")]
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are valid")
}
