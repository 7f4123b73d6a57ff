//! What all links of a process share on the control side: who we are, the generator, and the list
//! of what is to be done.

use super::command::{Change, Command};
use super::frame::Close;
use super::handshake::{ADMISSION_BYTES, Role};
use super::{Generation, LinkIndex, Network};
use crate::clock::{Nanos, UnixMicros};
use crate::crypto::kem;
use crate::crypto::random::Rng;
use crate::crypto::x25519;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// A node that is silent for so long is dead: it has left out at least six dummies.
pub(super) const SILENCE_MAX: Nanos = Nanos::from_secs(3);
/// A client may have lost its network for a moment.
const CLIENT_SILENCE_MAX: Nanos = Nanos::from_secs(30);
/// Mean gaps of a random schedule that are taken for its end: by chance once in nine million.
const SILENCE_GAPS: u64 = 16;
/// However slow a schedule is: no longer than keys live.
const SLOWEST_SILENCE_MAX: Nanos = Nanos::from_secs(200);

/// What an operator may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nothing may show that a node is here to who does not hold its key: no retries, and first
    /// flights from before this process started are not answered.
    pub unlisted: bool,
    /// What a client shows to be let in.
    pub admission: [u8; ADMISSION_BYTES],
    /// After how much silence a client's link is erased.
    pub client_silence_max: Nanos,
    /// After how much silence a client takes its gateway for dead.
    pub gateway_silence_max: Nanos,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            unlisted: false,
            admission: [0; ADMISSION_BYTES],
            client_silence_max: CLIENT_SILENCE_MAX,
            gateway_silence_max: SILENCE_MAX,
        }
    }
}

impl Options {
    /// Clients and gateways send at random times, with mean gaps `up` and `down`: a silence of
    /// [`SILENCE_GAPS`] of them says more than chance. Where they send often, the limits stay.
    pub(super) fn expect_gaps(&mut self, up: Nanos, down: Nanos) {
        let limit = |gap: Nanos| Nanos(gap.0.saturating_mul(SILENCE_GAPS)).min(SLOWEST_SILENCE_MAX);
        self.client_silence_max = CLIENT_SILENCE_MAX.max(limit(up));
        self.gateway_silence_max = SILENCE_MAX.max(limit(down));
    }
}

/// A node as the directory tells of it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its identity key.
    pub id: [u8; 32],
    /// Where it sends from and receives.
    pub address: SocketAddr,
    /// Its X25519 link key.
    pub link_public: [u8; 32],
    /// Its ML-KEM-768 key of the current epoch (1184 bytes).
    pub kem_public: Arc<[u8]>,
}

/// Who we are.
#[derive(Debug)]
pub enum Local {
    /// A node of the directory.
    Node {
        /// Our identity key.
        id: [u8; 32],
        /// Our link key.
        link: x25519::Secret,
        /// Our KEM keys in force: of the epochs before, now and after, and of an invitation.
        kem: Vec<Arc<kem::Secret>>,
    },
    /// A client, which has no key that lasts.
    Client,
}

/// What is to be done, in order.
#[derive(Debug)]
pub enum Action {
    /// Send a datagram that is ready.
    Send {
        /// Where to.
        to: SocketAddr,
        /// The datagram.
        datagram: Vec<u8>,
    },
    /// Tell every worker: the link's owner the command, the others [`Command::for_others`].
    Worker(Command),
    /// Let the link's owner seal and send an empty [`super::Frame::Dummy`].
    Dummy(LinkIndex),
    /// Let the link's owner seal and send a [`super::Frame::Close`].
    Close(LinkIndex, Close),
    /// Something happened.
    Event(Event),
}

/// What happened to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It carries packets.
    Up {
        /// The link.
        link: LinkIndex,
    },
    /// It has new keys and a new handshake hash; the peer is the same.
    Renewed {
        /// The link.
        link: LinkIndex,
    },
    /// It carries nothing any more. The index of a client's link may serve another from now on.
    Down {
        /// The link.
        link: LinkIndex,
    },
    /// A client has proved that it is there: the link is up.
    ClientArrived {
        /// The link.
        link: LinkIndex,
    },
    /// The peer does not want a session now.
    Refused {
        /// The link.
        link: LinkIndex,
        /// Why: [`super::handshake::Welcome::status`].
        status: u8,
        /// When we shall ask again.
        retry_after_s: u32,
    },
    /// A gateway did not answer; the link is erased.
    Unreachable {
        /// The link.
        link: LinkIndex,
    },
}

/// What all links share.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) network: Network,
    pub(super) options: Options,
    pub(super) local: Local,
    pub(super) rng: Rng,
    pub(super) started: UnixMicros,
    actions: VecDeque<Action>,
    generation: u64,
}

impl Station {
    pub(super) fn new(
        options: Options,
        network: Network,
        local: Local,
        rng: Rng,
        started: UnixMicros,
    ) -> Self {
        let actions = VecDeque::new();
        Station { network, options, local, rng, started, actions, generation: 0 }
    }

    /// For whom we speak.
    pub(super) fn role(&self) -> Role {
        match self.local {
            Local::Node { .. } => Role::Node,
            Local::Client => Role::Client,
        }
    }

    /// Our identity, if we have one.
    pub(super) fn id(&self) -> Option<[u8; 32]> {
        match &self.local {
            Local::Node { id, .. } => Some(*id),
            Local::Client => None,
        }
    }

    /// A name for the next session.
    pub(super) fn generation(&mut self) -> Generation {
        self.generation += 1;
        Generation(self.generation)
    }

    pub(super) fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(super) fn command(&mut self, link: LinkIndex, change: Change) {
        self.push(Action::Worker(Command { link, change }));
    }

    pub(super) fn event(&mut self, event: Event) {
        self.push(Action::Event(event));
    }

    pub(super) fn pop(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// `seconds`, up to a fifth more or less: so that peers do not fall into step.
    pub(super) fn about(&mut self, seconds: u64) -> Nanos {
        let span = |tenths: u64| Nanos::from_millis(seconds * tenths * 100);
        self.rng.between(span(8), span(12))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_frames_are_rare_a_longer_silence_is_borne_but_none_longer_than_keys_live() {
        let mut options = Options::default();
        options.expect_gaps(Nanos::from_millis(45), Nanos::from_millis(20));
        assert_eq!(options.client_silence_max, CLIENT_SILENCE_MAX);
        assert_eq!(options.gateway_silence_max, SILENCE_MAX);
        options.expect_gaps(Nanos::from_secs(5), Nanos::from_secs(2));
        assert_eq!(options.client_silence_max, Nanos::from_secs(80));
        assert_eq!(options.gateway_silence_max, Nanos::from_secs(32));
        options.expect_gaps(Nanos::NEVER, Nanos::NEVER);
        assert_eq!(options.gateway_silence_max, SLOWEST_SILENCE_MAX);
    }
}
