//! A directory authority: descriptors in, a signed consensus out for every epoch.
//!
//! [`Register`] decides, without a clock and without I/O: who may be in the network, where, and
//! when a consensus is made. Around it lie the `state` on disk and the `http` that others see.
//! What has been answered or published is on disk first, so that a restart changes nothing: an
//! authority never signs two documents for one epoch.

mod http;
mod publish;
mod refusal;
mod register;
mod sources;
mod state;

use crate::clock;
use crate::pki::{KeyError, SigningKey, TrustAnchor};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use refusal::Refusal;
pub use register::{Kept, Policy, Register, Seat, SignError};

use publish::Desk;
use state::State;

/// What an authority is run with.
#[derive(Debug)]
pub struct Options {
    /// The network, and the authorities that sign for it.
    pub anchor: TrustAnchor,
    /// This one's key.
    pub key: SigningKey,
    /// What the network shall be.
    pub policy: Policy,
    /// Where others reach it.
    pub listen: SocketAddr,
    /// The folder of its state.
    pub state: PathBuf,
}

/// Why an authority does not start.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its key is none of the network's.
    #[error("the authority's key is not among those of network {0}: use the key of its anchor")]
    Stranger(String),
    /// Its signature alone is not enough, and authorities do not vote yet.
    #[error("network {network}: {threshold} authorities must sign, and this one signs alone")]
    Threshold {
        /// The network.
        network: String,
        /// How many must sign.
        threshold: usize,
    },
    /// Its key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its state cannot be read or written.
    #[error("{}: {source}", .path.display())]
    State {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// An authority that runs on a thread of its own, until this is dropped.
#[derive(Debug)]
pub struct Authority {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Authority {
    /// Starts an authority.
    ///
    /// # Errors
    /// When its key, its state or its address cannot be used.
    pub fn start(options: Options) -> Result<Self, AuthorityError> {
        check_alone(&options)?;
        let Options { anchor, key, policy, listen, state } = options;
        let (state, kept) = State::open(&state, &anchor, clock::wall())?;
        let register = Register::new(anchor, policy, kept, clock::wall());
        let desk = Arc::new(Desk::new(register, key, state));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(AuthorityError::Thread)?;
        let failed = |source| AuthorityError::Listen { address: listen, source };
        let listener = runtime.block_on(TcpListener::bind(listen)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = desk.publish() => {}
                    () = http::serve(listener, desk.clone()) => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("authority".into()).spawn(serve);
        let thread = Some(thread.map_err(AuthorityError::Thread)?);
        Ok(Authority { address, stop: Some(stop), thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell; a panic in it has ended the process.
            let _ = thread.join();
        }
    }
}

/// Whether this authority may sign for the network, and is enough to do so.
fn check_alone(options: &Options) -> Result<(), AuthorityError> {
    let Options { anchor, key, .. } = options;
    let network = anchor.network().to_owned();
    if !anchor.authorities().contains(&key.public()) {
        return Err(AuthorityError::Stranger(network));
    }
    match anchor.threshold() {
        1 => Ok(()),
        threshold => Err(AuthorityError::Threshold { network, threshold }),
    }
}
