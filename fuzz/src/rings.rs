//! Rings that are shared with the kernel, whatever the other side writes into them.

use mixline::io::xdp::Balance;
use mixline::io::xdp::mapping::Mapping;
use mixline::io::xdp::memory::{Memory, Quotas};
use mixline::io::xdp::ring::{Consumer, Descriptor, Entry, Layout, Producer};
use mixline::io::xdp::rings::{ReceiveRings, SendRings};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const LAYOUT: Layout = Layout { producer: 0, consumer: 64, flags: 128, entries: 192 };
const QUOTAS: Quotas = Quotas { receive: 12, send: 4 };
const SIZE: u32 = 4;

/// Ours, the other side, and the memory between.
struct World {
    receiving: ReceiveRings,
    sending: SendRings,
    receive: Producer<Descriptor>,
    fill: Consumer<u64>,
    send: Consumer<Descriptor>,
    completion: Producer<u64>,
    memories: [Arc<Mapping>; 4],
    packets: u32,
}

/// The input as the index at which all rings begin, then steps of six bytes each. No frame is ever
/// lost, and none in two places. Accepted when a packet came through.
pub fn run(input: &[u8]) -> bool {
    let Some((start, steps)) = input.split_first_chunk() else { return false };
    let mut world = World::new(u32::from_le_bytes(*start));
    for step in steps.as_chunks().0 {
        world.step(*step);
        check(&world.receiving.memory, &world.receiving.balance());
        check(&world.sending.memory, &world.sending.balance());
    }
    world.packets > 0
}

fn check(memory: &Memory, balance: &Balance) {
    assert!(balance.is_whole() && memory.is_balanced(), "{balance:?}");
    assert!(balance.given <= SIZE && balance.returned <= SIZE, "{balance:?}");
}

impl World {
    fn new(start: u32) -> Self {
        let descriptors = || memory::<Descriptor>(start);
        let addresses = || memory::<u64>(start);
        let memories = [descriptors(), addresses(), descriptors(), addresses()];
        let [receive, fill, send, completion] = &memories;
        let (to_receive, to_send) = Memory::halves(1400, QUOTAS).expect("32 KiB");
        World {
            receiving: ReceiveRings {
                fill: Producer::new(fill.clone(), LAYOUT, SIZE),
                receive: Consumer::new(receive.clone(), LAYOUT, SIZE),
                memory: to_receive,
                wrong_descriptors: 0,
            },
            sending: SendRings {
                send: Producer::new(send.clone(), LAYOUT, SIZE),
                completion: Consumer::new(completion.clone(), LAYOUT, SIZE),
                memory: to_send,
                wrong_descriptors: 0,
            },
            receive: Producer::new(receive.clone(), LAYOUT, SIZE),
            fill: Consumer::new(fill.clone(), LAYOUT, SIZE),
            send: Consumer::new(send.clone(), LAYOUT, SIZE),
            completion: Producer::new(completion.clone(), LAYOUT, SIZE),
            memories,
            packets: 0,
        }
    }

    fn step(&mut self, [kind, number, value @ ..]: [u8; 6]) {
        let value = u32::from_le_bytes(value);
        match kind % 7 {
            0 => self.receiving.refill(),
            1 => {
                let mut packets = 0;
                let most = u32::from(number);
                let looked_at = self.receiving.receive(most, |_| packets += 1);
                assert!(packets <= looked_at && looked_at <= most.min(SIZE));
                self.packets += packets;
            }
            2 => {
                if let Some(frame) = self.sending.claim() {
                    self.sending.send(frame, 100..101 + usize::from(number));
                    self.sending.send.submit();
                }
            }
            3 => self.sending.reap(),
            4 => self.deliver(value),
            5 => self.transmit(),
            // Anything, anywhere.
            _ => {
                let memory = &self.memories[usize::from(number % 4)];
                let words = memory.bytes() / 4;
                let at = usize::from(number / 4) % words.min(64) * 4;
                memory.word(at).store(value, Relaxed);
            }
        }
    }

    /// What the kernel does when a packet of these bytes comes.
    fn deliver(&mut self, bytes: u32) {
        if self.fill.available() > 0 && self.receive.room() > 0 {
            let address = self.fill.pop().wrapping_add(256);
            self.fill.release();
            self.receive.push(Descriptor { address, bytes, options: 0 });
            self.receive.submit();
        }
    }

    /// What it does when the device is free.
    fn transmit(&mut self) {
        if self.send.available() > 0 && self.completion.room() > 0 {
            self.completion.push(self.send.pop().address);
            self.send.release();
            self.completion.submit();
        }
    }
}

fn memory<E: Entry>(start: u32) -> Arc<Mapping> {
    let memory = Mapping::zeroed(LAYOUT.bytes::<E>(SIZE)).expect("a page");
    memory.word(LAYOUT.producer).store(start, Relaxed);
    memory.word(LAYOUT.consumer).store(start, Relaxed);
    Arc::new(memory)
}

/// Packets both ways across the end of the indices; the same with an index that runs away, and
/// with a descriptor that points elsewhere.
pub fn seeds() -> Vec<Vec<u8>> {
    let refill = [0; 6];
    let receive = [1, 9, 0, 0, 0, 0];
    let [send, reap, transmit] = [2, 3, 5].map(|kind| [kind, 40, 0, 0, 0, 0]);
    let deliver = step(4, 0, 1442);
    let round = [refill, deliver, deliver, receive, send, transmit, reap];
    let plain: Vec<_> = [round, round, round].concat();
    // The word of the receive ring's producer; the first entry's address.
    let runaway = [round.to_vec(), vec![step(6, 0, u32::MAX / 2), receive, reap]].concat();
    let astray =
        [vec![refill, deliver, step(6, 48 * 4, 1 << 20), receive], round.to_vec()].concat();
    [(u32::MAX - 3, plain), (0, runaway), (0, astray)]
        .map(|(start, steps)| [&start.to_le_bytes()[..], steps.as_flattened()].concat())
        .into()
}

fn step(kind: u8, number: u8, value: u32) -> [u8; 6] {
    let [a, b, c, d] = value.to_le_bytes();
    [kind, number, a, b, c, d]
}
