//! Steps 3 to 5 of the diary: unwrap the whole batch, with the replay test in its middle.

use arrayvec::ArrayVec;

use super::ingress::ARRIVALS_MAX;
use super::{Ingress, Worker};
use crate::io::Port;
use crate::replay::{Place, Verdict};
use crate::sphinx::{Packet, Refusal};

impl<P: Port> Worker<P> {
    /// Unwraps this turn's arrivals in place; what came of each stands in `outcomes`.
    pub(super) fn unwrap(&mut self) {
        let Worker { ingress: Some(ingress), tables, slots, .. } = self else { return };
        let Ingress { arrivals, outcomes, unwrapper, .. } = ingress;
        outcomes.clear();
        if arrivals.is_empty() {
            return;
        }
        let packet_bytes = tables.geometry.packet_bytes();
        let keys: ArrayVec<_, ARRIVALS_MAX> =
            arrivals.iter().map(|arrival| &*tables.keys[arrival.key].1).collect();
        let mut packets: ArrayVec<Packet<'_>, ARRIVALS_MAX> = arrivals
            .iter_mut()
            .zip(&keys)
            .map(|(arrival, key)| Packet {
                bytes: &mut slots.slab().bytes_mut(&mut arrival.slot)[..packet_bytes],
                secret: key.secret(),
            })
            .collect();

        let mut checked = unwrapper.check(&mut packets);
        // All places first, so that their memory comes together.
        let places: ArrayVec<Place<'_>, ARRIVALS_MAX> =
            checked.tags().map(|(index, tag)| keys[index].table().place(tag)).collect();
        places.iter().for_each(Place::prefetch);
        let mut verdicts = places.into_iter().map(Place::record);
        checked.screen(|_, _| match verdicts.next() {
            Some(Verdict::New) => Ok(()),
            Some(Verdict::Seen) => Err(Refusal::Replay),
            Some(Verdict::Full) | None => Err(Refusal::ReplayTableFull),
        });
        outcomes.extend(checked.finish().iter().copied());
    }
}
