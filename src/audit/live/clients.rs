//! T6: real clients at a real gateway, half of whom write to each other without a pause while the
//! others neither send nor receive; what the wire of each shows, in windows.
//!
//! All take their turns on one thread, one by one: whatever one does that takes long shows on the
//! wires of both kinds alike.

use std::cell::RefCell;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::AuditError;
use super::lab::{Lab, Scratch, files_in};
use super::neighbour::wall_nanos;
use super::port::{Trace, WirePort};
use super::process::Process;
use super::progress::Watch;
use crate::audit::decoys::{Class, Window};
use crate::audit::uniformity::Sample;
use crate::client::{Client, Connection, Record};
use crate::clock::{self, Nanos};
use crate::config::NodeFile;
use crate::crypto::random::Rng;
use crate::host::event;
use crate::io::Port as _;
use crate::network;
use crate::node::load_consensus;
use crate::pki::{Consensus, MailboxAddress, MailboxKeys, Node as Listed};

/// A window: long enough for some dozen datagrams up and two dozen down.
const WINDOW: Nanos = Nanos::from_millis(500);
/// How long clients may take to be let in.
const READY_MAX: Nanos = Nanos::from_secs(60);
/// How long messages flow before the first window.
const WARM_UP: Nanos = Nanos::from_secs(3);
/// Messages that an active client has on their way, and their length: a few packets.
const MESSAGES: usize = 4;
const MESSAGE_BYTES: usize = 2_500;
/// How long a message may take.
const PATIENCE: Nanos = Nanos::from_secs(60);
/// From here on the thread was late: a stall, in which no window counts.
const LATE_MIN: Nanos = Nanos::from_millis(5);
/// How often a sleeping thread looks whether to go on.
const LOOK: Nanos = Nanos::from_millis(20);

/// How many clients of each kind there are, and for how long they are watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) clients: usize,
    pub(super) span: Nanos,
}

/// What was seen.
pub(super) struct Watched {
    pub(super) active: Class,
    pub(super) idle: Class,
    /// The share of all windows that were cut out.
    pub(super) cut: f64,
    /// Messages that arrived meanwhile.
    pub(super) messages: u64,
}

/// A network of processes with one gateway, where the clients are.
struct Site {
    consensus: Arc<Consensus>,
    gateway: Listed,
    _processes: Vec<Process>,
    _folder: Scratch,
}

/// One client, and how it may be reached.
struct User {
    client: Client<WirePort>,
    address: MailboxAddress,
    trace: Rc<RefCell<Trace>>,
    /// When it has something to do.
    due: Nanos,
}

/// Watches clients at a gateway of a network that is made for it.
pub(super) fn watch(lab: &Lab, plan: Plan, watch: &Watch<'_>) -> Result<Watched, AuditError> {
    lab.at_our_end(|| {
        watch.phase("clients come", Nanos::ZERO);
        let site = Site::start(lab)?;
        let mut room = Room::open(&site, plan)?;
        room.until_ready(watch)?;
        room.run(clock::now() + WARM_UP, watch)?;
        room.forget();
        watch.phase("clients are watched", plan.span);
        let start = wall_nanos();
        room.run(clock::now() + plan.span, watch)?;
        Ok(room.windows(start, plan.span))
    })
}

impl Site {
    /// The network around the gateway of `lab`, or a new one.
    fn start(lab: &Lab) -> Result<Self, AuditError> {
        let folder = Scratch::new()?;
        let root = folder.0.join("network");
        let measured = lab.network.as_deref();
        match measured {
            // Its processes take their keys out of the folder, so they get one of their own.
            Some(network) => copy(network, &root)?,
            None => make(&root)?,
        }
        let mut files = files_in(&root)?;
        let first = files.first().ok_or_else(|| AuditError::NotListed("a gateway".into()))?;
        let consensus = Arc::new(load_consensus(&first.1.network, &first.1.consensus)?);
        let is_measured = |file: &NodeFile| {
            measured.is_some() && lab.node.addresses().iter().any(|at| file.listen.contains(at))
        };
        files.retain(|(_, file)| !is_measured(file));
        let start = |(config, _): &(PathBuf, _)| {
            let name = config.parent().and_then(Path::file_name).unwrap_or_default();
            Process::start(&name.to_string_lossy(), config, &folder.0, None)
        };
        let _processes = files.iter().map(start).collect::<Result<_, _>>()?;
        let gateway = match measured {
            Some(_) => consensus.node(&lab.node.id()),
            None => consensus.gateways().first(),
        };
        let gateway = gateway.ok_or_else(|| AuditError::NotListed("a gateway".into()))?.clone();
        Ok(Site { consensus, gateway, _processes, _folder: folder })
    }
}

/// Makes a small network on loopback addresses, with the rates of every test network.
fn make(root: &Path) -> Result<(), AuditError> {
    let options = network::Options {
        network: "audit".into(),
        mixes: 3,
        gateways: 1,
        delay_mean: super::lab::DELAY_MEAN,
        addresses: loopback(&mut Rng::from_os()),
        ..network::Options::new(root.to_owned())
    };
    network::init(&options, &mut Rng::from_os(), clock::wall())?;
    Ok(())
}

/// A subnet of this machine's own that hardly anybody else uses.
pub(super) fn loopback(rng: &mut Rng) -> Ipv4Addr {
    let [a, b] = rng.bytes();
    Ipv4Addr::new(127, 90 + a % 100, b, 0)
}

/// Copies a folder with all in it, for nobody else to read.
fn copy(from: &Path, to: &Path) -> Result<(), AuditError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| AuditError::Folder { path, source }
    };
    fs::DirBuilder::new().mode(0o700).create(to).map_err(failed(to))?;
    for entry in fs::read_dir(from).map_err(failed(from))? {
        let entry = entry.map_err(failed(from))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &target)?,
            false => drop(fs::copy(&path, &target).map_err(failed(&path))?),
        }
    }
    Ok(())
}

/// All clients, the active ones at even places beside the idle ones at odd ones.
struct Room<'a> {
    site: &'a Site,
    users: Vec<User>,
    samples: [Rc<RefCell<Sample>>; 2],
    /// When the thread was late.
    stalls: Vec<(Nanos, Nanos)>,
    messages: u64,
}

impl<'a> Room<'a> {
    fn open(site: &'a Site, plan: Plan) -> Result<Self, AuditError> {
        let bytes = site.consensus.geometry().datagram_bytes();
        let samples = [(); 2].map(|()| Rc::new(RefCell::new(Sample::new(bytes))));
        let mut rng = Rng::from_os();
        // Each has an address of its own: a gateway answers one address only so often.
        let mut address = u32::from(loopback(&mut rng));
        let users = (0..2 * plan.clients).map(|number| {
            address += 1;
            let at = SocketAddr::from((Ipv4Addr::from(address), 0));
            let port = WirePort::open(at, bytes, samples[number % 2].clone())?;
            let trace = port.trace.clone();
            let (now, wall) = (clock::now(), clock::wall());
            let gateway = &site.gateway;
            let connection = Connection::new(&site.consensus, gateway, port, now, wall, &mut rng)
                .map_err(|why| AuditError::Gateway(why.to_string()))?;
            let keys = MailboxKeys::generate(&mut rng);
            let address = keys.address(gateway.id());
            let consensus = site.consensus.clone();
            let client = Client::new(connection, consensus, gateway.id(), keys, rng.fork());
            Ok(User { client, address, trace, due: Nanos::ZERO })
        });
        let users = users.collect::<Result<_, AuditError>>()?;
        Ok(Room { site, users, samples, stalls: vec![], messages: 0 })
    }

    /// Takes turns until all clients are let in.
    fn until_ready(&mut self, watch: &Watch<'_>) -> Result<(), AuditError> {
        let start = clock::now();
        while !self.users.iter().all(|user| user.client.is_ready()) {
            if clock::now() - start > READY_MAX {
                let ready = self.users.iter().filter(|user| user.client.is_ready()).count();
                return Err(AuditError::NotReady { ready, all: self.users.len() });
            }
            self.run(clock::now() + LOOK, watch)?;
        }
        Ok(())
    }

    /// Takes turns until `end`.
    fn run(&mut self, end: Nanos, watch: &Watch<'_>) -> Result<(), AuditError> {
        let mut watches: Vec<_> = self.users.iter().map(User::watch).collect();
        let mut asked = clock::now();
        while clock::now() < end {
            let now = clock::now();
            if now >= asked {
                asked = now + LOOK;
                watch.check()?;
                watch.tick(end - now);
            }
            let due = self.users.iter().map(|user| user.due).min().unwrap_or(Nanos::NEVER);
            let until = due.min(end).min(asked).max(now);
            event::wait(&mut watches, Some((until - now).as_duration()));
            self.look_at_clock(until);
            for (number, is_ready) in watches.iter().map(event::Watch::ready).enumerate() {
                let now = clock::now();
                if is_ready || self.users[number].due <= now {
                    self.turn(number);
                    self.look_at_clock(now);
                }
            }
        }
        Ok(())
    }

    /// Notes when the thread should have come here at about `expected` and did so much later.
    fn look_at_clock(&mut self, expected: Nanos) {
        let late = clock::now() - expected;
        if late > LATE_MIN {
            let woken = wall_nanos();
            self.stalls.push((woken - late, woken));
        }
    }

    fn turn(&mut self, number: usize) {
        // The active ones write to each other in pairs.
        let friend = self.users.get(number ^ 2).map(|friend| friend.address);
        let user = &mut self.users[number];
        let now = clock::now();
        user.client.turn(now, clock::wall());
        while let Some(record) = user.client.record() {
            user.client.kept(record.number());
            self.messages += u64::from(matches!(record, Record::Message { .. }));
        }
        while user.client.event().is_some() {}
        if let Some(friend) = friend.filter(|_| number.is_multiple_of(2) && user.client.is_ready())
        {
            while user.client.waiting() < MESSAGES {
                let message = vec![0; MESSAGE_BYTES];
                if user.client.submit(message, &friend, now + PATIENCE).is_err() {
                    break;
                }
            }
        }
        user.due = user.client.next_due();
    }

    /// What was before does not count.
    fn forget(&mut self) {
        let bytes = self.site.consensus.geometry().datagram_bytes();
        self.samples.iter().for_each(|sample| *sample.borrow_mut() = Sample::new(bytes));
        self.users.iter_mut().for_each(|user| *user.trace.borrow_mut() = Trace::default());
        self.stalls.clear();
        self.messages = 0;
    }

    /// What was seen from `start` on, without windows in which the thread was late.
    fn windows(self, start: Nanos, span: Nanos) -> Watched {
        let count = span.0 / WINDOW.0;
        let begins = (0..count).map(|number| start + Nanos(number * WINDOW.0));
        let is_calm = |begin: &Nanos| {
            self.stalls.iter().all(|stall| stall.1 < *begin || stall.0 > *begin + WINDOW)
        };
        let calm: Vec<_> = begins.filter(is_calm).collect();
        let of_kind = |kind: usize| {
            let users = self.users.iter().skip(kind).step_by(2);
            let windows = users.flat_map(|user| {
                let trace = user.trace.borrow();
                calm.iter().map(|begin| trace.window(*begin)).collect::<Vec<_>>()
            });
            windows.collect()
        };
        let [active, idle] = [of_kind(0), of_kind(1)];
        let cut = 1.0 - calm.len() as f64 / (count as f64).max(1.0);
        let messages = self.messages;
        drop(self.users);
        let [of_active, of_idle] = self.samples.map(|sample| {
            let alone = Rc::into_inner(sample).map(RefCell::into_inner);
            alone.unwrap_or_else(|| Sample::new(1))
        });
        Watched {
            active: Class { windows: active, datagrams: of_active },
            idle: Class { windows: idle, datagrams: of_idle },
            cut,
            messages,
        }
    }
}

impl User {
    fn watch(&self) -> event::Watch {
        event::Watch::new(self.client.connection().port().fd().unwrap_or(-1), false)
    }
}

impl Trace {
    /// The window from `begin` on.
    fn window(&self, begin: Nanos) -> Window {
        let within = |times: &[Nanos]| {
            let first = times.partition_point(|at| *at < begin);
            let last = times.partition_point(|at| *at < begin + WINDOW);
            times[first..last].iter().map(|at| *at - begin).collect()
        };
        Window { span: WINDOW, up: within(&self.up), down: within(&self.down) }
    }
}
