//! Who is in the network, where each node stands, and when a consensus is made of it.

mod admission;
mod draft;

use crate::clock::{Nanos, UnixMicros};
use crate::pki::{
    Consensus, ConsensusError, Descriptor, Epochs, NodeId, Parameters, SigningKey, TrustAnchor,
};
use admission::is_over;
use std::collections::BTreeMap;

/// Consensuses that are remembered: those of the epoch before, now and next are handed out, and
/// some were perhaps signed while the clock ran ahead.
const CONSENSUSES_MAX: usize = 8;

/// A place in the network, kept for one identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The layer of a mix, the first being 1; none for a gateway.
    pub layer: Option<u8>,
    /// How often paths lead through a mix, relative to the others of its layer.
    pub weight: u32,
}

/// What the network shall be.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its epochs.
    pub epochs: Epochs,
    /// What all agree on.
    pub parameters: Parameters,
    /// Who may be in it; without a list, everybody, each mix in the layer that has the fewest.
    pub seats: Option<BTreeMap<NodeId, Seat>>,
}

/// Why no consensus is made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Most of the network is away. Who keeps nodes from the authority could otherwise choose
    /// those that are left.
    #[error("nodes of {taken} of {seats} seats have registered, and it takes more than half")]
    NoMajority {
        /// How many have registered for the epoch.
        taken: usize,
        /// How many seats there are.
        seats: usize,
    },
    /// Those who have registered make no network.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
}

/// What was on disk.
#[derive(Debug, Default)]
pub struct Kept {
    /// The nodes' descriptors.
    pub descriptors: Vec<Descriptor>,
    /// The consensuses, whenever they are valid.
    pub consensuses: Vec<(Consensus, Vec<u8>)>,
    /// Epochs whose consensus is there and cannot be read.
    pub unreadable: Vec<u64>,
}

/// The network as the authority sees it.
#[derive(Debug)]
pub struct Register {
    anchor: TrustAnchor,
    policy: Policy,
    descriptors: BTreeMap<NodeId, Descriptor>,
    /// By epoch; none where one was signed that cannot be read any more.
    published: BTreeMap<u64, Option<(Consensus, hyper::body::Bytes)>>,
    /// Since when nodes have been registering for an epoch; for what was kept, since the start.
    heard: BTreeMap<u64, UnixMicros>,
}

impl Register {
    /// A register that goes on with what was `kept`.
    pub fn new(anchor: TrustAnchor, policy: Policy, kept: Kept, started: UnixMicros) -> Self {
        let (descriptors, published, heard) = Default::default();
        let mut register = Register { anchor, policy, descriptors, published, heard };
        for descriptor in kept.descriptors {
            if let Err(refusal) = register.check_seat(&descriptor) {
                tracing::info!("{} is left out: {refusal}", descriptor.fields().name);
                continue;
            }
            register.hear(&descriptor, started);
            register.descriptors.insert(descriptor.id(), descriptor);
        }
        register.published = kept.unreadable.into_iter().map(|epoch| (epoch, None)).collect();
        for (consensus, bytes) in kept.consensuses {
            register.note(consensus, bytes);
        }
        register
    }

    /// The network's trust anchor.
    pub fn anchor(&self) -> &TrustAnchor {
        &self.anchor
    }

    /// The network's epochs.
    pub fn epochs(&self) -> Epochs {
        self.policy.epochs
    }

    /// How many nodes are registered.
    pub fn nodes(&self) -> usize {
        self.descriptors.len()
    }

    /// Whether this very descriptor has been entered.
    pub fn knows(&self, descriptor: &Descriptor) -> bool {
        let known = self.descriptors.get(&descriptor.id());
        known.is_some_and(|known| known.signed_bytes() == descriptor.signed_bytes())
    }

    /// Enters a descriptor that was checked. Returns those whose keys are all over, which are
    /// forgotten.
    pub fn enter(&mut self, descriptor: Descriptor, wall: UnixMicros) -> Vec<NodeId> {
        let epoch = self.policy.epochs.at(wall);
        self.heard.retain(|heard, _| *heard >= epoch);
        self.hear(&descriptor, wall);
        self.descriptors.insert(descriptor.id(), descriptor);
        let over = self.descriptors.values().filter(|one| is_over(one, epoch));
        let over: Vec<_> = over.map(Descriptor::id).collect();
        over.iter().for_each(|id| drop(self.descriptors.remove(id)));
        over
    }

    /// The epoch whose consensus is to be made at `wall`: the current one if it has none, else
    /// the next one, when its time has come and either all nodes with a seat have registered for
    /// it or they have been waited for long enough.
    pub fn due(&self, wall: UnixMicros) -> Option<u64> {
        self.open_epochs(wall).find(|epoch| self.ready_in(*epoch, wall) == Nanos::ZERO)
    }

    /// The span after which [`Register::due`] may say something else by itself.
    pub fn due_in(&self, wall: UnixMicros) -> Nanos {
        let spans = self.open_epochs(wall).map(|epoch| self.ready_in(epoch, wall));
        let next = self.policy.epochs.start(self.policy.epochs.at(wall) + 1);
        spans.fold(wall.until(next), Nanos::min)
    }

    /// The consensus of `epoch`, signed; nobody has seen it yet.
    ///
    /// # Errors
    /// Too few nodes have registered, or those that have make no network.
    pub fn sign(
        &self,
        epoch: u64,
        key: &SigningKey,
        wall: UnixMicros,
    ) -> Result<(Consensus, Vec<u8>), SignError> {
        let (taken, seats) = self.seats(epoch);
        if taken < seats / 2 + usize::from(seats > 0) {
            return Err(SignError::NoMajority { taken, seats });
        }
        let bytes = self.draft(epoch).sign(&self.anchor, std::slice::from_ref(key));
        Ok((Consensus::verify(&bytes, &self.anchor, wall, None)?, bytes))
    }

    /// Notes a consensus that is published from now on. Returns the epochs that are forgotten.
    pub fn note(&mut self, consensus: Consensus, bytes: Vec<u8>) -> Vec<u64> {
        self.published.insert(consensus.epoch(), Some((consensus, bytes.into())));
        let over = self.published.len().saturating_sub(CONSENSUSES_MAX);
        let over: Vec<u64> = self.published.keys().copied().take(over).collect();
        over.iter().for_each(|epoch| drop(self.published.remove(epoch)));
        over
    }

    /// The consensus of `epoch`.
    pub fn consensus(&self, epoch: u64) -> Option<&hyper::body::Bytes> {
        self.published.get(&epoch)?.as_ref().map(|published| &published.1)
    }

    /// The consensus of the epoch at `wall`, or the last one before it.
    pub fn current(&self, wall: UnixMicros) -> Option<&hyper::body::Bytes> {
        let past = self.published.range(..=self.policy.epochs.at(wall));
        past.rev().find_map(|(_, published)| published.as_ref()).map(|published| &published.1)
    }

    /// The newest epoch that has a consensus.
    pub fn newest(&self) -> Option<u64> {
        self.newest_consensus().map(Consensus::epoch)
    }

    fn newest_consensus(&self) -> Option<&Consensus> {
        self.published.values().rev().flatten().next().map(|(consensus, _)| consensus)
    }

    /// The epochs of now and next that have had no consensus yet. What was signed and forgotten
    /// lies before all that is remembered, so nothing is signed there: the clock has gone back.
    fn open_epochs(&self, wall: UnixMicros) -> impl Iterator<Item = u64> {
        let epoch = self.policy.epochs.at(wall);
        let first = self.published.first_key_value().map(|(first, _)| *first);
        let open = move |epoch: &u64| {
            !self.published.contains_key(epoch) && first.is_none_or(|first| *epoch > first)
        };
        [epoch, epoch + 1].into_iter().filter(open)
    }

    fn ready_in(&self, epoch: u64, wall: UnixMicros) -> Nanos {
        let epochs = self.policy.epochs;
        let published = epochs.publication(epoch);
        let patience = Nanos(epochs.lead().0 / 2);
        let waited = match self.heard.get(&epoch) {
            Some(heard) => published.max(*heard) + patience,
            // Nobody makes no network, which is to be said before its epoch is over.
            None => epochs.publication(epoch.saturating_add(1)),
        };
        let (taken, seats) = self.seats(epoch);
        wall.until(if seats > 0 && taken == seats { published } else { waited })
    }

    /// How many seats are taken by a node with keys for `epoch`, and how many there are.
    fn seats(&self, epoch: u64) -> (usize, usize) {
        let has_keys = |id: &NodeId| self.descriptors.get(id)?.epoch(epoch);
        let Some(seats) = &self.policy.seats else { return (0, 0) };
        (seats.keys().filter_map(has_keys).count(), seats.len())
    }

    /// Notes since when there are keys for an epoch. The earliest time counts, so that one that
    /// a clock ahead has left behind goes with the next node that registers.
    fn hear(&mut self, descriptor: &Descriptor, wall: UnixMicros) {
        for keys in &descriptor.fields().epochs {
            let heard = self.heard.entry(keys.epoch).or_insert(wall);
            *heard = wall.min(*heard);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Refusal;
    use crate::crypto::random::Rng;
    use crate::pki::{DescriptorFields, EpochKeys, EpochPublic, NodeKeys, Rates, Role};
    use crate::sphinx::Geometry;

    /// Epochs of 16 s; the tests begin with epoch 1000.
    pub(super) const EPOCH: u64 = 1000;

    pub(super) fn at(epoch: u64, seconds: u64) -> UnixMicros {
        UnixMicros::from_secs(epoch * 16 + seconds)
    }

    pub(super) struct World {
        pub(super) register: Register,
        key: SigningKey,
        pub(super) nodes: Vec<NodeKeys>,
        pub(super) rng: Rng,
    }

    impl World {
        /// Two mixes, then a gateway, each with a seat if `seated`.
        pub(super) fn new(seated: bool, layers: u8) -> Self {
            let mut rng = Rng::from_seed([1; 32]);
            let key = SigningKey::generate(&mut rng);
            let anchor = TrustAnchor::new("net", vec![key.public()], None).unwrap();
            let nodes: Vec<_> = (0..3).map(|_| NodeKeys::generate(&mut rng)).collect();
            let seat = |layer| Seat { layer, weight: 1 };
            let seats = [Some(1), Some(layers), None].map(seat);
            let ids = nodes.iter().map(|keys| keys.identity.id());
            let parameters = Parameters {
                layers,
                delay_mean: Nanos::from_millis(50),
                rates: Rates::default(),
                geometry: Geometry::DEFAULT,
            };
            let policy = Policy {
                epochs: Epochs::new(16).unwrap(),
                parameters,
                seats: seated.then(|| ids.zip(seats).collect()),
            };
            let register = Register::new(anchor, policy, Kept::default(), at(EPOCH, 0));
            World { register, key, nodes, rng }
        }

        /// What `node` posts at `wall`: keys of the epoch and the next.
        pub(super) fn descriptor(&mut self, node: usize, wall: UnixMicros) -> Descriptor {
            let epoch = wall.as_secs() / 16;
            self.descriptor_for(node, wall, &[epoch, epoch + 1])
        }

        /// The same with keys of other epochs.
        pub(super) fn descriptor_for(
            &mut self,
            node: usize,
            wall: UnixMicros,
            of: &[u64],
        ) -> Descriptor {
            let keys: Vec<_> =
                of.iter().map(|epoch| EpochKeys::generate(*epoch, &mut self.rng)).collect();
            let fields = DescriptorFields {
                network: "net".into(),
                name: format!("node-{node}"),
                role: if node == 2 { Role::Gateway } else { Role::Mix },
                addresses: vec![([127, 0, 0, 1 + u8::try_from(node).unwrap()], 7700).into()],
                epochs: keys.iter().map(EpochPublic::of).collect(),
                published: wall,
            };
            Descriptor::sign(&fields, &self.nodes[node]).unwrap()
        }

        pub(super) fn post(&mut self, node: usize, wall: UnixMicros) -> Result<(), Refusal> {
            let descriptor = self.descriptor(node, wall);
            self.register.check(&descriptor, wall)?;
            self.register.enter(descriptor, wall);
            Ok(())
        }

        pub(super) fn publish(
            &mut self,
            epoch: u64,
            wall: UnixMicros,
        ) -> Result<Consensus, SignError> {
            let (consensus, bytes) = self.register.sign(epoch, &self.key, wall)?;
            self.register.note(consensus.clone(), bytes);
            Ok(consensus)
        }
    }

    #[test]
    fn the_first_consensus_is_made_as_soon_as_every_seat_is_taken() {
        let mut world = World::new(true, 1);
        for node in 0..3 {
            assert_eq!(world.register.due(at(EPOCH, 0)), None);
            world.post(node, at(EPOCH, 0)).unwrap();
        }
        assert_eq!(world.register.due(at(EPOCH, 0)), Some(EPOCH));
        let consensus = world.publish(EPOCH, at(EPOCH, 0)).unwrap();
        assert_eq!((consensus.layer(1).len(), consensus.gateways().len()), (2, 1));
        assert_eq!(world.register.due(at(EPOCH, 11)), None);
        assert_eq!(world.register.due_in(at(EPOCH, 11)), Nanos::from_secs(1));
        assert_eq!(world.register.due(at(EPOCH, 12)), Some(EPOCH + 1));
    }

    #[test]
    fn a_node_that_does_not_register_is_waited_for_and_then_left_out() {
        let mut world = World::new(true, 1);
        world.post(0, at(EPOCH, 1)).unwrap();
        world.post(2, at(EPOCH, 1)).unwrap();
        assert_eq!(world.register.due(at(EPOCH, 2)), None);
        assert_eq!(world.register.due(at(EPOCH, 3)), Some(EPOCH));
        assert_eq!(world.publish(EPOCH, at(EPOCH, 3)).unwrap().layer(1).len(), 1);
    }

    #[test]
    fn no_network_is_made_of_less_than_a_majority_of_the_seats() {
        let mut world = World::new(true, 1);
        world.post(2, at(EPOCH, 1)).unwrap();
        let error = world.publish(EPOCH, at(EPOCH, 15)).unwrap_err();
        assert_eq!(error, SignError::NoMajority { taken: 1, seats: 3 });
        world.post(0, at(EPOCH, 15)).unwrap();
        assert_eq!(world.publish(EPOCH, at(EPOCH, 15)).unwrap().nodes().count(), 2);
    }

    #[test]
    fn an_authority_that_could_not_be_reached_waits_after_the_first_node_as_at_its_start() {
        let mut world = World::new(false, 1);
        for node in [0, 2] {
            world.post(node, at(EPOCH + 9, 5)).unwrap();
        }
        assert_eq!(world.register.due(at(EPOCH + 9, 6)), None);
        assert_eq!(world.register.due_in(at(EPOCH + 9, 6)), Nanos::from_secs(1));
        world.post(1, at(EPOCH + 9, 6)).unwrap();
        assert_eq!(world.register.due(at(EPOCH + 9, 7)), Some(EPOCH + 9));
    }

    #[test]
    fn a_start_in_a_wrong_future_is_forgotten_with_the_next_node_that_registers() {
        let mut world = World::new(false, 1);
        let kept = Kept { descriptors: vec![world.descriptor(0, at(EPOCH, 0))], ..Kept::default() };
        let Register { anchor, policy, .. } = world.register;
        world.register = Register::new(anchor, policy, kept, at(EPOCH + 1_000_000, 0));
        assert_eq!(world.register.due(at(EPOCH, 4)), None);
        world.post(2, at(EPOCH, 4)).unwrap();
        assert_eq!(world.register.due(at(EPOCH, 6)), Some(EPOCH));
    }

    #[test]
    fn nothing_is_signed_twice_though_it_cannot_be_read_or_the_clock_went_back() {
        let mut world = World::new(true, 1);
        for node in 0..3 {
            world.post(node, at(EPOCH, 0)).unwrap();
        }
        let kept = world.register.sign(EPOCH + 1, &world.key, at(EPOCH, 12)).unwrap();
        let descriptors: Vec<_> = (0..3).map(|node| world.descriptor(node, at(EPOCH, 0))).collect();
        let mut after = |wall, kept| {
            let Register { anchor, policy, .. } = &world.register;
            world.register = Register::new(anchor.clone(), policy.clone(), kept, wall);
            world.register.due(at(wall.as_secs() / 16, 15))
        };
        let unreadable = vec![EPOCH, EPOCH + 1];
        let all = Kept { descriptors: descriptors.clone(), unreadable, ..Kept::default() };
        assert_eq!(after(at(EPOCH, 0), all), None);
        let one = vec![EPOCH];
        let some = Kept { descriptors: descriptors.clone(), unreadable: one, ..Kept::default() };
        assert_eq!(after(at(EPOCH, 0), some), Some(EPOCH + 1));
        let later = Kept { descriptors, consensuses: vec![kept], ..Kept::default() };
        assert_eq!(after(at(EPOCH, 0), later), None, "perhaps signed and forgotten");
        assert_eq!(world.register.newest(), Some(EPOCH + 1));
    }

    #[test]
    fn who_has_lost_its_seat_is_left_out_after_a_restart() {
        let mut world = World::new(true, 1);
        let wall = at(EPOCH, 0);
        let descriptors = (0..3).map(|node| world.descriptor(node, wall)).collect();
        let Register { anchor, mut policy, .. } = world.register;
        policy.seats.as_mut().unwrap().remove(&world.nodes[1].identity.id());
        let kept = Kept { descriptors, ..Kept::default() };
        world.register = Register::new(anchor, policy, kept, wall);
        assert_eq!(world.register.nodes(), 2);
        let consensus = world.publish(EPOCH, wall).unwrap();
        assert!(consensus.node(&world.nodes[1].identity.id()).is_none());
    }

    #[test]
    fn the_current_consensus_is_that_of_the_epoch_or_the_last_before_it() {
        let mut world = World::new(true, 1);
        for node in 0..3 {
            world.post(node, at(EPOCH, 0)).unwrap();
        }
        world.publish(EPOCH, at(EPOCH, 0)).unwrap();
        world.publish(EPOCH + 1, at(EPOCH, 12)).unwrap();
        let of = |epoch| world.register.consensus(epoch);
        assert_ne!(of(EPOCH), of(EPOCH + 1));
        assert_eq!(world.register.current(at(EPOCH, 15)), of(EPOCH));
        assert_eq!(world.register.current(at(EPOCH + 1, 0)), of(EPOCH + 1));
        assert_eq!(world.register.current(at(EPOCH + 5, 0)), of(EPOCH + 1));
        assert_eq!(world.register.current(at(EPOCH - 1, 0)), None);
    }
}
