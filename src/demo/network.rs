//! The demo's network: its files, its node processes, its clients.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::processes::Process;
use super::report::Progress;
use super::{DemoError, GATEWAYS, Interrupt, LAYERS, Options, check};
use crate::clock;
use crate::crypto::random::Rng;
use crate::message::envelope;
use crate::network::{self, NodeSummary};
use crate::node::Totals;
use crate::pki::{Rate, Rates};
use crate::sphinx::Geometry;

/// The port of every node of a demo; their addresses differ.
const PORT: u16 = 7700;
/// How often the demo's clients send.
const MESSAGE_RATE: Rate = Rate::per_second(200);
/// How long the network may take to connect all its links.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long a node may take to end.
const END_MAX: Duration = Duration::from_secs(10);
/// How long a client may take to say its first line.
const CLIENT_MAX: Duration = Duration::from_secs(15);

/// A running network. Dropping it ends its processes and removes its files.
pub(super) struct Network {
    folder: Folder,
    nodes: Vec<Process>,
    client_config: PathBuf,
}

/// The receiving client and the address that it printed.
pub(super) struct Receiver {
    pub(super) process: Process,
    pub(super) address: String,
}

impl Network {
    pub(super) fn start(
        options: Options,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<Self, DemoError> {
        let folder = Folder::new()?;
        let layout = network::Options {
            mixes: options.mixes,
            layers: LAYERS,
            gateways: GATEWAYS,
            rates: Rates { payload: MESSAGE_RATE, ..Rates::default() },
            addresses: free_addresses(options.mixes + GATEWAYS)?,
            port: PORT,
            ..network::Options::new(folder.0.join("network"))
        };
        let made = network::init(&layout, &mut Rng::from_os(), clock::wall())?;
        let socket = folder.0.join("notify");
        let notify = UnixDatagram::bind(&socket)
            .map_err(|source| DemoError::Folder { path: socket.clone(), source })?;
        let tables = folder.for_tables();
        let mut nodes = Vec::new();
        for NodeSummary { name, config, .. } in &made.nodes {
            let arguments = [OsStr::new("run"), "--die-with-parent".as_ref(), config.as_ref()];
            let environment = [("NOTIFY_SOCKET", socket.as_ref()), ("RUNTIME_DIRECTORY", &*tables)];
            nodes.push(Process::start(name, &folder.0, arguments, &environment)?);
        }
        let mut network = Network { folder, nodes, client_config: made.client };
        network.wait_until_connected(&notify, interrupt, progress)?;
        Ok(network)
    }

    pub(super) fn start_receiver(&self) -> Result<Receiver, DemoError> {
        let name = "receiving client";
        let config = &self.client_config;
        let mailbox = self.folder.0.join("mailbox.key");
        let process = Process::start(
            name,
            &self.folder.0,
            [
                OsStr::new("recv"),
                "--die-with-parent".as_ref(),
                "--json".as_ref(),
                "--gateway".as_ref(),
                "gateway-2".as_ref(),
                "--mailbox".as_ref(),
                mailbox.as_ref(),
                config.as_ref(),
            ],
            &[],
        )?;
        #[derive(Deserialize)]
        struct Open {
            address: String,
        }
        let line = process.line(CLIENT_MAX);
        match line.as_deref().map(serde_json::from_str::<Open>) {
            Some(Ok(open)) => Ok(Receiver { process, address: open.address }),
            _ => Err(DemoError::Client { name: name.to_owned(), line }),
        }
    }

    pub(super) fn start_sender(&self, address: &str) -> Result<Process, DemoError> {
        let config = &self.client_config;
        Process::start(
            "sending client",
            &self.folder.0,
            [
                OsStr::new("send"),
                "--die-with-parent".as_ref(),
                "--lines".as_ref(),
                "--gateway".as_ref(),
                "gateway-1".as_ref(),
                "--to".as_ref(),
                address.as_ref(),
                config.as_ref(),
            ],
            &[],
        )
    }

    /// Ends every node and adds up what they counted.
    pub(super) fn finish(mut self) -> Totals {
        let mut totals = Totals::default();
        // All at once: each drains while the others do.
        self.nodes.iter().for_each(Process::terminate);
        for node in self.nodes.drain(..) {
            let line = node.finish(END_MAX);
            if let Some(own) = line.and_then(|line| serde_json::from_str(&line).ok()) {
                totals.add(&own);
            }
        }
        totals
    }

    /// The most bytes of a message that fits one packet.
    pub(super) fn message_bytes_max(&self) -> usize {
        Geometry::DEFAULT.message_bytes_max() - envelope::OVERHEAD_BYTES
    }

    pub(super) fn how_to_use(&self) -> String {
        let config = self.client_config.display();
        format!(
            "The network runs until Ctrl-C. From two other terminals:\n  \
             mixline recv {config}      (prints its address, then what arrives)\n  \
             echo hello | mixline send --to ADDRESS {config}"
        )
    }

    fn wait_until_connected(
        &mut self,
        notify: &UnixDatagram,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(), DemoError> {
        let _ = notify.set_read_timeout(Some(Duration::from_millis(50)));
        let start = clock::now();
        let (mut connected, mut message) = (0, [0; 1024]);
        while connected < self.nodes.len() {
            check(interrupt)?;
            if let Some(ended) = self.nodes.iter_mut().find_map(Process::ended) {
                return Err(ended);
            }
            if clock::now() - start > READY_MAX.into() {
                let (ready, nodes) = (connected, self.nodes.len());
                return Err(DemoError::NotReady { ready, nodes, seconds: READY_MAX.as_secs() });
            }
            if let Ok(length) = notify.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..length]);
                connected += usize::from(text.lines().any(|line| line == crate::node::CONNECTED));
                progress.nodes(connected, self.nodes.len());
            }
        }
        Ok(())
    }
}

/// The folders of the network's files and of its replay tables, removed at the end.
struct Folder(PathBuf, PathBuf);

impl Folder {
    fn new() -> Result<Self, DemoError> {
        let name = format!("mixline-demo-{:016x}", Rng::from_os().next_u64());
        let path = std::env::temp_dir().join(&name);
        private_folder(&path).map_err(|source| DemoError::Folder { path: path.clone(), source })?;
        // Where there is no such memory, nodes find that out and say what they do instead.
        let tables = Path::new("/dev/shm").join(name);
        let _ = private_folder(&tables);
        Ok(Folder(path, tables))
    }

    /// Where replay tables may lie, the first that is in memory.
    fn for_tables(&self) -> OsString {
        let mut folders = self.0.clone().into_os_string();
        folders.push(":");
        folders.push(&self.1);
        folders
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is a temporary file less to worry about at the next boot.
        let _ = fs::remove_dir_all(&self.0);
        let _ = fs::remove_dir_all(&self.1);
    }
}

fn private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// The address before `count` loopback addresses that nobody uses: one subnet of 127.77.0.0/16 a demo, so that several run
/// side by side.
fn free_addresses(count: usize) -> Result<Ipv4Addr, DemoError> {
    let mut rng = Rng::from_os();
    for _ in 0..16 {
        let subnet = u8::try_from(rng.below(256)).unwrap_or(0);
        let free = (1..=count).all(|host| {
            let host = u8::try_from(host).unwrap_or(u8::MAX);
            UdpSocket::bind((Ipv4Addr::new(127, 77, subnet, host), PORT)).is_ok()
        });
        if free {
            return Ok(Ipv4Addr::new(127, 77, subnet, 0));
        }
    }
    Err(DemoError::NoAddresses { port: PORT })
}
