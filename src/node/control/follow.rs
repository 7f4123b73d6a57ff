//! What changes from epoch to epoch while packets go on: neighbours, keys, tables.

use std::sync::Arc;

use super::Control;
use crate::clock::Nanos;
use crate::crypto::kem;
use crate::host;
use crate::link::Peer;
use crate::node::assemble::client_gap;
use crate::pki::{Consensus, Parameters};
use crate::replay::EpochKey;
use crate::route;
use crate::worker::rings::Command;
use crate::worker::tables::{EPOCHS_MAX, Tables};

/// What a node follows from now on.
#[derive(Debug)]
pub struct Update {
    /// The consensus of now.
    pub consensus: Arc<Consensus>,
    /// The neighbours by it, and by those before and after it.
    pub peers: Vec<Peer>,
    /// The epochs whose packets are taken, at most three.
    pub epochs: Vec<u64>,
    /// Keys of epochs that had none so far.
    pub fresh: Vec<(u64, Arc<EpochKey>)>,
    /// The KEM keys of all epochs in force.
    pub kem: Vec<Arc<kem::Secret>>,
    /// Whether the consensus is older than it should be.
    pub degraded: bool,
}

impl Control {
    /// Follows `update`: links to new neighbours are begun, and the workers get new tables before
    /// a link that has gone is forgotten. Links and keys that stay are not touched, so nothing in
    /// flight is lost.
    pub fn follow(&mut self, update: Update, now: Nanos) {
        let Update { consensus, peers, epochs, fresh, kem, degraded } = update;
        self.links.set_kem_keys(kem);
        let without_place = self.links.set_peers(&peers, now);
        if without_place > 0 {
            tracing::warn!("no room for {without_place} neighbours: restart this node");
        }
        self.keys.retain(|(epoch, _)| epochs.contains(epoch));
        self.keys.extend(fresh);
        let keys = self.keys.iter().map(|(epoch, key)| (route::epoch_byte(*epoch), key.clone()));
        let Parameters { delay_mean, rates, .. } = *consensus.parameters();
        self.links.expect_gaps(rates.client_up().gap_mean(), rates.client_down().gap_mean());
        if let Some(gateway) = &mut self.gateway {
            gateway.set_rates(rates);
        }
        let tables = Tables {
            geometry: self.geometry,
            keys: keys.take(EPOCHS_MAX).collect(),
            links: peers
                .iter()
                .filter_map(|peer| Some((peer.id, self.links.index_of(&peer.id)?)))
                .collect(),
            delay_max: route::delay_max(delay_mean),
            delivers: self.tables.delivers,
            client_gap: client_gap(&rates),
            loops: self.tables.loops,
        };
        self.loops.follow(consensus, now);
        self.peers = peers.len();
        self.degraded = degraded;
        self.use_tables(Arc::new(tables));
        self.carry_out_actions(now);
    }

    /// The mix keys in force, each with its epoch.
    pub fn keys(&self) -> &[(u64, Arc<EpochKey>)] {
        &self.keys
    }

    /// How many neighbours the node has.
    pub fn peers(&self) -> usize {
        self.peers
    }

    /// Whether the node goes on with a consensus that is older than it should be.
    pub fn is_degraded(&self) -> bool {
        self.degraded
    }

    /// Drops tables that no worker reads any more. Their replay filters are large: whoever is the
    /// last to let go of one stands still for it, so that is a thread for nothing else.
    pub(super) fn drop_retired_tables(&mut self) {
        let is_over = |tables: &mut Arc<Tables>| Arc::strong_count(tables) == 1;
        let over: Vec<_> = self.retired.extract_if(.., is_over).collect();
        if !over.is_empty() {
            let clear = move || {
                host::yield_to_all();
                drop(over);
            };
            // Without a thread, they are dropped here.
            drop(std::thread::Builder::new().name("clearing".into()).spawn(clear));
        }
    }

    fn use_tables(&mut self, tables: Arc<Tables>) {
        let before = std::mem::replace(&mut self.tables, tables.clone());
        self.retired.push(before);
        self.tell_workers(|| Command::Tables(tables.clone()));
    }
}
