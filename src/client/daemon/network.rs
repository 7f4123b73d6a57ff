//! The thread of the network: the client takes its turns, and nothing here waits for a disk or an
//! application.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use super::desk::Ticket;
use super::{Notice, Order};
use crate::client::{Client, Counts};
use crate::clock::{self, Nanos};
use crate::io::Port;
use crate::io::wake::Sleeper;
use crate::pki::Consensus;

/// How long the farewell to the gateway may take.
const FAREWELL: Nanos = Nanos::from_millis(200);

/// How the client is, for a status.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) consensus: Arc<Consensus>,
    pub(super) connected: bool,
    pub(super) refusal: Option<String>,
    pub(super) waiting: usize,
    pub(super) counts: Counts,
}

/// The client and what connects it with the desk.
pub(super) struct Network<P> {
    pub(super) client: Client<P>,
    pub(super) sleeper: Sleeper,
    pub(super) orders: Receiver<Order>,
    pub(super) notices: Sender<Notice>,
}

impl<P: Port> Network<P> {
    /// Takes turns until it is told to stop, or nobody is left to tell.
    pub(super) fn run(mut self) {
        while self.obey() {
            if self.turn() == 0 {
                let now = clock::now();
                let until = self.client.next_due();
                self.sleeper.sleep(self.client.connection().port(), now, until);
            }
        }
        let start = clock::now();
        self.client.close(start);
        while clock::now() - start < FAREWELL {
            self.turn();
            std::thread::sleep(Nanos::from_millis(10).as_duration());
        }
    }

    /// Carries out what was asked for; whether to go on.
    fn obey(&mut self) -> bool {
        loop {
            let order = match self.orders.try_recv() {
                Ok(order) => order,
                Err(std::sync::mpsc::TryRecvError::Empty) => return true,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return false,
            };
            match order {
                Order::Send { ticket, message, to, wait } => {
                    let deadline = clock::now() + wait;
                    let taken = self.client.submit(message, &to, deadline);
                    self.tell(Notice::Submitted { ticket, taken });
                }
                Order::Kept(last) => self.client.kept(last),
                Order::Report(ticket) => self.report(ticket),
                Order::Follow(consensus) => {
                    if let Err(error) = self.client.follow(consensus) {
                        tracing::error!("{error}");
                    }
                }
                Order::Stop => return false,
            }
        }
    }

    fn turn(&mut self) -> usize {
        let mut work = self.client.turn(clock::now(), clock::wall());
        while let Some(record) = self.client.record() {
            work += 1;
            self.tell(Notice::Record(record));
        }
        while let Some(event) = self.client.event() {
            work += 1;
            self.tell(Notice::Event(event));
        }
        work
    }

    fn report(&self, ticket: Ticket) {
        let report = Report {
            consensus: self.client.consensus().clone(),
            connected: self.client.is_ready(),
            refusal: self.client.refusal().map(|refusal| refusal.to_string()),
            waiting: self.client.waiting(),
            counts: self.client.counts(),
        };
        self.tell(Notice::Report { ticket, report: Box::new(report) });
    }

    fn tell(&self, notice: Notice) {
        // A desk that is gone hears nothing; then the orders end, too.
        let _ = self.notices.send(notice);
    }
}
