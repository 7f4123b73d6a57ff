//! The daemon as applications meet it: its socket, its protocol, what survives its end.

#[path = "support/scratch.rs"]
mod scratch;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mixline::client::api::{ApiError, Connection, Outcome};
use mixline::client::protocol::{self, Answer, Call, PREAMBLE, Reason, Reply, Request};
use mixline::host;

use scratch::Scratch;

/// How long something may take that takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "a test of real processes in real time")]
fn now() -> Instant {
    Instant::now()
}

/// A process of this test, killed at its end.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(scratch: &Scratch, arguments: &[&str]) -> Process {
    let child = scratch
        .mixline()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Process(child.expect("the program starts"))
}

/// A small network of processes, and one client's files.
struct World {
    // Fields are dropped in this order: processes end before their files go.
    _nodes: Vec<Process>,
    scratch: Scratch,
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

impl World {
    /// The files of a network; `nodes` says whether it runs.
    fn new(name: &str, number: u8, nodes: bool) -> Self {
        // Another process that runs the same test has others.
        let addresses = format!("127.{}.{}.0", 40 + number, std::process::id() & 255);
        let scratch = Scratch::new(&format!("daemon-{name}"));
        let network = scratch.files.join("network");
        let made = scratch
            .mixline()
            .args(["network", "init", "--static", "--mixes", "3", "--gateways", "1"])
            .args(["--delay-mean", "20ms", "--addresses", &addresses, text(&network)])
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("the program starts").success());
        let entries = fs::read_dir(network.join("nodes")).expect("it is a folder");
        let files = entries.map(|entry| entry.expect("a file").path().join("mixline.toml"));
        let run = |file: PathBuf| start(&scratch, &["run", "--die-with-parent", text(&file)]);
        let nodes = if nodes { files.map(run).collect() } else { vec![] };
        World { _nodes: nodes, scratch }
    }

    fn client(&self) -> PathBuf {
        self.scratch.files.join("network").join("client.toml")
    }

    fn socket(&self) -> PathBuf {
        self.scratch.files.join("run").join("client.sock")
    }

    /// Starts the daemon, and waits until it listens.
    fn daemon(&self) -> Process {
        let (client, socket) = (self.client(), self.socket());
        let arguments =
            ["client", "run", "--die-with-parent", "--socket", text(&socket), text(&client)];
        let daemon = start(&self.scratch, &arguments);
        let end = now() + PATIENCE;
        while Connection::open(&socket).is_err() {
            assert!(now() < end, "the daemon listens");
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    fn open(&self) -> Connection {
        Connection::open(&self.socket()).expect("the daemon listens")
    }

    /// Sends a message to this client itself, and waits until it is there.
    fn send(&self, connection: &mut Connection, message: &[u8]) {
        let to = connection.address().expect("the daemon has an address");
        let sent = connection.send(message.to_vec(), &to, PATIENCE).expect("it is taken");
        assert_eq!(connection.outcome(sent).expect("the daemon is there"), Outcome::Delivered);
        let end = now() + PATIENCE;
        while self.open().status().expect("the daemon is there").unread == 0 {
            assert!(now() < end, "the message comes back");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A stream that has exchanged greetings.
    fn stream(&self) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).expect("the daemon listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        protocol::greet(&mut stream).expect("it speaks this protocol");
        stream
    }
}

/// The next answer on a stream.
fn answer(stream: &mut UnixStream) -> Option<Answer> {
    let body = protocol::read_frame(stream).expect("a frame or the end")?;
    Some(protocol::decode(&body).expect("an answer"))
}

#[test]
fn applications_share_one_daemon_and_each_message_has_one_reader() {
    let world = World::new("share", 1, true);
    let _daemon = world.daemon();
    let (mut first, mut second) = (world.open(), world.open());
    assert_eq!(first.address().unwrap(), second.address().unwrap());
    world.send(&mut first, b"for one of us");

    let given = first.receive(PATIENCE).unwrap().expect("a message");
    assert_eq!(given.bytes, b"for one of us");
    assert_eq!(second.receive(Duration::ZERO).unwrap(), None);
    let stolen = second.acknowledge(given.number);
    assert!(matches!(stolen, Err(ApiError::Refused { reason: Reason::NotYours, .. })));

    // A reader that goes without acknowledging leaves it to the next one, who waits already.
    let waiting = std::thread::spawn(move || (second.receive(PATIENCE), second));
    drop(first);
    let (again, mut second) = waiting.join().unwrap();
    assert_eq!(again.unwrap().expect("a message").bytes, b"for one of us");
    second.acknowledge(given.number).unwrap();
    drop(second);
    assert_eq!(world.open().receive(Duration::ZERO).unwrap(), None);
}

#[test]
fn an_unread_message_outlives_the_daemon_and_an_acknowledged_one_does_not_come_back() {
    let world = World::new("restart", 2, true);
    let daemon = world.daemon();
    let mut connection = world.open();
    world.send(&mut connection, b"read");
    let read = connection.receive(PATIENCE).unwrap().expect("a message");
    connection.acknowledge(read.number).unwrap();
    // Some parts, so that they are there only as a message that was put together.
    let long = vec![5; 3000];
    world.send(&mut connection, &long);
    drop(daemon); // killed
    assert!(matches!(connection.status(), Err(ApiError::Ended | ApiError::Io(_))));

    let mut daemon = world.daemon();
    let mut connection = world.open();
    let unread = connection.receive(PATIENCE).unwrap().expect("a message");
    assert_eq!(unread.bytes, long);
    connection.acknowledge(unread.number).unwrap();
    assert_eq!(connection.receive(Duration::from_secs(2)).unwrap(), None);

    host::terminate(daemon.0.id());
    assert!(daemon.0.wait().expect("it ends").success());
    assert!(!world.socket().exists());
}

#[test]
fn what_makes_no_sense_is_refused_and_disturbs_nobody_else() {
    let world = World::new("nonsense", 3, false);
    let _daemon = world.daemon();
    let mut other = world.open();

    // Another protocol.
    let mut stream = UnixStream::connect(world.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut preamble = [0; PREAMBLE.len()];
    stream.read_exact(&mut preamble).unwrap();
    assert_eq!(preamble, PREAMBLE);
    let refusal = answer(&mut stream).expect("a refusal");
    assert!(matches!(refusal.reply, Reply::Refused { reason: Reason::Malformed, .. }));

    // Bodies that are no request, a length that no body has.
    let request = protocol::encode(&Request { id: 1, call: Call::Status });
    let one_more = [0, 0, 0, request[3] + 1];
    let longer = [&one_more[..], &request[4..], &[0]].concat();
    for frame in [&[0, 0, 0, 1, 0xff][..], &[0, 0, 0, 0], &[0xff, 0xff, 0xff, 0xff], &longer] {
        let mut stream = world.stream();
        stream.write_all(frame).unwrap();
        let refusal = answer(&mut stream).expect("a refusal");
        assert_eq!(refusal.id, 0);
        assert!(matches!(refusal.reply, Reply::Refused { reason: Reason::Malformed, .. }));
        assert!(answer(&mut stream).is_none(), "the connection ends");
    }

    // A frame that never comes whole, a greeting that never comes: they hold up nobody.
    let mut half = world.stream();
    half.write_all(&request[..5]).unwrap();
    let _silent = UnixStream::connect(world.socket()).unwrap();

    let status = other.status().expect("the daemon is there");
    assert!(!status.connected);
    let to = other.address().unwrap();
    for (message, reason, deadline) in [
        (vec![], Reason::Empty, PATIENCE),
        (vec![0; mixline::message::MESSAGE_BYTES_MAX + 1], Reason::TooLong, PATIENCE),
        (vec![0], Reason::BadDeadline, Duration::ZERO),
        (vec![0], Reason::BadDeadline, Duration::from_secs(30 * 86_400)),
    ] {
        let refused = other.send(message, &to, deadline);
        assert!(matches!(refused, Err(ApiError::Refused { reason: why, .. }) if why == reason));
    }
    let call = Call::Send { to: "nobody".into(), message: vec![1], deadline_ms: 1000 };
    let mut stream = world.stream();
    stream.write_all(&protocol::encode(&Request { id: 9, call })).unwrap();
    let refusal = answer(&mut stream).expect("a refusal");
    assert_eq!(refusal.id, 9);
    assert!(matches!(refusal.reply, Reply::Refused { reason: Reason::BadAddress, .. }));
}

#[test]
fn a_message_that_nobody_acknowledges_fails_at_its_deadline() {
    let world = World::new("deadline", 4, false);
    let _daemon = world.daemon();
    let mut connection = world.open();
    let to = connection.address().unwrap();
    let sent = connection.send(vec![1; 100], &to, Duration::from_millis(300)).unwrap();
    let outcome = connection.outcome(sent).unwrap();
    assert!(matches!(outcome, Outcome::Failed { reason: Reason::Unanswered, .. }), "{outcome:?}");
}

#[test]
fn the_socket_is_for_its_user_alone_and_for_one_daemon() {
    let world = World::new("socket", 5, false);
    let daemon = world.daemon();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&world.socket()), 0o600);
    assert_eq!(mode(world.socket().parent().unwrap()), 0o700);
    assert_eq!(mode(&world.scratch.files.join("network").join("spool.redb")), 0o600);
    let (client, socket) = (world.client(), world.socket());
    let mut second =
        start(&world.scratch, &["client", "run", "--socket", text(&socket), text(&client)]);
    assert!(!second.0.wait().expect("it ends").success());
    assert!(world.open().status().is_ok());
    // One that was killed leaves its socket; the next takes its place.
    drop(daemon);
    assert!(socket.exists());
    let _daemon = world.daemon();
    assert!(world.open().status().is_ok());
}

#[test]
fn more_applications_than_allowed_are_told_so() {
    let world = World::new("many", 6, false);
    let _daemon = world.daemon();
    let mut all: Vec<Connection> = (0..70).map(|_| world.open()).collect();
    let refused = all
        .iter_mut()
        .map(Connection::status)
        .filter(|status| matches!(status, Err(ApiError::Refused { reason: Reason::TooMany, .. })))
        .count();
    // Those with which the test looked whether the daemon listens may not be gone yet.
    assert!((6..=10).contains(&refused), "{refused}");
    drop(all);
    let end = now() + PATIENCE;
    while world.open().status().is_err() {
        assert!(now() < end, "there is room again");
        std::thread::sleep(Duration::from_millis(20));
    }
}
