//! Messages both ways between two users: what is handed in, what is said of it, what comes out.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use mixline::client::api::{Answers, ApiError, Connection};
use mixline::client::protocol::Reply;
use mixline::message::part_bytes;
use mixline::sphinx::Geometry;

use crate::lab::instant;
use crate::world::User;

/// When a message is given up: not before the test is.
const DEADLINE: Duration = Duration::from_secs(1800);
/// How long a reader waits for a message at a time.
const WAIT: Duration = Duration::from_millis(500);

/// What happened on the way from user `from` to the other one.
struct News {
    from: usize,
    what: What,
}

enum What {
    /// Of a message that was handed in, by its number.
    Answer(u32, Reply),
    Received(Vec<u8>),
    Broken(ApiError),
}

/// One of the two ways.
pub(crate) struct Way {
    sent: Vec<Vec<u8>>,
    /// Parts of each message that are acknowledged, by its number.
    progress: BTreeMap<u32, u32>,
    /// How often progress was told.
    pub(crate) reports: usize,
    pub(crate) delivered: usize,
    pub(crate) received: Vec<Vec<u8>>,
}

/// An exchange between two users.
pub(crate) struct Exchange {
    pub(crate) ways: [Way; 2],
    news: Receiver<News>,
    started: Instant,
    end: Instant,
}

/// Parts of a message of so many bytes.
fn parts(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(part_bytes(Geometry::DEFAULT))).expect("a message is short")
}

impl Exchange {
    /// Hands in `messages[n]` at user n for the other one. All must be over in `patience`.
    pub(crate) fn start(users: &[User], messages: [Vec<Vec<u8>>; 2], patience: Duration) -> Self {
        let (teller, news) = mpsc::channel();
        for (from, messages) in messages.iter().enumerate() {
            let (sender, recipient) = (&users[from], &users[1 - from]);
            let (to, messages) = (recipient.address, messages.clone());
            let (mut requests, answers) = sender.open().split();
            let told = teller.clone();
            tell(&teller, from, move || hear(answers, from, &told));
            tell(&teller, from, move || {
                for message in messages {
                    requests.send(message, &to, DEADLINE)?;
                }
                Ok(())
            });
            let (reader, told) = (recipient.open(), teller.clone());
            tell(&teller, from, move || read(reader, from, &told));
        }
        let ways = messages.map(|sent| Way {
            progress: (1..).zip(&sent).map(|(number, _)| (number, 0)).collect(),
            sent,
            reports: 0,
            delivered: 0,
            received: vec![],
        });
        let started = instant();
        Exchange { ways, news, started, end: started + patience }
    }

    /// Goes on until `is_enough`.
    #[track_caller]
    pub(crate) fn go_on_until(&mut self, is_enough: impl Fn(&Self) -> bool) {
        while !is_enough(self) {
            assert!(instant() < self.end, "it takes too long: {}", self.standing());
            self.take(Duration::from_millis(100));
        }
    }

    /// Goes on until nothing has happened for `span`.
    pub(crate) fn go_on_while_busy(&mut self, span: Duration) {
        while self.take(span) {}
    }

    /// Goes on for `span`.
    pub(crate) fn go_on_for(&mut self, span: Duration) {
        let end = instant() + span;
        while let Some(rest) = end.checked_duration_since(instant()) {
            self.take(rest);
        }
    }

    /// The share of all parts that are acknowledged.
    pub(crate) fn progress(&self) -> f64 {
        let acknowledged: u32 = self.ways.iter().flat_map(|way| way.progress.values()).sum();
        let sent = self.ways.iter().flat_map(|way| &way.sent);
        f64::from(acknowledged) / f64::from(sent.map(|message| parts(message.len())).sum::<u32>())
    }

    /// Whether both sides have heard of the good end of all messages.
    pub(crate) fn is_over(&self) -> bool {
        let is_over =
            |way: &Way| way.delivered == way.sent.len() && way.received.len() >= way.sent.len();
        self.ways.iter().all(is_over)
    }

    /// Every message that was handed in came out at the other end: once, byte for byte.
    #[track_caller]
    pub(crate) fn assert_once_and_whole(mut self) {
        for way in &mut self.ways {
            way.sent.sort();
            way.received.sort();
            // Not by `assert_eq`, which would print all of them.
            let lost = way.sent.iter().filter(|one| !way.received.contains(one)).count();
            let is_as_sent = way.sent == way.received;
            let (sent, received) = (way.sent.len(), way.received.len());
            assert!(is_as_sent, "{received} messages came of {sent}, {lost} did not come");
        }
    }

    /// One line for people.
    pub(crate) fn standing(&self) -> String {
        let way = |way: &Way| {
            let Way { sent, delivered, received, .. } = way;
            format!("{} received, {delivered} delivered of {}", received.len(), sent.len())
        };
        let [there, back] = [0, 1].map(|from| way(&self.ways[from]));
        let (elapsed, share) = (instant() - self.started, self.progress() * 100.0);
        format!("{:.1} s: there {there}, back {back}, {share:.0} %", elapsed.as_secs_f64())
    }

    /// Takes what comes next, if something comes within `patience`.
    fn take(&mut self, patience: Duration) -> bool {
        let News { from, what } = match self.news.recv_timeout(patience) {
            Ok(news) => news,
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => panic!("the readers have ended"),
        };
        let way = &mut self.ways[from];
        match what {
            What::Answer(number, reply) => way.answer(number, reply),
            What::Received(message) => way.received.push(message),
            What::Broken(error) => panic!("a daemon does not do as it should: {error}"),
        }
        true
    }
}

impl Way {
    fn answer(&mut self, number: u32, reply: Reply) {
        let before = self.progress.get_mut(&number).expect("a message that was handed in");
        let all = parts(self.sent[number as usize - 1].len());
        match reply {
            Reply::Accepted { .. } => {}
            Reply::Progress { acknowledged, total } => {
                assert!(*before < acknowledged && acknowledged < total, "progress only grows");
                assert_eq!(total, all);
                *before = acknowledged;
                self.reports += 1;
            }
            Reply::Delivered => {
                assert!(*before < all, "a message ends once");
                *before = all;
                self.delivered += 1;
            }
            other => panic!("message {number} of {all} parts: {other:?}"),
        }
    }
}

/// Runs `work` on a thread; that it fails is told.
fn tell(
    teller: &Sender<News>,
    from: usize,
    work: impl FnOnce() -> Result<(), ApiError> + Send + 'static,
) {
    let teller = teller.clone();
    thread::spawn(move || {
        if let Err(error) = work() {
            // Nobody listens any more when the test is over, and with it the daemon.
            let _ = teller.send(News { from, what: What::Broken(error) });
        }
    });
}

fn hear(mut answers: Answers, from: usize, teller: &Sender<News>) -> Result<(), ApiError> {
    loop {
        let answer = answers.wait()?;
        let what = What::Answer(answer.id, answer.reply);
        if teller.send(News { from, what }).is_err() {
            return Ok(());
        }
    }
}

fn read(mut reader: Connection, from: usize, teller: &Sender<News>) -> Result<(), ApiError> {
    loop {
        let Some(message) = reader.receive(WAIT)? else { continue };
        reader.acknowledge(message.number)?;
        if teller.send(News { from, what: What::Received(message.bytes) }).is_err() {
            return Ok(());
        }
    }
}
