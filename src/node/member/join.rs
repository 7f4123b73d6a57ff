//! How a member joins its network: it registers and fetches until a consensus lists it.

use super::{Member, block_on, runtime};
use crate::clock::{self, Nanos};
use crate::node::load::invitation_key;
use crate::node::notify::Notifier;
use crate::node::{Identity, LoadError, NodeError, Stop};
use crate::pki::Epochs;

/// How soon a wish to stop is seen before the node runs.
const LOOK: Nanos = Nanos::from_millis(100);
/// How much longer the start may take than the service manager allows, in microseconds, and how
/// often it is told so, however slow the authorities are.
const START_US: u64 = 60_000_000;
const TELL_EVERY: Nanos = Nanos::from_secs(10);

/// Why a node cannot join its network.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A key file, or the memory for mix keys.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The consensus lists this node, but not as it is.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The network has other epochs.
    #[error("the network has epochs of {found_s} s, `directory.epoch` says {own_s} s")]
    Epochs {
        /// By the consensus.
        found_s: u64,
        /// By the configuration.
        own_s: u64,
    },
    /// The system gives no sockets.
    #[error("cannot ask the authorities: no thread or socket: {0}")]
    Start(#[from] std::io::Error),
}

impl Member {
    /// Registers and fetches until a consensus lists this node, or `stop` is requested: then
    /// none. The service manager is told what is waited for.
    ///
    /// # Errors
    /// When the keys cannot be read or stored, or are not those of the node that is listed.
    pub fn join(&mut self, stop: &Stop) -> Result<Option<Identity>, JoinError> {
        let notifier = Notifier::from_environment()?;
        block_on(runtime()?, async {
            let mut said = String::new();
            loop {
                self.rotate(clock::wall())?;
                let why = match self.identity()? {
                    Ok(identity) => return Ok(Some(identity)),
                    Err(why) => why,
                };
                if why != said {
                    tracing::info!("waiting: {why}");
                    said = why;
                }
                tokio::select! {
                    () = self.step() => {}
                    () = keep_waiting(&notifier, &said) => {}
                    () = requested(stop) => return Ok(None),
                }
            }
        })
    }

    /// The node as the followed consensus lists it; why not, if it is worth waiting for the next.
    fn identity(&mut self) -> Result<Result<Identity, String>, JoinError> {
        let Some(consensus) = self.followed.clone() else {
            return Ok(Err("no consensus yet".to_owned()));
        };
        let epochs = Epochs::of(&consensus);
        if epochs != Some(self.membership.epochs) {
            let found_s = epochs.map_or(0, Epochs::length_s);
            return Err(JoinError::Epochs { found_s, own_s: self.membership.epochs.length_s() });
        }
        let keys = self.folder.node_keys().map_err(LoadError::from)?;
        let in_force = self.rotation.keys().iter().map(|keys| self.custody.load(keys.epoch));
        let epochs = in_force.collect::<Result<_, _>>()?;
        let invitation = invitation_key(&self.folder, self.unlisted)?;
        let custody = self.custody.clone();
        let identity = Identity { keys, epochs, invitation, custody, consensus };
        match identity.listed() {
            Ok(_) => {
                self.filtered = identity.epochs.iter().map(|keys| keys.epoch).collect();
                Ok(Ok(identity))
            }
            Err(error @ NodeError::OtherKey { kind: "link", .. }) => Err(error.into()),
            Err(error) => Ok(Err(why_not_yet(identity.consensus.epoch(), &error))),
        }
    }
}

/// What a member waits for that the consensus of `epoch` does not list as it is. Its new keys are
/// published: there is nothing for the operator to do.
fn why_not_yet(epoch: u64, error: &NodeError) -> String {
    match error {
        NodeError::NoEpochKey(_) | NodeError::OtherKey { .. } => format!(
            "the mix key that the consensus of epoch {epoch} lists for this node is gone: the \
             next consensus lists a new one"
        ),
        error => format!("consensus of epoch {epoch}: {error}"),
    }
}

/// Tells the service manager, over and over, why the start takes so long.
async fn keep_waiting(notifier: &Notifier, why: &str) {
    loop {
        notifier.tell(&format!("EXTEND_TIMEOUT_USEC={START_US}\nSTATUS=waiting: {why}"));
        tokio::time::sleep(TELL_EVERY.as_duration()).await;
    }
}

async fn requested(stop: &Stop) {
    while !stop.is_requested() {
        tokio::time::sleep(LOOK.as_duration()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_whose_key_is_gone_is_not_sent_to_make_one() {
        let why = why_not_yet(7, &NodeError::NoEpochKey(7));
        assert!(why.contains("epoch 7") && !why.contains("keygen"), "{why}");
    }
}
