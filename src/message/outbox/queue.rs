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
use super::ring::Ring;
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
    /// Messages with parts to be sent again.
    due: Ring,
    /// Messages with parts that were never sent.
    fresh: Ring,
    /// Whose turn it is: parts never sent, or those that are due.
    turn_of_fresh: bool,
    progressed: Ring,
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
        let Some(id) = self.progressed.pop() else { return self.ended.pop_front() };
        let message = self.messages.get_mut(&id)?;
        message.progress_place = None;
        let (acknowledged, total) = (message.acknowledged(), message.parts());
        Some(Event::Progress { id, acknowledged, total })
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
        } else if message.progress_place.is_none() {
            message.progress_place = Some(self.progressed.join(*id));
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
            if let Some(place) = message.due_place.take() {
                self.due.leave(place);
            }
            if let Some(place) = message.fresh_place.take() {
                self.fresh.leave(place);
            }
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
        let places = [
            (message.due_place, &mut self.due),
            (message.fresh_place, &mut self.fresh),
            (message.progress_place, &mut self.progressed),
        ];
        for (place, ring) in places {
            if let Some(place) = place {
                ring.leave(place);
            }
        }
        true
    }

    /// Puts a message at the end of the rings in which it has something to send.
    fn line_up(&mut self, id: &MessageId) {
        let Some(message) = self.messages.get_mut(id) else { return };
        if message.resting_until.is_some() {
            return;
        }
        if message.due_place.is_none() && message.due_part().is_some() {
            message.due_place = Some(self.due.join(*id));
        }
        if message.fresh_place.is_none() && message.fresh_part().is_some() {
            message.fresh_place = Some(self.fresh.join(*id));
        }
    }

    fn next_due(&mut self) -> Option<(MessageId, u32)> {
        while let Some(id) = self.due.pop() {
            let message = self.messages.get_mut(&id)?;
            message.due_place = None;
            if let Some(part) = message.due_part() {
                return Some((id, part));
            }
        }
        None
    }

    /// Messages that have their share in flight keep their place. There are at most as many of
    /// them as parts in flight, so that the search is short.
    fn next_fresh(&mut self) -> Option<(MessageId, u32)> {
        let free = WINDOW_PARTS.saturating_sub(self.in_flight);
        if free == 0 {
            return None;
        }
        let has_share = |id: &&MessageId| {
            self.messages.get(*id).is_some_and(|message| message.flights().len() < free)
        };
        let id = *self.fresh.iter().find(has_share)?;
        let message = self.messages.get_mut(&id)?;
        if let Some(place) = message.fresh_place.take() {
            self.fresh.leave(place);
        }
        message.fresh_part().map(|part| (id, part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::fragment::Cut;
    use crate::pki::{MailboxKeys, NodeId};

    const RETRY: Nanos = Nanos::from_secs(2);

    /// A queue of messages with so many parts each, and their ids.
    fn queue(parts: &[usize]) -> (Queue, Vec<MessageId>) {
        let mut queue = Queue::default();
        let ids: Vec<MessageId> = (1..=u8::MAX).take(parts.len()).map(|n| [n; 16]).collect();
        for (id, parts) in ids.iter().zip(parts) {
            queue.insert(*id, message(*parts));
        }
        (queue, ids)
    }

    fn message(parts: usize) -> Outgoing {
        let to = MailboxKeys::generate(&mut Rng::from_seed([1; 32])).address(NodeId([2; 32]));
        let cut = Cut::new(parts * 10, 10).unwrap();
        Outgoing::new(vec![7; parts * 10], cut, &to, Nanos::from_secs(60))
    }

    fn send(queue: &mut Queue, now: Nanos) -> Option<(MessageId, u32)> {
        queue.tick(now);
        let (id, part) = queue.next()?;
        queue.has_left(&id, part, now + RETRY);
        Some((id, part))
    }

    #[test]
    fn messages_take_turns_whatever_their_size() {
        let (mut queue, ids) = queue(&[1000, 2, 1]);
        let sent: Vec<_> = (0..6).filter_map(|_| send(&mut queue, Nanos::ZERO)).collect();
        let [long, short, single] = ids[..] else { panic!("three messages") };
        let expected = [(long, 0), (short, 0), (single, 0), (long, 1), (short, 1), (long, 2)];
        assert_eq!(sent, expected);
    }

    #[test]
    fn one_message_fills_half_of_the_window_and_a_newcomer_finds_room() {
        let (mut queue, _) = queue(&[10_000]);
        while send(&mut queue, Nanos::ZERO).is_some() {}
        assert_eq!(queue.in_flight, WINDOW_PARTS / 2);
        queue.insert([9; 16], message(10_000));
        assert_eq!(send(&mut queue, Nanos::ZERO), Some(([9; 16], 0)));
        while send(&mut queue, Nanos::ZERO).is_some() {}
        assert_eq!(queue.in_flight, WINDOW_PARTS / 4 * 3);
    }

    #[test]
    fn no_number_of_messages_has_more_in_flight_than_the_window() {
        let mut queue = Queue::default();
        for number in 0..u16::try_from(WINDOW_PARTS).unwrap() + 500 {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            queue.insert(id, message(2));
        }
        while send(&mut queue, Nanos::ZERO).is_some() {
            assert!(queue.in_flight <= WINDOW_PARTS);
        }
        assert_eq!(queue.in_flight, WINDOW_PARTS);
    }

    #[test]
    fn a_part_is_sent_again_when_its_wait_is_over_unless_it_is_acknowledged() {
        let (mut queue, ids) = queue(&[3]);
        while send(&mut queue, Nanos::ZERO).is_some() {}
        assert!(queue.acknowledge(&ids[0], 1) && !queue.acknowledge(&ids[0], 1));
        assert_eq!(queue.next_deadline(), RETRY);
        assert_eq!(send(&mut queue, RETRY - Nanos(1)), None);
        assert_eq!(send(&mut queue, RETRY), Some((ids[0], 0)));
        // Acknowledged while it is due.
        assert!(queue.acknowledge(&ids[0], 2));
        assert_eq!(send(&mut queue, RETRY), None);
        assert_eq!(queue.message(&ids[0]).unwrap().tries(0), 2);
        assert!(queue.acknowledge(&ids[0], 0));
        assert_eq!(queue.poll(), Some(Event::Delivered { id: ids[0] }));
        assert_eq!((queue.in_flight, queue.bytes(), queue.timers.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_sent_again_and_what_is_new_take_turns() {
        let (mut queue, ids) = queue(&[20]);
        for _ in 0..10 {
            send(&mut queue, Nanos::ZERO);
        }
        queue.insert([9; 16], message(20));
        let sent: Vec<_> = (0..8).filter_map(|_| send(&mut queue, RETRY)).collect();
        let again = sent.iter().filter(|(id, part)| *id == ids[0] && *part < 10).count();
        let of_newcomer = sent.iter().filter(|(id, _)| *id == [9; 16]).count();
        assert_eq!((again, of_newcomer), (4, 2));
    }

    #[test]
    fn a_resting_message_lets_the_others_go_on_and_comes_back() {
        let mut rng = Rng::from_seed([1; 32]);
        let (mut queue, ids) = queue(&[5, 5]);
        send(&mut queue, Nanos::ZERO);
        queue.rest(&ids[0], Failure::MailboxFull, Nanos::ZERO, &mut rng);
        let mut sent = vec![];
        while let Some((id, _)) = send(&mut queue, Nanos::ZERO) {
            sent.push(id);
        }
        assert_eq!(sent, [ids[1]; 5]);
        for part in 0..5 {
            queue.acknowledge(&ids[1], part);
        }
        // The first rest takes from 3 to 4 seconds; the part in flight waits for its end, too.
        assert_eq!(send(&mut queue, Nanos::from_secs(3) - Nanos(1)), None);
        let mut sent = vec![];
        while let Some((_, part)) = send(&mut queue, Nanos::from_secs(4)) {
            sent.push(part);
        }
        sent.sort_unstable();
        assert_eq!(sent, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_message_fails_at_its_deadline_with_the_last_trouble_and_leaves_nothing() {
        let mut rng = Rng::from_seed([2; 32]);
        let (mut queue, ids) = queue(&[5, 5]);
        while send(&mut queue, Nanos::ZERO).is_some() {}
        queue.rest(&ids[0], Failure::MailboxFull, Nanos::ZERO, &mut rng);
        queue.acknowledge(&ids[1], 3);
        queue.tick(Nanos::from_secs(60));
        let failed = |id, why| Some(Event::Failed { id, why });
        assert_eq!(queue.poll(), failed(ids[0], Failure::MailboxFull));
        assert_eq!(queue.poll(), failed(ids[1], Failure::Unanswered));
        assert_eq!(queue.poll(), None);
        assert_eq!((queue.waiting(), queue.bytes(), queue.in_flight), (0, 0, 0));
        let rings = [&queue.due, &queue.fresh, &queue.progressed];
        assert_eq!(queue.timers.len() + rings.iter().flat_map(|ring| ring.iter()).count(), 0);
    }

    #[test]
    fn progress_nobody_asked_for_is_reported_in_one() {
        let (mut queue, ids) = queue(&[4]);
        while send(&mut queue, Nanos::ZERO).is_some() {}
        for part in 0..3 {
            queue.acknowledge(&ids[0], part);
        }
        let progress = Event::Progress { id: ids[0], acknowledged: 3, total: 4 };
        assert_eq!((queue.poll(), queue.poll()), (Some(progress), None));
    }
}
