//! A store that works on its caller's thread and in memory: for networks in virtual time.
//!
//! The same database as on disk, over memory: what differs is only who waits for it.

use std::collections::VecDeque;

use super::database::Database;
use super::{Completion, Options, Order, Store, StoreError};

/// Mailboxes in memory.
#[derive(Debug)]
pub struct InlineStore {
    database: Database,
    waiting: Vec<Order>,
    done: VecDeque<Completion>,
    failure: Option<StoreError>,
}

impl InlineStore {
    /// An empty store.
    ///
    /// # Errors
    /// [`StoreError::Commit`], which memory does not cause.
    pub fn new(options: Options) -> Result<Self, StoreError> {
        let database = Database::in_memory(options)?;
        let (waiting, done) = (Vec::new(), VecDeque::new());
        Ok(InlineStore { database, waiting, done, failure: None })
    }
}

impl Store for InlineStore {
    fn submit(&mut self, order: Order) -> Result<(), Order> {
        self.waiting.push(order);
        Ok(())
    }

    fn completed(&mut self) -> Option<Completion> {
        if !self.waiting.is_empty() {
            match self.database.commit(std::mem::take(&mut self.waiting)) {
                Ok(done) => self.done.extend(done),
                Err(error) => self.failure = Some(error),
            }
        }
        self.done.pop_front()
    }

    fn failure(&mut self) -> Option<StoreError> {
        self.failure.take()
    }
}
