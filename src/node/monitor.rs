//! What an operator's machines ask a node over HTTP: `/metrics`, `/healthz`, `/readyz`; in a
//! laboratory also `/stalls`.
//!
//! It has a thread of its own that only looks, and answers nobody but those who are named.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::exposition::Exposition;
use super::{InForce, NodeError, Standing, Wakers};
use crate::clock::{self, UnixMicros};
use crate::config::{Metrics, Prefix};
use crate::http::{self, Answer, Limits, not_allowed, text, with_type};
use crate::pki::NodeId;

const LIMITS: Limits = Limits {
    connections_max: 16,
    head_max: Duration::from_secs(10),
    connection_max: Duration::from_secs(10),
};
/// How long a thread that is alive may take to show it.
const HEARTBEAT_MAX: Duration = Duration::from_secs(1);
/// How often to look for it, and the occupancy of the mix.
const HEARTBEAT_LOOK: Duration = Duration::from_millis(5);
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const STALLS_TEXT: &str = "text/plain; charset=utf-8";

/// The listener, open before the node starts, so that a wrong address is found at once.
#[derive(Debug)]
pub(super) struct Listener {
    socket: std::net::TcpListener,
    allow: Vec<Prefix>,
}

impl Listener {
    /// Listens where `metrics` says.
    ///
    /// # Errors
    /// When the address is not this machine's, or taken.
    pub(super) fn open(metrics: &Metrics) -> Result<Self, NodeError> {
        let Metrics { listen, allow } = metrics.clone();
        let opened = std::net::TcpListener::bind(listen)
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
        let failed = |source| NodeError::Metrics { address: listen, source };
        Ok(Listener { socket: opened.map_err(failed)?, allow })
    }
}

/// The thread that answers.
#[derive(Debug)]
pub(super) struct Monitor {
    stop: Arc<Notify>,
    thread: thread::JoinHandle<()>,
}

impl Monitor {
    /// Answers at `listener`, if there is one, until it is stopped.
    ///
    /// # Errors
    /// When the system has no thread or descriptor left.
    pub(super) fn start(
        listener: Listener,
        exposition: Exposition,
        wakers: Wakers,
    ) -> Result<Self, NodeError> {
        let address = listener.socket.local_addr().unwrap_or(([0; 4], 0).into());
        let failed = |source| NodeError::Metrics { address, source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let stop = Arc::new(Notify::new());
        let (stopped, desk) = (stop.clone(), Arc::new(Desk::new(exposition, wakers)));
        let answer = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.notified() => {}
                    () = sample(&desk) => {}
                    () = serve(listener, &desk) => {}
                }
            });
        };
        let thread = thread::Builder::new().name("monitor".into()).spawn(answer);
        Ok(Monitor { stop, thread: thread.map_err(failed)? })
    }

    /// Answers nobody any more.
    pub(super) fn stop(self) {
        self.stop.notify_one();
        // It panics on bugs only, and then the process has ended.
        let _ = self.thread.join();
    }
}

/// What answers are made from.
struct Desk {
    exposition: Exposition,
    standing: Arc<Standing>,
    wakers: Wakers,
}

impl Desk {
    fn new(exposition: Exposition, wakers: Wakers) -> Self {
        let standing = exposition.sources.standing.clone();
        Desk { exposition, standing, wakers }
    }

    fn wake_all(&self) {
        self.wakers.control.wake();
        self.wakers.workers.iter().for_each(|waker| waker.wake());
    }

    /// The turns that each thread has taken.
    fn turns(&self) -> Vec<u64> {
        let exposition = &self.exposition;
        let sources = &exposition.sources;
        let workers = sources.workers.iter().map(|counts| counts.turns.value());
        workers.chain([self.standing.turns.value()]).collect()
    }
}

/// Ends windows in time; workers that sleep are woken to say how long they did.
async fn sample(desk: &Desk) {
    loop {
        sleep(SAMPLE_EVERY).await;
        if desk.exposition.sample(clock::now()) {
            desk.wake_all();
            sleep(HEARTBEAT_LOOK).await;
            desk.exposition.close_window(clock::now());
        }
    }
}

async fn serve(listener: Listener, desk: &Arc<Desk>) {
    let Listener { socket, allow } = listener;
    let Ok(socket) = TcpListener::from_std(socket) else { return };
    let admit = |source| may_ask(source, &allow).then_some(());
    let desk = desk.clone();
    http::serve(socket, LIMITS, admit, move |request| {
        let desk = desk.clone();
        async move { answer(&request, &desk).await }
    })
    .await;
}

fn may_ask(source: IpAddr, allow: &[Prefix]) -> bool {
    let source = source.to_canonical();
    source.is_loopback() || allow.iter().any(|prefix| prefix.contains(source))
}

async fn answer(request: &Request<Incoming>, desk: &Desk) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return not_allowed("GET, HEAD");
    }
    match request.uri().path() {
        "/metrics" => with_type(StatusCode::OK, METRICS_TEXT, desk.exposition.text().into()),
        "/healthz" => verdict(unhealthy(desk).await),
        "/readyz" => verdict(unready(desk)),
        "/stalls" => match desk.exposition.stalls(clock::now()) {
            Some(stalls) => with_type(StatusCode::OK, STALLS_TEXT, stalls.into()),
            None => text(StatusCode::NOT_FOUND, "only a laboratory's node tells of its stalls"),
        },
        _ => text(StatusCode::NOT_FOUND, "ask for /metrics, /healthz or /readyz"),
    }
}

/// A thread that does not move, if there is one. An idle thread sleeps: it is woken, and has
/// then to take a turn.
async fn unhealthy(desk: &Desk) -> Option<String> {
    let before = desk.turns();
    desk.wake_all();
    let moved = async {
        while desk.turns().iter().zip(&before).any(|(now, before)| now == before) {
            sleep(HEARTBEAT_LOOK).await;
        }
    };
    // Whether it came in time is seen below: a thread may move in the last moment.
    let _ = timeout(HEARTBEAT_MAX, moved).await;
    stuck(&before, &desk.turns())
}

/// The first thread that took no turn between two looks, if there is one.
fn stuck(before: &[u64], after: &[u64]) -> Option<String> {
    let workers = before.len() - 1;
    let stuck = before.iter().zip(after).position(|(before, after)| before == after)?;
    Some(match stuck {
        worker if worker < workers => format!("worker {worker} does not move"),
        _ => "the control thread does not move".to_owned(),
    })
}

/// Why the node is no good for packets now, if it is not.
fn unready(desk: &Desk) -> Option<String> {
    let standing = &desk.standing;
    if standing.is_draining() {
        return Some("draining".to_owned());
    }
    unfit(&standing.in_force(), standing.id(), clock::wall())
}

/// Why `id` cannot do with `in_force` what its network expects of it, if so.
fn unfit(in_force: &InForce, id: NodeId, wall: UnixMicros) -> Option<String> {
    let consensus = &in_force.consensus;
    if wall < consensus.valid_from() || wall >= consensus.valid_until() {
        return Some("the consensus is not valid now".to_owned());
    }
    let epoch = consensus.epoch();
    let Some((_, key)) = in_force.keys.iter().find(|(of, _)| *of == epoch) else {
        return Some(format!("no mix key for epoch {epoch}"));
    };
    if key.is_closed() {
        return Some(format!("the key of epoch {epoch} is closed"));
    }
    match consensus.node(&id).map(|node| node.mix_public(epoch)) {
        None => Some(format!("the consensus of epoch {epoch} does not list this node")),
        Some(listed) if listed != Some(&key.secret().public()) => {
            Some(format!("the consensus lists another mix key for epoch {epoch}"))
        }
        Some(_) => None,
    }
}

fn verdict(fault: Option<String>) -> Answer {
    match fault {
        None => text(StatusCode::OK, "ok"),
        Some(fault) => text(StatusCode::SERVICE_UNAVAILABLE, &fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Nanos;
    use crate::crypto::random::Rng;
    use crate::io::wake;
    use crate::node::exposition::Sources;
    use crate::pki::{
        Consensus, ConsensusDraft, Descriptor, DescriptorFields, EpochKeys, EpochPublic, NodeKeys,
        Parameters, PlacedMix, Rates, Role, SigningKey, TrustAnchor,
    };
    use crate::replay::{EpochKey, Options};
    use crate::sphinx::Geometry;

    const WALL: UnixMicros = UnixMicros::from_secs(1_700_000_000);

    fn descriptor(role: Role, host: u8, keys: &NodeKeys, epoch: &EpochKeys) -> Descriptor {
        let fields = DescriptorFields {
            network: "test".into(),
            name: format!("node-{host}"),
            role,
            addresses: vec![([10, 0, 0, host], 7700).into()],
            epochs: vec![EpochPublic::of(epoch)],
            published: WALL,
        };
        Descriptor::sign(&fields, keys).unwrap()
    }

    /// The consensus of epoch 7 that lists these two, valid for a day.
    fn consensus(mix: Descriptor, gateway: Descriptor, rng: &mut Rng) -> Arc<Consensus> {
        let authority = SigningKey::generate(rng);
        let anchor = TrustAnchor::new("test", vec![authority.public()], None).unwrap();
        let draft = ConsensusDraft {
            epoch: 7,
            epoch_s: 3600,
            valid_from: WALL,
            valid_until: UnixMicros::from_secs(WALL.as_secs() + 86_400),
            parameters: Parameters {
                layers: 1,
                delay_mean: Nanos::from_millis(50),
                rates: Rates::default(),
                geometry: Geometry::DEFAULT,
            },
            mixes: vec![PlacedMix { layer: 1, weight: 1, descriptor: mix }],
            gateways: vec![gateway],
        };
        let bytes = draft.sign(&anchor, &[authority]);
        Arc::new(Consensus::verify(&bytes, &anchor, WALL, None).unwrap())
    }

    /// A mix with the key that its consensus lists, and with another one; and a stranger.
    struct World {
        own: InForce,
        other: InForce,
        id: NodeId,
        stranger: NodeId,
    }

    fn world() -> World {
        let mut rng = Rng::from_seed([1; 32]);
        let nodes = [(); 3].map(|()| NodeKeys::generate(&mut rng));
        let epochs = [(); 2].map(|()| EpochKeys::generate(7, &mut rng));
        let mix = descriptor(Role::Mix, 1, &nodes[0], &epochs[0]);
        let gateway = descriptor(Role::Gateway, 2, &nodes[1], &epochs[1]);
        let consensus = consensus(mix, gateway, &mut rng);
        let [own, other] = epochs.map(|keys| {
            let key = EpochKey::new(keys.mix, Options { packets_max: 1000 }, &mut rng);
            let keys = vec![(7, Arc::new(key.unwrap()))];
            InForce { consensus: consensus.clone(), keys }
        });
        let [id, _, stranger] = nodes.map(|keys| keys.identity.id());
        World { own, other, id, stranger }
    }

    #[test]
    fn a_node_is_ready_with_the_mix_key_that_the_consensus_lists_and_with_no_other() {
        let World { own, other, id, stranger } = world();
        assert_eq!(unfit(&own, id, WALL), None);
        assert!(unfit(&other, id, WALL).unwrap().contains("another mix key"));
        assert!(unfit(&own, stranger, WALL).unwrap().contains("does not list"));
        assert!(unfit(&own, id, UnixMicros::from_secs(1)).unwrap().contains("not valid"));
        let none = InForce { keys: vec![], ..own.clone() };
        assert!(unfit(&none, id, WALL).unwrap().contains("no mix key"));
        own.keys[0].1.close();
        assert!(unfit(&own, id, WALL).unwrap().contains("closed"));
    }

    #[test]
    fn before_strangers_a_laboratory_says_no_more_than_any_node() {
        let World { own, id, .. } = world();
        let options = crate::node::Options { lab: true, ..Default::default() };
        assert!(options.check_lab(&own.consensus).is_err());
        let standing = Arc::new(Standing::new(id, own));
        let sources = Sources {
            standing: standing.clone(),
            workers: vec![],
            control: Arc::default(),
            gateway: Arc::default(),
            memory_bytes: (0, 0),
            outlives_process: false,
            shield: None,
            lab: true,
        };
        let control = wake::pair().unwrap().1;
        let wakers = Wakers { control, workers: vec![] };
        let desk = Desk::new(Exposition::new(sources, Nanos::ZERO), wakers);
        assert!(desk.exposition.text().contains("mixline_replays_total"));
        standing.end_lab();
        assert!(!desk.exposition.text().contains("mixline_replays_total"));
    }

    #[test]
    fn a_thread_that_takes_no_turn_is_named() {
        assert_eq!(stuck(&[1, 2, 3], &[2, 3, 4]), None);
        assert_eq!(stuck(&[1, 2, 3], &[2, 2, 4]).unwrap(), "worker 1 does not move");
        assert_eq!(stuck(&[1, 2, 3], &[2, 3, 3]).unwrap(), "the control thread does not move");
    }

    #[test]
    fn only_this_machine_may_ask_unless_others_are_named() {
        let local: IpAddr = "127.0.0.9".parse().unwrap();
        let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
        let other: IpAddr = "192.0.2.7".parse().unwrap();
        assert!(may_ask(local, &[]) && may_ask(mapped, &[]) && !may_ask(other, &[]));
    }
}
