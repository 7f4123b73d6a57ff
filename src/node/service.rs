//! The control thread of a running node: turns until somebody asks it to stop, then the drain.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;

use super::control::{Control, Update};
use super::door::Door;
use super::notify::Notifier;
use super::run::{CONNECTED, Stop};
use super::{FillWatch, InForce, NodeError, Options, Standing};
use crate::clock::{self, Nanos};
use crate::io::wake::Sleeper;
use crate::worker::Counts;
use crate::worker::rings::Command;

/// How long saying goodbye may take.
const FAREWELL_MAX: Nanos = Nanos::from_millis(500);
/// Between two looks at what still has to leave.
const LOOK: Nanos = Nanos::from_millis(5);

/// What the control thread works with.
pub(super) struct Service<'a> {
    pub(super) control: Control,
    pub(super) fill: FillWatch,
    /// From the thread that keeps up with the network.
    pub(super) updates: Receiver<Update>,
    pub(super) options: &'a Options,
    pub(super) standing: &'a Standing,
    pub(super) notifier: &'a Notifier,
    /// In front of the ports, where they have one.
    pub(super) door: Option<Door>,
}

/// What the service manager has been told.
#[derive(Default)]
struct Told {
    ready: bool,
    connected: bool,
    /// Links up, links, whether the consensus is old.
    stand: Option<(usize, usize, bool)>,
}

impl Service<'_> {
    /// Turns until somebody asks it to stop, or letters cannot be kept.
    ///
    /// # Errors
    /// When the mailboxes fail.
    pub(super) fn serve(&mut self, sleeper: &mut Sleeper, stop: &Stop) -> Result<(), NodeError> {
        let mut told = Told::default();
        while !stop.is_requested() {
            while let Ok(update) = self.updates.try_recv() {
                self.follow(update);
            }
            let work = self.turn();
            if let Some(failure) = self.control.storage_failure() {
                return Err(failure.into());
            }
            self.fill.tick(clock::now());
            let all_is_told = self.tell(&mut told);
            if work == 0 {
                let now = clock::now();
                let look = if all_is_told { Nanos::NEVER } else { now + LOOK };
                let next = self.control.next_deadline(now).min(self.fill.next_deadline());
                sleeper.rest(now, next.min(look));
            }
        }
        // The manager sees the end anyway.
        let _ = self.notifier.tell("STOPPING=1");
        Ok(())
    }

    /// Takes in nothing more, lets what is mixed leave at its time, says goodbye.
    pub(super) fn drain(&mut self, counts: &[Arc<Counts>], drain_max: Nanos) {
        self.standing.drain();
        self.control.end_loops();
        self.control.tell_workers(|| Command::Drain);
        let is_mixed = |_: &Control| counts.iter().any(|counts| counts.resident.value() > 0);
        self.turn_while(drain_max, is_mixed);
        self.control.close(clock::now());
        self.turn_while(FAREWELL_MAX, |control| !control.is_closed());
        // The workers have the last of it in their rings.
        thread::sleep(LOOK.as_duration());
    }

    fn turn(&mut self) -> usize {
        let work = self.control.turn(clock::now(), clock::wall());
        while let Some((door, guest)) = self.door.as_mut().zip(self.control.next_guest()) {
            door.note(guest);
        }
        self.standing.turns.add(1);
        self.standing.links_up.set(self.control.links_up() as u64);
        self.standing.links.set(self.control.peers() as u64);
        work
    }

    fn turn_while(&mut self, patience: Nanos, condition: impl Fn(&Control) -> bool) {
        let start = clock::now();
        while condition(&self.control) && clock::now() - start < patience {
            self.turn();
            thread::sleep(LOOK.as_duration());
        }
    }

    fn follow(&mut self, update: Update) {
        let consensus = update.consensus.clone();
        if let Some(door) = &mut self.door {
            let peers: Vec<_> = update.peers.iter().map(|peer| peer.address).collect();
            door.follow(&peers);
        }
        if !self.standing.is_lab_over()
            && let Err(error) = self.options.check_lab(&consensus)
        {
            tracing::warn!("{error}: from now on it is as with \"private\", until a restart");
            self.standing.end_lab();
        }
        self.control.follow(update, clock::now());
        let keys = self.control.keys().to_vec();
        self.fill.follow(&keys);
        self.standing.set_in_force(InForce { consensus, keys });
    }

    /// Tells the service manager what it does not know yet; returns whether that is all.
    fn tell(&self, told: &mut Told) -> bool {
        told.ready = told.ready || self.notifier.tell("READY=1");
        let control = &self.control;
        let (up, neighbours) = (control.links_up(), control.peers());
        let stand = Some((up, neighbours, control.is_degraded()));
        let degraded = if control.is_degraded() { "; degraded: an old consensus" } else { "" };
        let status = || format!("STATUS={up} of {neighbours} links up{degraded}");
        if told.stand != stand && self.notifier.tell(&status()) {
            told.stand = stand;
        }
        told.connected = told.connected || (up == neighbours && self.notifier.tell(CONNECTED));
        told.ready && told.stand == stand && (told.connected || up < neighbours)
    }
}
