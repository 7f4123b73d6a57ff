//! The control side of the table of next hops: a thread that asks the kernel for ways and
//! neighbours, and listens to what changes.
//!
//! Only destinations that are reached by our interface, or by a VLAN of it, over a neighbour whose
//! ethernet address the kernel knows, get into the table. Everything else (other interfaces, this
//! machine itself, tunnels, paths that are too narrow, neighbours that nobody has asked for yet)
//! is left to the kernel's socket. Nothing is ever sent from here: the kernel resolves neighbours,
//! and it does when its socket is used.
//!
//! What the table holds is public: who is on the link, and where the routes lead. Which of the
//! wishes came from whose packet is known to nobody here.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::hops::HopsWriter;
use crate::clock::{self, Nanos};
use crate::host::event::{self, Watch};
use crate::host::netlink::events::{Event, Events};
use crate::host::netlink::links::Link;
use crate::host::netlink::routes::RouteKind;
use crate::host::netlink::{Mac, Netlink, NetlinkError};
use contact::Way;
use destinations::{Answer, Destinations, Limits};

mod contact;
mod destinations;

/// How often wishes are looked for. Until then datagrams take the kernel's socket; in return no
/// worker makes a system call to be heard.
const WISHES_GAP: Nanos = Nanos::from_millis(20);
/// Events and wishes taken in one turn, so that none keeps the others waiting.
const TURN: usize = 256;

/// Whose next hops are resolved, and within which limits.
#[derive(Clone, Debug)]
pub struct Options {
    /// The interface that the port sends by.
    pub interface: u32,
    /// The address that the port sends from; if it is unspecified, the route says.
    pub address: IpAddr,
    /// The length of the IP packets that are sent. Ways that do not take it are the kernel's.
    pub packet_bytes: u32,
    /// How many destinations are known at most beside those that are followed: clients.
    pub clients_max: usize,
    /// How many questions about destinations the kernel is asked in a second, whoever causes
    /// them. One costs about 11 us: a route, a neighbour.
    pub questions_per_second: u32,
}

impl Options {
    /// Default limits: a fortieth of a core at the worst.
    pub fn new(interface: u32, address: IpAddr, packet_bytes: u32) -> Self {
        Options {
            interface,
            address: address.to_canonical(),
            packet_bytes,
            clients_max: 8192,
            questions_per_second: 2000,
        }
    }
}

/// What the resolver has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Destinations in the newest table.
    pub hops: u64,
    /// Questions that the kernel was asked.
    pub questions: u64,
    /// Those that it did not answer, or not so that it could be understood; their destinations
    /// are left to its socket.
    pub failed: u64,
    /// Wishes that found no room.
    pub refused: u64,
}

/// The handle of the thread; it stops when this is dropped.
#[derive(Debug)]
pub struct Resolver {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its owner share.
#[derive(Debug)]
struct Desk {
    /// Raised when there is something on the desk.
    bell: File,
    is_stopped: AtomicBool,
    followed: Mutex<Option<HashSet<IpAddr>>>,
    hops: AtomicU64,
    questions: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

impl Resolver {
    /// Starts the thread; it works in the network namespace of this one.
    ///
    /// # Errors
    /// When the kernel cannot be asked, or there is no such interface.
    pub fn start(options: Options, hops: HopsWriter) -> Result<Self, NetlinkError> {
        let bell = event::counter().map_err(NetlinkError::Open)?;
        let desk = Arc::new(Desk {
            bell,
            is_stopped: AtomicBool::new(false),
            followed: Mutex::new(None),
            hops: AtomicU64::new(0),
            questions: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        // Before the first question, so that nothing is missed between.
        let events = Events::open()?;
        let kernel = Kernel::new(Netlink::open()?, options.clone())?;
        let limits = Limits {
            wished_max: options.clients_max,
            questions_per_second: options.questions_per_second,
        };
        let destinations = Destinations::new(limits, clock::now());
        let work = Work { desk: desk.clone(), events, kernel, destinations, hops };
        let thread = thread::Builder::new()
            .name("resolver".into())
            .spawn(move || work.run())
            .map_err(NetlinkError::Open)?;
        Ok(Resolver { desk, thread: Some(thread) })
    }

    /// Resolves `addresses` ahead, and keeps doing so; replaces those given before.
    pub fn follow(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        let addresses = addresses.into_iter().map(|address| address.to_canonical()).collect();
        let mut followed = self.desk.followed.lock().unwrap_or_else(PoisonError::into_inner);
        *followed = Some(addresses);
        drop(followed);
        self.desk.ring();
    }

    /// What it has done so far.
    pub fn figures(&self) -> Figures {
        Figures {
            hops: self.desk.hops.load(Ordering::Relaxed),
            questions: self.desk.questions.load(Ordering::Relaxed),
            failed: self.desk.failed.load(Ordering::Relaxed),
            refused: self.desk.refused.load(Ordering::Relaxed),
        }
    }

    /// Ends the thread and waits for it. The ports keep the newest table.
    pub fn stop(self) {}
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.desk.is_stopped.store(true, Ordering::Release);
        self.desk.ring();
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and said so.
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn ring(&self) {
        // It fails only when it is raised as high as it goes.
        let _ = (&self.bell).write(&1u64.to_ne_bytes());
    }
}

/// The thread.
struct Work {
    desk: Arc<Desk>,
    events: Events,
    kernel: Kernel,
    destinations: Destinations,
    hops: HopsWriter,
}

impl Work {
    fn run(mut self) {
        while !self.desk.is_stopped.load(Ordering::Acquire) {
            let now = clock::now();
            self.take_orders(now);
            self.take_events();
            self.take_wishes(now);
            self.destinations.tick(now);
            self.ask();
            self.publish();
            self.sleep();
        }
    }

    fn take_orders(&mut self, now: Nanos) {
        let mut followed = self.desk.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = followed.take();
        drop(followed);
        if let Some(addresses) = newest {
            self.destinations.follow(&addresses, now);
        }
    }

    fn take_events(&mut self) {
        for event in self.events.by_ref().take(TURN) {
            self.kernel.take(&event);
            self.destinations.take(&event);
        }
    }

    fn take_wishes(&mut self, now: Nanos) {
        for _ in 0..TURN {
            let Some(address) = self.hops.wish() else { break };
            self.destinations.wish(address.to_canonical(), now);
        }
        self.desk.refused.store(self.destinations.refused(), Ordering::Relaxed);
    }

    fn ask(&mut self) {
        let now = clock::now();
        while let Some(address) = self.destinations.next_question(now) {
            self.desk.questions.fetch_add(1, Ordering::Relaxed);
            let answer = self.kernel.way(address).unwrap_or_else(|_| {
                self.desk.failed.fetch_add(1, Ordering::Relaxed);
                None
            });
            self.destinations.answer(address, answer, now);
        }
    }

    fn publish(&mut self) {
        if let Some(hops) = self.destinations.table(clock::now()) {
            self.desk.hops.store(hops.len() as u64, Ordering::Relaxed);
            self.hops.publish(hops);
        }
    }

    fn sleep(&mut self) {
        let now = clock::now();
        let until = self.destinations.deadline().min(now + WISHES_GAP);
        let (bell, events) = (self.desk.bell.as_raw_fd(), self.events.as_raw_fd());
        let mut watches = [Watch::new(bell, false), Watch::new(events, false)];
        event::wait(&mut watches, Some((until - now).as_duration()));
        if watches[0].ready() {
            let _ = (&self.desk.bell).read(&mut [0; 8]);
        }
    }
}

/// The questions about one destination, and the interfaces met so far.
struct Kernel {
    netlink: Netlink,
    options: Options,
    /// By interface; none for one that our frames do not leave by.
    exits: HashMap<u32, Option<Exit>>,
}

/// Our interface, or a VLAN of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exit {
    mac: Mac,
    vlan_tag: Option<u16>,
    mtu_bytes: u32,
}

impl Kernel {
    fn new(mut netlink: Netlink, options: Options) -> Result<Self, NetlinkError> {
        let number = options.interface;
        netlink.link(number)?.ok_or_else(|| NetlinkError::NoLink(format!("number {number}")))?;
        Ok(Kernel { netlink, options, exits: HashMap::new() })
    }

    fn take(&mut self, event: &Event) {
        if matches!(event, Event::Link(_) | Event::Everything) {
            self.exits.clear();
        }
    }

    /// How packets to `destination` leave, if our frames can carry them.
    fn way(&mut self, destination: IpAddr) -> Result<Answer, NetlinkError> {
        let own = self.options.address;
        let source = (!own.is_unspecified()).then_some(own);
        if is_on_any_link(destination)
            || source.is_some_and(|own| own.is_ipv6() != destination.is_ipv6())
        {
            return Ok(None);
        }
        let Some(route) = self.netlink.route(destination, source)? else { return Ok(None) };
        let Some(exit) = self.exit(route.interface)? else { return Ok(None) };
        let (RouteKind::Unicast, Some(source)) = (route.kind, route.source) else {
            return Ok(None);
        };
        if route.mtu_bytes.unwrap_or(u32::MAX).min(exit.mtu_bytes) < self.options.packet_bytes {
            return Ok(None);
        }
        let next = route.gateway.unwrap_or(destination);
        let Exit { mac, vlan_tag, .. } = exit;
        let way = Way { interface: route.interface, next, source, mac, vlan_tag };
        Ok(Some((way, self.netlink.neighbour(route.interface, next)?)))
    }

    fn exit(&mut self, interface: u32) -> Result<Option<Exit>, NetlinkError> {
        if let Some(exit) = self.exits.get(&interface) {
            return Ok(*exit);
        }
        let link = self.netlink.link(interface)?;
        let exit = link.and_then(|link| exit(&link, self.options.interface));
        self.exits.insert(interface, exit);
        Ok(exit)
    }
}

/// An address of IPv6 that every link has a machine with means nothing without its link, which
/// the table does not hold.
fn is_on_any_link(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// How frames for `link` leave by the interface `ours`, if they do.
fn exit(link: &Link, ours: u32) -> Option<Exit> {
    let vlan_tag = match link.vlan {
        _ if link.index == ours => None,
        Some(vlan) if vlan.parent == ours => Some(vlan.tag),
        _ => return None,
    };
    Some(Exit { mac: link.mac?, vlan_tag, mtu_bytes: link.mtu_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::netlink::links::Vlan;

    fn link(index: u32, vlan: Option<Vlan>) -> Link {
        Link {
            index,
            name: format!("eth{index}"),
            mac: Some([2, 0, 0, 0, 0, 1]),
            mtu_bytes: 1500,
            is_up: true,
            is_running: true,
            is_loopback: false,
            vlan,
        }
    }

    #[test]
    fn frames_leave_by_our_interface_without_and_by_its_vlans_with_a_tag() {
        let tag = |link: &Link| exit(link, 3).map(|exit| exit.vlan_tag);
        assert_eq!(tag(&link(3, None)), Some(None));
        assert_eq!(tag(&link(9, Some(Vlan { parent: 3, tag: 7 }))), Some(Some(7)));
        // When our interface is itself a VLAN, the kernel adds its tag.
        assert_eq!(tag(&link(3, Some(Vlan { parent: 2, tag: 7 }))), Some(None));
    }

    #[test]
    fn frames_for_other_interfaces_are_the_kernels() {
        assert_eq!(exit(&link(4, None), 3), None);
        assert_eq!(exit(&link(9, Some(Vlan { parent: 4, tag: 7 })), 3), None);
        // A tunnel has no ethernet.
        assert_eq!(exit(&Link { mac: None, ..link(3, None) }, 3), None);
    }
}
