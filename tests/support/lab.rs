//! A network of real processes on loopback addresses, for tests that kill and probe them.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mixline::clock;
use mixline::crypto::random::Rng;
use mixline::network::{self, NodeSummary};
use mixline::node;
use mixline::pki::{Consensus, Role};

use crate::scratch::Scratch;

/// How long a node may take to connect its links.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// Addresses for test `number` of this process, that no other uses at the same time.
pub(crate) fn addresses(number: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 80 + high % 100, low, number * 16)
}

/// A network's files, and what they hold.
pub(crate) struct Lab {
    pub(crate) scratch: Scratch,
    pub(crate) nodes: Vec<NodeSummary>,
    pub(crate) consensus: Arc<Consensus>,
}

impl Lab {
    /// The network that `options` ask for, in a folder of its own; made again until `suits`.
    pub(crate) fn new(
        name: &str,
        options: &network::Options,
        suits: impl Fn(&[NodeSummary]) -> bool,
    ) -> Self {
        let scratch = Scratch::new(name);
        let root = scratch.files.join("network");
        loop {
            let options = network::Options { folder: root.clone(), ..options.clone() };
            let made = network::init(&options, &mut Rng::from_os(), clock::wall())
                .expect("the network can be made");
            if suits(&made.nodes) {
                let consensus = node::load_consensus(&made.anchor, &made.consensus);
                let consensus = Arc::new(consensus.expect("the consensus is good"));
                return Lab { scratch, nodes: made.nodes, consensus };
            }
            fs::remove_dir_all(&root).expect("the folder is ours");
        }
    }

    /// The first node of a kind.
    pub(crate) fn first(&self, role: Role) -> &NodeSummary {
        self.nodes.iter().find(|node| node.role == role).expect("there is one")
    }

    /// Starts a node.
    pub(crate) fn start(&self, node: &NodeSummary) -> Process {
        Process::start(&self.scratch, node)
    }
}

/// A node's process, killed at the end.
pub(crate) struct Process {
    child: Child,
    notify: UnixDatagram,
}

impl Process {
    fn start(scratch: &Scratch, node: &NodeSummary) -> Self {
        let mut command = scratch.mixline();
        command.args(["run", "--die-with-parent"]).arg(&node.config);
        Self::spawn(&scratch.files, &node.name, command)
    }

    /// Starts `command` as the process `name`, whose log goes to `folder`.
    pub(crate) fn spawn(folder: &Path, name: &str, mut command: Command) -> Self {
        let socket = folder.join(format!("notify-{name}"));
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).expect("a socket in our folder");
        notify.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout can be set");
        let log = fs::File::create(folder.join(format!("{name}.log"))).expect("a new file");
        let child = command
            .env("NOTIFY_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        Process { child, notify }
    }

    /// Waits until the node says `state`.
    #[track_caller]
    pub(crate) fn wait_for(&self, state: &str) {
        self.wait_as_long_as(CONNECT_MAX, state);
    }

    /// As [`Process::wait_for`], with another patience.
    #[track_caller]
    pub(crate) fn wait_as_long_as(&self, patience: Duration, state: &str) {
        let (end, mut said) = (instant() + patience, [0; 256]);
        while instant() < end {
            let Ok(length) = self.notify.recv(&mut said) else { continue };
            if String::from_utf8_lossy(&said[..length]).contains(state) {
                return;
            }
        }
        panic!("the node did not say {state:?}");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test of real processes in real time")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
