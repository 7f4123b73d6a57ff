//! A node's life: threads started, woken, drained, stopped.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use super::control::Control;
use super::exposition::{Exposition, Sources};
use super::monitor::{Listener, Monitor};
use super::notify::Notifier;
use super::{
    FillWatch, Identity, InForce, Node, NodeError, Options, Standing, Start, Totals, Wakers,
    assemble,
};
use crate::clock::{self, Nanos};
use crate::config::Metrics;
use crate::crypto::random::Rng;
use crate::host;
use crate::io::Port;
use crate::io::udp::{self, UdpPort};
use crate::io::wake::{self, Sleeper, Waker};
use crate::worker::rings::Command;
use crate::worker::{Counts, Worker};

/// What a node tells its service manager once, when every link to a neighbour has a session.
pub const CONNECTED: &str = "X_MIXLINE_CONNECTED=1";

/// How long the last datagrams may take to leave.
const FAREWELL: Nanos = Nanos::from_millis(50);

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

/// Where a node is to be found.
#[derive(Clone, Copy, Debug)]
pub struct Faces<'a> {
    /// By packets.
    pub address: SocketAddr,
    /// By those who ask how it stands.
    pub metrics: Option<&'a Metrics>,
}

/// Runs a node on UDP sockets until `stop`; returns what it counted.
///
/// # Errors
/// When it cannot start: a wrong identity, an address that is taken, too little memory.
pub fn run(
    identity: &Identity,
    options: &Options,
    faces: &Faces<'_>,
    stop: &Stop,
) -> Result<Totals, NodeError> {
    let notifier = Notifier::from_environment().map_err(NodeError::Notify)?;
    let (mut control_sleeper, control_waker) = wake::pair()?;
    let pairs = (0..options.workers).map(|_| wake::pair()).collect::<Result<Vec<_>, _>>()?;
    let (sleepers, workers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let wakers = Wakers { control: control_waker.clone(), workers };
    stop.wakes(control_waker);
    let ports = open_ports(identity, options, faces.address)?;
    let listener = faces.metrics.map(Listener::open).transpose()?;
    let start = Start { now: clock::now(), wall: clock::wall() };
    let node = assemble(identity, options, ports, &wakers, start, &mut Rng::from_os())?;
    let Node { mut control, workers, mut fill } = node;
    let counts: Vec<Arc<Counts>> = workers.iter().map(|worker| worker.counts().clone()).collect();
    let halt = AtomicBool::new(false);
    let in_force = InForce { consensus: identity.consensus.clone(), keys: fill.keys() };
    let standing = Arc::new(Standing::new(in_force));
    let sources = Sources {
        standing: standing.clone(),
        workers: counts.clone(),
        control: control.counts().clone(),
        memory_bytes: options.memory_bytes(identity.consensus.geometry()),
        outlives_process: identity.custody.memory().outlives_process(),
        lab: options.lab,
    };
    let exposition = Exposition::new(sources, clock::now());
    let monitor = listener.map(|listener| Monitor::start(listener, exposition, wakers.clone()));
    let monitor = monitor.transpose()?;

    let workers = thread::scope(|scope| {
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
        let told = Told { notifier: &notifier, standing: &standing };
        standing.links.set(identity.neighbours().map_or(0, |all| all.len()) as u64);
        serve(&mut control, &mut fill, &mut control_sleeper, &told, stop);
        drain(&mut control, &counts, &standing, options.drain_max);
        halt.store(true, Ordering::Release);
        wakers.workers.iter().for_each(Waker::wake);
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
    });
    if let Some(monitor) = monitor {
        monitor.stop();
    }
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
            let from = clock::now();
            sleeper.sleep(worker.port(), from, worker.next_due());
            worker.counts().asleep_ns.add((clock::now() - from).0);
        }
    }
    worker.stop();
    worker
}

/// Who is told how the node stands.
struct Told<'a> {
    notifier: &'a Notifier,
    standing: &'a Standing,
}

/// The control thread's work until somebody asks it to stop.
fn serve(
    control: &mut Control,
    fill: &mut FillWatch,
    sleeper: &mut Sleeper,
    &Told { notifier, standing }: &Told<'_>,
    stop: &Stop,
) {
    notifier.tell("READY=1");
    let neighbours = standing.links.value();
    let (mut told, mut connected) = (u64::MAX, false);
    while !stop.is_requested() {
        let work = control.turn(clock::now(), clock::wall());
        standing.turns.add(1);
        let up = control.links_up() as u64;
        standing.links_up.set(up);
        if up != told {
            notifier.tell(&format!("STATUS={up} of {neighbours} links up"));
            told = up;
        }
        if up == neighbours && !connected {
            notifier.tell(CONNECTED);
            connected = true;
        }
        fill.tick(clock::now());
        if work == 0 {
            let now = clock::now();
            sleeper.rest(now, control.next_deadline(now).min(fill.next_deadline()));
        }
    }
    notifier.tell("STOPPING=1");
}

/// Takes in nothing more, lets what is mixed leave at its time, says goodbye.
fn drain(control: &mut Control, counts: &[Arc<Counts>], standing: &Standing, drain_max: Nanos) {
    standing.drain();
    control.tell_workers(|| Command::Drain);
    let start = clock::now();
    while counts.iter().any(|counts| counts.resident.value() > 0)
        && clock::now() - start < drain_max
    {
        control.turn(clock::now(), clock::wall());
        standing.turns.add(1);
        thread::sleep(Nanos::from_millis(5).as_duration());
    }
    control.close(clock::now());
    thread::sleep(FAREWELL.as_duration());
}
