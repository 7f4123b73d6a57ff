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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMicros;
    use crate::store::{Outcome, Placed, Request};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn many_letters_share_a_commit_and_discards_are_done_with_them() {
        let unique = format!("mixline-store-thread-{}", std::process::id());
        let folder = std::env::temp_dir().join(unique);
        let commits = Arc::new(AtomicUsize::new(0));
        let count = commits.clone();
        let wake = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let mut store = ThreadStore::open(&folder, Options::default(), wake).unwrap();
        let letters = 4000;
        let request = |ticket: u64| match ticket {
            0 => Request::Open([1; 32]),
            even if even % 2 == 0 => Request::Discard,
            odd => Request::Put { mailbox: [1; 32], body: odd.to_le_bytes().into() },
        };
        let wall = UnixMicros::from_secs(1);
        for ticket in 0..=letters {
            store.submit(Order { ticket, wall, request: request(ticket) }).unwrap();
        }
        let mut done = vec![];
        while done.len() <= usize::try_from(letters).unwrap() {
            done.extend(std::iter::from_fn(|| store.completed()));
            thread::sleep(Duration::from_millis(1));
        }
        assert!((0..).zip(&done).all(|(ticket, completion)| completion.ticket == ticket));
        let stored = Outcome::Placed(Placed::Stored);
        assert_eq!(done.iter().filter(|completion| completion.outcome == stored).count(), 2000);
        let commits = commits.load(Ordering::Relaxed);
        assert!(commits <= 100, "{commits} commits for 4001 orders");
        assert!(store.failure().is_none());
        drop(store);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_said() {
        let refused = ThreadStore::open(Path::new("/proc/none"), Options::default(), || {});
        assert!(matches!(refused, Err(StoreError::Folder { .. })));
    }
}
