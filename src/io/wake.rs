//! Waking a sleeping worker from another thread.
//!
//! One atomic word says what the worker does: `AWAKE`, `ASLEEP` (or about to be), or `WOKEN`
//! (somebody called since it last looked). Every change of it is one read-modify-write, so all
//! changes have one order, and each side acts on what it replaced:
//!
//! - The waker publishes its work, then swaps in `WOKEN`. Only if it replaced `ASLEEP` does it
//!   pay for a system call.
//! - The sleeper moves from `AWAKE` to `ASLEEP` before it sleeps. If that fails it was `WOKEN`:
//!   it does not sleep. Afterwards it swaps in `AWAKE`, and its caller looks at all queues.
//!
//! No wake-up is lost. Take a waker's swap and the sleeper's next change of the word after it.
//! If that is the swap to `AWAKE`, the queues are looked at after it, and the waker's release
//! paired with the sleeper's acquire makes the work visible there. If it is the attempt to move
//! to `ASLEEP`, it fails, for the same result. There is no third: the word is `WOKEN` in
//! between. And if the sleeper was in the kernel, the waker replaced `ASLEEP` and writes the
//! event counter, which ends the sleep.
//!
//! A write can arrive after the sleep has ended for another reason. The counter then stays
//! raised and ends one later sleep at once: one turn for nothing, never a lost one.

use super::{OpenError, Port};
use crate::clock::Nanos;
use crate::host::event::{self, Watch};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const WOKEN: u8 = 2;

#[derive(Debug)]
struct Bed {
    state: AtomicU8,
    counter: File,
}

/// Wakes one [`Sleeper`]; clone it for every thread that has work for that worker.
#[derive(Clone, Debug)]
pub struct Waker(Arc<Bed>);

/// The sleeping side: belongs to the worker.
#[derive(Debug)]
pub struct Sleeper(Arc<Bed>);

/// A sleeper and its waker.
///
/// # Errors
/// [`OpenError::Descriptors`] when the process has no file descriptor left.
pub fn pair() -> Result<(Sleeper, Waker), OpenError> {
    let counter =
        event::counter().map_err(|source| OpenError::refused("make an event counter", source))?;
    let bed = Arc::new(Bed { state: AtomicU8::new(AWAKE), counter });
    Ok((Sleeper(bed.clone()), Waker(bed)))
}

impl Waker {
    /// Makes the sleeper's current or next sleep end at once. Call it after the work is where the
    /// worker looks for it, once for a whole batch. Costs one atomic swap, and a system call
    /// only if the worker sleeps.
    pub fn wake(&self) {
        if self.0.state.swap(WOKEN, Ordering::Release) == ASLEEP {
            // It can fail only when the counter is at its maximum: then it is readable anyway.
            let _ = (&self.0.counter).write(&1u64.to_ne_bytes());
        }
    }
}

impl Sleeper {
    /// Sleeps until `port` has something to receive (or room to send, if datagrams wait for it),
    /// a [`Waker`] calls, a signal comes, or `until`, given that it is `now`. May return early
    /// for nothing; the caller looks at everything again.
    ///
    /// Only a port whose last [`Port::receive`] gave nothing may be slept on: it may hold more
    /// than one call hands over, which the kernel does not know of.
    pub fn sleep(&mut self, port: &impl Port, now: Nanos, until: Nanos) {
        // Relaxed: only its place in the order of changes matters, the swap below acquires.
        let state = &self.0.state;
        if state.compare_exchange(AWAKE, ASLEEP, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let port = port.fd().map(|fd| Watch::new(fd, port.queued() > 0));
            self.lie(port, now, until);
        }
        state.swap(AWAKE, Ordering::Acquire);
    }

    /// Sleeps like [`Sleeper::sleep`], for a thread that has no port.
    pub fn rest(&mut self, now: Nanos, until: Nanos) {
        let state = &self.0.state;
        if state.compare_exchange(AWAKE, ASLEEP, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.lie(None, now, until);
        }
        state.swap(AWAKE, Ordering::Acquire);
    }

    fn lie(&self, port: Option<Watch>, now: Nanos, until: Nanos) {
        let counter = Watch::new(self.0.counter.as_raw_fd(), false);
        let span = (until != Nanos::NEVER).then(|| (until - now).as_duration());
        // A negative descriptor is one that poll(2) passes over.
        let mut watches = [counter, port.unwrap_or(Watch::new(-1, false))];
        event::wait(&mut watches, span);
        if watches[0].ready() {
            let _ = (&self.0.counter).read(&mut [0; 8]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::crypto::random::Rng;
    use crate::io::memory::{Conditions, MemoryPort, Network};
    use std::sync::atomic::AtomicU64;

    const LONG: Nanos = Nanos::from_secs(10);

    fn port() -> MemoryPort {
        let network = Network::new(Rng::from_seed([0; 32]), Conditions::default());
        network.port("10.0.0.1:1".parse().unwrap(), 8).unwrap()
    }

    fn sleep(sleeper: &mut Sleeper, span: Nanos) -> Nanos {
        let before = clock::now();
        sleeper.sleep(&port(), before, before + span);
        clock::now() - before
    }

    #[test]
    fn an_undisturbed_sleep_lasts_until_its_time() {
        let (mut sleeper, _waker) = pair().unwrap();
        assert!(sleep(&mut sleeper, Nanos::from_millis(5)) >= Nanos::from_millis(5));
    }

    #[test]
    fn a_time_that_has_passed_is_no_sleep() {
        let (mut sleeper, _waker) = pair().unwrap();
        sleeper.sleep(&port(), LONG, Nanos::ZERO);
    }

    #[test]
    fn a_call_before_the_sleep_ends_it_and_only_it() {
        let (mut sleeper, waker) = pair().unwrap();
        waker.wake();
        waker.wake();
        assert!(sleep(&mut sleeper, LONG) < LONG);
        assert!(sleep(&mut sleeper, Nanos::from_millis(5)) >= Nanos::from_millis(5));
    }

    #[test]
    fn calls_to_a_worker_that_is_awake_make_no_system_call() {
        let (sleeper, waker) = pair().unwrap();
        waker.wake();
        assert!((&sleeper.0.counter).read(&mut [0; 8]).is_err(), "the counter is raised");
    }

    #[test]
    fn no_call_is_lost_however_it_falls() {
        // Two threads each hand over one piece of work at a time and wait until it is seen. One
        // lost call would leave both sides waiting, until the end of the sleep tells.
        const ROUNDS: u64 = 20_000;
        let (mut sleeper, waker) = pair().unwrap();
        let (work, done) = (&[AtomicU64::new(0), AtomicU64::new(0)], &AtomicU64::new(0));
        std::thread::scope(|scope| {
            for mine in work {
                let waker = waker.clone();
                scope.spawn(move || {
                    for round in 1..=ROUNDS {
                        mine.store(round, Ordering::Relaxed);
                        waker.wake();
                        if round % 7 == 0 {
                            while done.load(Ordering::Relaxed) < round {
                                std::thread::yield_now();
                            }
                        }
                    }
                });
            }
            let (port, end) = (port(), clock::now() + LONG);
            let mut seen = 0;
            while seen < ROUNDS {
                sleeper.sleep(&port, clock::now(), end);
                let pieces = work.each_ref().map(|piece| piece.load(Ordering::Relaxed));
                seen = pieces[0].min(pieces[1]);
                done.store(seen, Ordering::Relaxed);
            }
            assert!(clock::now() < end, "a call was lost");
        });
    }
}
