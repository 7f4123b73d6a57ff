//! A thread that keeps a client's consensus up to date, and the first consensus of all.

use super::{Directory, FetchError, Options};
use crate::clock::{self, Nanos, UnixMicros};
use crate::crypto::random::Rng;
use crate::pki::Consensus;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// The longest sleep: the wall clock may be set meanwhile.
const SLEEP_MAX: Nanos = Nanos::from_secs(10);

/// Why there is no consensus.
#[derive(Debug, thiserror::Error)]
pub enum FollowerError {
    /// The system gives no thread, or no sockets.
    #[error("cannot start asking the authorities: {0}")]
    Start(#[from] io::Error),
    /// Nobody has one for us.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// The consensus of now: the one kept on disk, or one fetched within `patience`. If nobody
/// answers, a kept one of the epoch before, which is still valid, is better than none.
///
/// # Errors
/// When there is none at all: what the last try met.
pub fn obtain(options: Options, patience: Nanos) -> Result<Arc<Consensus>, FollowerError> {
    let mut directory = Directory::open(options, clock::wall(), Rng::from_os());
    runtime()?.block_on(async {
        let start = clock::now();
        loop {
            let (now, wall) = (clock::now(), clock::wall());
            if let Some(current) = directory.current(wall).filter(|_| directory.is_up_to_date(wall))
            {
                return Ok(current.clone());
            }
            let Err(error) = directory.fetch(now, wall).await else { continue };
            let pause = directory.fetch_in(clock::now(), clock::wall());
            if let Some(current) = directory.current(wall) {
                return Ok(current.clone());
            }
            if clock::now() + pause - start > patience {
                return Err(error.into());
            }
            tokio::time::sleep(pause.as_duration()).await;
        }
    })
}

/// A thread that fetches every consensus and says which to follow. It ends when this is dropped.
#[derive(Debug)]
pub struct Follower {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts the thread. `follow` gets every consensus when its time has come; the first one at
    /// once if it is at hand.
    ///
    /// # Errors
    /// When the system gives no thread or no sockets.
    pub fn start(
        options: Options,
        follow: impl FnMut(Arc<Consensus>) + Send + 'static,
    ) -> io::Result<Self> {
        let runtime = runtime()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("directory".into()).spawn(move || {
            let directory = Directory::open(options, clock::wall(), Rng::from_os());
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = keep_up(directory, follow) => {}
                }
            });
        })?;
        Ok(Follower { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell; a panic in it has ended the process.
            let _ = thread.join();
        }
    }
}

/// The runtime of a thread that talks to authorities.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

async fn keep_up(mut directory: Directory, mut follow: impl FnMut(Arc<Consensus>)) {
    let (mut followed, mut warned) = (None, false);
    loop {
        let (now, wall) = (clock::now(), clock::wall());
        if let Some(current) = directory.current(wall).filter(|at| Some(at.epoch()) != followed) {
            followed = Some(current.epoch());
            follow(current.clone());
        }
        if directory.fetch_in(now, wall) > Nanos::ZERO {
            sleep_until_due(&directory, now, wall).await;
            continue;
        }
        match directory.fetch(now, wall).await {
            Ok(_) => warned = false,
            Err(error) if !warned && !directory.is_up_to_date(clock::wall()) => {
                warned = true;
                tracing::warn!("no consensus of this epoch, the last one is used: {error}");
            }
            Err(_) => {}
        }
    }
}

async fn sleep_until_due(directory: &Directory, now: Nanos, wall: UnixMicros) {
    let span = directory.fetch_in(now, wall).min(directory.change_in(wall)).min(SLEEP_MAX);
    tokio::time::sleep(span.as_duration()).await;
}
