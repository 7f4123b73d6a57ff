//! What one client is to get, and in which order: answers, then replies, letters and objects in
//! turn.
//!
//! Everything is bounded; what does not fit is dropped, as on the wire, and asked for again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::clock::Nanos;
use crate::link::control::{Item, ObjectData, ObjectGet};
use crate::link::{Delivery, Frame};
use crate::sphinx::Identifier;

use super::letters::Letters;
use super::openings::Openings;

/// Answers that wait at most: a client has few questions.
const ANSWERS_MAX: usize = 16;
/// Replies that wait at most: what a few seconds of sending bring back.
const REPLIES_MAX: usize = 512;
/// Requests for objects that wait at most.
const REQUESTS_MAX: usize = 16;

/// One client's side of the gateway.
#[derive(Debug)]
pub(super) struct Downlink {
    serial: u64,
    answers: VecDeque<Vec<u8>>,
    replies: VecDeque<Vec<u8>>,
    /// The mailboxes that it opened.
    pub(super) openings: Openings,
    /// Its mailbox, if one is open.
    pub(super) letters: Option<Letters>,
    requests: VecDeque<ObjectGet>,
    turn: Kind,
}

/// What takes turns when several kinds wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reply,
    Letter,
    Object,
}

impl Kind {
    const COUNT: usize = 3;

    fn next(self) -> Kind {
        match self {
            Kind::Reply => Kind::Letter,
            Kind::Letter => Kind::Object,
            Kind::Object => Kind::Reply,
        }
    }
}

/// A frame whose turn has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) frame: Frame,
    pub(super) body: Vec<u8>,
    pub(super) is_letter: bool,
}

impl Downlink {
    /// Nothing waits for the client that `serial` names.
    pub(super) fn new(serial: u64) -> Self {
        Downlink {
            serial,
            answers: VecDeque::new(),
            replies: VecDeque::new(),
            openings: Openings::default(),
            letters: None,
            requests: VecDeque::new(),
            turn: Kind::Reply,
        }
    }

    /// Which of all clients this is.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// Queues a reply, still sealed; whether there was room.
    pub(super) fn push_reply(&mut self, identifier: Identifier, payload: &[u8]) -> bool {
        let room = self.replies.len() < REPLIES_MAX;
        if room {
            let delivery = Delivery { number: 0, flags: 0, behind: 0, surb: identifier, payload };
            self.replies.push_back(encode(&delivery));
        }
        room
    }

    /// Queues the answer to a request.
    pub(super) fn push_answer(&mut self, body: Vec<u8>) {
        if self.answers.len() < ANSWERS_MAX {
            self.answers.push_back(body);
        }
    }

    /// Takes a request for an object.
    pub(super) fn ask(&mut self, request: ObjectGet) {
        if self.requests.len() < REQUESTS_MAX && request.count > 0 {
            self.requests.push_back(request);
        }
    }

    /// What leaves now, if anything waits: answers first, then the kinds in turn, since anybody
    /// who knows the mailbox can send as many replies and letters as they like.
    pub(super) fn next(
        &mut self,
        objects: &HashMap<[u8; 32], Arc<[u8]>>,
        body_bytes_max: usize,
        now: Nanos,
    ) -> Option<Next> {
        if let Some(body) = self.answers.pop_front() {
            return Some(Next { frame: Frame::Control, body, is_letter: false });
        }
        for _ in 0..Kind::COUNT {
            let kind = self.turn;
            self.turn = kind.next();
            let next = match kind {
                Kind::Reply => self.replies.pop_front().map(|body| (Frame::Deliver, body)),
                Kind::Letter => self.letter(now).map(|body| (Frame::Deliver, body)),
                Kind::Object => {
                    self.piece(objects, body_bytes_max).map(|body| (Frame::Control, body))
                }
            };
            if let Some((frame, body)) = next {
                return Some(Next { frame, body, is_letter: kind == Kind::Letter });
            }
        }
        None
    }

    fn letter(&mut self, now: Nanos) -> Option<Vec<u8>> {
        let (letter, behind) = self.letters.as_mut()?.next(now)?;
        let (number, payload) = (letter.number, &letter.body[..]);
        let surb = Identifier::default();
        Some(encode(&Delivery { number, flags: 0, behind, surb, payload }))
    }

    /// The next piece of an object that was asked for and is here.
    fn piece(
        &mut self,
        objects: &HashMap<[u8; 32], Arc<[u8]>>,
        body_bytes_max: usize,
    ) -> Option<Vec<u8>> {
        while let Some(mut request) = self.requests.pop_front() {
            let Some(object) = objects.get(&request.hash) else { continue };
            let Some(rest) = object.get(request.offset as usize..) else { continue };
            let room = body_bytes_max.saturating_sub(ObjectData::OVERHEAD_BYTES);
            let bytes = &rest[..rest.len().min(room)];
            let total = u32::try_from(object.len()).unwrap_or(u32::MAX);
            let ObjectGet { request: number, offset, .. } = request;
            let piece = ObjectData { request: number, offset, total, bytes };
            let body = Item::ObjectData(piece).to_body();
            request.count -= 1;
            request.offset += u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            if request.count > 0 && request.offset < total {
                self.requests.push_front(request);
            }
            return Some(body);
        }
        None
    }
}

fn encode(delivery: &Delivery<'_>) -> Vec<u8> {
    let mut body = vec![0; Delivery::HEADER_BYTES + delivery.payload.len()];
    let written = delivery.encode(&mut body);
    assert!(written.is_ok(), "the body has the delivery's length");
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::letters::Limits;
    use crate::link::control::Items;
    use crate::store::Letter;

    const LIMITS: Limits = Limits { resend_after: Nanos::from_secs(1), letter_bytes_max: 1024 };

    #[test]
    fn replies_letters_and_objects_take_turns() {
        let mut downlink = Downlink::new(1);
        let objects = HashMap::from([([5; 32], Arc::from(&[6; 25][..]))]);
        downlink.ask(ObjectGet { request: 9, hash: [5; 32], offset: 0, count: 2 });
        let mut letters = Letters::new(1, [1; 32], 0, LIMITS);
        assert_eq!(letters.wanted(Nanos::ZERO), Some(0));
        letters.take_page(0, vec![Letter { number: 1, body: [7; 3].into() }], Nanos::ZERO);
        downlink.letters = Some(letters);
        assert!(downlink.push_reply([3; 16], &[4; 10]));
        let mut next = || downlink.next(&objects, ObjectData::OVERHEAD_BYTES + 20, Nanos::ZERO);
        let reply = next().unwrap().body;
        assert_eq!(Delivery::decode(&reply).unwrap().surb, [3; 16]);
        let letter = next().unwrap();
        assert!(letter.is_letter);
        assert_eq!(Delivery::decode(&letter.body).unwrap().payload, [7; 3]);
        let pieces: Vec<usize> = std::iter::from_fn(&mut next)
            .map(|piece| match Items::of(&piece.body).next() {
                Some(Ok(Item::ObjectData(piece))) => piece.bytes.len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(pieces, [20, 5]);
    }

    #[test]
    fn a_flood_of_replies_holds_up_neither_answers_nor_letters_nor_objects() {
        let mut downlink = Downlink::new(1);
        let objects = HashMap::from([([5; 32], Arc::from(&[6; 400][..]))]);
        (0..REPLIES_MAX).for_each(|_| assert!(downlink.push_reply([3; 16], &[4; 10])));
        let mut letters = Letters::new(1, [1; 32], 0, LIMITS);
        assert_eq!(letters.wanted(Nanos::ZERO), Some(0));
        let page = (1..=10).map(|number| Letter { number, body: [7; 3].into() });
        letters.take_page(0, page.collect(), Nanos::ZERO);
        downlink.letters = Some(letters);
        downlink.ask(ObjectGet { request: 9, hash: [5; 32], offset: 0, count: 20 });
        downlink.push_answer(vec![1]);
        let mut next =
            || downlink.next(&objects, ObjectData::OVERHEAD_BYTES + 20, Nanos::ZERO).unwrap();
        assert_eq!(next().body, [1]);
        let thirty: Vec<Next> = (0..30).map(|_| next()).collect();
        assert_eq!(thirty.iter().filter(|next| next.is_letter).count(), 10);
        assert_eq!(thirty.iter().filter(|next| next.frame == Frame::Control).count(), 10);
    }

    #[test]
    fn what_does_not_fit_is_dropped() {
        let mut downlink = Downlink::new(1);
        let taken = (0..REPLIES_MAX + 5).filter(|_| downlink.push_reply([1; 16], &[])).count();
        assert_eq!(taken, REPLIES_MAX);
        (0..100).for_each(|_| downlink.push_answer(vec![]));
        assert_eq!(downlink.answers.len(), ANSWERS_MAX);
        (0..100).for_each(|_| {
            downlink.ask(ObjectGet { request: 1, hash: [0; 32], offset: 0, count: 1 })
        });
        assert_eq!(downlink.requests.len(), REQUESTS_MAX);
    }
}
