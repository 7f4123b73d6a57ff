//! How a command ends: what failed, on which object, what to do, and the exit status.

use std::fmt;
use std::process::ExitCode;

use crate::client::SendError;
use crate::config::ConfigError;
use crate::demo::DemoError;
use crate::io::OpenError;
use crate::network::InitError;
use crate::node::{LoadError, NodeError};
use crate::pki::{KeyError, MailboxAddressError};

/// The exit statuses of every command (sysexits.h where it has one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// It was tried and failed.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A file to read is not there.
    InputMissing = 66,
    /// Something that must answer does not.
    Unavailable = 69,
    /// It may work later.
    TryAgain = 75,
    /// Not allowed.
    Permission = 77,
    /// The configuration, or a document it names, is wrong.
    Configuration = 78,
}

/// A command that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    /// A failure with a message of its own.
    pub fn new(status: Status, message: impl fmt::Display) -> Self {
        Failure { status: status as u8, message: message.to_string() }
    }

    /// The exit status.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure { status: error.exit_code(), message: error.to_string() }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Failure { status: error.exit_code(), message: error.to_string() }
    }
}

impl From<InitError> for Failure {
    fn from(error: InitError) -> Self {
        Failure { status: error.exit_code(), message: error.to_string() }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Failure { status: error.exit_code(), message: error.to_string() }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let status = match error {
            OpenError::Permission(_) => Status::Permission,
            _ => Status::Unavailable,
        };
        Failure::new(status, error)
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Port(error) => error.into(),
            NodeError::Key(error) => error.into(),
            NodeError::Replay(ref source) => {
                Failure { status: source.exit_code(), message: error.to_string() }
            }
            NodeError::Notify(_) | NodeError::Metrics { .. } => {
                Failure::new(Status::Unavailable, error)
            }
            _ => Failure::new(Status::Configuration, error),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        let status = match error {
            SendError::OutboxFull => Status::TryAgain,
            SendError::Route(_) => Status::Configuration,
            SendError::TooLong { .. } | SendError::BadAddress => Status::Usage,
        };
        Failure::new(status, error)
    }
}

impl From<MailboxAddressError> for Failure {
    fn from(error: MailboxAddressError) -> Self {
        Failure::new(Status::Usage, error)
    }
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        let status = match error {
            DemoError::NoAddresses { .. } | DemoError::NotReady { .. } => Status::TryAgain,
            _ => Status::Failure,
        };
        Failure::new(status, error)
    }
}
