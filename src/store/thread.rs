//! A store with a thread of its own, which waits for the disk so that nobody else has to.
//!
//! While one commit is on its way to the disk, orders gather for the next: the more there are, the
//! more share one commit.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};

use super::database::Database;
use super::{Completion, Options, Order, Store, StoreError};

/// Orders that wait at most.
const ORDERS_MAX: usize = 8192;
/// Orders that share a commit at most.
const COMMIT_ORDERS_MAX: usize = 2048;

/// Mailboxes in a file, kept by a thread.
#[derive(Debug)]
pub struct ThreadStore {
    orders: Option<SyncSender<Order>>,
    done: Receiver<Completion>,
    failures: Receiver<StoreError>,
    thread: Option<JoinHandle<()>>,
}

impl ThreadStore {
    /// Opens the mailboxes in `folder`, made if there is none, and starts the thread; it calls
    /// `wake` when orders are done.
    ///
    /// # Errors
    /// When the folder or its file cannot be used, or no thread be started.
    pub fn open(
        folder: &Path,
        options: Options,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self, StoreError> {
        let database = Database::open(folder, options)?;
        let (orders, incoming) = mpsc::sync_channel(ORDERS_MAX);
        let (outgoing, done) = mpsc::channel();
        let (failed, failures) = mpsc::channel();
        let work = move || {
            if let Err(error) = serve(database, &incoming, &outgoing, &wake) {
                // Nobody is there to hear it only when the process ends anyway.
                let _ = failed.send(error);
                wake();
            }
        };
        let thread = thread::Builder::new().name("storage".into()).spawn(work);
        let thread = Some(thread.map_err(StoreError::Thread)?);
        Ok(ThreadStore { orders: Some(orders), done, failures, thread })
    }
}

impl Store for ThreadStore {
    fn submit(&mut self, order: Order) -> Result<(), Order> {
        let Some(orders) = &self.orders else { return Err(order) };
        orders.try_send(order).map_err(|refused| match refused {
            TrySendError::Full(order) | TrySendError::Disconnected(order) => order,
        })
    }

    fn completed(&mut self) -> Option<Completion> {
        self.done.try_recv().ok()
    }

    fn failure(&mut self) -> Option<StoreError> {
        self.failures.try_recv().ok()
    }
}

impl Drop for ThreadStore {
    /// Lets the thread finish what it has taken.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    mut database: Database,
    orders: &Receiver<Order>,
    done: &mpsc::Sender<Completion>,
    wake: &impl Fn(),
) -> Result<(), StoreError> {
    while let Ok(first) = orders.recv() {
        let more = orders.try_iter().take(COMMIT_ORDERS_MAX - 1);
        let group = std::iter::once(first).chain(more).collect();
        for completion in database.commit(group)? {
            if done.send(completion).is_err() {
                return Ok(());
            }
        }
        wake();
    }
    Ok(())
}
