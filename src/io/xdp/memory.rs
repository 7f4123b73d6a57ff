//! Packet memory: frames of one size that belong to us or to the kernel, and a ledger of which.
//!
//! A [`Frame`] is a token: it cannot be copied, and whoever holds it may use the frame's bytes.
//! Lending a frame to the kernel uses the token up; an address that the kernel returns becomes a
//! token again only if the ledger says that the kernel has that frame, and for this purpose. So
//! whatever the rings contain, no frame is ever in two hands, and none is lost uncounted.

#![allow(unsafe_code)]

use super::mapping::Mapping;
use crate::wire;
use std::fmt;
use std::io;
use std::ops::Range;

/// Frames that the kernel can have to receive into, and to send from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// To receive into.
    pub receive: u32,
    /// To send from.
    pub send: u32,
}

/// What the kernel has a frame for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To receive into.
    Receive,
    /// To send from.
    Send,
}

/// Whose a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Us,
    Kernel(Purpose),
}

/// What the kernel keeps free in front of a received packet (`XDP_PACKET_HEADROOM` of
/// `linux/bpf.h`).
const HEADROOM_BYTES: usize = 256;
/// Where the payload of a packet to send begins: room for all headers, and a line of the cache.
pub const PAYLOAD_AT: usize = wire::Headers::BYTES_MAX.next_multiple_of(64);

/// The smallest frames that the kernel takes, and those of one page.
const FRAME_SIZES: [usize; 2] = [2048, 4096];

/// The longest datagram that a frame can hold.
pub const DATAGRAM_BYTES_MAX: usize = FRAME_SIZES[1] - HEADROOM_BYTES - wire::Headers::BYTES_MAX;

const _: () = assert!(PAYLOAD_AT <= HEADROOM_BYTES, "what can be received can be sent");

/// The right to one frame. Dropping it loses the frame: give it back or lend it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped never comes back"]
pub struct Frame(u32);

/// Frames, and who has them.
pub struct Memory {
    mapping: Mapping,
    on_huge_pages: bool,
    frame_bytes: usize,
    /// By number of frame.
    owners: Box<[Owner]>,
    free: Vec<Frame>,
    /// Tokens that are neither free nor lent.
    held: u32,
    lent: Quotas,
    quotas: Quotas,
}

impl Memory {
    /// Frames for datagrams of `datagram_bytes`, as many as both `quotas` together; on huge pages
    /// if enough are set aside.
    ///
    /// # Errors
    /// What the kernel answered when it gave no memory.
    ///
    /// # Panics
    /// If `datagram_bytes` is above [`DATAGRAM_BYTES_MAX`].
    pub fn new(datagram_bytes: usize, quotas: Quotas) -> io::Result<Self> {
        assert!(datagram_bytes <= DATAGRAM_BYTES_MAX, "{datagram_bytes} bytes");
        let needed = HEADROOM_BYTES + wire::Headers::BYTES_MAX + datagram_bytes;
        let frame_bytes = FRAME_SIZES[usize::from(needed > FRAME_SIZES[0])];
        let count = quotas.receive + quotas.send;
        let bytes = count as usize * frame_bytes;
        let huge = Mapping::huge(bytes);
        let on_huge_pages = huge.is_ok();
        Ok(Memory {
            mapping: huge.or_else(|_| Mapping::zeroed(bytes))?,
            on_huge_pages,
            frame_bytes,
            owners: vec![Owner::Us; count as usize].into(),
            free: (0..count).map(Frame).collect(),
            held: 0,
            lent: Quotas { receive: 0, send: 0 },
            quotas,
        })
    }

    /// Where the kernel finds it: address and length.
    pub fn region(&self) -> (u64, usize) {
        (self.mapping.address(), self.owners.len() * self.frame_bytes)
    }

    /// Whether the pages are huge.
    pub fn on_huge_pages(&self) -> bool {
        self.on_huge_pages
    }

    /// The size of a frame.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// How many frames there are.
    pub fn frames(&self) -> u32 {
        self.quotas.receive + self.quotas.send
    }

    /// How many frames the kernel may still get for `purpose`.
    pub fn allowed(&self, purpose: Purpose) -> u32 {
        match purpose {
            Purpose::Receive => self.quotas.receive - self.lent.receive,
            Purpose::Send => self.quotas.send - self.lent.send,
        }
    }

    /// A free frame.
    pub fn take(&mut self) -> Option<Frame> {
        let frame = self.free.pop()?;
        self.held += 1;
        Some(frame)
    }

    /// Makes `frame` free.
    pub fn put(&mut self, frame: Frame) {
        self.held -= 1;
        self.free.push(frame);
    }

    /// Lends `frame` to the kernel; returns its address for a ring.
    pub fn lend(&mut self, frame: Frame, purpose: Purpose) -> u64 {
        self.held -= 1;
        *self.lent_for(purpose) += 1;
        let Frame(number) = frame;
        self.owners[number as usize] = Owner::Kernel(purpose);
        u64::from(number) * self.frame_bytes as u64
    }

    /// The frame in which `address` lies and where in it, if the kernel had it for `purpose`.
    pub fn reclaim(&mut self, address: u64, purpose: Purpose) -> Option<(Frame, usize)> {
        let address = usize::try_from(address).ok()?;
        // The size is a power of two, which the compiler does not know.
        let number = address >> self.frame_bytes.trailing_zeros();
        let owner = self.owners.get_mut(number)?;
        if *owner != Owner::Kernel(purpose) {
            return None;
        }
        *owner = Owner::Us;
        *self.lent_for(purpose) -= 1;
        self.held += 1;
        Some((Frame(u32::try_from(number).ok()?), address & (self.frame_bytes - 1)))
    }

    /// The bytes of `frame` in `range`, if it has them.
    pub fn bytes(&self, frame: &Frame, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.frame_bytes {
            return None;
        }
        let start = frame.0 as usize * self.frame_bytes;
        // SAFETY: the token is borrowed, so the frame is neither the kernel's nor anybody else's
        // to write; see the top of the file.
        Some(unsafe { self.mapping.plain(start + range.start..start + range.end) })
    }

    /// All bytes of `frame`, to write.
    pub fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        let start = frame.0 as usize * self.frame_bytes;
        // SAFETY: the token is borrowed mutably, so the frame is not the kernel's.
        unsafe { self.mapping.plain_mut(start..start + self.frame_bytes) }
    }

    /// Where the frames are by the counts: free, held, lent to receive, lent to send.
    pub fn counts(&self) -> [u32; 4] {
        let free = u32::try_from(self.free.len()).unwrap_or(u32::MAX);
        [free, self.held, self.lent.receive, self.lent.send]
    }

    /// Frames lent to receive and to send, counted one by one.
    pub fn lent(&self) -> Quotas {
        let count = |purpose| {
            let lent = self.owners.iter().filter(|owner| **owner == Owner::Kernel(purpose));
            u32::try_from(lent.count()).unwrap_or(u32::MAX)
        };
        Quotas { receive: count(Purpose::Receive), send: count(Purpose::Send) }
    }

    fn lent_for(&mut self, purpose: Purpose) -> &mut u32 {
        match purpose {
            Purpose::Receive => &mut self.lent.receive,
            Purpose::Send => &mut self.lent.send,
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Memory({} frames of {} bytes)", self.owners.len(), self.frame_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTAS: Quotas = Quotas { receive: 6, send: 2 };

    fn memory() -> Memory {
        Memory::new(1400, QUOTAS).unwrap()
    }

    #[test]
    fn frames_are_as_large_as_headroom_headers_and_datagram_need() {
        let bytes_of = |datagram| Memory::new(datagram, QUOTAS).unwrap().frame_bytes();
        let largest = 2048 - 256 - wire::Headers::BYTES_MAX;
        assert_eq!(
            [1, largest, largest + 1, DATAGRAM_BYTES_MAX].map(bytes_of),
            [2048, 2048, 4096, 4096]
        );
    }

    #[test]
    fn a_frame_that_was_lent_comes_back_once_and_for_its_purpose_only() {
        let mut memory = memory();
        let frame = memory.take().unwrap();
        let address = memory.lend(frame, Purpose::Send);
        assert_eq!(memory.reclaim(address, Purpose::Receive), None);
        let (frame, offset) = memory.reclaim(address + 300, Purpose::Send).unwrap();
        assert_eq!(offset, 300);
        assert_eq!(memory.reclaim(address, Purpose::Send), None);
        memory.put(frame);
        assert_eq!(memory.counts(), [8, 0, 0, 0]);
    }

    #[test]
    fn addresses_outside_or_of_free_frames_give_nothing() {
        let mut memory = memory();
        for address in [0, 2048, 8 * 2048, 1 << 40, u64::MAX] {
            assert_eq!(memory.reclaim(address, Purpose::Receive), None);
        }
        assert_eq!(memory.counts(), [8, 0, 0, 0]);
    }

    #[test]
    fn every_frame_has_its_own_bytes() {
        let mut memory = memory();
        let mut frames: Vec<_> = std::iter::from_fn(|| memory.take()).collect();
        assert_eq!(frames.len(), 8);
        for (mark, frame) in (0..).zip(&mut frames) {
            memory.bytes_mut(frame).fill(mark);
        }
        for (mark, frame) in (0..).zip(&frames) {
            assert_eq!(memory.bytes(frame, 0..2048).unwrap(), [mark; 2048]);
            assert_eq!(memory.bytes(frame, 0..2049), None);
        }
    }

    #[test]
    fn counts_and_ledger_agree() {
        let mut memory = memory();
        for purpose in [Purpose::Receive, Purpose::Send, Purpose::Receive] {
            let frame = memory.take().unwrap();
            memory.lend(frame, purpose);
        }
        let held = memory.take().unwrap();
        assert_eq!(memory.counts(), [4, 1, 2, 1]);
        assert_eq!(memory.lent(), Quotas { receive: 2, send: 1 });
        assert_eq!([Purpose::Receive, Purpose::Send].map(|p| memory.allowed(p)), [4, 1]);
        memory.put(held);
    }
}
