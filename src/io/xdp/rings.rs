//! The way of frames through the four rings of a socket, which is memory work only.
//!
//! To receive: free, fill ring, kernel, receive ring, free. To send: free, send ring, kernel,
//! completion ring, free. The two ways have nothing in common, so each can be a thread's own.
//! System calls are made elsewhere ([`super::queue`]), so this runs over any memory, whatever its
//! contents.

use super::memory::{Frame, Memory};
use super::ring::{Consumer, Descriptor, Producer};
use std::ops::Range;

/// The frames to receive into and the rings they travel by.
#[derive(Debug)]
pub struct ReceiveRings {
    /// Frames for packets to come.
    pub fill: Producer<u64>,
    /// Packets that came.
    pub receive: Consumer<Descriptor>,
    /// The frames.
    pub memory: Memory,
    /// Descriptors that named no frame the kernel had, or bytes outside of it.
    pub wrong_descriptors: u64,
}

/// The frames to send from and the rings they travel by.
#[derive(Debug)]
pub struct SendRings {
    /// Packets to send.
    pub send: Producer<Descriptor>,
    /// Frames of packets that were sent.
    pub completion: Consumer<u64>,
    /// The frames.
    pub memory: Memory,
    /// Addresses that were in no frame the kernel had.
    pub wrong_descriptors: u64,
}

/// Where the frames are that a socket has to receive into, or those that it has to send from.
///
/// The rings are read one after the other: while packets come and go, a frame can be seen in
/// none, or in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// All there are.
    pub frames: u32,
    /// Free.
    pub free: u32,
    /// Taken from the free ones, being written or read.
    pub held: u32,
    /// Lent to the kernel: in the ring to it, in the ring back, or between.
    pub lent: u32,
    /// In the ring to the kernel: fill or send.
    pub given: u32,
    /// In the ring back: receive or completion.
    pub returned: u32,
}

impl Balance {
    /// `given` and `returned` are as above.
    fn of(memory: &Memory, given: u32, returned: u32) -> Self {
        let [free, held, _] = memory.counts();
        Balance { frames: memory.frames(), free, held, lent: memory.lent(), given, returned }
    }

    /// Whether every frame is in one place.
    pub fn is_whole(&self) -> bool {
        self.free + self.held + self.lent == self.frames
    }

    /// Frames that the kernel has in no ring: packets on their way, or what a driver keeps in
    /// its own ring. Less than nothing if the kernel has put a frame into two places.
    pub fn inside_kernel(&self) -> i64 {
        i64::from(self.lent) - i64::from(self.given) - i64::from(self.returned)
    }

    /// Frames that are neither free nor in a ring, which at rest is none. A driver that works on
    /// them without copy has some in rings of its own, which nobody here can look into.
    pub fn missing(&self, is_zero_copy: bool) -> u64 {
        let unseen = if is_zero_copy { 0 } else { self.inside_kernel().unsigned_abs() };
        u64::from(self.frames.abs_diff(self.free + self.lent)) + unseen
    }
}

impl ReceiveRings {
    /// Hands at most `most` received packets to `take`; returns how many entries it looked at,
    /// those with wrong descriptors included.
    pub fn receive(&mut self, most: u32, mut take: impl FnMut(&[u8])) -> u32 {
        let count = self.receive.available().min(most);
        for _ in 0..count {
            let descriptor = self.receive.pop();
            let Some((frame, offset)) = self.memory.reclaim(descriptor.address) else {
                self.wrong_descriptors += 1;
                continue;
            };
            let end = offset.saturating_add(descriptor.bytes as usize);
            // Options would announce that the packet goes on in another frame: never asked for.
            match self.memory.bytes(&frame, offset..end) {
                Some(packet) if descriptor.options == 0 => take(packet),
                _ => self.wrong_descriptors += 1,
            }
            self.memory.put(frame);
        }
        if count > 0 {
            self.receive.release();
        }
        count
    }

    /// Gives the kernel as many frames to receive into as it may have.
    pub fn refill(&mut self) {
        let room = self.fill.room();
        let mut lent = 0;
        while lent < room
            && let Some(frame) = self.memory.take()
        {
            self.fill.push(self.memory.lend(frame));
            lent += 1;
        }
        if lent > 0 {
            self.fill.submit();
        }
    }

    /// Where the frames are.
    pub fn balance(&self) -> Balance {
        Balance::of(&self.memory, self.fill.waiting(), self.receive.available())
    }
}

impl SendRings {
    /// A frame to write a packet into, if there is one: for [`SendRings::send`] or
    /// [`Memory::put`].
    pub fn claim(&mut self) -> Option<Frame> {
        if self.send.room() > 0 { self.memory.take() } else { None }
    }

    /// Puts the packet that stands in `frame` at `range` into the send ring, for the kernel to
    /// see at the next `submit`. The frame comes from [`SendRings::claim`].
    ///
    /// # Panics
    /// If `range` is not inside a frame.
    pub fn send(&mut self, frame: Frame, range: Range<usize>) {
        let bytes = u32::try_from(range.len()).unwrap_or(u32::MAX);
        let frame_bytes = self.memory.region().frame_bytes();
        assert!(!range.is_empty() && range.end <= frame_bytes, "{range:?}");
        let address = self.memory.lend(frame) + range.start as u64;
        self.send.push(Descriptor { address, bytes, options: 0 });
    }

    /// Takes back the frames of packets that were sent.
    pub fn reap(&mut self) {
        let count = self.completion.available();
        for _ in 0..count {
            match self.memory.reclaim(self.completion.pop()) {
                Some((frame, _)) => self.memory.put(frame),
                None => self.wrong_descriptors += 1,
            }
        }
        if count > 0 {
            self.completion.release();
        }
    }

    /// Where the frames are.
    pub fn balance(&self) -> Balance {
        Balance::of(&self.memory, self.send.waiting(), self.completion.available())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;
    use crate::io::xdp::mapping::Mapping;
    use crate::io::xdp::memory::Quotas;
    use crate::io::xdp::ring::{Entry, Layout};
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;

    const LAYOUT: Layout = Layout { producer: 0, consumer: 64, flags: 128, entries: 192 };
    const QUOTAS: Quotas = Quotas { receive: 12, send: 4 };

    /// The other side of all four rings.
    struct Kernel {
        receive: Producer<Descriptor>,
        fill: Consumer<u64>,
        send: Consumer<Descriptor>,
        completion: Producer<u64>,
    }

    fn memory<E: Entry>(size: u32, start: u32) -> Arc<Mapping> {
        let memory = Mapping::zeroed(LAYOUT.bytes::<E>(size)).unwrap();
        memory.word(LAYOUT.producer).store(start, Relaxed);
        memory.word(LAYOUT.consumer).store(start, Relaxed);
        Arc::new(memory)
    }

    /// Ours of all four rings.
    struct Rings {
        receiving: ReceiveRings,
        sending: SendRings,
    }

    impl Rings {
        fn balances(&self) -> [Balance; 2] {
            [self.receiving.balance(), self.sending.balance()]
        }

        fn missing(&self, is_zero_copy: bool) -> u64 {
            self.balances().iter().map(|balance| balance.missing(is_zero_copy)).sum()
        }
    }

    /// Rings whose indices begin at `start`.
    fn rings(start: u32) -> (Rings, Kernel) {
        let (receive, send) = (memory::<Descriptor>(4, start), memory::<Descriptor>(4, start));
        let (fill, completion) = (memory::<u64>(8, start), memory::<u64>(4, start));
        let kernel = Kernel {
            receive: Producer::new(receive.clone(), LAYOUT, 4),
            fill: Consumer::new(fill.clone(), LAYOUT, 8),
            send: Consumer::new(send.clone(), LAYOUT, 4),
            completion: Producer::new(completion.clone(), LAYOUT, 4),
        };
        let (to_receive, to_send) = Memory::halves(1400, QUOTAS).unwrap();
        let receiving = ReceiveRings {
            fill: Producer::new(fill, LAYOUT, 8),
            receive: Consumer::new(receive, LAYOUT, 4),
            memory: to_receive,
            wrong_descriptors: 0,
        };
        let sending = SendRings {
            send: Producer::new(send, LAYOUT, 4),
            completion: Consumer::new(completion, LAYOUT, 4),
            memory: to_send,
            wrong_descriptors: 0,
        };
        (Rings { receiving, sending }, kernel)
    }

    impl Kernel {
        /// Receives one packet if there is room for it.
        fn deliver(&mut self, bytes: u32) -> bool {
            let has_room = self.fill.available() > 0 && self.receive.room() > 0;
            if has_room {
                let address = self.fill.pop() + 256;
                self.fill.release();
                self.say(Descriptor { address, bytes, options: 0 });
            }
            has_room
        }

        fn say(&mut self, descriptor: Descriptor) {
            self.receive.push(descriptor);
            self.receive.submit();
        }

        /// Sends one packet if there is one.
        fn transmit(&mut self) -> Option<Descriptor> {
            let has_one = self.send.available() > 0 && self.completion.room() > 0;
            has_one.then(|| {
                let descriptor = self.send.pop();
                self.send.release();
                self.completion.push(descriptor.address);
                self.completion.submit();
                descriptor
            })
        }
    }

    fn send(rings: &mut SendRings) -> bool {
        let Some(frame) = rings.claim() else { return false };
        rings.send(frame, 86..1528);
        rings.send.submit();
        true
    }

    #[test]
    fn frames_stay_whole_over_many_rounds_and_the_end_of_the_indices() {
        let mut rng = Rng::from_seed([1; 32]);
        let (mut rings, mut kernel) = rings(0u32.wrapping_sub(5000));
        let [mut came, mut received, mut left, mut sent] = [0u32; 4];
        for _ in 0..100_000 {
            match rng.below(6) {
                0 => came += u32::from(kernel.deliver(1442)),
                1 => {
                    rings.receiving.receive(rng.below(5), |packet| {
                        assert_eq!(packet.len(), 1442);
                        received += 1;
                    });
                }
                2 => rings.receiving.refill(),
                3 => sent += u32::from(send(&mut rings.sending)),
                4 => left += u32::from(kernel.transmit().is_some()),
                _ => rings.sending.reap(),
            }
            for balance in rings.balances() {
                assert!(balance.is_whole() && balance.inside_kernel() == 0, "{balance:?}");
                assert_eq!(balance.missing(false), 0, "{balance:?}");
            }
        }
        rings.receiving.receive(4, |_| received += 1);
        while kernel.transmit().is_some() {
            left += 1;
        }
        assert_eq!((came, left), (received, sent));
        assert!(came > 10_000 && left > 10_000, "{came} came, {left} left");
        assert_eq!([rings.receiving.wrong_descriptors, rings.sending.wrong_descriptors], [0; 2]);
    }

    #[test]
    fn frames_that_nobody_has_are_missing() {
        let (mut rings, mut kernel) = rings(0);
        rings.receiving.refill();
        drop(rings.sending.claim().unwrap());
        assert_eq!(rings.missing(false), 1);
        // The kernel has taken one out of its ring: in a ring of the driver's it is not missing.
        kernel.fill.pop();
        kernel.fill.release();
        assert_eq!([false, true].map(|is_zero_copy| rings.missing(is_zero_copy)), [2, 1]);
    }

    #[test]
    fn what_is_sent_is_what_was_written() {
        let (Rings { sending: mut rings, .. }, mut kernel) = rings(7);
        let mut frame = rings.claim().unwrap();
        rings.memory.bytes_mut(&mut frame)[100..150].fill(9);
        rings.send(frame, 100..150);
        assert_eq!(kernel.transmit(), None, "nothing was submitted");
        rings.send.submit();
        let sent = kernel.transmit().unwrap();
        assert_eq!((sent.address % 2048, sent.bytes, sent.options), (100, 50, 0));
        rings.reap();
        assert_eq!(rings.balance().free, QUOTAS.send);
    }

    #[test]
    fn wrong_descriptors_are_counted_and_lose_no_frame() {
        let (Rings { receiving: mut rings, .. }, mut kernel) = rings(0);
        rings.refill();
        let lent = kernel.fill.pop();
        kernel.fill.release();
        let one = Descriptor { address: lent, bytes: 60, options: 0 };
        // Not lent, of the other half, outside, not even a number; then over the end, or going on
        // elsewhere.
        let wrong =
            [0, 12 * 2048, 16 * 2048, u64::MAX].map(|address| Descriptor { address, ..one });
        for descriptor in wrong {
            kernel.say(descriptor);
            assert_eq!(rings.receive(4, |_| panic!("{descriptor:?} was handed over")), 1);
        }
        assert_eq!(rings.wrong_descriptors, 4);
        for (bytes, options) in [(2049, 0), (u32::MAX, 0), (60, 1)] {
            kernel.say(Descriptor { address: lent, bytes, options });
            rings.receive(4, |_| panic!("{bytes} bytes were handed over"));
            // The frame came back all the same, and is lent again.
            rings.refill();
            while kernel.fill.available() > 0 && kernel.fill.pop() != lent {}
            kernel.fill.release();
        }
        assert_eq!(rings.wrong_descriptors, 7);
        assert!(rings.balance().is_whole());
    }

    #[test]
    fn a_frame_that_is_returned_twice_is_taken_once() {
        let (Rings { sending: mut rings, .. }, mut kernel) = rings(0);
        assert!(send(&mut rings));
        let sent = kernel.transmit().unwrap();
        kernel.completion.push(sent.address);
        kernel.completion.submit();
        rings.reap();
        assert_eq!((rings.wrong_descriptors, rings.balance().free), (1, QUOTAS.send));
    }

    #[test]
    fn what_the_kernel_does_not_return_is_not_replaced() {
        let (Rings { mut receiving, mut sending }, mut kernel) = rings(0);
        while send(&mut sending) {}
        assert_eq!(sending.balance().lent, QUOTAS.send);
        // It takes all packets and says nothing.
        while kernel.send.available() > 0 {
            kernel.send.pop();
        }
        kernel.send.release();
        assert!(!send(&mut sending));
        assert_eq!(sending.balance().inside_kernel(), i64::from(QUOTAS.send));
        receiving.refill();
        assert_eq!(receiving.balance().given, 8, "receiving goes on");
    }
}
