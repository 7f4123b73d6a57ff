//! Next hops: which ethernet addresses a datagram to some IP address gets.
//!
//! The control side resolves and publishes whole tables; each port reads its own copy of the
//! latest one, without a lock, and takes a newer one between two flushes. The control side keeps
//! every table that a port still has, so that no port ever frees one.
//!
//! What is in no table goes through the kernel's socket, which makes the kernel resolve it, and
//! its address is wished for. A hop that may have moved is marked stale: one datagram then goes
//! through the kernel's socket, for which the kernel asks its neighbour again. So nothing is sent
//! that would not be sent anyway.

use crate::wire::Ethernet;
use crossbeam_queue::ArrayQueue;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Wishes that can wait to be looked at; more are forgotten, and made again by the next datagram.
const WISHES_MAX: usize = 256;

/// Where datagrams to one IP address go first, and what they say they come from.
#[derive(Debug)]
pub struct Hop {
    /// The next machine's address, ours, and the tag of the network between.
    pub ethernet: Ethernet,
    /// The IP address of ours that the route prescribes.
    pub source: IpAddr,
    stale: AtomicBool,
}

impl Hop {
    /// A hop that was just confirmed.
    pub fn new(ethernet: Ethernet, source: IpAddr) -> Self {
        Hop { ethernet, source, stale: AtomicBool::new(false) }
    }

    /// Lets the next datagram take the kernel's way, once.
    pub fn mark_stale(&self) {
        self.stale.store(true, Relaxed);
    }

    /// Whether this datagram is to take the kernel's way; at most one of those after a mark.
    pub fn take_stale(&self) -> bool {
        // The load keeps the line shared between cores as long as there is no mark.
        self.stale.load(Relaxed) && self.stale.swap(false, Relaxed)
    }
}

/// One table: hops by destination.
#[derive(Clone, Debug, Default)]
pub struct Hops(HashMap<IpAddr, Arc<Hop>>);

impl Hops {
    /// The hop for `destination`.
    pub fn hop(&self, destination: &IpAddr) -> Option<&Arc<Hop>> {
        self.0.get(destination)
    }

    /// How many destinations there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(IpAddr, Arc<Hop>)> for Hops {
    fn from_iter<T: IntoIterator<Item = (IpAddr, Arc<Hop>)>>(hops: T) -> Self {
        Hops(hops.into_iter().collect())
    }
}

/// The control side: publishes tables, hears wishes.
#[derive(Debug)]
pub struct HopsWriter {
    latest: Arc<Hops>,
    /// Tables that some reader may still have.
    earlier: Vec<Arc<Hops>>,
    /// One for each reader; holds the table it has not taken yet.
    mailboxes: Vec<Arc<ArrayQueue<Arc<Hops>>>>,
    wishes: Arc<ArrayQueue<IpAddr>>,
}

impl Default for HopsWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl HopsWriter {
    /// An empty table and no reader.
    pub fn new() -> Self {
        HopsWriter {
            latest: Arc::default(),
            earlier: vec![],
            mailboxes: vec![],
            wishes: Arc::new(ArrayQueue::new(WISHES_MAX)),
        }
    }

    /// Another port's side, which starts with the latest table.
    pub fn reader(&mut self) -> HopsReader {
        let mailbox = Arc::new(ArrayQueue::new(1));
        self.mailboxes.push(mailbox.clone());
        HopsReader { hops: self.latest.clone(), mailbox, wishes: self.wishes.clone() }
    }

    /// Makes `hops` the table of every reader.
    pub fn publish(&mut self, hops: Hops) {
        let hops = Arc::new(hops);
        for mailbox in &self.mailboxes {
            // What comes back was taken by nobody.
            drop(mailbox.force_push(hops.clone()));
        }
        self.earlier.push(std::mem::replace(&mut self.latest, hops));
        // Nobody can get at a table of which this is the only copy.
        self.earlier.retain(|hops| Arc::strong_count(hops) > 1);
    }

    /// The latest table.
    pub fn latest(&self) -> &Hops {
        &self.latest
    }

    /// A destination that some port did not know, if one waits; the same one may come often.
    pub fn wish(&self) -> Option<IpAddr> {
        self.wishes.pop()
    }
}

/// A port's side.
#[derive(Debug)]
pub struct HopsReader {
    hops: Arc<Hops>,
    mailbox: Arc<ArrayQueue<Arc<Hops>>>,
    wishes: Arc<ArrayQueue<IpAddr>>,
}

impl HopsReader {
    /// Takes the newest table, if there is a newer one.
    pub fn refresh(&mut self) {
        if let Some(hops) = self.mailbox.pop() {
            // The writer keeps the old one: nothing is freed here.
            self.hops = hops;
        }
    }

    /// The hop for `destination`, unless it is unknown or stale: then the kernel's socket sends.
    /// What is unknown is wished for.
    pub fn find(&self, destination: &IpAddr) -> Option<&Hop> {
        let Some(hop) = self.hops.hop(destination) else {
            // When too many wait, the next datagram wishes again.
            let _ = self.wishes.push(*destination);
            return None;
        };
        if hop.take_stale() { None } else { Some(hop) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([198, 18, 0, last])
    }

    fn hops(lasts: &[u8]) -> Hops {
        let hop = |last: &u8| {
            let ethernet = Ethernet { destination: [*last; 6], source: [2; 6], vlan_tag: None };
            (ip(*last), Arc::new(Hop::new(ethernet, ip(1))))
        };
        lasts.iter().map(hop).collect()
    }

    #[test]
    fn every_reader_sees_the_newest_table_when_it_refreshes() {
        let mut writer = HopsWriter::new();
        let mut readers = [writer.reader(), writer.reader()];
        writer.publish(hops(&[2]));
        writer.publish(hops(&[3]));
        for reader in &mut readers {
            assert!(reader.find(&ip(3)).is_none());
            reader.refresh();
            assert_eq!(reader.find(&ip(3)).unwrap().ethernet.destination, [3; 6]);
            assert!(reader.find(&ip(2)).is_none());
            reader.refresh();
            assert!(reader.find(&ip(3)).is_some());
        }
        assert!(writer.reader().find(&ip(3)).is_some(), "a late reader starts with it");
    }

    #[test]
    fn only_the_writer_frees_tables() {
        let mut writer = HopsWriter::new();
        let mut reader = writer.reader();
        for last in 1..100 {
            writer.publish(hops(&[last]));
            if last % 7 == 0 {
                let old = Arc::downgrade(&reader.hops);
                reader.refresh();
                assert!(old.upgrade().is_some(), "the reader freed it");
            }
            assert!(writer.earlier.len() <= 2, "{} tables are kept", writer.earlier.len());
        }
    }

    #[test]
    fn what_is_unknown_is_wished_for_and_wishes_are_bounded() {
        let mut writer = HopsWriter::new();
        let reader = writer.reader();
        assert!(reader.find(&ip(9)).is_none());
        assert_eq!((writer.wish(), writer.wish()), (Some(ip(9)), None));
        for _ in 0..2 * WISHES_MAX {
            reader.find(&ip(9));
        }
        assert_eq!(std::iter::from_fn(|| writer.wish()).count(), WISHES_MAX);
    }

    #[test]
    fn a_stale_hop_sends_one_datagram_the_kernels_way_and_no_wish() {
        let mut writer = HopsWriter::new();
        writer.publish(hops(&[2]));
        let (one, other) = (writer.reader(), writer.reader());
        writer.latest().hop(&ip(2)).unwrap().mark_stale();
        let ways = [&one, &other, &one, &other].map(|reader| reader.find(&ip(2)).is_some());
        assert_eq!(ways, [false, true, true, true]);
        assert_eq!(writer.wish(), None);
    }
}
