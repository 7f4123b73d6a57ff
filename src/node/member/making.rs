//! A replay table on its way: made and touched by a thread below all others, which ends with it,
//! so that neither packets nor the network's documents wait for gibibytes.

use tokio::sync::oneshot;

use crate::crypto::random::Rng;
use crate::host;
use crate::node::{Custody, NodeError};
use crate::pki::EpochKeys;
use crate::replay::{self, EpochKey};

/// What became of a table; nothing if its thread could not be started or has ended early.
type Made = Option<Result<EpochKey, NodeError>>;

/// One key being bound to its table.
#[derive(Debug)]
pub(super) struct Making {
    epoch: u64,
    made: oneshot::Receiver<Result<EpochKey, NodeError>>,
    result: Option<Made>,
}

impl Making {
    /// Begins to take `keys` into memory.
    pub(super) fn start(
        custody: Custody,
        keys: EpochKeys,
        options: replay::Options,
        mut rng: Rng,
    ) -> Self {
        let (sender, made) = oneshot::channel();
        let epoch = keys.epoch;
        let make = move || {
            host::yield_to_all();
            // Nobody is there to hear of it when the node has ended; the key then lies in memory
            // with its table, or a part of a file is swept away at the next start.
            drop(sender.send(custody.take(&keys, options, &mut rng)));
        };
        // Without a thread the receiver finds its sender gone.
        drop(std::thread::Builder::new().name("replay table".into()).spawn(make));
        Making { epoch, made, result: None }
    }

    /// The epoch of the key.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Waits until it has ended, in whatever way; it may be waited for again.
    pub(super) async fn wait(&mut self) {
        if self.result.is_none() {
            self.result = Some((&mut self.made).await.ok());
        }
    }

    /// What became of it, if it has ended; else itself.
    pub(super) fn finish(self) -> Result<Made, Self> {
        match self.result {
            Some(made) => Ok(made),
            None => Err(self),
        }
    }
}
