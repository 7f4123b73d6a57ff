//! What a worker has that takes packets in: steps 1 to 6 of the diary.

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use super::policing::Policer;
use super::rings::{HandOff, Outbound};
use super::roles::Roles;
use super::shed::Shedder;
use super::slab::Slot;
use super::spill::Spills;
use crate::crypto::random::Rng;
use crate::crypto::tier::{Name, Tier};
use crate::link::LinkIndex;
use crate::sphinx::{Geometry, Hop, Refusal, Unwrapper};

/// The largest group.
const GROUP_MAX: usize = 32;
/// Packets that one turn takes in at most: a group from the port, and one of the node's own and of
/// those that it takes over from other workers.
pub(super) const ARRIVALS_MAX: usize = 2 * GROUP_MAX;

/// Datagrams that one turn takes in, but for those that overload turns away: a thread that also
/// mixes looks at its pool between two groups, so that a full port makes nothing later than two
/// groups of unwrappings. They take 0.4 ms with vectors, whose full speed needs 32 packets,
/// 0.7 ms by the scalar tier and 1.6 ms by the reference (`docs/performance.md`).
const fn group(tier: Tier) -> usize {
    match tier.name() {
        Name::Avx512 => GROUP_MAX,
        Name::Scalar | Name::Serial => 8,
    }
}

/// Opened packets that wait for a later turn at most: what a worker unwraps in 10 ms.
pub const WAITING_MAX: usize = 512;

/// A packet that was opened and now goes through the Sphinx stages.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) slot: Slot,
    /// Place of its epoch's key in the tables.
    pub(super) key: usize,
}

/// What a worker has that takes packets in.
#[derive(Debug)]
pub struct Ingress {
    pub(super) group: usize,
    pub(super) shedder: Shedder,
    pub(super) spills: Spills,
    /// Opened packets, the oldest first.
    pub(super) waiting: VecDeque<Slot>,
    pub(super) policer: Policer,
    pub(super) unwrapper: Unwrapper,
    pub(super) arrivals: ArrayVec<Arrival, ARRIVALS_MAX>,
    pub(super) outcomes: ArrayVec<Result<Hop, Refusal>, ARRIVALS_MAX>,
    pub(super) draining: bool,
    roles: Roles,
    owners: Box<[Outbound]>,
}

/// What connects a worker that takes packets in with the others.
#[derive(Debug)]
pub struct Ways {
    /// Which of them do what.
    pub roles: Roles,
    /// To every owner, by number.
    pub owners: Vec<Outbound>,
    /// To and from those who unwrap for each other.
    pub spills: Spills,
}

impl Ingress {
    /// For packets of `geometry`. `policer` keeps clients to their rate, `rng` decides what is
    /// turned away in overload.
    pub fn new(geometry: Geometry, policer: Policer, ways: Ways, rng: Rng) -> Self {
        let (tier, Ways { roles, owners, spills }) = (Tier::chosen(), ways);
        Ingress {
            group: group(tier),
            shedder: Shedder::new(rng),
            spills,
            waiting: VecDeque::with_capacity(WAITING_MAX),
            policer,
            unwrapper: Unwrapper::new(tier, geometry, ARRIVALS_MAX),
            arrivals: ArrayVec::new(),
            outcomes: ArrayVec::new(),
            draining: false,
            roles,
            owners: owners.into(),
        }
    }

    /// Stages a packet for the owner of `link`.
    ///
    /// # Errors
    /// The packet itself, when the owner is far behind.
    pub(super) fn hand_off(&mut self, link: LinkIndex, handed: HandOff) -> Result<(), HandOff> {
        self.owners[self.roles.owner_of(link)].push(handed)
    }

    /// Hands over what is staged for owners.
    pub(super) fn publish(&mut self) {
        self.owners.iter_mut().for_each(Outbound::publish);
    }
}
