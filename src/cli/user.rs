//! `send`, `recv`, `address` and `status`: what a user says to the client.
//!
//! The daemon does it if one runs; else a client within this process, for as long as it takes.

use std::io::{BufRead, IsTerminal as _, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::Duration;

use clap::Args;
use data_encoding::BASE64;
use indicatif::ProgressBar;

use super::client::{Entry, LOOK, LocalDaemon, Reading, socket_path};
use super::failure::status_of;
use super::signals::stop_on_signal;
use super::{Failure, Status, parse_span, print, print_bytes};
use crate::client::api::{Answers, ApiError, Connection, Outcome, Requests};
use crate::client::protocol::{Answer, Call, Reply};
use crate::clock::{self, Nanos};
use crate::config::{ClientFile, GatewayChoice};
use crate::demo::Line;
use crate::host;
use crate::pki::{Invitation, MailboxAddress};

/// Messages of `send --lines` that are on their way at a time.
const LINES_UNDER_WAY: usize = 64;

#[derive(Args)]
pub(super) struct SendArguments {
    /// The client's configuration.
    file: PathBuf,
    /// The mailbox to send to: what `mixline address` printed there.
    #[arg(long)]
    to: MailboxAddress,
    /// The message; without it, standard input is the message. Other users of this machine can
    /// read a command line: prefer standard input.
    #[arg(long, conflicts_with = "lines")]
    message: Option<String>,
    /// Every line of standard input is a message, as JSON: {"base64": "..."}.
    #[arg(long)]
    lines: bool,
    /// When to give a message up, as "10m".
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    deadline: Duration,
    /// The gateway to enter by, its name or identity; no daemon is used then.
    #[arg(long)]
    gateway: Option<GatewayChoice>,
    /// The invitation to enter by; no daemon is used then. Other users of this machine can read a
    /// command line: prefer `client.invitation` in the configuration.
    #[arg(long, conflicts_with = "gateway")]
    invite: Option<Invitation>,
    /// Stop when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
}

impl std::fmt::Debug for SendArguments {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the message, the recipient and the invitation.
        out.debug_struct("SendArguments").field("file", &self.file).finish_non_exhaustive()
    }
}

#[derive(Debug, Args)]
pub(super) struct ReceiveArguments {
    /// The client's configuration.
    file: PathBuf,
    /// The mailbox's key file, made if it is not there; no daemon is used then.
    #[arg(long)]
    mailbox: Option<PathBuf>,
    /// The gateway that keeps the mailbox, its name or identity; no daemon is used then.
    #[arg(long)]
    gateway: Option<GatewayChoice>,
    /// The invitation to enter by; no daemon is used then. Other users of this machine can read a
    /// command line: prefer `client.invitation` in the configuration.
    #[arg(long, conflicts_with = "gateway")]
    invite: Option<Invitation>,
    /// Stop after so many messages.
    #[arg(long)]
    count: Option<u64>,
    /// Stop after so long, as "30s"; 0s takes what is there.
    #[arg(long, value_parser = parse_span)]
    wait: Option<Nanos>,
    /// Print everything as JSON, one object a line.
    #[arg(long)]
    json: bool,
    /// Print the bytes of messages as they are, and nothing else. Without, they are shown as text,
    /// control characters but ends of lines and tabs spelled out.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Stop when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
}

#[derive(Debug, Args)]
pub(super) struct AddressArguments {
    /// The client's configuration.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// The client's configuration.
    file: PathBuf,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// A connection to the daemon, or to one within this process.
struct Session {
    connection: Connection,
    local: Option<LocalDaemon>,
}

impl Session {
    /// With the daemon of `file` if one listens, unless an `entry` of its own is asked for.
    fn open(
        (file, path): (&ClientFile, &PathBuf),
        entry: Option<Entry>,
        reading: Reading,
        stop: &AtomicBool,
    ) -> Result<Self, Failure> {
        if entry.is_none() {
            match Connection::open(&socket_path(file, path)) {
                Ok(connection) => return Ok(Session { connection, local: None }),
                Err(ApiError::NoDaemon { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let local = LocalDaemon::start(file, entry, reading)?;
        match local.connect(stop) {
            Ok(connection) => Ok(Session { connection, local: Some(local) }),
            Err(failure) => local.stop().and(Err(failure)),
        }
    }

    fn end(self) -> Result<(), Failure> {
        drop(self.connection);
        self.local.map_or(Ok(()), LocalDaemon::stop)
    }
}

/// Sends one message, or every line of standard input.
pub(super) fn send(arguments: &SendArguments) -> Result<(), Failure> {
    if arguments.die_with_parent {
        host::die_with_parent();
    }
    let file = ClientFile::load(&arguments.file)?;
    let entry = Entry::given(arguments.gateway.as_ref(), arguments.invite.as_ref());
    let never = AtomicBool::new(false);
    let files = (&file, &arguments.file);
    let mut session = Session::open(files, entry, Reading::MailboxOrNone, &never)?;
    if arguments.lines {
        let Session { connection, local } = session;
        let sent = send_lines(connection, arguments);
        return sent.and(local.map_or(Ok(()), LocalDaemon::stop));
    }
    let sent = send_one(&mut session.connection, arguments);
    let ended = session.end();
    sent.and(ended)
}

/// Sends one message and waits for what becomes of it.
fn send_one(connection: &mut Connection, arguments: &SendArguments) -> Result<(), Failure> {
    let message = match &arguments.message {
        Some(message) => message.clone().into_bytes(),
        None => read_all()?,
    };
    let progress = ProgressBar::new(0);
    if !std::io::stderr().is_terminal() {
        progress.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let sent = connection.send(message, &arguments.to, arguments.deadline)?;
    let outcome = connection.outcome_with(sent, |acknowledged, total| {
        progress.set_length(total.into());
        progress.set_position(acknowledged.into());
    });
    progress.finish_and_clear();
    match outcome? {
        Outcome::Delivered => Ok(()),
        Outcome::Failed { reason, text } => Err(Failure::new(status_of(reason), text)),
    }
}

/// Prints what arrives in a mailbox.
pub(super) fn receive(arguments: &ReceiveArguments) -> Result<(), Failure> {
    if arguments.die_with_parent {
        host::die_with_parent();
    }
    let stop = stop_on_signal()?;
    let mut file = ClientFile::load(&arguments.file)?;
    let mut entry = Entry::given(arguments.gateway.as_ref(), arguments.invite.as_ref());
    if let Some(mailbox) = &arguments.mailbox {
        entry = Some(entry.map_or_else(|| Entry::of(&file), Ok)?);
        file.spool = mailbox.with_extension("spool");
        file.mailbox.clone_from(mailbox);
    }
    let mut session = Session::open((&file, &arguments.file), entry, Reading::Mailbox, &stop)?;
    let received = print_address(&mut session.connection, arguments)
        .and_then(|()| receive_messages(&mut session.connection, arguments, &stop));
    let ended = session.end();
    received.and(ended)
}

fn print_address(connection: &mut Connection, arguments: &ReceiveArguments) -> Result<(), Failure> {
    let address = connection.address()?;
    match arguments {
        ReceiveArguments { raw: true, .. } => Ok(()),
        ReceiveArguments { json: true, .. } => print(&format!("{{\"address\":\"{address}\"}}\n")),
        _ => print(&format!("{address}\n")),
    }
}

fn receive_messages(
    connection: &mut Connection,
    arguments: &ReceiveArguments,
    stop: &Arc<AtomicBool>,
) -> Result<(), Failure> {
    let start = clock::now();
    let mut left = arguments.count.unwrap_or(u64::MAX);
    while left > 0 && !stop.load(Ordering::Relaxed) {
        if let Some(message) = connection.receive(LOOK.as_duration())? {
            print_message(&message.bytes, arguments)?;
            connection.acknowledge(message.number)?;
            left -= 1;
            continue;
        }
        if arguments.wait.is_some_and(|wait| clock::now() - start >= wait) {
            return match arguments.count {
                None => Ok(()),
                Some(_) => {
                    let missing = format!("{left} messages did not arrive in time");
                    Err(Failure::new(Status::TryAgain, missing))
                }
            };
        }
    }
    Ok(())
}

/// Prints the address of the mailbox, whether the gateway is there or not.
pub(super) fn address(arguments: &AddressArguments) -> Result<(), Failure> {
    let file = ClientFile::load(&arguments.file)?;
    let address = match Connection::open(&socket_path(&file, &arguments.file)) {
        Ok(mut connection) => connection.address()?,
        Err(_) => {
            let local = LocalDaemon::start(&file, None, Reading::Mailbox)?;
            let address = local.enter()?.address()?;
            local.stop()?;
            address
        }
    };
    print(&format!("{address}\n"))
}

/// Prints how the daemon is.
pub(super) fn status(arguments: &StatusArguments) -> Result<(), Failure> {
    let file = ClientFile::load(&arguments.file)?;
    let mut connection = Connection::open(&socket_path(&file, &arguments.file))?;
    let status = connection.status()?;
    if arguments.json {
        let text = serde_json::to_string(&status).unwrap_or_default();
        return print(&format!("{text}\n"));
    }
    let state = match (&status.refusal, status.connected) {
        (None, true) => "connected".to_owned(),
        (Some(refusal), true) => format!("connected; {refusal}"),
        (Some(refusal), false) => refusal.clone(),
        (None, false) => "not connected".to_owned(),
    };
    print(&format!(
        "gateway {} of network {}, epoch {}: {state}\n\
         {} messages unread, {} on their way, {} applications\n\
         sent: {} packets ({} again, {} acknowledged), {} decoys ({} acknowledged), {} drops, \
         {} loops ({} back)\n",
        status.gateway,
        status.network,
        status.epoch,
        status.unread,
        status.waiting,
        status.applications,
        status.packets,
        status.retransmissions,
        status.acknowledgements,
        status.decoys,
        status.decoys_acknowledged,
        status.drops,
        status.loops,
        status.loops_back,
    ))
}

/// Sends every line of standard input, several at a time; fails with the first that fails.
fn send_lines(connection: Connection, arguments: &SendArguments) -> Result<(), Failure> {
    let (requests, mut answers) = connection.split();
    let (permits, permitted) = mpsc::sync_channel(LINES_UNDER_WAY);
    let (to, deadline) = (arguments.to, arguments.deadline);
    let reader = std::thread::spawn(move || feed(requests, &permits, &to, deadline));
    let ended = take_answers(&mut answers, &permitted);
    if ended.is_ok() {
        return reader.join().unwrap_or(Ok(()));
    }
    ended
}

/// Reads lines and asks to send them; at the end asks for the status, whose answer is the last.
fn feed(
    mut requests: Requests,
    permits: &SyncSender<()>,
    to: &MailboxAddress,
    deadline: Duration,
) -> Result<(), Failure> {
    let mut read = Ok(());
    for line in std::io::stdin().lock().lines() {
        let message = match read_line(line) {
            Ok(message) => message,
            Err(failure) => {
                read = Err(failure);
                break;
            }
        };
        // The other side is gone when a message has failed.
        if permits.send(()).is_err() {
            return Ok(());
        }
        requests.send(message, to, deadline)?;
    }
    requests.ask(Call::Status)?;
    read
}

fn take_answers(answers: &mut Answers, permitted: &Receiver<()>) -> Result<(), Failure> {
    let (mut accepted, mut finished, mut fed) = (0_u64, 0_u64, false);
    while !fed || finished < accepted {
        let Answer { reply, .. } = answers.wait()?;
        match reply {
            Reply::Accepted { .. } => accepted += 1,
            Reply::Delivered => {
                finished += 1;
                // One came with every request.
                let _ = permitted.try_recv();
            }
            Reply::Failed { reason, text } => {
                return Err(Failure::new(status_of(reason), text));
            }
            Reply::Refused { reason, text } => {
                return Err(ApiError::Refused { reason, text }.into());
            }
            Reply::Status { .. } => fed = true,
            _ => {}
        }
    }
    Ok(())
}

fn read_all() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| no_input(&error))?;
    Ok(bytes)
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

fn print_message(message: &[u8], arguments: &ReceiveArguments) -> Result<(), Failure> {
    match arguments {
        ReceiveArguments { raw: true, .. } => print_bytes(message),
        ReceiveArguments { json: true, .. } => {
            let line = Line { base64: BASE64.encode(message) };
            print(&format!("{}\n", serde_json::to_string(&line).unwrap_or_default()))
        }
        _ => print(&format!("{}\n", printable(message))),
    }
}

/// A message as text that does nothing to a terminal: strangers wrote it. Control characters but
/// ends of lines and tabs are spelled out.
fn printable(message: &[u8]) -> String {
    let mut text = String::with_capacity(message.len());
    for character in String::from_utf8_lossy(message).chars() {
        match character {
            '\n' | '\t' => text.push(character),
            _ if character.is_control() => text.extend(character.escape_unicode()),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_shown_cannot_steer_a_terminal() {
        let message = "gr\u{fc}n\n\ttab \x1b]0;title\x07 \u{9b}2J\r\x7f".as_bytes();
        let shown = "gr\u{fc}n\n\ttab \\u{1b}]0;title\\u{7} \\u{9b}2J\\u{d}\\u{7f}";
        assert_eq!(printable(message), shown);
        assert_eq!(printable(&[b'a', 0xff]), "a\u{fffd}");
    }
}
