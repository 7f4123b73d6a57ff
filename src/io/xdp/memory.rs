//! Packet memory: frames of one size that belong to us or to the kernel, and a ledger of which.
//!
//! A [`Frame`] is a token: it cannot be copied, and whoever holds it may use the frame's bytes.
//! Lending a frame to the kernel uses the token up; an address that the kernel returns becomes a
//! token again only if the ledger says that the kernel has that frame. So whatever the rings
//! contain, no frame is ever in two hands, and none is lost uncounted.
//!
//! The kernel is shown one [`Region`] a socket. Of its frames some are for receiving and the others
//! for sending: two [`Memory`]s, each with a ledger of its own, which threads of their own can use,
//! as neither ever touches a frame of the other.

#![allow(unsafe_code)]

use super::mapping::Mapping;
use crate::wire;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// How many frames there are for each purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// To receive into.
    pub receive: u32,
    /// To send from.
    pub send: u32,
}

/// Whose a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Us,
    Kernel,
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

/// The right to one frame, by its number in the region. Dropping it loses the frame: give it back
/// or lend it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped never comes back"]
pub struct Frame(u32);

/// All packet memory of a socket: what the kernel is shown.
#[derive(Debug)]
pub struct Region {
    mapping: Mapping,
    on_huge_pages: bool,
    frame_bytes: usize,
    frames: u32,
}

impl Region {
    /// Frames for datagrams of `datagram_bytes`, on huge pages if enough are set aside.
    fn new(datagram_bytes: usize, frames: u32) -> io::Result<Self> {
        assert!(datagram_bytes <= DATAGRAM_BYTES_MAX, "{datagram_bytes} bytes");
        let needed = HEADROOM_BYTES + wire::Headers::BYTES_MAX + datagram_bytes;
        let frame_bytes = FRAME_SIZES[usize::from(needed > FRAME_SIZES[0])];
        let bytes = frames as usize * frame_bytes;
        let huge = Mapping::huge(bytes);
        let on_huge_pages = huge.is_ok();
        let mapping = huge.or_else(|_| Mapping::zeroed(bytes))?;
        Ok(Region { mapping, on_huge_pages, frame_bytes, frames })
    }

    /// Where the kernel finds it.
    pub fn address(&self) -> u64 {
        self.mapping.address()
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.frames as usize * self.frame_bytes
    }

    /// Whether the pages are huge.
    pub fn on_huge_pages(&self) -> bool {
        self.on_huge_pages
    }

    /// The size of a frame.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }
}

/// The frames of a region that are for one purpose, and who has them.
pub struct Memory {
    region: Arc<Region>,
    /// The number of the first of them in the region.
    first: u32,
    /// From the first on.
    owners: Box<[Owner]>,
    free: Vec<Frame>,
    /// Tokens that are neither free nor lent.
    held: u32,
    lent: u32,
}

impl Memory {
    /// A region of frames for datagrams of `datagram_bytes`, as many as both `quotas` together: those
    /// to receive into, and those to send from.
    ///
    /// # Errors
    /// What the kernel answered when it gave no memory.
    ///
    /// # Panics
    /// If `datagram_bytes` is above [`DATAGRAM_BYTES_MAX`].
    pub fn halves(datagram_bytes: usize, quotas: Quotas) -> io::Result<(Self, Self)> {
        let Quotas { receive, send } = quotas;
        let region = Arc::new(Region::new(datagram_bytes, receive + send)?);
        Ok((Self::part(&region, 0..receive), Self::part(&region, receive..receive + send)))
    }

    /// No other memory may have any of `frames`.
    fn part(region: &Arc<Region>, frames: Range<u32>) -> Self {
        Memory {
            region: region.clone(),
            first: frames.start,
            owners: vec![Owner::Us; frames.len()].into(),
            free: frames.map(Frame).collect(),
            held: 0,
            lent: 0,
        }
    }

    /// What the frames lie in.
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// How many frames there are.
    pub fn frames(&self) -> u32 {
        u32::try_from(self.owners.len()).unwrap_or(u32::MAX)
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
    ///
    /// # Panics
    /// If it is a frame of another memory.
    pub fn lend(&mut self, frame: Frame) -> u64 {
        let place = self.place(&frame);
        self.owners[place] = Owner::Kernel;
        self.held -= 1;
        self.lent += 1;
        u64::from(frame.0) * self.region.frame_bytes as u64
    }

    /// The frame in which `address` lies and where in it, if the kernel had it of this memory.
    pub fn reclaim(&mut self, address: u64) -> Option<(Frame, usize)> {
        let address = usize::try_from(address).ok()?;
        let frame_bytes = self.region.frame_bytes;
        // The size is a power of two, which the compiler does not know.
        let number = u32::try_from(address >> frame_bytes.trailing_zeros()).ok()?;
        let place = number.checked_sub(self.first)?;
        let owner = self.owners.get_mut(place as usize)?;
        if *owner != Owner::Kernel {
            return None;
        }
        *owner = Owner::Us;
        self.lent -= 1;
        self.held += 1;
        Some((Frame(number), address & (frame_bytes - 1)))
    }

    /// The bytes of `frame` in `range`, if it has them.
    ///
    /// # Panics
    /// If it is a frame of another memory.
    pub fn bytes(&self, frame: &Frame, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.region.frame_bytes {
            return None;
        }
        let start = self.start(frame);
        let bytes = self.region.mapping.plain(start + range.start..start + range.end);
        // SAFETY: the token is borrowed, so the frame is neither the kernel's nor anybody else's
        // to write; see the top of the file. The region is mapped as long as `self` has it.
        Some(unsafe { bytes.as_ref() })
    }

    /// All bytes of `frame`, to write.
    ///
    /// # Panics
    /// If it is a frame of another memory.
    pub fn bytes_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        let start = self.start(frame);
        let mut bytes = self.region.mapping.plain(start..start + self.region.frame_bytes);
        // SAFETY: the token is borrowed mutably, so the frame is nobody else's, nor the kernel's.
        // The region is mapped as long as `self` has it.
        unsafe { bytes.as_mut() }
    }

    /// Where the frames are by the counts: free, held, lent.
    pub fn counts(&self) -> [u32; 3] {
        let free = u32::try_from(self.free.len()).unwrap_or(u32::MAX);
        [free, self.held, self.lent]
    }

    /// Whether every frame is in one place, by the counts alone.
    pub fn is_balanced(&self) -> bool {
        self.counts().iter().sum::<u32>() == self.frames()
    }

    /// Frames lent, counted one by one.
    pub fn lent(&self) -> u32 {
        let lent = self.owners.iter().filter(|owner| **owner == Owner::Kernel);
        u32::try_from(lent.count()).unwrap_or(u32::MAX)
    }

    /// Where a frame stands in the ledger.
    fn place(&self, frame: &Frame) -> usize {
        let place = frame.0.wrapping_sub(self.first) as usize;
        assert!(place < self.owners.len(), "{frame:?} is not of {self:?}");
        place
    }

    /// Where its bytes begin in the region.
    fn start(&self, frame: &Frame) -> usize {
        (self.first as usize + self.place(frame)) * self.region.frame_bytes
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frame_bytes = self.region.frame_bytes;
        write!(out, "Memory({} frames of {frame_bytes} bytes)", self.owners.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTAS: Quotas = Quotas { receive: 6, send: 2 };

    fn halves() -> (Memory, Memory) {
        Memory::halves(1400, QUOTAS).unwrap()
    }

    #[test]
    fn frames_are_as_large_as_headroom_headers_and_datagram_need() {
        let bytes_of = |datagram| Region::new(datagram, 1).unwrap().frame_bytes();
        let largest = 2048 - 256 - wire::Headers::BYTES_MAX;
        assert_eq!(
            [1, largest, largest + 1, DATAGRAM_BYTES_MAX].map(bytes_of),
            [2048, 2048, 4096, 4096]
        );
    }

    #[test]
    fn a_frame_that_was_lent_comes_back_once_and_to_its_own_half_only() {
        let (mut receiving, mut sending) = halves();
        let frame = sending.take().unwrap();
        let address = sending.lend(frame);
        assert_eq!(receiving.reclaim(address), None);
        let (frame, offset) = sending.reclaim(address + 300).unwrap();
        assert_eq!(offset, 300);
        assert_eq!(sending.reclaim(address), None);
        sending.put(frame);
        assert_eq!((receiving.counts(), sending.counts()), ([6, 0, 0], [2, 0, 0]));
    }

    #[test]
    fn addresses_outside_or_of_free_frames_give_nothing() {
        let (mut receiving, mut sending) = halves();
        for address in [0, 2048, 6 * 2048, 8 * 2048, 1 << 40, u64::MAX] {
            assert_eq!((receiving.reclaim(address), sending.reclaim(address)), (None, None));
        }
        assert_eq!((receiving.counts(), sending.counts()), ([6, 0, 0], [2, 0, 0]));
    }

    #[test]
    #[should_panic(expected = "Frame(7) is not of Memory(6 frames of 2048 bytes)")]
    fn a_frame_of_the_other_half_is_refused() {
        let (mut receiving, mut sending) = halves();
        let frame = sending.take().unwrap();
        receiving.lend(frame);
    }

    #[test]
    fn every_frame_of_both_halves_has_its_own_bytes() {
        let (mut receiving, mut sending) = halves();
        let mut frames = vec![];
        for memory in [&mut receiving, &mut sending] {
            frames.push(std::iter::from_fn(|| memory.take()).collect::<Vec<_>>());
        }
        let mut mark = 0;
        for (memory, frames) in [&mut receiving, &mut sending].into_iter().zip(&mut frames) {
            for frame in frames {
                mark += 1;
                memory.bytes_mut(frame).fill(mark);
            }
        }
        assert_eq!(mark, 8);
        for (memory, frames) in [&receiving, &sending].into_iter().zip(&frames).rev() {
            for frame in frames.iter().rev() {
                assert_eq!(memory.bytes(frame, 0..2048).unwrap(), [mark; 2048]);
                assert_eq!(memory.bytes(frame, 0..2049), None);
                mark -= 1;
            }
        }
    }

    #[test]
    fn counts_and_ledger_agree() {
        let (mut memory, _sending) = halves();
        for _ in 0..3 {
            let frame = memory.take().unwrap();
            memory.lend(frame);
        }
        let held = memory.take().unwrap();
        assert_eq!((memory.counts(), memory.lent()), ([2, 1, 3], 3));
        memory.put(held);
    }
}
