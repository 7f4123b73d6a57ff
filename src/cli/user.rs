//! `send` and `recv`: a user's end of the network, for as long as the command runs.

use std::io::{BufRead, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};

use clap::Args;
use data_encoding::BASE64;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Failure, Status, parse_span, print};
use crate::client::{Client, Connection};
use crate::clock::{self, Nanos};
use crate::config::{ClientFile, GatewayChoice};
use crate::crypto::random::Rng;
use crate::demo::Line;
use crate::host;
use crate::io::udp::{self, UdpPort};
use crate::io::wake::{self, Sleeper, Waker};
use crate::node::load_consensus;
use crate::pki::{Consensus, MailboxAddress, MailboxKeys, Node, Role};

/// How long a gateway may take to let us in.
const CONNECT_MAX: Nanos = Nanos::from_secs(15);
/// How long saying goodbye may take.
const FAREWELL_MAX: Nanos = Nanos::from_millis(500);
/// The longest sleep, so that a signal is seen soon.
const LOOK: Nanos = Nanos::from_millis(100);
/// Messages read from standard input before the network took the earlier ones.
const READ_AHEAD_MESSAGES: usize = 64;

#[derive(Debug, Args)]
pub(super) struct SendArguments {
    /// The client's configuration.
    file: PathBuf,
    /// The mailbox to send to: what `mixline recv` printed.
    #[arg(long)]
    to: MailboxAddress,
    /// The message; without it, standard input is the message.
    #[arg(long, conflicts_with = "lines")]
    message: Option<String>,
    /// Every line of standard input is a message, as JSON: {"base64": "..."}.
    #[arg(long)]
    lines: bool,
    /// The gateway to enter by: its name or identity; the configuration names the default.
    #[arg(long)]
    gateway: Option<GatewayChoice>,
    /// Stop when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReceiveArguments {
    /// The client's configuration.
    file: PathBuf,
    /// The mailbox's key file, made if it is not there; the configuration names the default.
    #[arg(long)]
    mailbox: Option<PathBuf>,
    /// The gateway that keeps the mailbox: its name or identity.
    #[arg(long)]
    gateway: Option<GatewayChoice>,
    /// Stop after so many messages.
    #[arg(long)]
    count: Option<u64>,
    /// Stop after so long, as "30s".
    #[arg(long, value_parser = parse_span)]
    wait: Option<Nanos>,
    /// Print everything as JSON, one object a line.
    #[arg(long)]
    json: bool,
    /// Stop when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
}

/// A client, what it sleeps on, and the wish to stop.
struct Session {
    client: Client<UdpPort>,
    gateway: String,
    sleeper: Sleeper,
    waker: Waker,
    stop: Arc<AtomicBool>,
}

/// Sends one message, or every line of standard input.
pub(super) fn send(arguments: &SendArguments) -> Result<(), Failure> {
    if arguments.die_with_parent {
        host::die_with_parent();
    }
    let file = ClientFile::load(&arguments.file)?;
    let mut session = Session::start(&file, arguments.gateway.as_ref(), None)?;
    let messages = read_messages(arguments, session.waker.clone());
    session.connect()?;
    loop {
        let ended = loop {
            match messages.try_recv() {
                Ok(message) => session.client.submit(&message?, &arguments.to)?,
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        if session.must_stop() || (ended && session.client.waiting() == 0) {
            return session.end();
        }
        session.turn();
    }
}

/// Prints what arrives in a mailbox.
pub(super) fn receive(arguments: &ReceiveArguments) -> Result<(), Failure> {
    if arguments.die_with_parent {
        host::die_with_parent();
    }
    let file = ClientFile::load(&arguments.file)?;
    let path = arguments.mailbox.as_ref().unwrap_or(&file.mailbox);
    let keys = load_or_make(path)?;
    let mut session = Session::start(&file, arguments.gateway.as_ref(), Some(keys))?;
    session.connect()?;
    if let Some(address) = session.client.address() {
        let line = if arguments.json {
            format!("{{\"address\":\"{address}\"}}\n")
        } else {
            format!("{address}\n")
        };
        print(&line)?;
    }
    let start = clock::now();
    let mut left = arguments.count.unwrap_or(u64::MAX);
    loop {
        while let Some(message) = session.client.received() {
            print_message(&message, arguments.json)?;
            left -= 1;
            if left == 0 {
                // One more turn, so that the gateway hears that the last letter is here.
                session.turn();
                return session.end();
            }
        }
        let waited = arguments.wait.is_some_and(|wait| clock::now() - start >= wait);
        if waited && arguments.count.is_some() {
            let missing = format!("{left} messages did not arrive in time");
            return Err(Failure::new(Status::TryAgain, missing));
        }
        if waited || session.must_stop() {
            return session.end();
        }
        session.turn();
    }
}

impl Session {
    fn start(
        file: &ClientFile,
        gateway: Option<&GatewayChoice>,
        keys: Option<MailboxKeys>,
    ) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, stop.clone()).map_err(|error| {
                Failure::new(Status::Failure, format!("cannot hear signals: {error}"))
            })?;
        }
        let consensus = Arc::new(load_consensus(&file.network, &file.consensus)?);
        let node = choose_gateway(&consensus, gateway.or(file.gateway.as_ref()))?;
        let address = node.addresses().first().copied().ok_or_else(|| {
            Failure::new(Status::Configuration, format!("gateway {} has no address", node.name()))
        })?;
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let datagram_bytes = consensus.geometry().datagram_bytes();
        let port = UdpPort::open(&udp::Options::new(local, datagram_bytes))?;
        let (sleeper, waker) = wake::pair()?;
        let mut rng = Rng::from_os();
        let connection =
            Connection::new(&consensus, node, port, clock::now(), clock::wall(), &mut rng)
                .map_err(|error| Failure::new(Status::Configuration, error))?;
        let gateway = format!("{} at {address}", node.name());
        let client = Client::new(connection, consensus.clone(), node.id(), keys, rng);
        Ok(Session { client, gateway, sleeper, waker, stop })
    }

    /// Takes turns until the gateway has let us in.
    fn connect(&mut self) -> Result<(), Failure> {
        let start = clock::now();
        while !self.client.is_ready() {
            if let Some(refusal) = self.client.refusal() {
                let message = format!("gateway {}: {refusal}", self.gateway);
                return Err(Failure::new(Status::Unavailable, message));
            }
            if clock::now() - start > CONNECT_MAX || self.must_stop() {
                let message = format!(
                    "gateway {} does not answer: is it running, is UDP let through, is this \
                     machine's clock right?",
                    self.gateway
                );
                return Err(Failure::new(Status::Unavailable, message));
            }
            self.turn();
        }
        Ok(())
    }

    fn turn(&mut self) {
        let now = clock::now();
        if self.client.turn(now, clock::wall()) == 0 {
            let until = self.client.next_due().min(now + LOOK);
            self.sleeper.sleep(self.client.connection().port(), now, until);
        }
    }

    fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Says goodbye to the gateway; what was sent has left then, too.
    fn end(mut self) -> Result<(), Failure> {
        let start = clock::now();
        self.client.close(start);
        while !self.client.connection().is_closed() && clock::now() - start < FAREWELL_MAX {
            self.turn();
        }
        match self.client.waiting() {
            0 => Ok(()),
            left => Err(Failure::new(Status::TryAgain, format!("{left} messages were not sent"))),
        }
    }
}

/// The gateway that `wanted` names.
fn choose_gateway<'a>(
    consensus: &'a Consensus,
    wanted: Option<&GatewayChoice>,
) -> Result<&'a Node, Failure> {
    let found = match wanted {
        Some(GatewayChoice::Id(id)) => consensus.node(id),
        Some(GatewayChoice::Name(name)) => consensus.node_named(name),
        None => None,
    };
    found.filter(|node| node.role() == Role::Gateway).ok_or_else(|| {
        let names: Vec<_> = consensus.gateways().iter().map(Node::name).collect();
        let names = names.join(", ");
        let message = match wanted {
            Some(wanted) => format!("{wanted} is no gateway of the consensus: it has {names}"),
            None => format!("no gateway chosen: use --gateway with one of {names}"),
        };
        Failure::new(Status::Usage, message)
    })
}

fn load_or_make(path: &Path) -> Result<MailboxKeys, Failure> {
    if path.exists() {
        return Ok(MailboxKeys::load(path)?);
    }
    let keys = MailboxKeys::generate(&mut Rng::from_os());
    keys.create(path)?;
    Ok(keys)
}

/// Reads the messages on a thread of its own, so that the network never waits for a terminal.
fn read_messages(arguments: &SendArguments, waker: Waker) -> Receiver<Result<Vec<u8>, Failure>> {
    let (sender, receiver) = mpsc::sync_channel(READ_AHEAD_MESSAGES);
    let (message, lines) = (arguments.message.clone(), arguments.lines);
    std::thread::spawn(move || {
        let give = |message| {
            let taken = sender.send(message).is_ok();
            waker.wake();
            taken
        };
        match message {
            Some(message) => _ = give(Ok(message.into_bytes())),
            None if lines => {
                let mut all = std::io::stdin().lock().lines().map(read_line);
                while all.next().is_some_and(&give) {}
            }
            None => {
                let mut bytes = Vec::new();
                let read = std::io::stdin().lock().read_to_end(&mut bytes);
                give(read.map(|_| bytes).map_err(|error| no_input(&error)));
            }
        }
        drop(sender);
        waker.wake();
    });
    receiver
}

fn read_line(line: std::io::Result<String>) -> Result<Vec<u8>, Failure> {
    let line = line.map_err(|error| no_input(&error))?;
    let parsed: Line = serde_json::from_str(&line)
        .map_err(|error| Failure::new(Status::Usage, format!("standard input: {error}")))?;
    BASE64
        .decode(parsed.base64.as_bytes())
        .map_err(|error| Failure::new(Status::Usage, format!("standard input: {error}")))
}

fn no_input(error: &std::io::Error) -> Failure {
    Failure::new(Status::InputMissing, format!("cannot read standard input: {error}"))
}

fn print_message(message: &[u8], json: bool) -> Result<(), Failure> {
    if json {
        let line = Line { base64: BASE64.encode(message) };
        print(&format!("{}\n", serde_json::to_string(&line).unwrap_or_default()))
    } else {
        print(&format!("{}\n", shown(message)))
    }
}

/// A stranger's message as text: nothing in it may move the cursor or colour the terminal.
fn shown(message: &[u8]) -> String {
    let plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
    let text = String::from_utf8_lossy(message);
    text.chars().map(|c| if plain(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}
