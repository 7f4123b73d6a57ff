//! The names of the library's `sync`, as the model checker has them, and how a model is run.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;

pub(crate) use loom::cell::UnsafeCell;
pub(crate) use loom::sync::Arc;
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a model may take at most; the walks of three threads through a whole path are long.
const BRANCHES_MAX: usize = 20_000;

/// A bounded queue whose order and limits are those of the real one. Its own atomics are not gone
/// through: it is a library's.
#[derive(Debug)]
pub(crate) struct ArrayQueue<T> {
    messages: loom::sync::Mutex<VecDeque<T>>,
    capacity: usize,
}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        ArrayQueue { messages: loom::sync::Mutex::new(VecDeque::new()), capacity }
    }

    pub(crate) fn push(&self, message: T) -> Result<(), T> {
        let mut messages = self.messages.lock().expect("nobody panics with it");
        if messages.len() == self.capacity {
            return Err(message);
        }
        messages.push_back(message);
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.messages.lock().expect("nobody panics with it").pop_front()
    }
}

/// Every outcome that `model` has, over all interleavings and all values that a load may see.
pub(crate) fn outcomes<O: Debug>(
    model: impl Fn() -> O + Sync + Send + 'static,
) -> BTreeSet<String> {
    let all = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let found = all.clone();
    let mut builder = loom::model::Builder::new();
    builder.max_branches = BRANCHES_MAX;
    builder.check(move || {
        let outcome = format!("{:?}", model());
        found.lock().expect("nobody panics with it").insert(outcome);
    });
    std::mem::take(&mut all.lock().expect("nobody panics with it"))
}

/// What each of `threads` threads gets from `insert`, which is told its number.
pub(crate) fn together<M: Send + Sync + 'static, O: Send + 'static>(
    memory: M,
    threads: usize,
    insert: fn(&M, usize) -> O,
) -> Vec<O> {
    let memory = Arc::new(memory);
    let spawn = |number| {
        let memory = memory.clone();
        loom::thread::spawn(move || insert(&memory, number))
    };
    let others: Vec<_> = (1..threads).map(spawn).collect();
    let mut all = vec![insert(&memory, 0)];
    all.extend(others.into_iter().map(|other| other.join().expect("it ends")));
    all
}
