//! Who may be entered in the register, and for how long its entry counts.

use super::Register;
use crate::authority::Refusal;
use crate::clock::{Nanos, UnixMicros};
use crate::pki::{Descriptor, Role};

/// More nodes than fit a consensus, if all had keys for four epochs.
const NODES_MAX: usize = 2000;
/// How far ahead of now keys may be: a node makes those of the next epoch, and its clock may be
/// an epoch ahead already.
const EPOCHS_AHEAD_MAX: u64 = 2;
/// How far a node's clock may run ahead.
const CLOCK_SKEW: Nanos = Nanos::from_secs(120);

impl Register {
    /// Whether `descriptor` may be entered.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, descriptor: &Descriptor, wall: UnixMicros) -> Result<(), Refusal> {
        let id = descriptor.id();
        self.check_seat(descriptor)?;
        let published = descriptor.fields().published;
        if published > wall + CLOCK_SKEW {
            return Err(Refusal::Future);
        }
        let known = self.descriptors.get(&id);
        if known.is_some_and(|known| known.fields().published > published) {
            return Err(Refusal::Older);
        }
        let epoch = self.policy.epochs.at(wall);
        if !is_alive(descriptor, epoch) {
            return Err(Refusal::NoKeys(epoch));
        }
        let last = descriptor.fields().epochs.iter().map(|keys| keys.epoch).max();
        if let Some(ahead) = last.filter(|last| *last > epoch.saturating_add(EPOCHS_AHEAD_MAX)) {
            return Err(Refusal::KeysAhead(ahead));
        }
        let others = || self.descriptors.values().filter(|other| other.id() != id);
        let alive = || others().filter(|other| is_alive(other, epoch));
        if let Some(shared) = alive().find_map(|other| shared(descriptor, other)) {
            return Err(Refusal::Taken(shared));
        }
        if known.is_none() && alive().count() >= NODES_MAX {
            return Err(Refusal::Full);
        }
        Ok(())
    }

    /// Whether there is a seat for the node, and for what it wants to be.
    pub(super) fn check_seat(&self, descriptor: &Descriptor) -> Result<(), Refusal> {
        let Some(seats) = &self.policy.seats else { return Ok(()) };
        let seat = seats.get(&descriptor.id()).ok_or(Refusal::NoSeat)?;
        let role = if seat.layer.is_some() { Role::Mix } else { Role::Gateway };
        if descriptor.fields().role == role { Ok(()) } else { Err(Refusal::OtherRole(role)) }
    }
}

/// Whether all keys of a node are of epochs before `epoch`.
pub(super) fn is_over(descriptor: &Descriptor, epoch: u64) -> bool {
    descriptor.fields().epochs.iter().all(|keys| keys.epoch < epoch)
}

/// Whether a node has keys for `epoch` or the next one.
fn is_alive(descriptor: &Descriptor, epoch: u64) -> bool {
    [epoch, epoch.saturating_add(1)].iter().any(|epoch| descriptor.epoch(*epoch).is_some())
}

/// What two nodes share that must belong to one: a consensus with both would be refused by all.
fn shared(one: &Descriptor, other: &Descriptor) -> Option<&'static str> {
    let (mine, theirs) = (one.fields(), other.fields());
    if mine.name == theirs.name {
        return Some("name");
    }
    if one.link_public() == other.link_public() {
        return Some("link key");
    }
    let taken = mine.addresses.iter().any(|address| theirs.addresses.contains(address));
    taken.then_some("address")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::register::tests::{EPOCH, World, at};
    use crate::pki::NodeKeys;

    #[test]
    fn strangers_impostors_and_old_or_future_descriptors_are_refused() {
        let mut world = World::new(true, 1);
        let now = at(EPOCH, 8);
        world.post(0, now).unwrap();
        assert_eq!(world.post(0, at(EPOCH, 7)), Err(Refusal::Older));
        assert_eq!(world.post(0, now), Ok(()), "the same again");
        let future = world.descriptor(1, at(EPOCH, 8 + 121));
        assert_eq!(world.register.check(&future, now), Err(Refusal::Future));
        let old = world.descriptor(1, at(EPOCH - 2, 0));
        assert_eq!(world.register.check(&old, now), Err(Refusal::NoKeys(EPOCH)));
        world.nodes[1] = NodeKeys::generate(&mut world.rng);
        assert_eq!(world.post(1, now), Err(Refusal::NoSeat));
        world.nodes.swap(0, 2);
        assert_eq!(world.post(2, now), Err(Refusal::OtherRole(Role::Mix)));
    }

    #[test]
    fn what_belongs_to_a_node_is_taken_until_its_keys_are_over() {
        let mut world = World::new(false, 1);
        world.post(0, at(EPOCH, 0)).unwrap();
        world.nodes[0] = NodeKeys::generate(&mut world.rng);
        assert_eq!(world.post(0, at(EPOCH, 1)), Err(Refusal::Taken("name")));
        assert_eq!(world.post(0, at(EPOCH + 1, 1)), Err(Refusal::Taken("name")));
        assert_eq!(world.post(0, at(EPOCH + 2, 1)), Ok(()));
        assert_eq!(world.register.nodes(), 1, "the first one is forgotten");
    }

    #[test]
    fn nobody_stays_by_keys_of_far_epochs() {
        let mut world = World::new(false, 1);
        let now = at(EPOCH, 0);
        for far in [EPOCH + 3, u64::MAX] {
            let squatter = world.descriptor_for(0, now, &[EPOCH, far]);
            let refused = world.register.check(&squatter, now).unwrap_err();
            assert_eq!(refused, Refusal::KeysAhead(far));
        }
        let late = world.descriptor_for(0, now, &[EPOCH + 2]);
        let refused = world.register.check(&late, now).unwrap_err();
        assert_eq!(refused, Refusal::NoKeys(EPOCH));
        // A clock that runs ahead is no reason to refuse.
        let ahead = world.descriptor_for(0, now, &[EPOCH + 1, EPOCH + 2]);
        assert_eq!(world.register.check(&ahead, now), Ok(()));
        assert_eq!(world.register.enter(ahead, now), []);
        assert_eq!(world.post(1, at(EPOCH + 2, 0)), Ok(()));
        assert_eq!(world.register.nodes(), 2);
        assert_eq!(world.post(1, at(EPOCH + 3, 0)), Ok(()));
        assert_eq!(world.register.nodes(), 1, "keys two epochs ahead are over as all others");
    }
}
