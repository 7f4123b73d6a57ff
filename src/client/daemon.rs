//! The daemon: one client, and the applications that share it over a unix socket.
//!
//! Three kinds of threads: the network's, which sends by schedule and waits for nobody; the desk,
//! which serves applications and writes the spool; and two for each application. They exchange
//! small messages.

mod desk;
mod listener;
mod network;
mod visitor;

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use super::protocol::Request;
use super::spool::{Spool, SpoolError};
use super::{Client, Record};
use crate::clock::{self, Nanos};
use crate::io::Port;
use crate::io::wake::{Sleeper, Waker};
use crate::message::{Event, MessageId, SubmitError};
use crate::pki::{Consensus, MailboxAddress};

pub use listener::{ListenError, Listener};

use desk::{Desk, Ticket};
use network::{Network, Report};
use visitor::VisitorId;

/// What the desk hears.
#[derive(Debug)]
enum Notice {
    /// An application connects.
    Arrived { id: VisitorId, stream: UnixStream, notices: Sender<Notice> },
    /// An application has ended, or sent what makes no sense.
    Gone { visitor: VisitorId, malformed: bool },
    /// An application has read so much that it may be given another message.
    Drained,
    /// An application asks for something.
    Call { visitor: VisitorId, request: Request },
    /// The network brought something.
    Record(Record),
    /// Something became of a message.
    Event(Event),
    /// A message was taken, or not.
    Submitted { ticket: Ticket, taken: Result<MessageId, SubmitError> },
    /// How the client is.
    Report { ticket: Ticket, report: Box<Report> },
    /// End.
    Stop,
}

/// What the network's thread is told. It is never printed: messages are in it.
enum Order {
    /// Send a message, and give it up after `wait`.
    Send { ticket: Ticket, message: Vec<u8>, to: MailboxAddress, wait: Nanos },
    /// All records up to this one are on disk.
    Kept(u64),
    /// Say how you are.
    Report(Ticket),
    /// Follow another consensus.
    Follow(Arc<Consensus>),
    /// End.
    Stop,
}

/// The way to the network's thread, which may be asleep.
#[derive(Clone, Debug)]
struct Orders {
    sender: Sender<Order>,
    waker: Waker,
}

impl Orders {
    fn give(&self, order: Order) {
        // A thread that is gone needs no orders.
        let _ = self.sender.send(order);
        self.waker.wake();
    }
}

/// What a daemon is made of.
#[derive(Debug)]
pub struct Parts<P> {
    /// The client, before its first turn.
    pub client: Client<P>,
    /// Where its messages are kept.
    pub spool: Spool,
    /// What its thread sleeps on.
    pub sleeper: Sleeper,
    /// What wakes it.
    pub waker: Waker,
}

/// Why a daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spool cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    notices: Sender<Notice>,
    orders: Orders,
    next_visitor: Arc<AtomicU64>,
    desk: JoinHandle<Result<(), SpoolError>>,
    network: JoinHandle<()>,
}

impl Daemon {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the spool cannot be read, or the system gives no thread.
    pub fn start<P: Port + Send + 'static>(parts: Parts<P>) -> Result<Self, StartError> {
        let Parts { mut client, spool, sleeper, waker } = parts;
        client.restore(spool.letters()?, spool.last()?, clock::now());
        let (notices, heard) = mpsc::channel();
        let (sender, orders_to_network) = mpsc::channel();
        let orders = Orders { sender, waker };
        let desk = Desk::new(client.address(), spool, orders.clone())?;
        let network =
            Network { client, sleeper, orders: orders_to_network, notices: notices.clone() };
        let start = |name: &str| thread::Builder::new().name(name.to_owned());
        let network = start("network").spawn(move || network.run()).map_err(StartError::Thread)?;
        let desk = start("desk").spawn(move || desk.run(&heard)).map_err(StartError::Thread)?;
        Ok(Daemon { notices, orders, next_visitor: Arc::default(), desk, network })
    }

    /// Where applications come in.
    pub fn door(&self) -> Door {
        Door { notices: self.notices.clone(), next_visitor: self.next_visitor.clone() }
    }

    /// Gives the client another consensus of the same network, to be followed from then on.
    pub fn follower(&self) -> impl Fn(Arc<Consensus>) + Send + use<> {
        let orders = self.orders.clone();
        move |consensus| orders.give(Order::Follow(consensus))
    }

    /// Whether it has ended by itself, which is because of its spool.
    pub fn has_ended(&self) -> bool {
        self.desk.is_finished()
    }

    /// Ends it: applications are told, the gateway is told.
    ///
    /// # Errors
    /// Why it had ended before.
    pub fn stop(self) -> Result<(), SpoolError> {
        let _ = self.notices.send(Notice::Stop);
        let ended = self.desk.join();
        self.orders.give(Order::Stop);
        // A thread that panicked has ended this process.
        let _ = self.network.join();
        ended.unwrap_or(Ok(()))
    }
}

/// Where applications come in.
#[derive(Clone, Debug)]
pub struct Door {
    notices: Sender<Notice>,
    next_visitor: Arc<AtomicU64>,
}

impl Door {
    /// Serves the application at the other end of `stream`.
    pub fn admit(&self, stream: UnixStream) {
        let id = VisitorId(self.next_visitor.fetch_add(1, Ordering::Relaxed));
        let notices = self.notices.clone();
        // A desk that is gone serves nobody: the stream is closed.
        let _ = self.notices.send(Notice::Arrived { id, stream, notices });
    }

    /// A connection from within this process.
    ///
    /// # Errors
    /// When the system gives no descriptors.
    pub fn enter(&self) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        self.admit(theirs);
        Ok(ours)
    }
}
