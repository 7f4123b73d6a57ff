//! The Rust interface to a daemon, for applications.
//!
//! ```no_run
//! use mixline::client::api::{Connection, Outcome};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), mixline::client::api::ApiError> {
//! let mut daemon = Connection::open("/run/user/1000/mixline/client.sock".as_ref())?;
//! let to = daemon.address()?; // to ourselves
//! let sent = daemon.send(b"hello".to_vec(), &to, Duration::from_secs(60))?;
//! if let Some(message) = daemon.receive(Duration::from_secs(10))? {
//!     println!("{} bytes", message.bytes.len());
//!     daemon.acknowledge(message.number)?; // it is ours now
//! }
//! assert!(matches!(daemon.outcome(sent)?, Outcome::Delivered));
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{self, Answer, Call, Reason, Reply, Request, Status};
use crate::pki::MailboxAddress;

/// Why a daemon does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No daemon listens there.
    #[error("{}: no daemon: start one with `mixline client run` ({source})", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection failed.
    #[error("the connection to the daemon fails: {0}")]
    Io(#[from] io::Error),
    /// The daemon has ended the connection.
    #[error("the daemon has ended")]
    Ended,
    /// It speaks another protocol, or another version of it.
    #[error("the daemon speaks another version of the protocol: use programs of one version")]
    Protocol,
    /// It does not grant the request.
    #[error("the daemon refuses: {text}")]
    Refused {
        /// Why.
        reason: Reason,
        /// The same for people.
        text: String,
    },
}

impl From<protocol::Malformed> for ApiError {
    fn from(_: protocol::Malformed) -> Self {
        ApiError::Protocol
    }
}

/// A message that was received.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// What to acknowledge it by.
    pub number: u64,
    /// The message.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.bytes.len();
        out.debug_struct("Message").field("number", &self.number).field("bytes", &bytes).finish()
    }
}

/// What became of a message that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is safe at the recipient's gateway.
    Delivered,
    /// It is given up.
    Failed {
        /// Why.
        reason: Reason,
        /// The same for people.
        text: String,
    },
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Connection {
    requests: Requests,
    answers: Answers,
    /// Answers to other requests than the one that is waited for.
    aside: VecDeque<Answer>,
}

impl Connection {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// When there is none, or it speaks another version.
    pub fn open(path: &Path) -> Result<Self, ApiError> {
        let stream = UnixStream::connect(path)
            .map_err(|source| ApiError::NoDaemon { path: path.to_path_buf(), source })?;
        Self::over(stream)
    }

    /// Speaks with the daemon at the other end of `stream`.
    ///
    /// # Errors
    /// When there is none, or it speaks another version.
    pub fn over(mut stream: UnixStream) -> Result<Self, ApiError> {
        protocol::greet(&mut stream).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => ApiError::Protocol,
            io::ErrorKind::UnexpectedEof => ApiError::Ended,
            _ => ApiError::Io(error),
        })?;
        let requests = Requests { stream: stream.try_clone()?, last: 0 };
        Ok(Connection { requests, answers: Answers { stream }, aside: VecDeque::new() })
    }

    /// Both directions apart, for one thread each. Answers that were put aside are dropped.
    pub fn split(self) -> (Requests, Answers) {
        (self.requests, self.answers)
    }

    /// The address of the daemon's mailbox.
    ///
    /// # Errors
    /// When the connection fails, as for all that follows.
    pub fn address(&mut self) -> Result<MailboxAddress, ApiError> {
        match self.call(Call::Address)? {
            Reply::Address { address } => address.parse().map_err(|_| ApiError::Protocol),
            _ => Err(ApiError::Protocol),
        }
    }

    /// How things are.
    ///
    /// # Errors
    /// See [`Connection::address`].
    pub fn status(&mut self) -> Result<Status, ApiError> {
        match self.call(Call::Status)? {
            Reply::Status { status } => Ok(status),
            _ => Err(ApiError::Protocol),
        }
    }

    /// Sends a message, which is given up after `deadline`; returns the number by which to ask for
    /// its [`Connection::outcome`].
    ///
    /// # Errors
    /// When it is refused, or the connection fails.
    pub fn send(
        &mut self,
        message: Vec<u8>,
        to: &MailboxAddress,
        deadline: Duration,
    ) -> Result<u32, ApiError> {
        let id = self.requests.send(message, to, deadline)?;
        match self.answer(id)? {
            Reply::Accepted { .. } => Ok(id),
            Reply::Refused { reason, text } => Err(ApiError::Refused { reason, text }),
            _ => Err(ApiError::Protocol),
        }
    }

    /// Waits for what becomes of a message.
    ///
    /// # Errors
    /// See [`Connection::address`].
    pub fn outcome(&mut self, sent: u32) -> Result<Outcome, ApiError> {
        self.outcome_with(sent, |_, _| {})
    }

    /// As [`Connection::outcome`]; `progress` is told how many parts of how many are acknowledged.
    ///
    /// # Errors
    /// See [`Connection::address`].
    pub fn outcome_with(
        &mut self,
        sent: u32,
        mut progress: impl FnMut(u32, u32),
    ) -> Result<Outcome, ApiError> {
        loop {
            match self.answer(sent)? {
                Reply::Progress { acknowledged, total } => progress(acknowledged, total),
                Reply::Delivered => return Ok(Outcome::Delivered),
                Reply::Failed { reason, text } => return Ok(Outcome::Failed { reason, text }),
                _ => return Err(ApiError::Protocol),
            }
        }
    }

    /// The next message, if one comes within `wait`. It is given to nobody else while this
    /// connection stands, and again to somebody if it ends before the acknowledgement.
    ///
    /// # Errors
    /// See [`Connection::address`].
    pub fn receive(&mut self, wait: Duration) -> Result<Option<Message>, ApiError> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match self.call(Call::Receive { wait_ms })? {
            Reply::Message { number, message } => Ok(Some(Message { number, bytes: message })),
            Reply::Nothing => Ok(None),
            _ => Err(ApiError::Protocol),
        }
    }

    /// A message that was received is safe and may be forgotten.
    ///
    /// # Errors
    /// When it was not given to this connection, or the connection fails.
    pub fn acknowledge(&mut self, number: u64) -> Result<(), ApiError> {
        match self.call(Call::Acknowledge { number })? {
            Reply::Done => Ok(()),
            _ => Err(ApiError::Protocol),
        }
    }

    /// Asks, and waits for the one answer.
    fn call(&mut self, call: Call) -> Result<Reply, ApiError> {
        let id = self.requests.ask(call)?;
        match self.answer(id)? {
            Reply::Refused { reason, text } => Err(ApiError::Refused { reason, text }),
            reply => Ok(reply),
        }
    }

    /// The next answer to request `id`.
    fn answer(&mut self, id: u32) -> Result<Reply, ApiError> {
        if let Some(place) = self.aside.iter().position(|answer| answer.id == id)
            && let Some(answer) = self.aside.remove(place)
        {
            return Ok(answer.reply);
        }
        loop {
            let answer = self.answers.wait()?;
            if answer.id == id {
                return Ok(answer.reply);
            }
            self.aside.push_back(answer);
        }
    }
}

/// The direction to the daemon.
#[derive(Debug)]
pub struct Requests {
    stream: UnixStream,
    last: u32,
}

impl Requests {
    /// Asks for something; returns the number that the answers carry. That the connection has
    /// ended is said by [`Answers::wait`].
    ///
    /// # Errors
    /// When the connection fails.
    pub fn ask(&mut self, call: Call) -> Result<u32, ApiError> {
        // 0 is the daemon's, for what it could not read.
        self.last = self.last.checked_add(1).unwrap_or(1);
        let frame = protocol::encode(&Request { id: self.last, call });
        protocol::say(&mut self.stream, &frame)?;
        Ok(self.last)
    }

    /// Asks to send a message.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn send(
        &mut self,
        message: Vec<u8>,
        to: &MailboxAddress,
        deadline: Duration,
    ) -> Result<u32, ApiError> {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        self.ask(Call::Send { to: to.to_string(), message, deadline_ms })
    }
}

/// The direction from the daemon.
#[derive(Debug)]
pub struct Answers {
    stream: UnixStream,
}

impl Answers {
    /// Waits for the next answer.
    ///
    /// # Errors
    /// When the connection fails or ends, or the daemon could not read a request.
    pub fn wait(&mut self) -> Result<Answer, ApiError> {
        let body = protocol::read_frame(&mut self.stream)?.ok_or(ApiError::Ended)?;
        let answer: Answer = protocol::decode(&body)?;
        match answer {
            Answer { id: 0, reply: Reply::Refused { reason, text } } => {
                Err(ApiError::Refused { reason, text })
            }
            answer => Ok(answer),
        }
    }
}
