//! The demo's messages: both clients send to each other; what arrives is compared byte for byte.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::network::{Network, User};
use super::report::Progress;
use super::{DemoError, Interrupt, check};
use crate::client::api::{ApiError, Connection};
use crate::client::protocol::{Reply, Status};
use crate::clock::{self, Nanos};
use crate::crypto::random::Rng;
use crate::crypto::sha256;
use crate::pki::MailboxAddress;

/// From which all messages grow: every demo sends the same.
const SEED: [u8; 32] = *b"the messages of the mixline demo";
/// The longest message: its length has a logarithm that is uniform, so most are short.
const BYTES_MAX: usize = 64 * 1024;
/// When a message is given up.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long after the last message has ended something may still arrive.
const DUPLICATES_WAIT: Nanos = Nanos::from_millis(1500);
/// Between two messages that one client is handed: about as fast as it can send them.
const HAND_IN_GAP_MEAN: Nanos = Nanos::from_millis(60);
/// How often the demo looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);
/// How long a reader waits for a message at a time.
const WAIT: Duration = Duration::from_millis(250);

/// One line of `mixline send --lines` and of `mixline recv --json`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// The message.
    pub base64: String,
}

/// What became of the messages.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    pub(super) sent: usize,
    pub(super) delivered: usize,
    pub(super) duplicated: usize,
    /// Messages that arrived but were never sent there.
    pub(super) foreign: usize,
    /// Messages that the sender heard the good end of.
    pub(super) acknowledged: usize,
    pub(super) failed: usize,
    pub(super) bytes: usize,
    /// From the sender's hand to the recipient's, in microseconds.
    pub(super) latency_us: Histogram<u64>,
    /// How both clients are at the end.
    pub(super) clients: Vec<Status>,
}

/// The messages on their way to one user, by their hash: when each was handed in. Equal ones are
/// told apart by their order.
type UnderWay = HashMap<[u8; 32], Vec<Nanos>>;

#[derive(Debug)]
struct Exchange {
    traffic: Traffic,
    under_way: Vec<UnderWay>,
    /// The hash of every message that was ever sent to each user.
    known: Vec<HashSet<[u8; 32]>>,
    last_event: Nanos,
    ended: bool,
    fault: Option<String>,
}

impl Traffic {
    /// Sends `count` messages through `network`, half of them each way, and waits for their end.
    pub(super) fn run(
        network: &mut Network,
        count: usize,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<Self, DemoError> {
        let exchange = Arc::new(Mutex::new(Exchange::new(count)));
        let mut messages = random_messages(count, &mut Rng::from_seed(SEED));
        let users = network.users();
        for (index, user) in users.iter().enumerate() {
            let own = messages.split_off(messages.len() * (1 - index) / 2);
            start(&exchange, index, user, users[1 - index].address, own)?;
        }
        loop {
            check(interrupt)?;
            network.check_processes()?;
            thread::sleep(LOOK);
            let mut now = lock(&exchange);
            progress.messages(now.traffic.delivered);
            if let Some(fault) = now.fault.take() {
                return Err(DemoError::Client { name: "client".into(), line: Some(fault) });
            }
            let Exchange { traffic, last_event, .. } = &*now;
            let all = traffic.acknowledged + traffic.failed == count;
            if all && clock::now() - *last_event > DUPLICATES_WAIT {
                now.ended = true;
                break;
            }
        }
        let mut traffic = lock(&exchange).traffic.clone();
        for user in network.users() {
            traffic.clients.push(Connection::open(&user.socket)?.status()?);
        }
        Ok(traffic)
    }
}

impl Exchange {
    fn new(count: usize) -> Self {
        Exchange {
            traffic: Traffic {
                sent: count,
                delivered: 0,
                duplicated: 0,
                foreign: 0,
                acknowledged: 0,
                failed: 0,
                bytes: 0,
                latency_us: new_histogram(),
                clients: vec![],
            },
            under_way: vec![UnderWay::new(), UnderWay::new()],
            known: vec![HashSet::new(), HashSet::new()],
            last_event: clock::now(),
            ended: false,
            fault: None,
        }
    }

    /// A message for the user `to` is handed in.
    fn hand_in(&mut self, to: usize, message: &[u8]) {
        let hash = sha256::digest(&[message]);
        self.traffic.bytes += message.len();
        self.under_way[to].entry(hash).or_default().push(clock::now());
        self.known[to].insert(hash);
    }

    /// The user `to` has received a message.
    fn take(&mut self, to: usize, message: &[u8]) {
        self.last_event = clock::now();
        let hash = sha256::digest(&[message]);
        let waiting = self.under_way[to].get_mut(&hash);
        match waiting.filter(|sent| !sent.is_empty()).map(|sent| sent.remove(0)) {
            Some(sent) => {
                self.traffic.delivered += 1;
                self.traffic.latency_us.saturating_record((self.last_event - sent).0 / 1_000);
            }
            None if self.known[to].contains(&hash) => self.traffic.duplicated += 1,
            None => self.traffic.foreign += 1,
        }
    }

    /// A sender has heard what became of a message.
    fn end(&mut self, delivered: bool) {
        self.last_event = clock::now();
        let count = match delivered {
            true => &mut self.traffic.acknowledged,
            false => &mut self.traffic.failed,
        };
        *count += 1;
    }
}

/// Starts the threads of user `index`: one hands in messages to `to`, one hears what becomes of
/// them, one receives.
fn start(
    exchange: &Arc<Mutex<Exchange>>,
    index: usize,
    user: &User,
    to: MailboxAddress,
    messages: Vec<Vec<u8>>,
) -> Result<(), DemoError> {
    let (mut requests, mut answers) = Connection::open(&user.socket)?.split();
    let mut reader = Connection::open(&user.socket)?;
    let handed = exchange.clone();
    guard(exchange, &user.name, move || {
        let mut rng = Rng::from_os();
        for message in messages {
            thread::sleep(rng.exponential(HAND_IN_GAP_MEAN).as_duration());
            lock(&handed).hand_in(1 - index, &message);
            requests.send(message, &to, DEADLINE)?;
        }
        Ok(())
    });
    let heard = exchange.clone();
    guard(exchange, &user.name, move || {
        loop {
            match answers.wait()?.reply {
                Reply::Delivered => lock(&heard).end(true),
                Reply::Failed { .. } => lock(&heard).end(false),
                Reply::Refused { reason, text } => return Err(ApiError::Refused { reason, text }),
                _ => {}
            }
        }
    });
    let received = exchange.clone();
    guard(exchange, &user.name, move || {
        while !lock(&received).ended {
            if let Some(message) = reader.receive(WAIT)? {
                lock(&received).take(index, &message.bytes);
                reader.acknowledge(message.number)?;
            }
        }
        Ok(())
    });
    Ok(())
}

/// Runs `work` on a thread; how it fails is noted.
fn guard(
    exchange: &Arc<Mutex<Exchange>>,
    name: &str,
    work: impl FnOnce() -> Result<(), ApiError> + Send + 'static,
) {
    let (exchange, name) = (exchange.clone(), name.to_owned());
    thread::spawn(move || {
        if let Err(error) = work() {
            let mut exchange = lock(&exchange);
            // When the demo is over its clients end, and with them these connections.
            if !exchange.ended {
                exchange.fault = Some(format!("{name}: {error}"));
            }
        }
    });
}

fn lock(exchange: &Mutex<Exchange>) -> MutexGuard<'_, Exchange> {
    exchange.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Random bytes in random order. The logarithms of their lengths are uniform from that of 1 to
/// that of [`BYTES_MAX`], one in each `count`-th of that span, so that the sum is no matter of
/// luck.
fn random_messages(count: usize, rng: &mut Rng) -> Vec<Vec<u8>> {
    let random_message = |place: usize| {
        let share = (place as f64 + rng.unit()) / count as f64;
        let length = (share * (BYTES_MAX as f64).ln()).exp();
        #[expect(clippy::cast_possible_truncation, reason = "it is from 1 to BYTES_MAX")]
        #[expect(clippy::cast_sign_loss, reason = "it is from 1 to BYTES_MAX")]
        let mut message = vec![0; length as usize];
        rng.fill(&mut message);
        message
    };
    let mut messages: Vec<_> = (0..count).map(random_message).collect();
    rng.shuffle(&mut messages);
    messages
}

/// One microsecond to ten minutes, three digits.
fn new_histogram() -> Histogram<u64> {
    #[expect(clippy::expect_used, reason = "the bounds are constants and in order")]
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are valid")
}
