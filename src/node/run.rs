//! A node's life: threads started, woken, drained, stopped.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;

use super::door::Door;
use super::exposition::{Exposition, Sources};
use super::monitor::{Listener, Monitor};
use super::notify::Notifier;
use super::ports::{Plan, Ports};
use super::service::Service;
use super::totals::PortTotals;
use super::{
    Identity, InForce, ListedNode, Member, Membering, Node, NodeError, Options, Standing, Start,
    Totals, Wakers, assemble,
};
use crate::clock;
use crate::config::Metrics;
use crate::crypto::random::Rng;
use crate::host::{self, privileges};
use crate::io::Port;
use crate::io::udp::{self, UdpPort};
use crate::io::wake::{self, Sleeper, Waker};
use crate::sphinx::Geometry;
use crate::worker::{Counts, Worker};

/// What a node tells its service manager once, when every link to a neighbour has a session.
pub const CONNECTED: &str = "X_MIXLINE_CONNECTED=1";

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

/// Tries what [`run`] will ask of the machine, so that a member does not wait for its network
/// first: whether the memory plan holds, and every address can be had.
///
/// # Errors
/// As [`run`].
pub fn try_start(options: &Options, faces: &Faces<'_>) -> Result<(), NodeError> {
    options.check_memory()?;
    // The length of datagrams is the network's, and not known yet; nothing is received here.
    let datagram_bytes = Geometry::DEFAULT.datagram_bytes();
    drop(UdpPort::open(&udp::Options::new(faces.address, datagram_bytes))?);
    drop(faces.metrics.map(Listener::open).transpose()?);
    Ok(())
}

/// Runs a node until `stop`; returns what it counted, in a laboratory. A `member` keeps up with
/// its network meanwhile.
///
/// All privileges of the process are given up as soon as the ports are open.
///
/// # Errors
/// When it cannot start: a wrong identity, an address that is taken, too little memory, a
/// privilege that is missing or one that stays.
pub fn run(
    identity: &Identity,
    options: &Options,
    faces: &Faces<'_>,
    member: Option<Member>,
    stop: &Stop,
) -> Result<Option<Totals>, NodeError> {
    let notifier = Notifier::from_environment().map_err(NodeError::Notify)?;
    let listener = faces.metrics.map(Listener::open).transpose()?;
    let ports = Plan::new(identity, options, faces.address).open()?;
    privileges::drop_all()?;
    tracing::info!("{ports}");
    let kind = ports.kind();
    let run = Run { identity, options, member, stop, notifier, listener, kind };
    match ports {
        Ports::Udp(ports) => run.over(ports, None),
        Ports::Uring(ports) => run.over(ports, None),
        Ports::Xdp(ports, front) => {
            let neighbours = identity.neighbours()?;
            let first = |node: &&ListedNode| node.addresses().first().copied();
            let peers: Vec<_> = neighbours.iter().filter_map(first).collect();
            run.over(ports, Some(front.open(&peers)?))
        }
    }
}

/// What a run begins with.
struct Run<'a> {
    identity: &'a Identity,
    options: &'a Options,
    member: Option<Member>,
    stop: &'a Stop,
    notifier: Notifier,
    listener: Option<Listener>,
    /// What the ports are.
    kind: &'static str,
}

impl Run<'_> {
    fn over<P: Port + Send>(
        self,
        ports: Vec<P>,
        door: Option<Door>,
    ) -> Result<Option<Totals>, NodeError> {
        let Run { identity, options, member, stop, notifier, listener, kind } = self;
        let (mut control_sleeper, control_waker) = wake::pair()?;
        let pairs = (0..options.workers).map(|_| wake::pair()).collect::<Result<Vec<_>, _>>()?;
        let (sleepers, workers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let wakers = Wakers { control: control_waker.clone(), workers };
        stop.wakes(control_waker.clone());
        let start = Start { now: clock::now(), wall: clock::wall() };
        let node = assemble(identity, options, ports, &wakers, start, &mut Rng::from_os())?;
        let Node { mut control, workers, fill } = node;
        if door.is_some() {
            control.want_guests();
        }
        let counts: Vec<_> = workers.iter().map(|worker| worker.counts().clone()).collect();
        let keys = control.keys().to_vec();
        let in_force = InForce { consensus: identity.consensus.clone(), keys };
        let standing = Arc::new(Standing::new(identity.keys.identity.id(), in_force));
        let sources = Sources {
            standing: standing.clone(),
            workers: counts.clone(),
            control: control.counts().clone(),
            gateway: control.gateway_counts(),
            memory_bytes: options.memory_bytes(identity.consensus.geometry()),
            outlives_process: identity.custody.memory().outlives_process(),
            shield: door.as_ref().map(|door| door.shield().clone()),
            lab: options.lab,
        };
        let exposition = Exposition::new(sources, clock::now());
        let start = |listener| Monitor::start(listener, exposition, wakers.clone());
        let monitor = listener.map(start).transpose()?;
        let (sender, updates) = mpsc::channel();
        let start = |member: Member| member.start(sender, control_waker);
        let membering = member.map(start).transpose().map_err(NodeError::Thread)?;
        let (standing, notifier) = (&*standing, &notifier);
        let mut service = Service { control, fill, updates, options, standing, notifier, door };
        let crew = Crew { workers, sleepers, wakers: &wakers.workers, counts: &counts };
        let (served, workers) = crew.work(&mut service, &mut control_sleeper, stop, membering);
        if let Some(monitor) = monitor {
            monitor.stop();
        }
        served?;
        let totals = || {
            let mut ports: Vec<_> = workers.into_iter().map(Worker::into_port).collect();
            let ports = PortTotals::of(kind, &mut ports);
            Totals::of_node(identity.consensus.geometry(), ports, &counts, &service.control)
        };
        Ok((options.lab && !standing.is_lab_over()).then(totals))
    }
}

/// The workers, with what they sleep on, and what wakes and counts them.
struct Crew<'a, P> {
    workers: Vec<Worker<P>>,
    sleepers: Vec<Sleeper>,
    wakers: &'a [Waker],
    counts: &'a [Arc<Counts>],
}

impl<P: Port + Send> Crew<'_, P> {
    /// Every worker on its thread, and the control side on this one, until `stop`; then the drain.
    fn work(
        self,
        service: &mut Service<'_>,
        sleeper: &mut Sleeper,
        stop: &Stop,
        mut membering: Option<Membering>,
    ) -> (Result<(), NodeError>, Vec<Worker<P>>) {
        let Crew { workers, sleepers, wakers, counts } = self;
        let (halt, options) = (&AtomicBool::new(false), service.options);
        thread::scope(|scope| {
            let begin = |(number, (worker, sleeper))| {
                let core = options.pin.then_some(number);
                scope.spawn(move || work(worker, sleeper, core, halt))
            };
            let threads: Vec<_> =
                workers.into_iter().zip(sleepers).enumerate().map(begin).collect();
            let served = service.serve(sleeper, stop);
            if let Some(membering) = &mut membering {
                membering.stop();
            }
            service.drain(counts, options.drain_max);
            halt.store(true, Ordering::Release);
            wakers.iter().for_each(Waker::wake);
            let mut workers: Vec<_> =
                threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
            workers.iter_mut().for_each(Worker::stop);
            (served, workers)
        })
    }
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
    let mut last = clock::now();
    while !halt.load(Ordering::Acquire) {
        let now = clock::now();
        worker.counts().stalls.look(last, worker.next_due(), now);
        last = now;
        if worker.turn(now) == 0 {
            let from = clock::now();
            sleeper.sleep(worker.port(), from, worker.next_due());
            last = clock::now();
            worker.counts().asleep_ns.add((last - from).0);
        }
    }
    worker
}
