//! Which part of which message is sent next, and when again.
//!
//! Messages take turns, whatever their size; parts that are sent again and parts that are sent for
//! the first time take turns as well, so that neither keeps the other waiting. A message may have
//! as many parts in flight as are left of the window by all of them together: one alone gets half
//! of the window, and however many are stuck, the next one finds room (Choudhury and Hahne,
//! "Dynamic queue length thresholds for shared-memory packet switches", 1998).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::backoff::Backoff;
use super::outgoing::Outgoing;
use super::{Event, Failure};
use crate::clock::Nanos;
use crate::crypto::random::Rng;
use crate::message::MessageId;

/// Parts that were sent and are not acknowledged, of all messages, at most.
pub const WINDOW_PARTS: usize = 4096;

/// What a time is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A part is to be sent again.
    Retry(u32),
    /// A message that rested goes on.
    Resume,
    /// A message has failed.
    Deadline,
}

/// All messages on their way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    messages: BTreeMap<MessageId, Outgoing>,
    bytes: usize,
    in_flight: usize,
    timers: BTreeSet<(Nanos, MessageId, Timer)>,
    due: VecDeque<MessageId>,
    fresh: VecDeque<MessageId>,
    /// Whose turn it is: parts never sent, or those that are due.
    turn_of_fresh: bool,
    progressed: VecDeque<MessageId>,
    ended: VecDeque<Event>,
}

impl Queue {
    /// Takes in a message.
    pub(super) fn insert(&mut self, id: MessageId, message: Outgoing) {
        self.bytes += message.bytes();
        self.timers.insert((message.deadline, id, Timer::Deadline));
        self.messages.insert(id, message);
        self.line_up(&id);
    }

    pub(super) fn message(&self, id: &MessageId) -> Option<&Outgoing> {
        self.messages.get(id)
    }

    /// Bytes of all messages.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages on their way.
    pub(super) fn waiting(&self) -> usize {
        self.messages.len()
    }

    /// Messages on their way, and those whose end was not asked for yet.
    pub(super) fn kept(&self) -> usize {
        self.messages.len() + self.ended.len()
    }

    /// When [`Queue::tick`] has something to do.
    pub(super) fn next_deadline(&self) -> Nanos {
        self.timers.first().map_or(Nanos::NEVER, |(at, ..)| *at)
    }

    /// What happened; a message's end comes after its progress.
    pub(super) fn poll(&mut self) -> Option<Event> {
        while let Some(id) = self.progressed.pop_front() {
            if let Some(message) = self.messages.get_mut(&id) {
                message.has_progressed = false;
                let (acknowledged, total) = (message.acknowledged(), message.parts());
                return Some(Event::Progress { id, acknowledged, total });
            }
        }
        self.ended.pop_front()
    }

    /// Does what is due at `now`.
    pub(super) fn tick(&mut self, now: Nanos) {
        while self.timers.first().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, id, timer)) = self.timers.pop_first()
        {
            let Some(message) = self.messages.get_mut(&id) else { continue };
            match timer {
                Timer::Retry(part) => message.is_due(part),
                Timer::Resume => message.resting_until = None,
                Timer::Deadline => {
                    let why = message.trouble;
                    self.fail(&id, why);
                }
            }
            self.line_up(&id);
        }
    }

    /// The part to send next. [`Queue::has_left`] or [`Queue::rest`] follows.
    pub(super) fn next(&mut self) -> Option<(MessageId, u32)> {
        self.turn_of_fresh = !self.turn_of_fresh;
        match self.turn_of_fresh {
            true => self.next_fresh().or_else(|| self.next_due()),
            false => self.next_due().or_else(|| self.next_fresh()),
        }
    }

    /// A part has left, to be sent again at `retry_at`.
    pub(super) fn has_left(&mut self, id: &MessageId, part: u32, retry_at: Nanos) {
        let Some(message) = self.messages.get_mut(id) else { return };
        self.in_flight += usize::from(message.has_left(part, retry_at));
        self.timers.insert((retry_at, *id, Timer::Retry(part)));
        self.line_up(id);
    }

    /// A part is where it should be. Whether that is news.
    pub(super) fn acknowledge(&mut self, id: &MessageId, part: u32) -> bool {
        let Some(message) = self.messages.get_mut(id) else { return false };
        let Some(flight) = message.acknowledge(part) else { return false };
        message.rests = 0;
        message.trouble = Failure::Unanswered;
        self.in_flight -= 1;
        self.timers.remove(&(flight.retry_at, *id, Timer::Retry(part)));
        if message.is_delivered() {
            self.remove(id);
            self.ended.push_back(Event::Delivered { id: *id });
        } else if !message.has_progressed {
            message.has_progressed = true;
            self.progressed.push_back(*id);
        }
        true
    }

    /// A message cannot be delivered for now: it rests, longer every time.
    pub(super) fn rest(&mut self, id: &MessageId, trouble: Failure, now: Nanos, rng: &mut Rng) {
        let Some(message) = self.messages.get_mut(id) else { return };
        message.trouble = trouble;
        if message.resting_until.is_none() {
            let until = now + Backoff::of_rests().wait(message.rests, rng);
            message.rests = message.rests.saturating_add(1);
            message.resting_until = Some(until);
            self.timers.insert((until, *id, Timer::Resume));
        }
    }

    /// A message will not be delivered.
    pub(super) fn fail(&mut self, id: &MessageId, why: Failure) {
        if self.remove(id) {
            self.ended.push_back(Event::Failed { id: *id, why });
        }
    }

    fn remove(&mut self, id: &MessageId) -> bool {
        let Some(message) = self.messages.remove(id) else { return false };
        self.bytes -= message.bytes();
        self.in_flight -= message.flights().len();
        for (&part, flight) in message.flights() {
            self.timers.remove(&(flight.retry_at, *id, Timer::Retry(part)));
        }
        self.timers.remove(&(message.deadline, *id, Timer::Deadline));
        if let Some(until) = message.resting_until {
            self.timers.remove(&(until, *id, Timer::Resume));
        }
        let rings = [
            (message.in_due_ring, &mut self.due),
            (message.in_fresh_ring, &mut self.fresh),
            (message.has_progressed, &mut self.progressed),
        ];
        for (_, ring) in rings.into_iter().filter(|(is_member, _)| *is_member) {
            ring.retain(|member| member != id);
        }
        true
    }

    /// Puts a message at the end of the rings in which it has something to send.
    fn line_up(&mut self, id: &MessageId) {
        let Some(message) = self.messages.get_mut(id) else { return };
        if message.resting_until.is_some() {
            return;
        }
        if !message.in_due_ring && message.due_part().is_some() {
            message.in_due_ring = true;
            self.due.push_back(*id);
        }
        if !message.in_fresh_ring && message.fresh_part().is_some() {
            message.in_fresh_ring = true;
            self.fresh.push_back(*id);
        }
    }

    fn next_due(&mut self) -> Option<(MessageId, u32)> {
        while let Some(id) = self.due.pop_front() {
            let Some(message) = self.messages.get_mut(&id) else { continue };
            message.in_due_ring = false;
            if message.resting_until.is_none()
                && let Some(part) = message.due_part()
            {
                return Some((id, part));
            }
        }
        None
    }

    /// Those that have their share in flight keep their place. There are at most as many of them
    /// as parts in flight, so that the search is short.
    fn next_fresh(&mut self) -> Option<(MessageId, u32)> {
        let free = WINDOW_PARTS.saturating_sub(self.in_flight);
        if free == 0 {
            return None;
        }
        for _ in 0..self.fresh.len() {
            let id = self.fresh.pop_front()?;
            let Some(message) = self.messages.get_mut(&id) else { continue };
            if message.resting_until.is_some() {
                message.in_fresh_ring = false;
                continue;
            }
            let Some(part) = message.fresh_part() else { continue };
            if message.flights().len() < free {
                message.in_fresh_ring = false;
                return Some((id, part));
            }
            self.fresh.push_back(id);
        }
        None
    }
}
