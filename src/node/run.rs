//! A node's life: threads started, woken, drained, stopped.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::control::{Control, Update};
use super::notify::Notifier;
use super::{Identity, Member, Node, NodeError, Options, Start, Totals, Wakers, assemble};
use crate::clock::{self, Nanos};
use crate::crypto::random::Rng;
use crate::host;
use crate::io::Port;
use crate::io::udp::{self, UdpPort};
use crate::io::wake::{self, Sleeper, Waker};
use crate::worker::rings::Command;
use crate::worker::{Counts, Worker};

/// What a node tells its service manager once, when every link to a neighbour has a session.
pub const CONNECTED: &str = "X_MIXLINE_CONNECTED=1";

/// How long saying goodbye may take.
const FAREWELL_MAX: Nanos = Nanos::from_millis(500);
/// Between two looks at what still has to leave.
const LOOK: Nanos = Nanos::from_millis(5);

/// A request to stop, from a signal or another thread.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<StopState>);

#[derive(Debug, Default)]
struct StopState {
    requested: AtomicBool,
    waker: OnceLock<Waker>,
}

impl Stop {
    /// Asks the node to drain and stop.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::Release);
        if let Some(waker) = self.0.waker.get() {
            waker.wake();
        }
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Acquire)
    }

    fn wakes(&self, waker: Waker) {
        // Set once: a `Stop` belongs to one run.
        let _ = self.0.waker.set(waker);
    }
}

/// Runs a node on UDP sockets at `address` until `stop`; returns what it counted. A `member`
/// keeps up with its network meanwhile.
///
/// # Errors
/// When it cannot start: a wrong identity, an address that is taken, too little memory.
pub fn run(
    identity: &Identity,
    options: &Options,
    address: SocketAddr,
    member: Option<Member>,
    stop: &Stop,
) -> Result<Totals, NodeError> {
    let notifier = Notifier::from_environment().map_err(NodeError::Notify)?;
    let (mut control_sleeper, control_waker) = wake::pair()?;
    let pairs = (0..options.workers).map(|_| wake::pair()).collect::<Result<Vec<_>, _>>()?;
    let (sleepers, workers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let wakers = Wakers { control: control_waker.clone(), workers };
    stop.wakes(control_waker.clone());
    let ports = open_ports(identity, options, address)?;
    let start = Start { now: clock::now(), wall: clock::wall() };
    let node = assemble(identity, options, ports, &wakers, start, &mut Rng::from_os())?;
    let Node { mut control, workers } = node;
    let counts: Vec<Arc<Counts>> = workers.iter().map(|worker| worker.counts().clone()).collect();
    let halt = AtomicBool::new(false);
    let (sender, updates) = mpsc::channel();
    let start_member = |member: Member| member.start(sender, control_waker);
    let membering = member.map(start_member).transpose().map_err(NodeError::Thread)?;

    let (served, workers) = thread::scope(|scope| {
        let threads: Vec<_> = workers
            .into_iter()
            .zip(sleepers)
            .enumerate()
            .map(|(number, (worker, sleeper))| {
                let core = options.pin.then_some(number);
                let halt = &halt;
                scope.spawn(move || work(worker, sleeper, core, halt))
            })
            .collect();
        let served = serve(&mut control, &mut control_sleeper, &notifier, &updates, stop);
        drop(membering);
        drain(&mut control, &counts, options.drain_max);
        halt.store(true, Ordering::Release);
        wakers.workers.iter().for_each(Waker::wake);
        let workers = threads.into_iter().filter_map(|thread| thread.join().ok());
        (served, workers.collect::<Vec<_>>())
    });
    served?;
    let ports: Vec<_> = workers.iter().map(|worker| *worker.port().counters()).collect();
    Ok(Totals::of_node(identity.consensus.geometry(), &ports, &counts, &control))
}

fn open_ports(
    identity: &Identity,
    options: &Options,
    address: SocketAddr,
) -> Result<Vec<UdpPort>, NodeError> {
    let datagram_bytes = identity.consensus.geometry().datagram_bytes();
    let shared = options.workers > 1;
    let options_of_port = udp::Options { shared, ..udp::Options::new(address, datagram_bytes) };
    (0..options.workers).map(|_| Ok(UdpPort::open(&options_of_port)?)).collect()
}

/// One worker's thread: turns while there is work, sleep when there is none.
fn work<P: Port>(
    mut worker: Worker<P>,
    mut sleeper: Sleeper,
    core: Option<usize>,
    halt: &AtomicBool,
) -> Worker<P> {
    if let Some(core) = core.and_then(|number| host::cores().get(number).copied()) {
        host::pin(core);
    }
    while !halt.load(Ordering::Acquire) {
        if worker.turn(clock::now()) == 0 {
            sleeper.sleep(worker.port(), clock::now(), worker.next_due());
        }
    }
    worker.stop();
    worker
}

/// The control thread's work until somebody asks it to stop, or letters cannot be kept.
fn serve(
    control: &mut Control,
    sleeper: &mut Sleeper,
    notifier: &Notifier,
    updates: &Receiver<Update>,
    stop: &Stop,
) -> Result<(), NodeError> {
    let (mut told, mut ready, mut connected) = (None, false, false);
    while !stop.is_requested() {
        ready = ready || notifier.tell("READY=1");
        while let Ok(update) = updates.try_recv() {
            control.follow(update, clock::now());
        }
        let work = control.turn(clock::now(), clock::wall());
        if let Some(failure) = control.storage_failure() {
            return Err(failure.into());
        }
        let (up, neighbours) = (control.links_up(), control.peers());
        let stand = Some((up, neighbours, control.is_degraded()));
        let degraded = if control.is_degraded() { "; degraded: an old consensus" } else { "" };
        let status = || format!("STATUS={up} of {neighbours} links up{degraded}");
        if told != stand && notifier.tell(&status()) {
            told = stand;
        }
        connected = connected || (up == neighbours && notifier.tell(CONNECTED));
        if work == 0 {
            let now = clock::now();
            let all_told = ready && told == stand && (connected || up < neighbours);
            let look = if all_told { Nanos::NEVER } else { now + LOOK };
            sleeper.rest(now, control.next_deadline(now).min(look));
        }
    }
    // The manager sees the end anyway.
    let _ = notifier.tell("STOPPING=1");
    Ok(())
}

/// Takes in nothing more, lets what is mixed leave at its time, says goodbye.
fn drain(control: &mut Control, counts: &[Arc<Counts>], drain_max: Nanos) {
    control.end_loops();
    control.tell_workers(|| Command::Drain);
    let is_mixed = |_: &Control| counts.iter().any(|counts| counts.resident.value() > 0);
    turn_while(control, drain_max, is_mixed);
    control.close(clock::now());
    turn_while(control, FAREWELL_MAX, |control| !control.is_closed());
    // The workers have the last of it in their rings.
    thread::sleep(LOOK.as_duration());
}

fn turn_while(control: &mut Control, patience: Nanos, condition: impl Fn(&Control) -> bool) {
    let start = clock::now();
    while condition(control) && clock::now() - start < patience {
        control.turn(clock::now(), clock::wall());
        thread::sleep(LOOK.as_duration());
    }
}
