//! How a command ends: what failed, on which object, what to do, and the exit status.

use std::fmt;
use std::io::ErrorKind;
use std::process::ExitCode;

use crate::audit::live::AuditError;
use crate::authority::AuthorityError;
use crate::client::api::ApiError;
use crate::client::daemon::{ListenError, StartError};
use crate::client::protocol::Reason;
use crate::client::spool::SpoolError;
use crate::config::ConfigError;
use crate::crypto::tier::TierError;
use crate::demo::DemoError;
use crate::directory::FollowerError;
use crate::io::OpenError;
use crate::io::shield::ShieldError;
use crate::io::xdp::XdpError;
use crate::network::InitError;
use crate::node::{JoinError, LoadError, NodeError, PortsError};
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

impl From<TierError> for Failure {
    fn from(error: TierError) -> Self {
        Failure::new(Status::Configuration, error)
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

impl From<PortsError> for Failure {
    fn from(error: PortsError) -> Self {
        let status = match error {
            PortsError::Socket(error) | PortsError::Queue(XdpError::Socket(error)) => {
                return error.into();
            }
            PortsError::Privileges { .. }
            | PortsError::Shield(ShieldError::Permission { .. })
            | PortsError::Queue(XdpError::Permission(_)) => Status::Permission,
            PortsError::Loopback(_) => Status::Configuration,
            _ => Status::Unavailable,
        };
        Failure::new(status, error)
    }
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Port(error) => error.into(),
            NodeError::Ports(error) => error.into(),
            NodeError::Privileges(error) => Failure::new(Status::Permission, error),
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

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Load(error) => error.into(),
            JoinError::Node(error) => error.into(),
            JoinError::Epochs { .. } => Failure::new(Status::Configuration, error),
            JoinError::Start(_) => Failure::new(Status::Failure, error),
        }
    }
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Self {
        let status = match error {
            AuthorityError::Key(error) => return error.into(),
            AuthorityError::Stranger(_) | AuthorityError::Threshold { .. } => Status::Configuration,
            AuthorityError::Listen { .. } => Status::Unavailable,
            AuthorityError::State { .. } | AuthorityError::Thread(_) => Status::Failure,
        };
        Failure::new(status, error)
    }
}

impl From<FollowerError> for Failure {
    fn from(error: FollowerError) -> Self {
        Failure::new(Status::Unavailable, error)
    }
}

impl From<SpoolError> for Failure {
    fn from(error: SpoolError) -> Self {
        let status = match &error {
            SpoolError::InUse(_) => Status::TryAgain,
            SpoolError::Exposed { .. } => Status::Permission,
            SpoolError::File { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                Status::Permission
            }
            _ => Status::Failure,
        };
        Failure::new(status, error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Spool(error) => error.into(),
            StartError::Thread(_) => Failure::new(Status::Failure, error),
        }
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        let status = match error {
            ListenError::InUse(_) => Status::Unavailable,
            ListenError::OpenFolder(_) => Status::Permission,
            ListenError::NoSocket(_) | ListenError::Io { .. } => Status::Failure,
        };
        Failure::new(status, error)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let status = match &error {
            ApiError::NoDaemon { .. } | ApiError::Ended | ApiError::Io(_) => Status::Unavailable,
            ApiError::Protocol => Status::Failure,
            ApiError::Refused { reason, .. } => status_of(*reason),
        };
        Failure::new(status, error)
    }
}

/// The exit status of a refusal, or of a message given up.
pub(super) fn status_of(reason: Reason) -> Status {
    match reason {
        Reason::BadAddress | Reason::Empty | Reason::TooLong | Reason::BadDeadline => Status::Usage,
        Reason::QueueFull | Reason::TooMany | Reason::MailboxFull | Reason::Unanswered => {
            Status::TryAgain
        }
        Reason::Stopping | Reason::NoRoute | Reason::UnknownMailbox => Status::Unavailable,
        Reason::Malformed | Reason::NotYours => Status::Failure,
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
            DemoError::Namespace(_) => Status::Permission,
            _ => Status::Failure,
        };
        Failure::new(status, error)
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        let status = match error {
            AuditError::Init(error) => return error.into(),
            AuditError::Config(error) => return error.into(),
            AuditError::Load(error) => return error.into(),
            AuditError::UnknownNode { .. } | AuditError::NotListed(_) => Status::Usage,
            AuditError::NotFixed(_) => Status::Configuration,
            AuditError::Namespace(_) | AuditError::Tap(_) => Status::Permission,
            AuditError::Neighbour { .. } | AuditError::NoLinks { .. } => Status::Unavailable,
            _ => Status::Failure,
        };
        Failure::new(status, error)
    }
}
