//! The register with its state on disk: what is answered or published is written first.

use super::state::State;
use super::{Refusal, Register};
use crate::clock::{self, Nanos};
use crate::pki::SigningKey;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The longest sleep: the wall clock may be set meanwhile.
const SLEEP_MAX: Nanos = Nanos::from_secs(5);
/// The shortest one, where a consensus is due that cannot be made.
const SLEEP_MIN: Nanos = Nanos::from_millis(250);

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
}

impl Desk {
    pub(super) fn new(register: Register, key: SigningKey, state: State) -> Self {
        Desk { register: Mutex::new(register), key, state, entered: Notify::new() }
    }

    /// The register. A thread that panicked with it has ended the process.
    pub(super) fn register(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a descriptor in.
    pub(super) fn enter(&self, bytes: &[u8]) -> Result<(), EnterError> {
        let (mut register, wall) = (self.register(), clock::wall());
        let descriptor = register.check(bytes, wall).map_err(EnterError::Refused)?;
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

    /// Publishes every consensus when it is due.
    pub(super) async fn publish(&self) {
        let mut told = None;
        loop {
            self.publish_due(&mut told);
            let span = self.register().due_in(clock::wall()).clamp(SLEEP_MIN, SLEEP_MAX);
            tokio::select! {
                () = tokio::time::sleep(span.as_duration()) => {}
                () = self.entered.notified() => {}
            }
        }
    }

    /// Publishes what is due now; says once an epoch that there is no network to publish.
    fn publish_due(&self, told: &mut Option<u64>) {
        let (mut register, wall) = (self.register(), clock::wall());
        while let Some(epoch) = register.due(wall) {
            let (consensus, bytes) = match register.sign(epoch, &self.key, wall) {
                Ok(signed) => signed,
                Err(error) => {
                    if *told != Some(epoch) {
                        tracing::warn!("no consensus of epoch {epoch} yet: {error}");
                        *told = Some(epoch);
                    }
                    return;
                }
            };
            if let Err(error) = self.state.keep_consensus(epoch, &bytes) {
                tracing::error!("cannot keep the consensus of epoch {epoch}: {error}");
                return;
            }
            let nodes = consensus.nodes().count();
            tracing::info!("consensus of epoch {epoch} published: {nodes} nodes");
            let over = register.note(consensus, bytes);
            self.state.forget(&[], &over);
        }
    }
}
