//! The demo's network: its files, its node processes, its clients.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::processes::Process;
use super::report::Progress;
use super::site::{PORT, Site};
use super::{DemoError, GATEWAYS, Interrupt, LAYERS, Options, check};
use crate::client::api::Connection;
use crate::clock;
use crate::crypto::random::Rng;
use crate::network::{self, DirectoryPlan, NodeSummary};
use crate::node::Totals;
use crate::pki::{MailboxAddress, Rate, Rates};

/// The length of an epoch.
const EPOCH: Duration = Duration::from_secs(120);
/// How often the demo's clients send.
const MESSAGE_RATE: Rate = Rate::per_second(200);
/// How long the network may take to connect all its links.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long a node may take to end.
const END_MAX: Duration = Duration::from_secs(10);
/// How long a client may take to be let in.
const CLIENT_MAX: Duration = Duration::from_secs(45);
/// How often the demo looks whether a client is let in.
const LOOK: Duration = Duration::from_millis(50);

/// A running network. Dropping it ends its processes and removes its files.
pub(super) struct Network {
    authority: Process,
    nodes: Vec<Process>,
    users: Vec<User>,
    /// Where each node shows its metrics.
    metrics: Vec<SocketAddr>,
    client_config: PathBuf,
    /// Behind the processes that use it: fields are dropped in order.
    folder: Folder,
    /// Held until all of them have ended.
    site: Site,
}

/// A client of the demo.
pub(super) struct User {
    pub(super) name: String,
    process: Process,
    pub(super) socket: PathBuf,
    pub(super) address: MailboxAddress,
}

impl Network {
    pub(super) fn start(
        options: Options,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<Self, DemoError> {
        let folder = Folder::new()?;
        let site = Site::prepare(options)?;
        let made = make(options, &site, &folder)?;
        let socket = folder.0.join("notify");
        let notify = UnixDatagram::bind(&socket)
            .map_err(|source| DemoError::Folder { path: socket.clone(), source })?;
        let authority = made.authority.unwrap_or_default();
        let arguments = [
            OsStr::new("authority"),
            "run".as_ref(),
            "--die-with-parent".as_ref(),
            authority.as_ref(),
        ];
        let authority = Process::start("authority", &folder.0, site.hub(), arguments, &[])?;
        let tables = folder.for_tables();
        let mut nodes = Vec::new();
        for (number, NodeSummary { name, config, .. }) in made.nodes.iter().enumerate() {
            let arguments = [OsStr::new("run"), "--die-with-parent".as_ref(), config.as_ref()];
            let environment = [("NOTIFY_SOCKET", socket.as_ref()), ("RUNTIME_DIRECTORY", &*tables)];
            let place = site.of_node(number);
            nodes.push(Process::start(name, &folder.0, place, arguments, &environment)?);
        }
        let (users, client_config) = (Vec::new(), made.client);
        let metrics = made.nodes.iter().map(|node| network::metrics_at(node.address)).collect();
        let mut network = Network { authority, nodes, users, metrics, client_config, folder, site };
        network.wait_until_connected(&notify, interrupt, progress)?;
        for number in 1..=GATEWAYS {
            let user = network.start_user(number, interrupt)?;
            network.users.push(user);
        }
        Ok(network)
    }

    /// The clients, one at each gateway.
    pub(super) fn users(&self) -> &[User] {
        &self.users
    }

    /// Whether all processes are there.
    pub(super) fn check_processes(&mut self) -> Result<(), DemoError> {
        let nodes = self.nodes.iter_mut().chain([&mut self.authority]);
        let mut all = nodes.chain(self.users.iter_mut().map(|user| &mut user.process));
        all.find_map(Process::ended).map_or(Ok(()), Err)
    }

    /// Starts the client of the gateway `number`, and waits until it is let in.
    fn start_user(&self, number: usize, interrupt: &Interrupt) -> Result<User, DemoError> {
        let name = format!("client-{number}");
        let gateway = format!("gateway-{number}");
        let path = |kind: &str| self.folder.0.join(format!("{name}.{kind}"));
        let (mailbox, spool, socket) = (path("key"), path("spool"), path("sock"));
        let mut process = Process::start(
            &name,
            &self.folder.0,
            self.site.hub(),
            [
                OsStr::new("client"),
                "run".as_ref(),
                "--die-with-parent".as_ref(),
                "--gateway".as_ref(),
                gateway.as_ref(),
                "--mailbox".as_ref(),
                mailbox.as_ref(),
                "--spool".as_ref(),
                spool.as_ref(),
                "--socket".as_ref(),
                socket.as_ref(),
                self.client_config.as_ref(),
            ],
            &[],
        )?;
        let start = clock::now();
        loop {
            check(interrupt)?;
            if let Some(ended) = process.ended() {
                return Err(ended);
            }
            if let Ok(mut connection) = Connection::open(&socket)
                && connection.status()?.connected
            {
                let address = connection.address()?;
                return Ok(User { name, process, socket, address });
            }
            if clock::now() - start > CLIENT_MAX.into() {
                return Err(DemoError::Client { name, line: None });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Ends every node and adds up what they counted.
    pub(super) fn finish(mut self) -> Totals {
        let mut totals = Totals::default();
        self.users.clear();
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

    pub(super) fn how_to_use(&self) -> String {
        let config = self.client_config.display();
        let [first, second, ..] = &self.users[..] else { return String::new() };
        // Other programs enter a network by a process that is in it.
        let enter = |process: &Process| format!("nsenter --net=/proc/{}/ns/net ", process.pid());
        let hub = self.site.hub().map_or(String::new(), |_| enter(&self.authority));
        format!(
            "The network runs until Ctrl-C, and with it two clients, {} and {}.\n\
             With a client of your own, from two other terminals:\n  \
             {hub}mixline client run {config}\n  \
             echo hello | {hub}mixline send --to $({hub}mixline address {config}) {config}\n  \
             {hub}mixline recv --count 1 {config}\n\
             Sockets of the two clients, for programs (docs/client-protocol.md):\n  {}\n  {}\n\
             Metrics, one address a node (docs/operations.md):\n  {}",
            first.name,
            second.name,
            first.socket.display(),
            second.socket.display(),
            self.how_to_see_metrics(enter),
        )
    }

    /// On machines of their own all have the same address, which only the machine itself reaches.
    fn how_to_see_metrics(&self, enter: impl Fn(&Process) -> String) -> String {
        let ([one, .., last], [first, .., end]) = (&self.metrics[..], &self.nodes[..]) else {
            return String::new();
        };
        match self.site.hub() {
            None => format!("http://{one}/metrics to http://{last}/metrics"),
            Some(_) => format!(
                "{}curl http://{one}/metrics ({}) to\n  {}curl http://{last}/metrics ({})",
                enter(first),
                first.name,
                enter(end),
                end.name,
            ),
        }
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
            let ended = self.nodes.iter_mut().find_map(Process::ended);
            if let Some(ended) = ended.or_else(|| self.authority.ended()) {
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

/// Makes the network's files.
fn make(options: Options, site: &Site, folder: &Folder) -> Result<network::Summary, DemoError> {
    let layout = network::Options {
        mixes: options.mixes,
        layers: LAYERS,
        gateways: GATEWAYS,
        rates: Rates { payload: MESSAGE_RATE, ..Rates::default() },
        directory: Some(DirectoryPlan { address: site.authority(), epoch: EPOCH }),
        addresses: site.base(),
        port: PORT,
        port_mode: site.port_mode(),
        ..network::Options::new(folder.0.join("network"))
    };
    Ok(network::init(&layout, &mut Rng::from_os(), clock::wall())?)
}

/// The folders of the network's files and of its replay tables, removed at the end.
struct Folder(PathBuf, PathBuf);

impl Folder {
    fn new() -> Result<Self, DemoError> {
        let name = format!("mixline-demo-{:016x}", Rng::from_os().next_u64());
        let path = std::env::temp_dir().join(&name);
        private_folder(&path).map_err(|source| DemoError::Folder { path: path.clone(), source })?;
        // Where there is no such memory, nodes find that out and say what they do instead.
        let service = std::env::var_os("RUNTIME_DIRECTORY");
        let mut places = service.iter().flat_map(std::env::split_paths);
        let tables = places.next().unwrap_or_else(|| "/dev/shm".into()).join(name);
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
