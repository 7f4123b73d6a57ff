//! What a consensus is made of: who is in it, and each mix in its layer.

use super::Register;
use crate::crypto::sha256;
use crate::pki::{ConsensusDraft, Descriptor, PlacedMix, Role};

impl Register {
    /// The consensus of `epoch`, unsigned: all nodes with keys for it.
    pub(super) fn draft(&self, epoch: u64) -> ConsensusDraft {
        let epochs = self.policy.epochs;
        let of_role = |role| {
            let with_keys = self.descriptors.values().filter(move |one| one.epoch(epoch).is_some());
            with_keys.filter(move |one| one.fields().role == role)
        };
        ConsensusDraft {
            epoch,
            epoch_s: epochs.length_s(),
            valid_from: epochs.publication(epoch),
            valid_until: epochs.valid_until(epoch),
            parameters: self.policy.parameters,
            mixes: self.place(of_role(Role::Mix).collect()),
            gateways: of_role(Role::Gateway).cloned().collect(),
        }
    }

    /// Gives every mix its place: its seat, or the layer that it had before, or that with the
    /// fewest. Newcomers come in the order of a hash, which none can choose at will.
    fn place(&self, mut mixes: Vec<&Descriptor>) -> Vec<PlacedMix> {
        mixes.sort_by_cached_key(|mix| sha256::digest(&[b"mixline layer", &mix.id().0]));
        let last = self.newest_consensus();
        let before = |mix: &Descriptor| last?.node(&mix.id())?.layer();
        mixes.sort_by_key(|mix| before(mix).is_none());
        let mut counts = vec![0_usize; usize::from(self.policy.parameters.layers)];
        let placed = mixes.into_iter().map(|mix| {
            let seat = self.policy.seats.as_ref().and_then(|seats| seats.get(&mix.id()));
            let layer = seat.map_or_else(|| before(mix), |seat| seat.layer);
            let layer = layer.unwrap_or_else(|| emptiest(&counts));
            if let Some(count) = counts.get_mut(usize::from(layer).wrapping_sub(1)) {
                *count += 1;
            }
            let weight = seat.map_or(1, |seat| seat.weight);
            PlacedMix { layer, weight, descriptor: mix.clone() }
        });
        placed.collect()
    }
}

/// The layer with the fewest mixes, the first one of several.
fn emptiest(counts: &[usize]) -> u8 {
    let fewest = (1..).zip(counts).min_by_key(|(_, count)| **count);
    fewest.map_or(1, |(layer, _)| layer)
}

#[cfg(test)]
mod tests {
    use crate::authority::register::tests::{EPOCH, World, at};
    use crate::pki::{ConsensusError, NodeKeys};

    #[test]
    fn without_seats_mixes_are_dealt_out_and_keep_their_layer() {
        let mut world = World::new(false, 2);
        for node in 0..3 {
            world.post(node, at(EPOCH, 0)).unwrap();
        }
        let first = world.publish(EPOCH, at(EPOCH, 2)).unwrap();
        for _ in 0..4 {
            world.nodes.push(NodeKeys::generate(&mut world.rng));
        }
        for node in [0, 1, 2, 3, 4, 5, 6] {
            world.post(node, at(EPOCH, 3)).unwrap();
        }
        let second = world.publish(EPOCH + 1, at(EPOCH, 14)).unwrap();
        assert_eq!((second.layer(1).len(), second.layer(2).len()), (3, 3));
        for node in first.nodes() {
            assert_eq!(second.node(&node.id()).unwrap().layer(), node.layer());
        }
    }

    #[test]
    fn an_empty_layer_makes_no_network_whose_consensus_anybody_could_follow() {
        let mut world = World::new(true, 2);
        world.post(0, at(EPOCH, 1)).unwrap();
        world.post(2, at(EPOCH, 1)).unwrap();
        let error = world.publish(EPOCH, at(EPOCH, 2)).unwrap_err();
        assert_eq!(error, ConsensusError::EmptyLayer(2).into());
    }
}
