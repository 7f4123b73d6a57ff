//! A network of real processes with an authority, its files in a folder of its own.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use mixline::clock::{self, Nanos};
use mixline::config::load_anchor;
use mixline::crypto::random::Rng;
use mixline::network::{self, DirectoryPlan, NodeSummary, Options, Summary};
use mixline::pki::{Consensus, Rate, Rates};

use crate::http;
use crate::scratch::Scratch;

/// A running `mixline`; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(scratch: &Scratch, log: &Path, arguments: &[&str]) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log");
        let mut child = scratch
            .mixline()
            .args(arguments)
            .env("NOTIFY_SOCKET", scratch.files.join("notify"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Process { input: child.stdin.take(), child, lines }
    }

    /// The next line that it prints.
    pub(crate) fn line(&self, patience: Duration) -> Option<String> {
        self.lines.recv_timeout(patience).ok()
    }

    pub(crate) fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is open");
        writeln!(input, "{line}").expect("it reads");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The network's files, and the processes that run.
pub(crate) struct World {
    pub(crate) summary: Summary,
    pub(crate) authority: Option<Process>,
    pub(crate) nodes: Vec<Option<Process>>,
    pub(crate) address: SocketAddr,
    notify: UnixDatagram,
    pub(crate) scratch: Scratch,
}

impl World {
    /// Four mixes in three layers and two gateways, in epochs of `epoch_s` seconds.
    pub(crate) fn new(name: &str, epoch_s: u64) -> Self {
        let scratch = Scratch::new(&format!("directory-{name}"));
        let id = std::process::id().to_be_bytes();
        let base = Ipv4Addr::new(127, 64 | (id[2] & 63), id[3], 0);
        let address = SocketAddr::from((Ipv4Addr::from(u32::from(base) + 100), 7780));
        let options = Options {
            mixes: 4,
            addresses: base,
            delay_mean: Duration::from_millis(50),
            rates: Rates { payload: Rate::per_second(100), ..Rates::default() },
            directory: Some(DirectoryPlan { address, epoch: Duration::from_secs(epoch_s) }),
            ..Options::new(scratch.files.join("network"))
        };
        let made = network::init(&options, &mut Rng::from_os(), clock::wall());
        let summary = made.expect("a network");
        let nodes = summary.nodes.iter().map(|_| None).collect();
        let notify = UnixDatagram::bind(scratch.files.join("notify")).expect("a new socket");
        World { summary, authority: None, nodes, address, notify, scratch }
    }

    pub(crate) fn start_authority(&mut self) {
        let config = self.summary.authority.clone().expect("there is a directory");
        let arguments = ["authority", "run", "--die-with-parent", text(&config)];
        self.authority = Some(self.start("authority", &arguments));
    }

    pub(crate) fn start_node(&mut self, place: usize) {
        let NodeSummary { name, config, .. } = &self.summary.nodes[place];
        let arguments = ["run", "--die-with-parent", text(config)];
        self.nodes[place] = Some(self.start(name, &arguments));
    }

    pub(crate) fn start_client(&self, command: &str, arguments: &[&str]) -> Process {
        let config = text(&self.summary.client);
        let all = [&[command, "--die-with-parent", config], arguments].concat();
        self.start(command, &all)
    }

    fn start(&self, name: &str, arguments: &[&str]) -> Process {
        let log = self.scratch.files.join(format!("{name}.log"));
        Process::start(&self.scratch, &log, arguments)
    }

    /// Waits until `count` nodes that were started say that all their links have sessions.
    #[track_caller]
    pub(crate) fn wait_until_connected(&self, count: usize) {
        self.notify.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
        let (mut connected, mut text) = (0, [0; 1024]);
        while connected < count {
            let length = self.notify.recv(&mut text).expect("the nodes connect");
            connected += usize::from(text[..length] == *mixline::node::CONNECTED.as_bytes());
        }
    }

    /// The exact bytes of a consensus, if there is one.
    pub(crate) fn bytes(&self, which: &str) -> Option<Vec<u8>> {
        let path = format!("/v1/consensus/{which}");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.address);
        let answer = http::exchange(self.address, request.as_bytes())?;
        (answer.status == 200).then_some(answer.body)
    }

    pub(crate) fn consensus(&self, which: &str) -> Option<Consensus> {
        let anchor = load_anchor(&self.summary.anchor).expect("a trust anchor");
        let bytes = self.bytes(which)?;
        Some(Consensus::verify(&bytes, &anchor, clock::wall(), None).expect("a valid consensus"))
    }

    /// The epochs whose key files a node has.
    pub(crate) fn key_epochs(&self, place: usize) -> Vec<u64> {
        let keys = self.summary.nodes[place].config.with_file_name("keys");
        mixline::pki::KeyFolder::with_credentials(&keys, None).epochs().expect("a key folder")
    }
}

/// What `look` finds, within `patience`.
#[track_caller]
pub(crate) fn wait_for<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let start = clock::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock::now() - start < Nanos::from(patience), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}
