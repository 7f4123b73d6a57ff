//! A node as a member of its network: it registers, fetches, rotates its keys, and says what to
//! follow.
//!
//! All of it happens on a thread of its own, so that a slow authority never holds up the control
//! thread; replay tables are made on further ones, so that they hold up nothing here.

mod join;
mod making;

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::assemble::peer;
use super::control::Update;
use super::faults::{Fault, Faults};
use super::load::invitation_key;
use super::register::Registrations;
use super::rotation::{Calendar, Rotation};
use super::{Custody, LoadError, Options, neighbours};
use crate::clock::{self, Nanos, UnixMicros};
use crate::config::{self, Membership, NodeFile};
use crate::crypto::random::Rng;
use crate::directory::{self, Directory};
use crate::io::wake::Waker;
use crate::link::Peer;
use crate::pki::{
    Consensus, Descriptor, DescriptorError, DescriptorFields, EpochPublic, InvitationKey,
    KeyFolder, NodeId, NodeKeys,
};
use crate::replay::EpochKey;

pub use join::JoinError;
use making::Making;

/// The longest sleep: the wall clock may be set meanwhile.
const SLEEP_MAX: Nanos = Nanos::from_secs(10);

/// What is followed: compared with the last, it says whether there is anything new.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stand {
    current: u64,
    newest: u64,
    epochs: Vec<u64>,
    degraded: bool,
    /// Until when the invited are let in.
    invited: Option<UnixMicros>,
}

/// A member of a network that has authorities.
#[derive(Debug)]
pub struct Member {
    membership: Membership,
    network: String,
    folder: KeyFolder,
    custody: Custody,
    unlisted: bool,
    keys: NodeKeys,
    directory: Directory,
    rotation: Rotation,
    registrations: Registrations,
    /// How long after an epoch's start the node registers; at once in the first one.
    register_delay: Nanos,
    epoch: u64,
    followed: Option<Arc<Consensus>>,
    /// The consensus before the followed one, until the epoch in which it was replaced is over.
    before: Option<Arc<Consensus>>,
    /// What was said last, and for which epochs replay filters were made.
    told: Option<Stand>,
    filtered: Vec<u64>,
    /// The replay table that is being made just now.
    making: Option<Making>,
    faults: Faults,
    options: Options,
    rng: Rng,
}

impl Member {
    /// The member that the node's file describes; none if it names no authority.
    ///
    /// # Errors
    /// When the trust anchor or the node's keys cannot be loaded.
    pub fn load(file: &NodeFile, options: &Options) -> Result<Option<Self>, LoadError> {
        let Some(membership) = file.membership.clone() else { return Ok(None) };
        let anchor = config::load_anchor(&file.network)?;
        let network = anchor.network().to_owned();
        let folder = KeyFolder::new(&file.keys);
        let keys = folder.node_keys()?;
        let custody = Custody::of(file, &keys.identity.id())?;
        let mut rng = Rng::from_os();
        let authorities = membership.authorities.clone();
        let options_of_directory =
            directory::Options { anchor, authorities, kept: file.consensus.clone() };
        Ok(Some(Member {
            registrations: Registrations::new(&membership, rng.fork()),
            epoch: membership.epochs.at(clock::wall()),
            membership,
            network,
            rotation: Rotation::new(custody.clone()),
            folder,
            custody,
            unlisted: file.gateway.unlisted,
            keys,
            directory: Directory::open(options_of_directory, clock::wall(), rng.fork()),
            register_delay: Nanos::ZERO,
            followed: None,
            before: None,
            told: None,
            filtered: Vec::new(),
            making: None,
            faults: Faults::default(),
            options: options.clone(),
            rng,
        }))
    }

    /// Goes on with it on a thread, which ends when what is returned is dropped. What to follow
    /// goes into `updates`, and `waker` wakes the reader.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut self, updates: Sender<Update>, waker: Waker) -> std::io::Result<Membering> {
        let runtime = runtime()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("directory".into()).spawn(move || {
            block_on(runtime, async {
                tokio::select! {
                    _ = stopped => {}
                    () = self.keep_up(updates, waker) => {}
                }
            });
        })?;
        Ok(Membering { stop: Some(stop), thread: Some(thread) })
    }

    async fn keep_up(&mut self, updates: Sender<Update>, waker: Waker) {
        loop {
            match self.rotate(clock::wall()) {
                Ok(()) => drop(self.faults.end(Fault::Rotation)),
                Err(error) => {
                    let what = format!("cannot rotate the epoch keys: {error}");
                    self.faults.warn(Fault::Rotation, &what);
                }
            }
            if let Some(update) = self.update(clock::wall()) {
                if updates.send(update).is_err() {
                    return; // the node has ended
                }
                waker.wake();
            }
            self.step().await;
        }
    }

    /// Does what is due at the authorities, or sleeps until something is.
    async fn step(&mut self) {
        let (now, wall) = (clock::now(), clock::wall());
        if self.register_in(now, wall) == Nanos::ZERO {
            return self.register(now, wall).await;
        }
        if self.directory.fetch_in(now, wall) == Nanos::ZERO {
            return self.fetch(now, wall).await;
        }
        let next = self.membership.epochs.start(self.membership.epochs.at(wall) + 1);
        let span = wall
            .until(next)
            .min(self.register_in(now, wall))
            .min(self.directory.fetch_in(now, wall))
            .min(SLEEP_MAX);
        tokio::select! {
            () = tokio::time::sleep(span.as_duration()) => {}
            () = table_made(&mut self.making) => {}
        }
    }

    /// Enters the epoch of `wall`: chooses what to follow, makes and erases keys.
    fn rotate(&mut self, wall: UnixMicros) -> Result<(), LoadError> {
        let epochs = self.membership.epochs;
        let now = epochs.at(wall);
        if now != self.epoch {
            self.epoch = now;
            self.before = None;
            self.register_delay = self.rng.between(Nanos::ZERO, epochs.lead());
        }
        let current = self.directory.current(wall).filter(|current| self.fits(current)).cloned();
        if let Some(current) = current {
            let followed = self.followed.as_ref().map(|followed| followed.epoch());
            if followed != Some(current.epoch()) {
                self.before = self.followed.replace(current);
            }
        }
        let epoch = |consensus: &Arc<Consensus>| consensus.epoch();
        let (before, followed) = (self.before.as_ref(), self.followed.as_ref());
        let calendar = Calendar { before: before.map(epoch), followed: followed.map(epoch), now };
        self.rotation.turn(calendar, &mut self.rng)
    }

    /// Whether a running node can follow `consensus`: its memory was made for these packets.
    fn fits(&self, consensus: &Consensus) -> bool {
        let Some(followed) = &self.followed else { return true };
        let (ours, theirs) = (followed.parameters(), consensus.parameters());
        ours.geometry == theirs.geometry && ours.delay_mean == theirs.delay_mean
    }

    fn register_in(&self, now: Nanos, wall: UnixMicros) -> Nanos {
        let start = self.membership.epochs.start(self.epoch);
        let due = wall.until(start + self.register_delay);
        self.registrations.due_in(&self.rotation.public(self.epoch), now).max(due)
    }

    async fn register(&mut self, now: Nanos, wall: UnixMicros) {
        let keys = self.rotation.public(self.epoch);
        let descriptor = match self.descriptor(keys.clone(), wall) {
            Ok(descriptor) => descriptor,
            Err(error) => {
                self.registrations.put_off(now);
                let what = format!("cannot describe this node: {error}");
                return self.faults.warn(Fault::Registration, &what);
            }
        };
        match self.registrations.hand_in(&descriptor, &keys, now).await {
            Ok(()) => drop(self.faults.end(Fault::Registration)),
            Err(error) => {
                self.faults.warn(Fault::Registration, &format!("cannot register: {error}"));
            }
        }
    }

    fn descriptor(
        &self,
        epochs: Vec<EpochPublic>,
        wall: UnixMicros,
    ) -> Result<Descriptor, DescriptorError> {
        let Membership { name, role, addresses, .. } = self.membership.clone();
        let network = self.network.clone();
        let fields = DescriptorFields { network, name, role, addresses, epochs, published: wall };
        Descriptor::sign(&fields, &self.keys)
    }

    async fn fetch(&mut self, now: Nanos, wall: UnixMicros) {
        match self.directory.fetch(now, wall).await {
            Ok(consensus) => {
                if self.directory.is_up_to_date(wall) && self.faults.end(Fault::Consensus) {
                    tracing::info!("consensus of epoch {} fetched", consensus.epoch());
                }
                if !self.fits(&consensus) {
                    tracing::error!("the network's packets or delays changed: restart this node");
                }
            }
            Err(error) if self.followed.is_some() && !self.directory.is_up_to_date(wall) => {
                let epoch = self.epoch;
                let what = format!("no consensus of epoch {epoch}, the last one is used: {error}");
                self.faults.warn(Fault::Consensus, &what);
            }
            Err(error) => tracing::debug!("{error}"),
        }
    }

    /// What to follow, if that is something else than what was said last. An epoch without a
    /// replay table holds up nothing else: it follows when there is one.
    fn update(&mut self, wall: UnixMicros) -> Option<Update> {
        let consensus = self.followed.clone()?;
        let fresh = self.take_fresh().into_iter().collect();
        let invitation = self.invitation();
        let stand = Stand {
            current: consensus.epoch(),
            newest: self.directory.newest().map_or(0, |newest| newest.epoch()),
            epochs: self.filtered.clone(),
            degraded: consensus.epoch() < self.membership.epochs.at(wall),
            invited: invitation.as_ref().map(|key| key.valid_until),
        };
        if self.told.as_ref() == Some(&stand) {
            return None;
        }
        let Stand { epochs, degraded, .. } = stand.clone();
        self.told = Some(stand);
        let mut kem: Vec<_> = self.rotation.keys().iter().rev().map(|of| of.kem.clone()).collect();
        kem.extend(invitation.map(|key| key.kem));
        Some(Update { peers: self.peers(), consensus, epochs, fresh, kem, degraded })
    }

    fn invitation(&mut self) -> Option<InvitationKey> {
        match invitation_key(&self.folder, self.unlisted) {
            Ok(key) => {
                self.faults.end(Fault::Invitation);
                key
            }
            Err(error) => {
                let what = format!("the invited are not let in: {error}");
                self.faults.warn(Fault::Invitation, &what);
                None
            }
        }
    }

    /// The keys of epochs newly in force that have been taken into memory, each with its table,
    /// since this was asked last. One is made at a time; where there is no memory for it, it is
    /// tried again with the next update.
    fn take_fresh(&mut self) -> Option<(u64, Arc<EpochKey>)> {
        let in_force = self.rotation.keys();
        self.filtered.retain(|epoch| in_force.iter().any(|keys| keys.epoch == *epoch));
        let Some(making) = self.making.take() else {
            self.make_next_table();
            return None;
        };
        let epoch = making.epoch();
        let made = match making.finish() {
            Ok(made) => made,
            Err(making) => {
                self.making = Some(making);
                return None;
            }
        };
        let is_in_force = self.rotation.keys().iter().any(|keys| keys.epoch == epoch);
        match made {
            Some(Ok(key)) if is_in_force => {
                self.faults.end(Fault::ReplayTable);
                self.filtered.push(epoch);
                self.filtered.sort_unstable();
                self.make_next_table();
                return Some((epoch, Arc::new(key)));
            }
            Some(Ok(_)) => self.make_next_table(),
            failed => {
                let why = failed.and_then(Result::err).map(|error| error.to_string());
                let why = why.unwrap_or_else(|| "the system gives no thread".to_owned());
                let what = format!("no packets of epoch {epoch} are taken for now: {why}");
                self.faults.warn(Fault::ReplayTable, &what);
            }
        }
        None
    }

    /// Begins to make the table of the first key in force that has none.
    fn make_next_table(&mut self) {
        let mut in_force = self.rotation.keys().iter();
        if let Some(keys) = in_force.find(|keys| !self.filtered.contains(&keys.epoch)) {
            let (custody, rng) = (self.custody.clone(), self.rng.fork());
            let table = self.options.replay.options();
            self.making = Some(Making::start(custody, keys.clone(), table, rng));
        }
    }

    /// The neighbours by all consensuses that count: the newest first, so that a node that has
    /// moved is found where it is now.
    fn peers(&self) -> Vec<Peer> {
        let id = self.keys.identity.id();
        let followed = self.followed.as_ref().map_or(0, |followed| followed.epoch());
        let ahead = self.directory.at_hand().iter().rev();
        let ahead = ahead.filter(|consensus| consensus.epoch() > followed && self.fits(consensus));
        let mut peers: Vec<Peer> = Vec::new();
        for consensus in ahead.chain(&self.followed).chain(&self.before) {
            for candidate in peers_by(consensus, id) {
                let is_new =
                    |one: &Peer| one.id != candidate.id && one.address != candidate.address;
                if peers.iter().all(is_new) {
                    peers.push(candidate);
                }
            }
        }
        peers
    }
}

/// Waits for the table that is being made, or for ever.
async fn table_made(making: &mut Option<Making>) {
    match making {
        Some(making) => making.wait().await,
        None => std::future::pending().await,
    }
}

/// The neighbours of `id` by one consensus; none if it does not list it.
fn peers_by(consensus: &Consensus, id: NodeId) -> Vec<Peer> {
    let Ok(neighbours) = neighbours(consensus, id) else { return Vec::new() };
    neighbours.into_iter().filter_map(|node| peer(node, consensus.epoch())).collect()
}

/// The thread of a [`Member`]. It ends when it is told to; who drops this waits for the end.
#[derive(Debug)]
pub struct Membering {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Membering {
    /// Tells the thread to end, and does not wait.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }
}

impl Drop for Membering {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell; a panic in it has ended the process.
            let _ = thread.join();
        }
    }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Does `work` and goes on at once: what a name server still owes an answer to is left behind.
fn block_on<F: Future>(runtime: Runtime, work: F) -> F::Output {
    let output = runtime.block_on(work);
    runtime.shutdown_background();
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn nobody_waits_for_a_name_server_that_does_not_answer() {
        let (answer, question) = mpsc::channel::<()>();
        let resolve = move || {
            let _ = question.recv_timeout(Duration::from_secs(20));
        };
        block_on(runtime().unwrap(), async {
            drop(tokio::task::spawn_blocking(resolve));
            tokio::task::yield_now().await;
        });
        // The question is still open: its thread has not been waited for.
        assert!(answer.send(()).is_ok());
    }
}
