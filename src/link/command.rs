//! What the control side tells the data side: keys in, keys out; and what both count together.
//!
//! Every worker gets the receiving half of every session. The sending half, with its counter, goes
//! to the one worker that owns the link, so that no sequence number can be used twice.

use super::datagram::{Opener, Sealer};
use super::{Generation, LinkIndex};
use crate::clock::Nanos;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the other end of a link is: it decides which frames it may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// A node, and so are we.
    Node,
    /// A client of ours.
    Client,
    /// Our gateway; we are its client.
    Gateway,
}

/// What one session has carried, told by the workers to the control side.
///
/// Each value only grows. They are hints for timers, so writers do not synchronise: two workers
/// that receive for one link at the same instant may lose an update, never a limit (the sender's
/// own counter enforces those).
#[derive(Debug, Default)]
pub struct Life {
    heard_ns: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Life {
    /// A datagram below number `received` was valid at `now`.
    #[inline]
    pub(super) fn hear(&self, received: u64, now: Nanos) {
        self.heard_ns.store(now.0, Relaxed);
        if received > self.received.load(Relaxed) {
            self.received.store(received, Relaxed);
        }
    }

    /// `sent` datagrams have left.
    #[inline]
    pub(super) fn tell(&self, sent: u64) {
        self.sent.store(sent, Relaxed);
    }

    /// When a datagram was last valid; zero before the first.
    pub fn heard(&self) -> Nanos {
        Nanos(self.heard_ns.load(Relaxed))
    }

    /// How many datagrams the peer has sent, by the highest number seen.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// How many datagrams were sealed.
    pub fn sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }
}

/// The receiving half of a session, shared by all workers.
#[derive(Clone, Debug)]
pub struct ReceiveHalf {
    pub(super) generation: Generation,
    pub(super) key: Arc<Opener>,
    pub(super) life: Arc<Life>,
    /// When the key stops opening anything.
    pub(super) until: Nanos,
}

/// The sending half of a session, in one place at a time.
#[derive(Debug)]
pub struct SendHalf {
    pub(super) key: Sealer,
    pub(super) life: Arc<Life>,
    /// The next sequence number.
    pub(super) sequence: u64,
    /// When the key stops sealing anything.
    pub(super) until: Nanos,
}

/// One change of one link, for every worker, in the order in which [`super::Links`] gave them.
#[derive(Debug)]
pub struct Command {
    pub(super) link: LinkIndex,
    pub(super) change: Change,
}

/// What changes.
#[derive(Debug)]
pub(super) enum Change {
    /// We sent a first flight: let its answers pass.
    Await { address: SocketAddr, peer: PeerKind, response: Arc<Opener>, retry: Arc<Opener> },
    /// We answered a first flight: receive under the new session, do not send yet.
    Next { address: SocketAddr, peer: PeerKind, receive: ReceiveHalf },
    /// Our first flight was answered: receive and send under the new session. The session before
    /// goes on receiving if `demote`; else it never carried anything, and the one before it stays.
    /// A later first flight is still out if `awaiting`.
    Current { receive: ReceiveHalf, send: Option<Box<SendHalf>>, demote: bool, awaiting: bool },
    /// The peer proved that it holds the next session: it becomes the current one.
    Promote { generation: Generation, send: Option<Box<SendHalf>> },
    /// The next session was never confirmed.
    ForgetNext { generation: Generation },
    /// The current session has served its time.
    ForgetCurrent,
    /// The session before the current one has served.
    ForgetPrevious,
    /// No answer is awaited any more.
    ForgetAwaited,
    /// The link is gone.
    Forget,
}

impl Command {
    /// The link that changes; its owner gets the command itself, everybody else
    /// [`Command::for_others`].
    pub fn link(&self) -> LinkIndex {
        self.link
    }

    /// The same change without the sending half.
    pub fn for_others(&self) -> Command {
        let change = match &self.change {
            Change::Await { address, peer, response, retry } => Change::Await {
                address: *address,
                peer: *peer,
                response: Arc::clone(response),
                retry: Arc::clone(retry),
            },
            Change::Next { address, peer, receive } => {
                Change::Next { address: *address, peer: *peer, receive: receive.clone() }
            }
            Change::Current { receive, demote, awaiting, .. } => Change::Current {
                receive: receive.clone(),
                send: None,
                demote: *demote,
                awaiting: *awaiting,
            },
            Change::Promote { generation, .. } => {
                Change::Promote { generation: *generation, send: None }
            }
            Change::ForgetNext { generation } => Change::ForgetNext { generation: *generation },
            Change::ForgetCurrent => Change::ForgetCurrent,
            Change::ForgetPrevious => Change::ForgetPrevious,
            Change::ForgetAwaited => Change::ForgetAwaited,
            Change::Forget => Change::Forget,
        };
        Command { link: self.link, change }
    }
}
