//! One link as a worker sees it: up to three sessions that receive, one that sends, and the
//! answers that a handshake waits for.

use super::command::{Change, PeerKind, ReceiveHalf, SendHalf};
use super::datagram::{Head, Opener};
use super::frame::{Frame, Sizes};
use super::gate::Bucket;
use super::handshake::{self, Flight};
use super::window::{Standing, Window};
use super::{Generation, Refusal};
use crate::clock::Nanos;
use std::net::SocketAddr;
use std::sync::Arc;

/// Datagrams that a sending key seals at most (RFC 9001, B.1.1, for datagrams up to 2^11 bytes).
const SENT_MAX: u64 = 1 << 28;
/// First flights of a known source: one a second.
const INTERVAL: Nanos = Nanos::from_secs(1);

/// The order in which sessions are tried, and their places in the slot.
const CURRENT: usize = 0;
const NEXT: usize = 1;
const PREVIOUS: usize = 2;

/// A link's sessions in one worker.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) address: Option<SocketAddr>,
    peer: PeerKind,
    receivers: [Receiver; 3],
    send: Option<Box<SendHalf>>,
    /// Keys of the answers to our last two first flights, the newest first.
    responses: [Option<Arc<Opener>>; 2],
    retry: Option<Arc<Opener>>,
    bucket: Bucket,
}

/// A place for a receiving session; its window stays when the key goes.
#[derive(Debug)]
struct Receiver {
    half: Option<ReceiveHalf>,
    window: Window,
}

/// What a session's datagram was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames {
    pub(super) frame: Frame,
    pub(super) length: usize,
    pub(super) generation: Generation,
    pub(super) unconfirmed: bool,
}

impl Receiver {
    fn install(&mut self, half: ReceiveHalf) {
        self.half = Some(half);
        self.window.reset();
    }

    fn clear(&mut self) {
        self.half = None;
    }

    /// The header, if the key is in force and made it.
    #[inline]
    fn head(&self, datagram: &[u8], sizes: &Sizes, now: Nanos) -> Option<(Head, Frame)> {
        let half = self.half.as_ref().filter(|half| now < half.until)?;
        let head = half.key.head(datagram)?;
        Frame::announced(head, sizes).map(|frame| (head, frame))
    }

    /// The window's word before the cipher, the cipher, and the window's mark after it.
    fn open(&mut self, head: Head, datagram: &[u8], body: &mut [u8]) -> Result<(), Refusal> {
        match self.window.standing(head.sequence) {
            Standing::Fresh => {}
            Standing::Seen => return Err(Refusal::Replay),
            Standing::Behind => return Err(Refusal::TooOld),
        }
        let half = self.half.as_ref().ok_or(Refusal::NotThisKey)?;
        half.key.open(head, datagram, body).map_err(|_| Refusal::BadTag)?;
        self.window.mark(head.sequence);
        Ok(())
    }
}

impl Slot {
    /// An empty slot with all its memory.
    pub(super) fn new(window_words: usize) -> Self {
        let receiver = || Receiver { half: None, window: Window::new(window_words) };
        Slot {
            address: None,
            peer: PeerKind::Node,
            receivers: [receiver(), receiver(), receiver()],
            send: None,
            responses: [None, None],
            retry: None,
            bucket: Bucket::default(),
        }
    }

    /// Decrypts a session's datagram into `body`.
    pub(super) fn open(
        &mut self,
        datagram: &[u8],
        body: &mut [u8],
        sizes: &Sizes,
        now: Nanos,
    ) -> Result<Frames, Refusal> {
        for (place, receiver) in self.receivers.iter_mut().enumerate() {
            let Some((head, frame)) = receiver.head(datagram, sizes, now) else { continue };
            frame.allowed_from(self.peer)?;
            receiver.open(head, datagram, body)?;
            let half = receiver.half.as_ref().ok_or(Refusal::NotThisKey)?;
            half.life.hear(receiver.window.next(), now);
            return Ok(Frames {
                frame,
                length: usize::from(head.length),
                generation: half.generation,
                unconfirmed: place == NEXT,
            });
        }
        Err(Refusal::NotThisKey)
    }

    /// Encrypts `body` into `out` under the next sequence number.
    pub(super) fn seal(
        &mut self,
        frame: Frame,
        body: &[u8],
        out: &mut [u8],
        now: Nanos,
    ) -> Result<SocketAddr, Refusal> {
        let address = self.address.ok_or(Refusal::NoSession)?;
        let send = self.send.as_mut().ok_or(Refusal::NoSession)?;
        if now >= send.until || send.sequence >= SENT_MAX {
            return Err(Refusal::KeyExpired);
        }
        let length = u16::try_from(body.len()).map_err(|_| Refusal::BadLength)?;
        let head = Head { sequence: send.sequence, kind: frame as u8, length };
        send.sequence += 1;
        send.key.seal(head, body, out);
        send.life.tell(send.sequence);
        Ok(address)
    }

    /// Whether the datagram answers our handshake: a response proves it by its key; a retry's key
    /// is public, so it costs a token.
    pub(super) fn awaits(&mut self, datagram: &[u8], now: Nanos) -> Result<bool, Refusal> {
        let fits = |key: &Arc<Opener>, flight| handshake::head(key, datagram, flight).is_some();
        if self.responses.iter().flatten().any(|key| fits(key, Flight::Response)) {
            return Ok(true);
        }
        if !self.retry.as_ref().is_some_and(|key| fits(key, Flight::Retry)) {
            return Ok(false);
        }
        self.admit(now).map(|()| true)
    }

    /// Takes a token of this link.
    pub(super) fn admit(&mut self, now: Nanos) -> Result<(), Refusal> {
        self.bucket.take(INTERVAL, now).then_some(()).ok_or(Refusal::RateLimited)
    }

    /// Carries out a command; whoever holds the map of addresses has already bound `address`.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Await { address, peer, response, retry } => {
                self.bind(address, peer);
                self.responses.swap(0, 1);
                self.responses[0] = Some(response);
                self.retry = Some(retry);
            }
            Change::Next { address, peer, receive } => {
                self.bind(address, peer);
                self.receivers[NEXT].install(receive);
            }
            Change::Current { receive, send, demote, awaiting } => {
                if demote {
                    self.receivers.swap(CURRENT, PREVIOUS);
                }
                self.receivers[CURRENT].install(receive);
                self.send = send;
                if !awaiting {
                    self.stop_waiting();
                }
            }
            Change::Promote { generation, send } => self.promote(generation, send),
            Change::ForgetNext { generation } => {
                if self.is_next(generation) {
                    self.receivers[NEXT].clear();
                }
            }
            Change::ForgetCurrent => {
                self.receivers[CURRENT].clear();
                self.send = None;
            }
            Change::ForgetPrevious => self.receivers[PREVIOUS].clear(),
            Change::ForgetAwaited => self.stop_waiting(),
            Change::Forget => self.forget(),
        }
    }

    fn bind(&mut self, address: SocketAddr, peer: PeerKind) {
        self.address = Some(address);
        self.peer = peer;
    }

    fn is_next(&self, generation: Generation) -> bool {
        self.receivers[NEXT].half.as_ref().is_some_and(|half| half.generation == generation)
    }

    fn promote(&mut self, generation: Generation, send: Option<Box<SendHalf>>) {
        if self.is_next(generation) {
            self.receivers.swap(CURRENT, PREVIOUS);
            self.receivers.swap(NEXT, CURRENT);
            self.receivers[NEXT].clear();
            self.send = send;
        }
    }

    fn stop_waiting(&mut self) {
        self.responses = [None, None];
        self.retry = None;
    }

    fn forget(&mut self) {
        self.address = None;
        self.receivers.iter_mut().for_each(Receiver::clear);
        self.send = None;
        self.stop_waiting();
    }
}
