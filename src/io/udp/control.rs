//! Control messages of `recvmsg(2)` and `sendmsg(2)`, read and written as bytes.
//!
//! `linux/socket.h`: each message is a `cmsghdr` (length of header and content, level, type),
//! then its content, then padding to the next multiple of 8.

const LENGTH_BYTES: usize = size_of::<usize>();
const HEADER_BYTES: usize = LENGTH_BYTES + 8;

const _: () = assert!(size_of::<libc::cmsghdr>() == HEADER_BYTES);

/// Room for the two messages that a received datagram can carry.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(in crate::io) struct Control([u8; Control::BYTES]);

impl Control {
    pub(in crate::io) const BYTES: usize = 2 * (HEADER_BYTES + LENGTH_BYTES);
    pub(in crate::io) const EMPTY: Self = Control([0; Self::BYTES]);
    /// What one message with a content of 2 bytes fills.
    pub(in crate::io) const SEGMENT_BYTES: usize = HEADER_BYTES + LENGTH_BYTES;

    /// The message that makes the kernel cut what is sent into datagrams of `segment_bytes`.
    pub(in crate::io) fn segment(segment_bytes: u16) -> Self {
        let mut raw = [0; Self::BYTES];
        let length = HEADER_BYTES + size_of::<u16>();
        raw[..LENGTH_BYTES].copy_from_slice(&length.to_ne_bytes());
        raw[LENGTH_BYTES..][..4].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        raw[LENGTH_BYTES + 4..][..4].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        raw[HEADER_BYTES..][..2].copy_from_slice(&segment_bytes.to_ne_bytes());
        Control(raw)
    }

    /// What the kernel said in the first `filled_bytes`.
    pub(in crate::io) fn parsed(&self, filled_bytes: usize) -> Said {
        Said::parsed(self.0.get(..filled_bytes).unwrap_or_default())
    }

    pub(in crate::io) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// What the kernel says beside a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::io) struct Said {
    /// The length of each datagram when several arrived as one; the last may be shorter.
    pub(in crate::io) segment_bytes: Option<u32>,
    /// How many datagrams this socket has lost since it was opened, modulo 2^32.
    pub(in crate::io) dropped: Option<u32>,
}

impl Said {
    /// What a list of control messages says.
    pub(in crate::io) fn parsed(list: &[u8]) -> Self {
        let mut said = Said::default();
        let mut rest = list;
        while let Some((kind, content, after)) = first(rest) {
            let word = content.first_chunk().copied().map(u32::from_ne_bytes);
            match kind {
                (libc::SOL_UDP, libc::UDP_GRO) => said.segment_bytes = word,
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => said.dropped = word,
                _ => {}
            }
            rest = after;
        }
        said
    }
}

type Message<'a> = ((i32, i32), &'a [u8], &'a [u8]);

/// Level and type, content, and the rest of the list.
fn first(list: &[u8]) -> Option<Message<'_>> {
    let (length, rest) = list.split_first_chunk()?;
    let (level, rest) = rest.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let length = usize::from_ne_bytes(*length);
    let content = list.get(HEADER_BYTES..length)?;
    let after = list.get(length.next_multiple_of(LENGTH_BYTES)..).unwrap_or_default();
    Some(((i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind)), content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, word: u32) -> Vec<u8> {
        let mut raw = (HEADER_BYTES + 4).to_ne_bytes().to_vec();
        raw.extend([level.to_ne_bytes(), kind.to_ne_bytes(), word.to_ne_bytes()].concat());
        raw.resize(HEADER_BYTES + 8, 0);
        raw
    }

    fn parsed(list: &[u8]) -> Said {
        let mut control = Control::EMPTY;
        control.0[..list.len()].copy_from_slice(list);
        control.parsed(list.len())
    }

    #[test]
    fn both_messages_are_found_in_any_order() {
        let dropped = message(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 7);
        let segment = message(libc::SOL_UDP, libc::UDP_GRO, 1400);
        let said = Said { segment_bytes: Some(1400), dropped: Some(7) };
        assert_eq!(parsed(&[dropped.clone(), segment.clone()].concat()), said);
        assert_eq!(parsed(&[segment, dropped].concat()), said);
    }

    #[test]
    fn unknown_messages_are_passed_over() {
        let list = [message(99, 99, 1), message(libc::SOL_UDP, libc::UDP_GRO, 1400)].concat();
        assert_eq!(parsed(&list), Said { segment_bytes: Some(1400), dropped: None });
    }

    #[test]
    fn a_broken_list_ends_where_it_breaks() {
        let whole = message(libc::SOL_UDP, libc::UDP_GRO, 1400);
        for filled in 0..HEADER_BYTES + 4 {
            assert_eq!(parsed(&whole[..filled]), Said::default());
        }
        for length in [0, 1, HEADER_BYTES - 1, 4096, usize::MAX] {
            let mut list = whole.clone();
            list[..LENGTH_BYTES].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(parsed(&list), Said::default());
        }
    }

    #[test]
    fn the_segment_message_parses_as_it_was_written() {
        let control = Control::segment(1400);
        let ((level, kind), content, _) = first(&control.0[..Control::SEGMENT_BYTES]).unwrap();
        assert_eq!((level, kind), (libc::SOL_UDP, libc::UDP_SEGMENT));
        assert_eq!(content, 1400u16.to_ne_bytes());
    }
}
