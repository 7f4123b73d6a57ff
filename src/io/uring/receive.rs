//! The receiving half: receives that go on until nothing waits, or their buffers end.

use super::buffers::Buffers;
use super::ring::{RECEIVE, Ring, SOCKET};
use crate::io::udp::address::RawAddress;
use crate::io::udp::control::{Control, Said};
use crate::io::udp::inbox::{COALESCED_BYTES, Inbox, Run};
use crate::io::{BATCH, OpenError, PortCounters};
use arrayvec::ArrayVec;
use io_uring::{cqueue, opcode};
use std::net::SocketAddr;

// What stands in a buffer (io_uring_prep_recvmsg_multishot(3)): lengths, address, control
// messages, datagram.
const LENGTHS_BYTES: usize = 16;
/// More than an address needs, so that datagrams begin on a boundary that suits copying.
const NAME_BYTES: usize = 32;
const NAME_AT: usize = LENGTHS_BYTES;
const CONTROL_AT: usize = NAME_AT + NAME_BYTES;
const PAYLOAD_AT: usize = CONTROL_AT + Control::BYTES;

const _: () = {
    assert!(RawAddress::BYTES <= NAME_BYTES);
    assert!(PAYLOAD_AT.is_multiple_of(32));
};

/// What one receive brings before the kernel turns to other work (MULTISHOT_MAX_RETRY in
/// `io_uring/net.c`); some kernels bring one more, some know no such limit.
const RECEIVE_MESSAGES: usize = 32;
/// So many bring a whole batch.
const RECEIVES_MAX: usize = BATCH.div_ceil(RECEIVE_MESSAGES);

pub(super) struct Receiver {
    buffers: Buffers,
    /// Buffers that neither the kernel nor the inbox has.
    spare: ArrayVec<usize, BATCH>,
    coalesces: bool,
    /// Whether the last receives brought all that they may.
    was_full: bool,
    /// A run's place is the number of its buffer.
    inbox: Inbox,
}

impl Receiver {
    pub(super) fn open(
        ring: &Ring,
        datagram_bytes: usize,
        coalesces: bool,
    ) -> Result<Self, OpenError> {
        let payload_bytes = if coalesces { COALESCED_BYTES } else { datagram_bytes };
        let spread_bytes = if coalesces { datagram_bytes } else { 0 };
        let buffer_bytes = PAYLOAD_AT + payload_bytes;
        let stride_bytes = (buffer_bytes + spread_bytes).next_multiple_of(64);
        let buffers = Buffers::new(buffer_bytes, stride_bytes)?;
        buffers.register(ring)?;
        Ok(Receiver {
            buffers,
            spare: (0..BATCH).collect(),
            coalesces,
            was_full: false,
            inbox: Inbox::new(datagram_bytes),
        })
    }

    pub(super) fn coalesces(&self) -> bool {
        self.coalesces
    }

    /// Whether everything that was fetched has been handed over.
    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Whether the last receives brought all that they may: most likely more waits.
    pub(super) fn was_full(&self) -> bool {
        self.was_full
    }

    /// Puts into the ring what will fetch the next datagrams. All that was fetched before must
    /// have been handed over.
    pub(super) fn submit(&mut self, ring: &mut Ring) {
        for run in self.inbox.runs() {
            // There is room, unless the kernel has used one buffer for two messages.
            let _ = self.spare.try_push(run.place);
        }
        self.inbox.clear();
        self.supply();
        let receives = if self.was_full { RECEIVES_MAX } else { 1 };
        self.was_full = false;
        for _ in 0..receives {
            // Where there is no room the earlier ones are still in the ring, and do.
            let _ = push_receive(ring);
        }
    }

    /// Takes in one completion of a receive.
    pub(super) fn note(&mut self, completion: &cqueue::Entry, counters: &mut PortCounters) {
        let number = cqueue::buffer_select(completion.flags()).map(usize::from);
        match (usize::try_from(completion.result()), number) {
            (Ok(bytes), Some(number)) => return self.take_in(number, bytes, counters),
            _ if is_an_end(completion.result()) => {}
            _ => counters.receive_failed += 1,
        }
        // Some kernels let a receive that finds nothing keep a buffer.
        if let Some(number) = number {
            let _ = self.spare.try_push(number);
        }
    }

    /// Hands over up to `most` of what was fetched; returns how many.
    pub(super) fn hand_over(
        &mut self,
        most: usize,
        counters: &mut PortCounters,
        take: impl FnMut(SocketAddr, &[u8]),
    ) -> usize {
        let buffer = |run: &Run| {
            let filled = self.buffers.filled(run.place, PAYLOAD_AT + run.bytes);
            filled.map(|filled| &filled[PAYLOAD_AT..]).unwrap_or_default()
        };
        self.inbox.hand_over(most, buffer, counters, take)
    }

    /// Lets the kernel have as many buffers as it should fill at once.
    fn supply(&mut self) {
        let kept = BATCH - self.inbox.messages_max();
        let first = kept.min(self.spare.len());
        self.buffers.give(self.spare.drain(first..));
    }

    /// Notes the message that fills `bytes` of the buffer `number`.
    fn take_in(&mut self, number: usize, bytes: usize, counters: &mut PortCounters) {
        let message = self.buffers.filled(number, bytes).and_then(Message::parsed);
        match message {
            Some(message) if self.inbox.runs().len() < BATCH => {
                let Message { source, payload_bytes, said } = message;
                self.inbox.note(number, source, payload_bytes, said, counters);
                let limit = RECEIVE_MESSAGES.min(self.inbox.messages_max());
                self.was_full |= self.inbox.runs().len() >= limit;
            }
            _ => {
                counters.receive_failed += 1;
                let _ = self.spare.try_push(number);
            }
        }
    }
}

/// What a buffer says of the datagrams in it.
struct Message {
    source: Option<SocketAddr>,
    payload_bytes: usize,
    said: Said,
}

impl Message {
    /// Reads what the kernel has filled; `None` if that cannot be.
    fn parsed(filled: &[u8]) -> Option<Self> {
        let (words, _) = filled.split_first_chunk::<LENGTHS_BYTES>()?;
        let word = |at: usize| {
            u32::from_ne_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]])
        };
        // struct io_uring_recvmsg_out of linux/io_uring.h, but for the payload's length, which
        // is that of the datagram even where the buffer was too short for it.
        let (name_bytes, control_bytes, flags) = (word(0) as usize, word(4) as usize, word(12));
        let name = filled.get(NAME_AT..CONTROL_AT)?.get(..name_bytes)?;
        let control = filled.get(CONTROL_AT..PAYLOAD_AT)?.get(..control_bytes)?;
        // A message cut short was longer than any that is ours: leave no source to it.
        let is_whole = flags & libc::MSG_TRUNC.cast_unsigned() == 0;
        Some(Message {
            source: RawAddress::read(name).parsed().filter(|_| is_whole),
            payload_bytes: filled.len() - PAYLOAD_AT,
            said: Said::parsed(control),
        })
    }
}

/// What ends a receive though nothing is wrong: nothing waits, or buffers ran out.
fn is_an_end(result: i32) -> bool {
    matches!(-result, libc::EAGAIN | libc::ENOBUFS | libc::EINTR)
}

/// The lengths in front of a datagram, as the kernel wants to be told of them.
struct Shape(libc::msghdr);

// SAFETY: its pointers are null, and nobody writes it.
unsafe impl Sync for Shape {}

#[expect(clippy::cast_possible_truncation, reason = "a small constant")]
static SHAPE: Shape = {
    // SAFETY: a msghdr is integers and pointers, for all of which zero bytes are a value.
    let mut shape: libc::msghdr = unsafe { std::mem::zeroed() };
    shape.msg_namelen = NAME_BYTES as libc::socklen_t;
    shape.msg_controllen = Control::BYTES;
    Shape(shape)
};

fn push_receive(ring: &mut Ring) -> bool {
    // With MSG_DONTWAIT it ends before `Ring::enter` does, instead of waiting for more.
    let receive = opcode::RecvMsgMulti::new(SOCKET, &raw const SHAPE.0, 0)
        .flags(libc::MSG_DONTWAIT.cast_unsigned())
        .build();
    // SAFETY: the shape is there for ever; buffers of group 0 are there as long as the ring.
    unsafe { ring.push(&receive.user_data(RECEIVE)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;

    /// As the kernel writes it: two datagrams of 4 bytes from 127.0.0.1:7, in one.
    fn filled() -> Vec<u8> {
        let mut out = vec![0; PAYLOAD_AT];
        let control_bytes = u32::try_from(Control::SEGMENT_BYTES).unwrap();
        let words = [16, control_bytes, 8, 0].map(u32::to_ne_bytes).concat();
        out[..LENGTHS_BYTES].copy_from_slice(&words);
        let family = u16::try_from(libc::AF_INET).unwrap().to_ne_bytes();
        out[NAME_AT..][..8].copy_from_slice(&[family, [0, 7], [127, 0], [0, 1]].concat());
        let length = (size_of::<libc::cmsghdr>() + 4).to_ne_bytes();
        let kind = [libc::SOL_UDP, libc::UDP_GRO, 4].map(i32::to_ne_bytes).concat();
        out[CONTROL_AT..][..20].copy_from_slice(&[&length[..], &kind].concat());
        out.extend(b"onetwo78");
        out
    }

    #[test]
    fn lengths_address_and_control_messages_are_found() {
        let message = Message::parsed(&filled()).unwrap();
        assert_eq!(message.source, Some("127.0.0.1:7".parse().unwrap()));
        assert_eq!(message.payload_bytes, 8);
        assert_eq!(message.said, Said { segment_bytes: Some(4), dropped: None });
    }

    #[test]
    fn a_message_that_was_cut_short_has_no_source() {
        let mut filled = filled();
        filled[12..16].copy_from_slice(&libc::MSG_TRUNC.to_ne_bytes());
        assert_eq!(Message::parsed(&filled).unwrap().source, None);
    }

    #[test]
    fn no_contents_of_a_buffer_make_it_panic() {
        let mut rng = Rng::from_seed([9; 32]);
        let whole = filled();
        for length in 0..whole.len() {
            assert_eq!(Message::parsed(&whole[..length]).is_some(), length >= PAYLOAD_AT);
        }
        for _ in 0..20_000 {
            let mut broken = whole.clone();
            for _ in 0..4 {
                let at = rng.below(u32::try_from(PAYLOAD_AT).unwrap()) as usize;
                broken[at] = rng.bytes::<1>()[0];
            }
            if let Some(message) = Message::parsed(&broken) {
                assert_eq!(message.payload_bytes, 8);
            }
        }
    }
}
