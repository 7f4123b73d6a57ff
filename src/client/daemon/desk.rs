//! The desk: what applications ask for, what the network brings, and the spool between them.
//!
//! A message is given to one reader, and is gone when that reader has acknowledged it. What came
//! in is on disk before the network may acknowledge it to the gateway; many records share one
//! write.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use super::network::Report;
use super::visitor::{Visitor, VisitorId};
use super::{Notice, Order, Orders};
use crate::client::Record;
use crate::client::protocol::{Answer, Call, Reason, Reply, Request, Status};
use crate::client::spool::{Spool, SpoolError};
use crate::clock::{self, Nanos};
use crate::message::{DEADLINE_MAX, Event, Failure, MessageId, SubmitError};
use crate::pki::MailboxAddress;

/// Applications at a time.
const VISITORS_MAX: usize = 64;
/// Requests of one application that wait for a message.
const RECEIVES_MAX: usize = 16;
/// Messages under way that one application has not heard the end of.
const SENDS_MAX: usize = 4096;
/// Notices that share one write.
const BATCH_NOTICES_MAX: usize = 1024;

/// A request that is answered later: whose, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    visitor: VisitorId,
    request: u32,
}

/// An application, as the desk knows it.
#[derive(Debug)]
struct Guest {
    visitor: Visitor,
    /// Messages that were given to it and are not acknowledged.
    reading: BTreeSet<u64>,
    receives: usize,
    sends: usize,
}

/// The desk.
pub(super) struct Desk {
    address: MailboxAddress,
    spool: Spool,
    orders: Orders,
    guests: BTreeMap<VisitorId, Guest>,
    /// Messages that were given to nobody yet.
    unread: BTreeSet<u64>,
    /// Requests that wait for a message, the first first, and until when.
    readers: VecDeque<(Nanos, Ticket)>,
    /// Whose message it is that is under way.
    senders: HashMap<MessageId, Ticket>,
    records: Vec<Record>,
    taken: Vec<(u64, Ticket)>,
}

impl Desk {
    /// Over `spool`, for the mailbox `address`.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub(super) fn new(
        address: MailboxAddress,
        spool: Spool,
        orders: Orders,
    ) -> Result<Self, SpoolError> {
        Ok(Desk {
            address,
            orders,
            guests: BTreeMap::new(),
            unread: spool.unread()?.into_iter().collect(),
            readers: VecDeque::new(),
            senders: HashMap::new(),
            records: Vec::new(),
            taken: Vec::new(),
            spool,
        })
    }

    /// Serves until it is told to stop.
    ///
    /// # Errors
    /// When the spool fails: what came in cannot be kept, so nothing more is taken in.
    pub(super) fn run(mut self, notices: &Receiver<Notice>) -> Result<(), SpoolError> {
        loop {
            let now = clock::now();
            let patience = self.next_due() - now;
            let first = match notices.recv_timeout(patience.as_duration()) {
                Ok(notice) => Some(notice),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            let more = std::iter::from_fn(|| notices.try_recv().ok()).take(BATCH_NOTICES_MAX);
            for notice in first.into_iter().chain(more) {
                if matches!(notice, Notice::Stop) {
                    self.stop();
                    return Ok(());
                }
                self.take(notice);
            }
            self.commit()?;
            self.give()?;
            self.dismiss(clock::now());
        }
    }

    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Arrived { id, stream, notices } => {
                // A connection that finds no thread ends here.
                if let Ok(visitor) = Visitor::admit(id, stream, notices) {
                    self.admit(id, visitor);
                }
            }
            Notice::Gone { visitor, malformed } => self.leave(visitor, malformed),
            Notice::Call { visitor, request } => self.call(visitor, request),
            Notice::Record(record) => self.records.push(record),
            Notice::Event(event) => self.event(&event),
            Notice::Submitted { ticket, taken } => self.submitted(ticket, taken),
            Notice::Report { ticket, report } => self.report(ticket, &report),
            // What may be given now is given after all notices.
            Notice::Drained | Notice::Stop => {}
        }
    }

    fn admit(&mut self, id: VisitorId, visitor: Visitor) {
        if self.guests.len() >= VISITORS_MAX {
            let text = format!("{VISITORS_MAX} applications are connected already");
            let reply = Reply::Refused { reason: Reason::TooMany, text };
            visitor.answer(&Answer { id: 0, reply });
            return;
        }
        let guest = Guest { visitor, reading: BTreeSet::new(), receives: 0, sends: 0 };
        self.guests.insert(id, guest);
    }

    /// What an application was given and has not acknowledged goes to the next reader.
    fn leave(&mut self, id: VisitorId, malformed: bool) {
        let Some(guest) = self.guests.remove(&id) else { return };
        if malformed {
            let text = "what was sent is no request of this version".to_owned();
            let reply = Reply::Refused { reason: Reason::Malformed, text };
            guest.visitor.answer(&Answer { id: 0, reply });
        }
        self.readers.retain(|(_, ticket)| ticket.visitor != id);
        self.senders.retain(|_, ticket| ticket.visitor != id);
        self.unread.extend(guest.reading);
    }

    fn call(&mut self, visitor: VisitorId, request: Request) {
        let ticket = Ticket { visitor, request: request.id };
        if let Some(guest) = self.guests.get(&visitor) {
            guest.visitor.next();
        }
        match request.call {
            Call::Send { to, message, deadline_ms } => self.send(ticket, &to, message, deadline_ms),
            Call::Receive { wait_ms } => self.receive(ticket, wait_ms),
            Call::Acknowledge { number } => self.acknowledge(ticket, number),
            Call::Address => {
                let address = self.address.to_string();
                self.answer(ticket, Reply::Address { address });
            }
            Call::Status => self.orders.give(Order::Report(ticket)),
        }
    }

    fn send(&mut self, ticket: Ticket, to: &str, message: Vec<u8>, deadline_ms: u64) {
        let wait = Nanos::from_millis(deadline_ms);
        if wait == Nanos::ZERO || wait > DEADLINE_MAX {
            return self.refuse(ticket, Reason::BadDeadline, "a deadline of 1 ms to 7 days");
        }
        let to = match to.parse() {
            Ok(to) => to,
            Err(error) => return self.refuse(ticket, Reason::BadAddress, error),
        };
        let Some(guest) = self.guests.get_mut(&ticket.visitor) else { return };
        if guest.sends >= SENDS_MAX {
            let text = format!("{SENDS_MAX} messages of this application are under way");
            return self.refuse(ticket, Reason::QueueFull, text);
        }
        guest.sends += 1;
        self.orders.give(Order::Send { ticket, message, to, wait });
    }

    fn receive(&mut self, ticket: Ticket, wait_ms: u64) {
        let Some(guest) = self.guests.get_mut(&ticket.visitor) else { return };
        if guest.receives >= RECEIVES_MAX {
            let text = format!("{RECEIVES_MAX} requests for a message wait already");
            return self.refuse(ticket, Reason::TooMany, text);
        }
        guest.receives += 1;
        self.readers.push_back((clock::now() + Nanos::from_millis(wait_ms), ticket));
    }

    fn acknowledge(&mut self, ticket: Ticket, number: u64) {
        let guest = self.guests.get_mut(&ticket.visitor);
        if guest.is_some_and(|guest| guest.reading.remove(&number)) {
            self.taken.push((number, ticket));
        } else {
            self.refuse(ticket, Reason::NotYours, "no such message was given to this connection");
        }
    }

    fn submitted(&mut self, ticket: Ticket, taken: Result<MessageId, SubmitError>) {
        match taken {
            Ok(message) => {
                self.senders.insert(message, ticket);
                self.answer(ticket, Reply::Accepted { message });
            }
            Err(error) => {
                let reason = match error {
                    SubmitError::Empty => Reason::Empty,
                    SubmitError::TooLong { .. } => Reason::TooLong,
                    SubmitError::QueueFull => Reason::QueueFull,
                    SubmitError::BadAddress => Reason::BadAddress,
                };
                self.sent(ticket);
                self.refuse(ticket, reason, error);
            }
        }
    }

    fn event(&mut self, event: &Event) {
        match *event {
            Event::Progress { id, acknowledged, total } => {
                if let Some(&ticket) = self.senders.get(&id) {
                    self.answer(ticket, Reply::Progress { acknowledged, total });
                }
            }
            Event::Delivered { id } => self.end(&id, Reply::Delivered),
            Event::Failed { id, why } => {
                let reason = match why {
                    Failure::UnknownMailbox => Reason::UnknownMailbox,
                    Failure::MailboxFull => Reason::MailboxFull,
                    Failure::NoRoute(_) => Reason::NoRoute,
                    Failure::Unanswered => Reason::Unanswered,
                };
                self.end(&id, Reply::Failed { reason, text: why.to_string() });
            }
        }
    }

    fn end(&mut self, message: &MessageId, reply: Reply) {
        if let Some(ticket) = self.senders.remove(message) {
            self.sent(ticket);
            self.answer(ticket, reply);
        }
    }

    /// One message less of an application's is under way.
    fn sent(&mut self, ticket: Ticket) {
        if let Some(guest) = self.guests.get_mut(&ticket.visitor) {
            guest.sends = guest.sends.saturating_sub(1);
        }
    }

    fn report(&mut self, ticket: Ticket, report: &Report) {
        let Report { consensus, connected, refusal, waiting, counts } = report;
        let gateway = consensus.node(&self.address.gateway);
        let status = Status {
            network: consensus.network().to_owned(),
            epoch: consensus.epoch(),
            gateway: gateway
                .map_or_else(|| self.address.gateway.to_string(), |node| node.name().to_owned()),
            connected: *connected,
            refusal: refusal.clone(),
            unread: self.unread.len() as u64,
            waiting: *waiting as u64,
            applications: u32::try_from(self.guests.len()).unwrap_or(u32::MAX),
            packets: counts.outbox.packets,
            retransmissions: counts.outbox.retransmissions,
            acknowledgements: counts.outbox.acknowledgements,
            decoys: counts.outbox.decoys,
            decoys_acknowledged: counts.outbox.decoys_acknowledged,
            drops: counts.emissions.drops,
            loops: counts.loops.sent,
            loops_back: counts.loops.returned,
            control: counts.emissions.control,
            dummies: counts.emissions.dummies,
            received: counts.inbox.messages,
        };
        self.answer(ticket, Reply::Status { status });
    }

    /// Writes what came in and what was taken away; then says so to both sides.
    fn commit(&mut self) -> Result<(), SpoolError> {
        // A spool that is full takes no more; the gateway then keeps it, until it is full, too.
        let full = self.spool.is_full();
        let records = if full { Vec::new() } else { std::mem::take(&mut self.records) };
        let taken = std::mem::take(&mut self.taken);
        if records.is_empty() && taken.is_empty() {
            return Ok(());
        }
        let numbers: Vec<u64> = taken.iter().map(|(number, _)| *number).collect();
        let new = self.spool.commit(&records, &numbers)?;
        if let Some(last) = records.last() {
            self.orders.give(Order::Kept(last.number()));
        }
        self.unread.extend(new);
        for (_, ticket) in taken {
            self.answer(ticket, Reply::Done);
        }
        Ok(())
    }

    /// Gives messages to readers, both in their order. One that has not read what it was given
    /// is passed over until it has.
    fn give(&mut self) -> Result<(), SpoolError> {
        while let Some(&number) = self.unread.first()
            && let Some(place) = self.readers.iter().position(|(_, ticket)| self.has_room(ticket))
        {
            let Some(message) = self.spool.message(number)? else {
                self.unread.remove(&number);
                continue;
            };
            let Some((_, ticket)) = self.readers.remove(place) else { continue };
            if let Some(guest) = self.guests.get_mut(&ticket.visitor) {
                self.unread.remove(&number);
                guest.reading.insert(number);
                guest.receives -= 1;
                self.answer(ticket, Reply::Message { number, message });
            }
        }
        Ok(())
    }

    fn has_room(&self, ticket: &Ticket) -> bool {
        self.guests.get(&ticket.visitor).is_some_and(|guest| guest.visitor.has_room())
    }

    /// Tells readers for whom nothing came in time; not those that have yet to read what did.
    fn dismiss(&mut self, now: Nanos) {
        let readers = std::mem::take(&mut self.readers);
        let is_late = |(until, ticket): &(Nanos, Ticket)| *until <= now && self.has_room(ticket);
        let (late, rest): (VecDeque<_>, VecDeque<_>) = readers.into_iter().partition(is_late);
        self.readers = rest;
        for (_, ticket) in late {
            if let Some(guest) = self.guests.get_mut(&ticket.visitor) {
                guest.receives -= 1;
            }
            self.answer(ticket, Reply::Nothing);
        }
    }

    fn next_due(&self) -> Nanos {
        let readers = self.readers.iter().filter(|(_, ticket)| self.has_room(ticket));
        readers.map(|(until, _)| *until).min().unwrap_or(Nanos::NEVER)
    }

    fn refuse(&mut self, ticket: Ticket, reason: Reason, text: impl ToString) {
        self.answer(ticket, Reply::Refused { reason, text: text.to_string() });
    }

    /// An application that does not read its answers is cut off.
    fn answer(&mut self, ticket: Ticket, reply: Reply) {
        let Some(guest) = self.guests.get(&ticket.visitor) else { return };
        if !guest.visitor.answer(&Answer { id: ticket.request, reply }) {
            guest.visitor.cut_off();
            self.leave(ticket.visitor, false);
        }
    }

    fn stop(self) {
        for guest in self.guests.values() {
            let reply = Reply::Refused { reason: Reason::Stopping, text: "the daemon ends".into() };
            guest.visitor.answer(&Answer { id: 0, reply });
        }
        self.orders.give(Order::Stop);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::client::protocol::{self, Request};
    use crate::crypto::random::Rng;
    use crate::io::wake;
    use crate::message::{MESSAGE_BYTES_MAX, Received};
    use crate::pki::{MailboxKeys, NodeId};

    #[test]
    fn as_many_messages_as_may_be_asked_for_reach_an_application_however_long_they_are() {
        let mut spool = Spool::in_memory().unwrap();
        for number in 1..=6 {
            let bytes = vec![number; MESSAGE_BYTES_MAX];
            let received = Received { id: [number; 16], bytes, letters: vec![] };
            let record = Record::Message { number: number.into(), received };
            spool.commit(&[record], &[]).unwrap();
        }
        let address = MailboxKeys::generate(&mut Rng::from_seed([1; 32])).address(NodeId([2; 32]));
        let orders = Orders { sender: mpsc::channel().0, waker: wake::pair().unwrap().1 };
        let desk = Desk::new(address, spool, orders).unwrap();
        let (notices, heard) = mpsc::channel();
        let desk = std::thread::spawn(move || desk.run(&heard));
        let (mut ours, stream) = UnixStream::pair().unwrap();
        let arrived = Notice::Arrived { id: VisitorId(1), stream, notices: notices.clone() };
        notices.send(arrived).unwrap();

        protocol::greet(&mut ours).unwrap();
        for id in 1..=7 {
            let request = Request { id, call: Call::Receive { wait_ms: 0 } };
            protocol::say(&mut ours, &protocol::encode(&request)).unwrap();
        }
        // All requests are at the desk before anything is read.
        std::thread::sleep(Duration::from_millis(300));
        for id in 1..=7 {
            let body = protocol::read_frame(&mut ours).unwrap().expect("the connection stands");
            let answer: Answer = protocol::decode(&body).unwrap();
            assert_eq!(answer.id, id);
            let number = match answer.reply {
                Reply::Message { number, .. } => number,
                _ => 7,
            };
            assert_eq!(number, u64::from(id));
        }
        notices.send(Notice::Stop).unwrap();
        desk.join().unwrap().unwrap();
    }
}
