//! The way of frames through the four rings of a socket, which is memory work only.
//!
//! To receive: free, fill ring, kernel, receive ring, free. To send: free, send ring, kernel,
//! completion ring, free. System calls are made elsewhere ([`super::queue`]), so this runs over
//! any memory, whatever its contents.

use super::memory::{Frame, Memory, Purpose};
use super::ring::{Consumer, Descriptor, Producer};
use std::ops::Range;

/// The frames of a socket and the rings they travel by.
#[derive(Debug)]
pub struct Rings {
    /// Packets that came.
    pub receive: Consumer<Descriptor>,
    /// Frames for packets to come.
    pub fill: Producer<u64>,
    /// Packets to send.
    pub send: Producer<Descriptor>,
    /// Frames of packets that were sent.
    pub completion: Consumer<u64>,
    /// The frames.
    pub memory: Memory,
    /// Descriptors that named no frame the kernel had, or bytes outside of it.
    pub wrong_descriptors: u64,
}

/// Where the frames of a socket are.
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
    /// Lent to the kernel to receive into: in the fill ring, in the receive ring, or between.
    pub receiving: u32,
    /// Lent to the kernel to send from: in the send ring, in the completion ring, or between.
    pub sending: u32,
    /// In the fill ring.
    pub fill: u32,
    /// In the receive ring.
    pub receive: u32,
    /// In the send ring.
    pub send: u32,
    /// In the completion ring.
    pub completion: u32,
}

impl Balance {
    /// Whether every frame is in one place.
    pub fn is_whole(&self) -> bool {
        self.free + self.held + self.receiving + self.sending == self.frames
    }

    /// Frames that the kernel has in no ring: packets on their way, or what a driver keeps in
    /// its own ring. Less than nothing if the kernel has put a frame into two places.
    pub fn inside_kernel(&self) -> i64 {
        let lent = i64::from(self.receiving) + i64::from(self.sending);
        let rings = [self.fill, self.receive, self.send, self.completion];
        lent - rings.iter().map(|count| i64::from(*count)).sum::<i64>()
    }
}

impl Rings {
    /// Hands at most `most` received packets to `take`; returns how many entries it looked at,
    /// those with wrong descriptors included.
    pub fn receive(&mut self, most: u32, mut take: impl FnMut(&[u8])) -> u32 {
        let count = self.receive.available().min(most);
        for _ in 0..count {
            let descriptor = self.receive.pop();
            let Some((frame, offset)) = self.memory.reclaim(descriptor.address, Purpose::Receive)
            else {
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
        let count = self.fill.room().min(self.memory.allowed(Purpose::Receive));
        let mut lent = 0;
        while lent < count
            && let Some(frame) = self.memory.take()
        {
            self.fill.push(self.memory.lend(frame, Purpose::Receive));
            lent += 1;
        }
        if lent > 0 {
            self.fill.submit();
        }
    }

    /// A frame to write a packet into, if there is one: for [`Rings::send`] or
    /// [`Memory::put`].
    pub fn claim(&mut self) -> Option<Frame> {
        let may_send = self.memory.allowed(Purpose::Send) > 0 && self.send.room() > 0;
        if may_send { self.memory.take() } else { None }
    }

    /// Puts the packet that stands in `frame` at `range` into the send ring, for the kernel to
    /// see at the next `submit`. The frame comes from [`Rings::claim`].
    ///
    /// # Panics
    /// If `range` is not inside a frame.
    pub fn send(&mut self, frame: Frame, range: Range<usize>) {
        let bytes = u32::try_from(range.len()).unwrap_or(u32::MAX);
        assert!(!range.is_empty() && range.end <= self.memory.frame_bytes(), "{range:?}");
        let address = self.memory.lend(frame, Purpose::Send) + range.start as u64;
        self.send.push(Descriptor { address, bytes, options: 0 });
    }

    /// Takes back the frames of packets that were sent.
    pub fn reap(&mut self) {
        let count = self.completion.available();
        for _ in 0..count {
            match self.memory.reclaim(self.completion.pop(), Purpose::Send) {
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
        let [free, held, ..] = self.memory.counts();
        let lent = self.memory.lent();
        Balance {
            frames: self.memory.frames(),
            free,
            held,
            receiving: lent.receive,
            sending: lent.send,
            fill: self.fill.waiting(),
            receive: self.receive.available(),
            send: self.send.waiting(),
            completion: self.completion.available(),
        }
    }

    /// Whether every frame is in one place, by the counts alone.
    pub fn is_balanced(&self) -> bool {
        self.memory.counts().iter().sum::<u32>() == self.memory.frames()
    }
}
