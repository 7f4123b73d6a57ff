//! What applications and the daemon say to each other (`docs/client-protocol.md`).
//!
//! Each end begins with [`PREAMBLE`]. Then come frames: the length of a body, four bytes, the
//! highest first, and the body, one value in CBOR. Applications send [`Request`]s; every
//! [`Answer`] carries the number of the request that it belongs to.

use std::io::{self, Read, Write};

use minicbor::{Decode, Decoder, Encode};
use serde::Serialize;

use crate::message::{MESSAGE_BYTES_MAX, MessageId};

/// The first bytes of each end: who speaks, and which version of this protocol.
pub const PREAMBLE: [u8; 8] = *b"mixline\x01";
/// Bytes of a frame's body at most: the longest message and what goes with it.
pub const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 1024;
/// Bytes in front of a body: its length.
const LENGTH_BYTES: usize = 4;

/// What an application asks for.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// The application's number for it; its answers carry the same.
    #[n(0)]
    pub id: u32,
    /// What for.
    #[n(1)]
    pub call: Call,
}

/// The kinds of requests.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum Call {
    /// Send a message. Answers: [`Reply::Accepted`], then [`Reply::Progress`], at last
    /// [`Reply::Delivered`] or [`Reply::Failed`].
    #[n(0)]
    Send {
        /// The recipient's address.
        #[n(0)]
        to: String,
        /// The message.
        #[cbor(n(1), with = "minicbor::bytes")]
        message: Vec<u8>,
        /// When to give it up, in milliseconds from now.
        #[n(2)]
        deadline_ms: u64,
    },
    /// Read the next message. Answer: [`Reply::Message`] or [`Reply::Nothing`].
    #[n(1)]
    Receive {
        /// How long to wait for one, in milliseconds; 0 does not.
        #[n(0)]
        wait_ms: u64,
    },
    /// A message that was read is safe now and may be forgotten. Answer: [`Reply::Done`].
    #[n(2)]
    Acknowledge {
        /// Which: [`Reply::Message`] said it.
        #[n(0)]
        number: u64,
    },
    /// The address of the mailbox. Answer: [`Reply::Address`].
    #[n(3)]
    Address,
    /// How things are. Answer: [`Reply::Status`].
    #[n(4)]
    Status,
}

/// What the daemon says about a request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// The request; 0 if it could not be read.
    #[n(0)]
    pub id: u32,
    /// What there is to say.
    #[n(1)]
    pub reply: Reply,
}

/// The kinds of answers.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub enum Reply {
    /// The request is not granted. There is no other answer to it.
    #[n(0)]
    Refused {
        /// Why.
        #[n(0)]
        reason: Reason,
        /// The same for people.
        #[n(1)]
        text: String,
    },
    /// The message is on its way.
    #[n(1)]
    Accepted {
        /// Its id: the recipient does not learn it from here, but sees the same.
        #[cbor(n(0), with = "minicbor::bytes")]
        message: MessageId,
    },
    /// Some more of the message is acknowledged.
    #[n(2)]
    Progress {
        /// Parts that are acknowledged.
        #[n(0)]
        acknowledged: u32,
        /// Parts that there are.
        #[n(1)]
        total: u32,
    },
    /// All of the message is safe at the recipient's gateway.
    #[n(3)]
    Delivered,
    /// The message is given up.
    #[n(4)]
    Failed {
        /// Why.
        #[n(0)]
        reason: Reason,
        /// The same for people.
        #[n(1)]
        text: String,
    },
    /// A message for the reader. Nobody else gets it, unless this connection ends before it is
    /// acknowledged.
    #[n(5)]
    Message {
        /// What to acknowledge it by.
        #[n(0)]
        number: u64,
        /// The message.
        #[cbor(n(1), with = "minicbor::bytes")]
        message: Vec<u8>,
    },
    /// No message came in time.
    #[n(6)]
    Nothing,
    /// It is done.
    #[n(7)]
    Done,
    /// The address of the mailbox.
    #[n(8)]
    Address {
        /// In its 160 characters.
        #[n(0)]
        address: String,
    },
    /// How things are.
    #[n(9)]
    Status {
        /// All of it.
        #[n(0)]
        status: Status,
    },
}

/// Why a request is refused, or a message given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Reason {
    /// What was sent is no request of this version; the connection ends.
    #[n(0)]
    Malformed,
    /// Too many applications, or too many requests of this one wait.
    #[n(1)]
    TooMany,
    /// The daemon ends.
    #[n(2)]
    Stopping,
    /// The address is none.
    #[n(3)]
    BadAddress,
    /// The message is empty.
    #[n(4)]
    Empty,
    /// The message is too long.
    #[n(5)]
    TooLong,
    /// Too much waits to be sent: try again later.
    #[n(6)]
    QueueFull,
    /// The deadline is none: it is 0, or more than a week away.
    #[n(7)]
    BadDeadline,
    /// No such message was given to this connection.
    #[n(8)]
    NotYours,
    /// The recipient's gateway has no such mailbox.
    #[n(9)]
    UnknownMailbox,
    /// The recipient's mailbox had no room until the deadline.
    #[n(10)]
    MailboxFull,
    /// No path led to the recipient until the deadline.
    #[n(11)]
    NoRoute,
    /// Not all was acknowledged before the deadline: the message may have arrived or not.
    #[n(12)]
    Unanswered,
}

/// How things are with a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct Status {
    /// The network's name.
    #[n(0)]
    pub network: String,
    /// The epoch of the consensus in use.
    #[n(1)]
    pub epoch: u64,
    /// The gateway's name, or its identity.
    #[n(2)]
    pub gateway: String,
    /// Whether the gateway has let us in and opened the mailbox.
    #[n(3)]
    pub connected: bool,
    /// Why it does not, if it said so.
    #[n(4)]
    pub refusal: Option<String>,
    /// Messages that wait for a reader.
    #[n(5)]
    pub unread: u64,
    /// Messages that are neither delivered nor failed.
    #[n(6)]
    pub waiting: u64,
    /// Applications that are connected.
    #[n(7)]
    pub applications: u32,
    /// Packets of messages sent.
    #[n(8)]
    pub packets: u64,
    /// Those among them whose part was sent before.
    #[n(9)]
    pub retransmissions: u64,
    /// Acknowledgements of them.
    #[n(10)]
    pub acknowledgements: u64,
    /// Decoys sent in place of packets.
    #[n(11)]
    pub decoys: u64,
    /// Acknowledgements of decoys.
    #[n(12)]
    pub decoys_acknowledged: u64,
    /// Decoys that gateways drop.
    #[n(13)]
    pub drops: u64,
    /// Loops sent.
    #[n(14)]
    pub loops: u64,
    /// Loops that came back.
    #[n(15)]
    pub loops_back: u64,
    /// Control frames sent.
    #[n(16)]
    pub control: u64,
    /// Empty frames sent in their place.
    #[n(17)]
    pub dummies: u64,
    /// Messages received.
    #[n(18)]
    pub received: u64,
}

/// Why bytes are no frame of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was sent is no frame of this protocol")]
pub struct Malformed;

/// The value that `body` encodes.
///
/// # Errors
/// When it is another one, or bytes follow it.
pub fn decode<'b, T: Decode<'b, ()>>(body: &'b [u8]) -> Result<T, Malformed> {
    let mut decoder = Decoder::new(body);
    let value = decoder.decode().map_err(|_| Malformed)?;
    if decoder.position() == body.len() { Ok(value) } else { Err(Malformed) }
}

/// The frame of `value`.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut frame = vec![0; LENGTH_BYTES];
    #[expect(clippy::expect_used, reason = "a Vec takes every write")]
    minicbor::encode(value, &mut frame).expect("encoding into memory does not fail");
    let length = u32::try_from(frame.len() - LENGTH_BYTES).unwrap_or(u32::MAX);
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Reads the body of the next frame; nothing if the other end has ended.
///
/// # Errors
/// When the stream fails, ends within a frame, or announces a body longer than
/// [`BODY_BYTES_MAX`] ([`io::ErrorKind::InvalidData`]).
pub fn read_frame(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; LENGTH_BYTES];
    let mut read = 0;
    while read < LENGTH_BYTES {
        match stream.read(&mut length[read..]) {
            Ok(0) if read == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let length = u32::from_be_bytes(length);
    if usize::try_from(length).is_ok_and(|length| length > BODY_BYTES_MAX) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, Malformed));
    }
    // Memory is taken for what comes, not for what is announced.
    let mut body = Vec::new();
    let bytes = stream.by_ref().take(length.into()).read_to_end(&mut body)?;
    if bytes < usize::try_from(length).unwrap_or(usize::MAX) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(body))
}

/// Exchanges preambles.
///
/// # Errors
/// When the stream fails, or the other end speaks another protocol or version
/// ([`io::ErrorKind::InvalidData`]).
pub fn greet(stream: &mut (impl Read + Write)) -> io::Result<()> {
    say(stream, &PREAMBLE)?;
    let mut theirs = [0; PREAMBLE.len()];
    stream.read_exact(&mut theirs)?;
    if theirs == PREAMBLE {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, Malformed))
    }
}

/// Writes to a daemon. That it listens no longer is no error here: what it said last, which is
/// still to be read, tells why.
///
/// # Errors
/// When the stream fails.
pub fn say(stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    match stream.write_all(bytes) {
        Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset) => Ok(()),
        written => written,
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Call::Send { message, deadline_ms, .. } => out
                .debug_struct("Send")
                .field("bytes", &message.len())
                .field("deadline_ms", deadline_ms)
                .finish_non_exhaustive(),
            Call::Receive { wait_ms } => {
                out.debug_struct("Receive").field("wait_ms", wait_ms).finish()
            }
            Call::Acknowledge { number } => {
                out.debug_struct("Acknowledge").field("number", number).finish()
            }
            Call::Address => out.write_str("Address"),
            Call::Status => out.write_str("Status"),
        }
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = out.debug_struct("Reply");
        match self {
            Reply::Refused { reason, .. } => shown.field("refused", reason).finish(),
            Reply::Accepted { .. } => shown.field("accepted", &()).finish(),
            Reply::Progress { acknowledged, total } => {
                shown.field("acknowledged", acknowledged).field("total", total).finish()
            }
            Reply::Delivered => shown.field("delivered", &()).finish(),
            Reply::Failed { reason, .. } => shown.field("failed", reason).finish(),
            Reply::Message { number, message } => {
                shown.field("number", number).field("bytes", &message.len()).finish()
            }
            Reply::Nothing => shown.field("nothing", &()).finish(),
            Reply::Done => shown.field("done", &()).finish(),
            Reply::Address { .. } => shown.field("address", &()).finish(),
            Reply::Status { status } => shown.field("status", status).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_and_its_end_is_its_end() {
        let call = Call::Send { to: "x".into(), message: vec![1, 2, 3], deadline_ms: 9 };
        let request = Request { id: 7, call };
        let frame = encode(&request);
        let body = read_frame(&mut &frame[..]).unwrap().unwrap();
        assert_eq!(decode(&body), Ok(request));
        let longer = [&body[..], &[0]].concat();
        assert_eq!(decode::<Request>(&longer), Err(Malformed));
        assert_eq!(decode::<Request>(&body[..body.len() - 1]), Err(Malformed));
    }

    #[test]
    fn a_stream_may_end_between_frames_and_not_within_one() {
        let frame = encode(&Request { id: 1, call: Call::Status });
        assert!(read_frame(&mut &frame[..0]).unwrap().is_none());
        for cut in 1..frame.len() {
            assert!(read_frame(&mut &frame[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_body_that_is_too_long_is_refused_before_it_is_read() {
        let length = u32::try_from(BODY_BYTES_MAX + 1).unwrap().to_be_bytes();
        let error = read_frame(&mut &length[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_examples_of_the_documentation_are_what_is_sent() {
        let status = encode(&Request { id: 1, call: Call::Status });
        assert_eq!(status, [0, 0, 0, 5, 0x82, 1, 0x82, 4, 0x80]);
        let call = Call::Send { to: "A".repeat(160), message: b"hi".to_vec(), deadline_ms: 60_000 };
        let send = encode(&Request { id: 2, call });
        let head = [0, 0, 0, 0xad, 0x82, 2, 0x82, 0, 0x83, 0x78, 0xa0];
        assert_eq!(send[..11], head);
        assert_eq!(send[171..], [0x42, 0x68, 0x69, 0x19, 0xea, 0x60]);
        let receive = encode(&Request { id: 3, call: Call::Receive { wait_ms: 30_000 } });
        assert_eq!(receive, [0, 0, 0, 8, 0x82, 3, 0x82, 1, 0x81, 0x19, 0x75, 0x30]);
        let acknowledge = encode(&Request { id: 4, call: Call::Acknowledge { number: 7 } });
        assert_eq!(acknowledge, [0, 0, 0, 6, 0x82, 4, 0x82, 2, 0x81, 7]);

        let answer = |id, reply| encode(&Answer { id, reply });
        let accepted = answer(2, Reply::Accepted { message: [0x49; 16] });
        assert_eq!(accepted[..10], [0, 0, 0, 0x16, 0x82, 2, 0x82, 1, 0x81, 0x50]);
        assert_eq!(accepted[10..], [0x49; 16]);
        assert_eq!(answer(2, Reply::Delivered), [0, 0, 0, 5, 0x82, 2, 0x82, 3, 0x80]);
        let progress = answer(5, Reply::Progress { acknowledged: 1, total: 3 });
        assert_eq!(progress, [0, 0, 0, 7, 0x82, 5, 0x82, 2, 0x82, 1, 3]);
        let message = answer(3, Reply::Message { number: 7, message: b"hi".to_vec() });
        assert_eq!(message, [0, 0, 0, 9, 0x82, 3, 0x82, 5, 0x82, 7, 0x42, 0x68, 0x69]);
        assert_eq!(answer(4, Reply::Done), [0, 0, 0, 5, 0x82, 4, 0x82, 7, 0x80]);
    }

    #[test]
    fn what_a_later_version_adds_to_a_list_is_ignored() {
        let receive = Request { id: 3, call: Call::Receive { wait_ms: 9 } };
        assert_eq!(decode(&[0x83, 3, 0x82, 1, 0x82, 9, 0x61, b'x', 0x40]), Ok(receive));
    }

    #[test]
    fn the_longest_message_fits() {
        let message = vec![0; MESSAGE_BYTES_MAX];
        let call = Call::Send { to: "a".repeat(160), message, deadline_ms: u64::MAX };
        assert!(encode(&Request { id: u32::MAX, call }).len() - LENGTH_BYTES <= BODY_BYTES_MAX);
    }
}
