//! What applications send to the client daemon, and what it answers them.

use super::deliveries;
use mixline::client::daemon::{Daemon, Door, Parts};
use mixline::client::protocol::{
    self, Answer, BODY_BYTES_MAX, Call, PREAMBLE, Reason, Reply, Request, Status,
};
use mixline::client::spool::Spool;
use mixline::crypto::random::Rng;
use mixline::io::memory::{Conditions, Network};
use mixline::io::wake;
use mixline::pki::MailboxAddress;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::LazyLock;
use std::time::Duration;

/// Far longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// What a socket takes that nobody reads.
const STREAM_BYTES_MAX: usize = 4096;
const DEADLINE_MS_MAX: u64 = 604_800_000;

/// Refusals that wait for nobody.
const IMMEDIATE: [Reason; 4] =
    [Reason::Malformed, Reason::BadDeadline, Reason::BadAddress, Reason::NotYours];

/// A daemon whose gateway does not answer, for all inputs; and its address.
static DAEMON: LazyLock<(Door, MailboxAddress)> = LazyLock::new(|| {
    let network = Network::new(Rng::from_seed([1; 32]), Conditions::default());
    let client = deliveries::client(&network);
    let address = client.address();
    let (sleeper, waker) = wake::pair().expect("the system gives descriptors");
    let spool = Spool::in_memory().expect("memory is no disk");
    let daemon = Daemon::start(Parts { client, spool, sleeper, waker });
    let daemon = daemon.expect("the system gives threads");
    let door = daemon.door();
    // It runs for as long as this process.
    std::mem::forget(daemon);
    (door, address)
});

/// The input as a stream of frames, each of them as a request and as an answer. What is read is
/// written, and reads the same. Then as what an application sends to a daemon. Accepted when
/// there is a request in it.
pub fn run(input: &[u8]) -> bool {
    let (mut stream, mut accepted) = (input, false);
    while let Ok(Some(body)) = protocol::read_frame(&mut stream) {
        assert!(body.len() <= BODY_BYTES_MAX && body.len() <= input.len());
        if let Ok(request) = protocol::decode::<Request>(&body) {
            let again = protocol::encode(&request);
            assert_eq!(protocol::decode(&again[4..]).as_ref(), Ok(&request));
            accepted = true;
        }
        if let Ok(answer) = protocol::decode::<Answer>(&body) {
            let again = protocol::encode(&answer);
            assert_eq!(protocol::decode(&again[4..]).as_ref(), Ok(&answer));
        }
    }
    visit(&input[..input.len().min(STREAM_BYTES_MAX)]);
    accepted
}

/// Sends the input, hears the answers. Those that are due at once come all, and in order; others
/// only to requests that may have them.
fn visit(input: &[u8]) {
    let (expected, requests) = expect(input);
    let mut stream = DAEMON.0.enter().expect("the system gives descriptors");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut preamble = [0; PREAMBLE.len()];
    stream.read_exact(&mut preamble).expect("a daemon that is there");
    assert_eq!(preamble, PREAMBLE);
    // A daemon that was sent nonsense has gone already.
    let sent = stream.write_all(&PREAMBLE).and_then(|()| stream.write_all(input));
    let _ = sent.and_then(|()| stream.shutdown(Shutdown::Write));
    let mut at_once = vec![];
    // The end is a reset if the daemon left something unread.
    while let Ok(Some(body)) = protocol::read_frame(&mut stream) {
        let Answer { id, reply } = protocol::decode(&body).expect("an answer");
        match reply {
            Reply::Refused { reason, .. } if IMMEDIATE.contains(&reason) => {
                at_once.push((id, Some(reason)));
            }
            Reply::Address { address } => {
                assert_eq!(address, DAEMON.1.to_string());
                at_once.push((id, None));
            }
            Reply::Message { .. } | Reply::Done => panic!("a message that nobody sent"),
            _ => assert!(requests.contains(&id), "an answer to nothing"),
        }
    }
    assert_eq!(at_once, expected);
}

/// The answers that are due at once, by request: the reason of a refusal, or none. And the
/// requests that may have others.
fn expect(input: &[u8]) -> (Vec<(u32, Option<Reason>)>, Vec<u32>) {
    let (mut stream, mut at_once, mut later) = (input, vec![], vec![]);
    loop {
        let body = match protocol::read_frame(&mut stream) {
            Ok(Some(body)) => body,
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                at_once.push((0, Some(Reason::Malformed)));
                break;
            }
            Ok(None) | Err(_) => break,
        };
        let Ok(Request { id, call }) = protocol::decode(&body) else {
            at_once.push((0, Some(Reason::Malformed)));
            break;
        };
        match call {
            Call::Send { deadline_ms, .. } if !(1..=DEADLINE_MS_MAX).contains(&deadline_ms) => {
                at_once.push((id, Some(Reason::BadDeadline)));
            }
            Call::Send { to, .. } if to.parse::<MailboxAddress>().is_err() => {
                at_once.push((id, Some(Reason::BadAddress)));
            }
            Call::Acknowledge { .. } => at_once.push((id, Some(Reason::NotYours))),
            Call::Address => at_once.push((id, None)),
            Call::Receive { .. } | Call::Send { .. } | Call::Status => later.push(id),
        }
    }
    (at_once, later)
}

/// Each request, several in one stream, some answers, a length that is too long; what a daemon
/// grants, and what it refuses for another reason each time.
pub fn seeds() -> Vec<Vec<u8>> {
    let send = |to: String, message: &[u8], deadline_ms| Call::Send {
        to,
        message: message.to_vec(),
        deadline_ms,
    };
    let ours = DAEMON.1.to_string();
    let calls = [
        send("a".repeat(160), &[1, 2, 3], 60_000),
        Call::Receive { wait_ms: 1000 },
        Call::Acknowledge { number: 7 },
        Call::Address,
        Call::Status,
        send(ours.clone(), &[1, 2, 3], 1000),
        send(ours.clone(), &[], 1000),
        send(ours, &[1], DEADLINE_MS_MAX + 1),
        Call::Receive { wait_ms: 0 },
    ];
    let requests = (1..).zip(calls).map(|(id, call)| protocol::encode(&Request { id, call }));
    let mut seeds: Vec<_> = requests.collect();
    seeds.push(seeds.concat());
    seeds.push(seeds[3].repeat(20));
    let replies = [
        Reply::Refused { reason: Reason::QueueFull, text: "later".into() },
        Reply::Message { number: 9, message: vec![4; 20] },
        Reply::Status { status: Status { refusal: Some("full".into()), ..Status::default() } },
    ];
    seeds.extend((1..).zip(replies).map(|(id, reply)| protocol::encode(&Answer { id, reply })));
    seeds.push(vec![0xff; 8]);
    seeds
}
