//! How a node stands, for threads that only look: written by its control thread.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::{Counter, Gauge};
use crate::pki::{Consensus, NodeId};
use crate::replay::EpochKey;

/// The documents and keys in force.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The consensus that the node follows.
    pub consensus: Arc<Consensus>,
    /// Its mix keys, with their epochs.
    pub keys: Vec<(u64, Arc<EpochKey>)>,
}

/// How a node stands.
#[derive(Debug)]
pub struct Standing {
    id: NodeId,
    in_force: Mutex<InForce>,
    draining: AtomicBool,
    lab_over: AtomicBool,
    /// Turns of the control thread: its heartbeat.
    pub turns: Counter,
    /// Links to neighbours that have a session.
    pub links_up: Gauge,
    /// Links to neighbours that there should be.
    pub links: Gauge,
}

impl Standing {
    /// The node `id`, which starts with `in_force`.
    pub fn new(id: NodeId, in_force: InForce) -> Self {
        Standing {
            id,
            in_force: Mutex::new(in_force),
            draining: AtomicBool::new(false),
            lab_over: AtomicBool::new(false),
            turns: Counter::default(),
            links_up: Gauge::default(),
            links: Gauge::default(),
        }
    }

    /// The node.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The documents and keys in force.
    pub fn in_force(&self) -> InForce {
        self.lock().clone()
    }

    /// A new epoch has begun, or keys have changed.
    pub fn set_in_force(&self, in_force: InForce) {
        *self.lock() = in_force;
    }

    /// Whether it takes in nothing more.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// It takes in nothing more from now on.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether strangers have come, before whom nothing is shown that only a laboratory may see.
    pub fn is_lab_over(&self) -> bool {
        self.lab_over.load(Relaxed)
    }

    /// Strangers have come; this is for good.
    pub fn end_lab(&self) {
        self.lab_over.store(true, Relaxed);
    }

    /// Both critical sections only move a value: nothing can be half done.
    fn lock(&self) -> MutexGuard<'_, InForce> {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
