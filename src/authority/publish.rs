//! The register with its state on disk: what is answered or published is written first.

use super::state::State;
use super::{Refusal, Register};
use crate::clock::{self, Nanos};
use crate::pki::{Descriptor, NodeId, SigningKey};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The longest sleep: the wall clock may be set meanwhile.
const SLEEP_MAX: Nanos = Nanos::from_secs(5);
/// The shortest one: signing is dear where many nodes register, and others may post at will.
const SLEEP_MIN: Nanos = Nanos::from_millis(250);

/// Nodes whose refusal is logged in one epoch: a stranger could make up any number.
const REFUSED_MAX: usize = 100;

/// Why a descriptor was not entered.
#[derive(Debug)]
pub(super) enum EnterError {
    /// It is not one to enter.
    Refused(Refusal),
    /// It cannot be written.
    Disk,
}

/// The register, its state, and the key that signs.
#[derive(Debug)]
pub(super) struct Desk {
    register: Mutex<Register>,
    key: SigningKey,
    state: State,
    /// Rung when a descriptor has been entered.
    entered: Notify,
    refused: Mutex<Refused>,
}

/// The nodes whose refusal was logged in an epoch.
#[derive(Debug, Default)]
struct Refused {
    epoch: u64,
    nodes: BTreeSet<NodeId>,
}

impl Refused {
    /// Whether a refusal of `node` in `epoch` is to be logged: the first one is.
    fn is_news(&mut self, node: NodeId, epoch: u64) -> bool {
        if self.epoch != epoch {
            *self = Refused { epoch, nodes: BTreeSet::new() };
        }
        self.nodes.len() < REFUSED_MAX && self.nodes.insert(node)
    }
}

impl Desk {
    pub(super) fn new(register: Register, key: SigningKey, state: State) -> Self {
        let (register, entered) = (Mutex::new(register), Notify::new());
        Desk { register, key, state, entered, refused: Mutex::default() }
    }

    /// The register. A thread that panicked with it has ended the process.
    pub(super) fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a descriptor in. One that is here already, which anybody can post, costs no write.
    pub(super) fn enter(&self, bytes: &[u8]) -> Result<(), EnterError> {
        let (mut register, wall) = (self.register(), clock::wall());
        let descriptor = Descriptor::verify(bytes, register.anchor().network());
        let descriptor = descriptor.map_err(|error| EnterError::Refused(error.into()))?;
        if let Err(refusal) = register.check(&descriptor, wall) {
            self.log(&descriptor, refusal, register.epochs().at(wall));
            return Err(EnterError::Refused(refusal));
        }
        if register.knows(&descriptor) {
            return Ok(());
        }
        if let Err(error) = self.state.keep_descriptor(&descriptor) {
            tracing::error!("cannot keep a descriptor: {error}");
            return Err(EnterError::Disk);
        }
        tracing::debug!("descriptor of {} entered", descriptor.fields().name);
        let over = register.enter(descriptor, wall);
        self.state.forget(&over, &[]);
        self.entered.notify_one();
        Ok(())
    }

    /// Tells the operator who is kept out; only who signed, so that none speaks for another.
    fn log(&self, descriptor: &Descriptor, refusal: Refusal, epoch: u64) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.is_news(descriptor.id(), epoch) {
            let (name, id) = (&descriptor.fields().name, descriptor.id());
            tracing::warn!("descriptor of {name} ({id}) refused: {refusal}");
        }
    }

    /// Publishes every consensus when it is due. What is due and cannot be made is tried again
    /// when somebody has registered.
    pub(super) async fn publish(&self) {
        let mut told = None;
        loop {
            let all = self.publish_due(&mut told);
            tokio::time::sleep(SLEEP_MIN.as_duration()).await;
            let due_in = self.register().due_in(clock::wall());
            let span = if all { due_in.min(SLEEP_MAX) } else { SLEEP_MAX };
            tokio::select! {
                () = tokio::time::sleep(span.as_duration()) => {}
                () = self.entered.notified() => {}
            }
        }
    }

    /// Publishes what is due now; says once an epoch that there is no network to publish. Returns
    /// whether all was published.
    fn publish_due(&self, told: &mut Option<u64>) -> bool {
        let (mut register, wall) = (self.register(), clock::wall());
        while let Some(epoch) = register.due(wall) {
            let (consensus, bytes) = match register.sign(epoch, &self.key, wall) {
                Ok(signed) => signed,
                Err(error) => {
                    if *told != Some(epoch) {
                        tracing::warn!("no consensus of epoch {epoch} yet: {error}");
                        *told = Some(epoch);
                    }
                    return false;
                }
            };
            if let Err(error) = self.state.keep_consensus(epoch, &bytes) {
                tracing::error!("cannot keep the consensus of epoch {epoch}: {error}");
                return false;
            }
            let nodes = consensus.nodes().count();
            tracing::info!("consensus of epoch {epoch} published: {nodes} nodes");
            let over = register.note(consensus, bytes);
            self.state.forget(&[], &over);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_news_once_a_node_and_epoch_and_for_so_many_nodes_only() {
        let mut refused = Refused::default();
        let node = |number| NodeId([number; 32]);
        assert!(refused.is_news(node(0), 7));
        assert!(!refused.is_news(node(0), 7));
        assert!(refused.is_news(node(1), 7));
        assert!(refused.is_news(node(0), 8));
        let told = (0..=u8::MAX).filter(|number| refused.is_news(node(*number), 9));
        assert_eq!(told.count(), REFUSED_MAX);
    }
}
