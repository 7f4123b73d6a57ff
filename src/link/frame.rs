//! What a session carries: the kinds of its datagrams, and the bodies that are not a packet.

use super::Refusal;
use super::command::PeerKind;
use super::datagram::{Head, SEQUENCE_MAX};

/// The kind of a session's datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Frame {
    /// Nothing: the link's own decoy. Opened, counted, dropped.
    Dummy = 0,
    /// A Sphinx packet, then its key epoch and three zeros.
    Sphinx = 1,
    /// Control items ([`super::control`]).
    Control = 2,
    /// A packet for a client ([`Delivery`]).
    Deliver = 3,
    /// The peer goes away ([`Close`]).
    Close = 4,
}

/// The sizes that a session's frames may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) datagram: usize,
    pub(super) body: usize,
    pub(super) sphinx: usize,
}

impl Frame {
    /// The frame that `head` announces, if a session's header can be that; `None` means that the
    /// header was made by another key.
    #[inline]
    pub(super) fn announced(head: Head, sizes: &Sizes) -> Option<Frame> {
        let frame = match head.kind {
            0 => Frame::Dummy,
            1 => Frame::Sphinx,
            2 => Frame::Control,
            3 => Frame::Deliver,
            4 => Frame::Close,
            _ => return None,
        };
        (head.sequence < SEQUENCE_MAX && frame.fits(usize::from(head.length), sizes))
            .then_some(frame)
    }

    /// Whether a body of this kind can have this length.
    #[inline]
    pub(super) fn fits(self, length: usize, sizes: &Sizes) -> bool {
        match self {
            Frame::Dummy => length == 0,
            Frame::Sphinx => length == sizes.sphinx,
            Frame::Control => length <= sizes.body,
            Frame::Deliver => (Delivery::HEADER_BYTES..=sizes.body).contains(&length),
            Frame::Close => length == Close::BYTES,
        }
    }

    /// Whether a peer of this kind sends such frames.
    ///
    /// # Errors
    /// [`Refusal::BadKind`].
    #[inline]
    pub(super) fn allowed_from(self, peer: PeerKind) -> Result<(), Refusal> {
        match (self, peer) {
            (Frame::Deliver, PeerKind::Node | PeerKind::Client)
            | (Frame::Sphinx, PeerKind::Gateway) => Err(Refusal::BadKind),
            _ => Ok(()),
        }
    }
}

/// The body of [`Frame::Deliver`]: a payload that a mailbox keeps for a client.
///
/// | offset | bytes | field |
/// | --- | --- | --- |
/// | 0 | 8 | number in the mailbox, little endian |
/// | 8 | 1 | flags |
/// | 9 | 2 | how many numbers before this one the oldest waiting payload has, little endian |
/// | 11 | 5 | zero |
/// | 16 | 16 | identifier of the reply block, or zeros |
/// | 32 | P | payload |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The payload's number in the mailbox.
    pub number: u64,
    /// What kind of payload it is; 0.
    pub flags: u8,
    /// How far behind this one the oldest waiting payload is: everything older is acknowledged, so
    /// a client that comes new or late knows where its mailbox begins.
    pub behind: u16,
    /// Of the reply block by which it came, or zeros.
    pub surb: [u8; 16],
    /// The payload.
    pub payload: &'a [u8],
}

/// A body that does not have the form of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Delivery<'a> {
    /// Bytes in front of the payload.
    pub const HEADER_BYTES: usize = 32;

    /// Writes the frame to the front of `body` and returns its length.
    ///
    /// # Errors
    /// [`Malformed`] if `body` is too short for the payload.
    pub fn encode(&self, body: &mut [u8]) -> Result<usize, Malformed> {
        let length = Self::HEADER_BYTES + self.payload.len();
        let body = body.get_mut(..length).ok_or(Malformed)?;
        let (header, payload) = body.split_at_mut(Self::HEADER_BYTES);
        header.fill(0);
        header[..8].copy_from_slice(&self.number.to_le_bytes());
        header[8] = self.flags;
        header[9..11].copy_from_slice(&self.behind.to_le_bytes());
        header[16..].copy_from_slice(&self.surb);
        payload.copy_from_slice(self.payload);
        Ok(length)
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`Malformed`] if it is too short or its zeros are not.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let (number, rest) = body.split_first_chunk::<8>().ok_or(Malformed)?;
        let ([flags, low, high, zeros @ ..], rest) =
            rest.split_first_chunk::<8>().ok_or(Malformed)?;
        let (surb, payload) = rest.split_first_chunk::<16>().ok_or(Malformed)?;
        if zeros.iter().any(|&byte| byte != 0) {
            return Err(Malformed);
        }
        let number = u64::from_le_bytes(*number);
        let behind = u16::from_le_bytes([*low, *high]);
        Ok(Delivery { number, flags: *flags, behind, surb: *surb, payload })
    }
}

/// The body of [`Frame::Close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why: see [`Close::STOPPING`] and [`Close::REMOVED`].
    pub reason: u8,
    /// When to come back, in seconds; 0 leaves it to the peer.
    pub retry_after_s: u32,
}

impl Close {
    /// Bytes of the body.
    pub const BYTES: usize = 8;
    /// The node stops.
    pub const STOPPING: u8 = 0;
    /// The link's owner has no more use for it.
    pub const REMOVED: u8 = 1;

    /// The body.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let [a, b, c, d] = self.retry_after_s.to_le_bytes();
        [self.reason, 0, 0, 0, a, b, c, d]
    }

    /// Reads the body.
    ///
    /// # Errors
    /// [`Malformed`] if it has another length or its zeros are not.
    pub fn decode(body: &[u8]) -> Result<Self, Malformed> {
        match *body {
            [reason, 0, 0, 0, a, b, c, d] => {
                Ok(Close { reason, retry_after_s: u32::from_le_bytes([a, b, c, d]) })
            }
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_comes_back_as_it_was() {
        let delivery =
            Delivery { number: 1 << 40, flags: 3, behind: 500, surb: [7; 16], payload: &[9; 100] };
        let mut body = [0xff; 132];
        assert_eq!(delivery.encode(&mut body), Ok(132));
        assert_eq!(Delivery::decode(&body), Ok(delivery));
        assert_eq!(delivery.encode(&mut body[..131]), Err(Malformed));
        for short in 0..32 {
            assert_eq!(Delivery::decode(&body[..short]), Err(Malformed));
        }
        body[12] = 1;
        assert_eq!(Delivery::decode(&body), Err(Malformed));
    }

    #[test]
    fn a_close_comes_back_as_it_was() {
        let close = Close { reason: 1, retry_after_s: 70_000 };
        assert_eq!(Close::decode(&close.encode()), Ok(close));
        assert_eq!(Close::decode(&close.encode()[..7]), Err(Malformed));
        assert_eq!(Close::decode(&[0, 1, 0, 0, 0, 0, 0, 0]), Err(Malformed));
    }
}
