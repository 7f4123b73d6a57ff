//! Before the packets: what the control thread asked for since the last turn.

use super::rings::{Command, HandOff};
use super::{BATCH, Worker};
use crate::clock::Nanos;
use crate::io::Port;
use crate::link::Frame;

impl<P: Port> Worker<P> {
    /// Carries out the commands that are there when it begins, but takes in no more packets than
    /// a group, and stops at new tables: they are for the turns after this one, because what came
    /// in before them stands by its place in the old ones. Returns how many commands that were.
    pub(super) fn obey(&mut self, now: Nanos) -> usize {
        if let Some(tables) = self.tables_next.take() {
            self.tables = tables;
        }
        let waiting = self.rings.commands.len();
        for done in 0..waiting {
            if self.is_group_full() || self.tables_next.is_some() {
                return done;
            }
            let Some(command) = self.rings.commands.pop() else { return done };
            self.carry_out(command, now);
        }
        waiting
    }

    fn carry_out(&mut self, command: Command, now: Nanos) {
        if self.port.queued() >= BATCH {
            self.port.flush();
        }
        match command {
            Command::Tables(tables) => self.tables_next = Some(tables),
            Command::Session(change) => self.sessions.apply(change),
            Command::Dummy(link) => self.mix_dummy(link, now),
            Command::ClientDummy(link) => self.send_frame(link, Frame::Dummy, &[], now),
            Command::Close(link, close) => {
                self.send_frame(link, Frame::Close, &close.encode(), now);
            }
            Command::Datagram { to, slot } => {
                let datagram = self.slots.slab().bytes(&slot);
                let sent = self.port.send(|frame| {
                    frame.copy_from_slice(&datagram[..frame.len()]);
                    Ok(to)
                });
                self.counts.frame(sent);
                self.slots.give(slot);
            }
            Command::Frame { link, frame, length, slot } => {
                self.send_slot(link, frame, length, slot, now);
            }
            Command::Arrival(slot) => self.admit_own(slot, now),
            Command::Packet(handed) => {
                self.counts.packets_own.add(1);
                self.mix_own(handed, now);
            }
            Command::Drain => self.ingress.iter_mut().for_each(|ingress| ingress.draining = true),
        }
    }

    /// Whether the packets of the node's own are enough for this turn.
    fn is_group_full(&self) -> bool {
        self.ingress.as_ref().is_some_and(|ingress| ingress.arrivals.len() == ingress.group)
    }

    /// Mixes a packet that this node built; the control thread gives it to the owner of its link.
    fn mix_own(&mut self, handed: HandOff, now: Nanos) {
        let Worker { egress, slots, counts, .. } = self;
        match egress {
            Some(egress) => egress.mix(handed, slots, counts, now),
            None => handed.parcel.slot.into_iter().for_each(|slot| slots.give(slot)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;
    use crate::crypto::x25519::Secret;
    use crate::io::memory::{Conditions, MemoryPort, Network};
    use crate::io::wake;
    use crate::link::{self, Sessions};
    use crate::pool::{self, Pool};
    use crate::replay::{self, EpochKey};
    use crate::sphinx::{Geometry, Refusal};
    use crate::worker::drops;
    use crate::worker::policing::Policer;
    use crate::worker::rings::{HandOffs, Inbox};
    use crate::worker::roles::Roles;
    use crate::worker::slab::{Slab, SlotCache};
    use crate::worker::spill::Spills;
    use crate::worker::tables::Tables;
    use crate::worker::{Egress, Ingress, Parts, Rings, Ways};
    use std::sync::Arc;

    const SLOTS: u32 = 512;

    /// Tables with a key for each of `epochs`.
    fn tables(epochs: &[u8], rng: &mut Rng) -> Arc<Tables> {
        let mut key = |epoch: &u8| {
            let (secret, options) = (Secret::random(rng), replay::Options { packets_max: 1000 });
            (*epoch, Arc::new(EpochKey::new(secret, options, rng).unwrap()))
        };
        Arc::new(Tables {
            geometry: Geometry::DEFAULT,
            keys: epochs.iter().map(&mut key).collect(),
            links: [].into(),
            delay_max: Nanos::from_secs(1),
            client_gap: Nanos::NEVER,
            delivers: true,
            loops: [0; 32],
        })
    }

    /// A packet of `epoch` that is not authentic.
    fn packet(worker: &mut Worker<MemoryPort>, epoch: u8) -> Command {
        let mut slot = worker.slots.take().unwrap();
        let bytes = worker.slots.slab().bytes_mut(&mut slot);
        bytes.fill(0);
        bytes[Geometry::DEFAULT.packet_bytes()] = epoch;
        Command::Arrival(slot)
    }

    fn worker(commands: &Arc<Inbox<Command>>) -> Worker<MemoryPort> {
        let (geometry, mut rng) = (Geometry::DEFAULT, Rng::from_seed([1; 32]));
        let network = Network::new(rng.fork(), Conditions::default());
        let address = ([10, 0, 0, 1], 7700).into();
        let tables = tables(&[7, 8], &mut rng);
        let sessions = link::Network {
            genesis: [0; 32],
            geometry_hash: geometry.hash(),
            datagram_bytes: geometry.datagram_bytes(),
            sphinx_frame_bytes: geometry.frame_bytes(),
        };
        let strategy = pool::Strategy::Poisson;
        let delay_mean = Nanos::from_millis(50);
        let pool = pool::Options { packets_max: 100, delay_mean, strategy };
        let (roles, waker) = (Roles::of(1), wake::pair().unwrap().1);
        let HandOffs { to_owners, from_workers } =
            HandOffs::between(roles, std::slice::from_ref(&waker)).remove(0);
        let ways = Ways { roles, owners: to_owners, spills: Spills::default() };
        Worker::new(Parts {
            port: network.port(address, geometry.datagram_bytes()).unwrap(),
            sessions: Sessions::new(&sessions, link::Capacity { nodes: 1, clients: 0 }, None),
            slots: SlotCache::new(Slab::new(SLOTS, geometry.datagram_bytes())),
            tables,
            rings: Rings {
                commands: commands.clone(),
                control: Inbox::new(64, waker.clone()),
                handshakes: Inbox::new(64, waker),
            },
            ingress: Some(Ingress::new(geometry, Policer::new(1, 0), ways, rng.fork())),
            egress: Some(Egress::new(Pool::new(pool, rng), from_workers)),
        })
    }

    #[test]
    fn however_many_packets_of_its_own_a_node_has_a_turn_takes_in_a_group() {
        let commands = Inbox::new(1024, wake::pair().unwrap().1);
        let mut worker = worker(&commands);
        for _ in 0..300 {
            let packet = packet(&mut worker, 7);
            assert!(commands.push(packet).is_ok());
        }
        let group = worker.ingress.as_ref().unwrap().group as u64;
        for turn in 1..=300_u64.div_ceil(group) {
            worker.turn(Nanos(turn));
            let unwrapped = worker.counts.drops.of(Refusal::Authentication);
            assert_eq!(unwrapped, 300.min(turn * group));
        }
        let all: Vec<_> = std::iter::from_fn(|| worker.slots.take()).collect();
        assert_eq!(all.len(), SLOTS as usize, "every slot is home");
    }

    #[test]
    fn what_came_in_before_new_tables_is_unwrapped_by_the_old_ones() {
        let commands = Inbox::new(64, wake::pair().unwrap().1);
        let mut worker = worker(&commands);
        let fewer = tables(&[8], &mut Rng::from_seed([2; 32]));
        let before = packet(&mut worker, 8);
        let behind = packet(&mut worker, 7);
        for command in [before, Command::Tables(fewer), behind] {
            assert!(commands.push(command).is_ok());
        }
        while worker.turn(Nanos(1)) > 0 {}
        assert_eq!(worker.counts.drops.of(Refusal::Authentication), 1, "the one of before");
        assert_eq!(worker.counts.drops.of(drops::Refusal::UnknownEpoch), 1, "the one behind");
    }
}
