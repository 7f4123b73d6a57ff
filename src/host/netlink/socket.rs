//! One question, all its answers.

use std::fmt::{self, Display};
use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_DUMP_INTR, NLM_F_MULTIPART, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable,
    NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable,
};
use netlink_sys::{Socket, SocketAddr};

use super::NetlinkError;
use crate::host::event::{self, Watch};

/// The kernel hands over at most 32 KiB of a long answer at a time (`NLMSG_GOODSIZE` and
/// `netlink_recvmsg` in net/netlink/af_netlink.c).
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// The kernel answers before the question returns; this is for what stands between us and it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);
/// More neighbours than any limit of a kernel (`gc_thresh3`) is likely to allow.
const ANSWERS_MAX: usize = 1 << 17;
/// How often a list is asked for again that changed while it was read.
const INTERRUPTIONS_MAX: usize = 4;

/// A socket of one netlink protocol, for questions with their answers.
pub(super) struct Conversation {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Conversation").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// What one question got.
struct Answers<M> {
    messages: Vec<M>,
    is_complete: bool,
    /// Something changed while the list was made: it may lack an entry, or have one twice.
    was_interrupted: bool,
}

impl Conversation {
    pub(super) fn open(protocol: isize) -> Result<Self, NetlinkError> {
        let socket = open(protocol).map_err(NetlinkError::Open)?;
        // Since Linux 4.20: a list then holds only what was asked for. Without it callers filter.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Conversation { socket, buffer: Vec::with_capacity(DATAGRAM_BYTES_MAX), sequence: 0 })
    }

    /// Everything that the kernel answers to `question`; `about` is for errors.
    pub(super) fn ask<M>(
        &mut self,
        question: M,
        flags: u16,
        about: &dyn Display,
    ) -> Result<Vec<M>, NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Clone,
    {
        for _ in 1..INTERRUPTIONS_MAX {
            let answers = self.ask_once(question.clone(), flags, about)?;
            if !answers.was_interrupted {
                return Ok(answers.messages);
            }
        }
        Ok(self.ask_once(question, flags, about)?.messages)
    }

    fn ask_once<M>(
        &mut self,
        question: M,
        flags: u16,
        about: &dyn Display,
    ) -> Result<Answers<M>, NetlinkError>
    where
        M: NetlinkSerializable + NetlinkDeserializable,
    {
        self.sequence = self.sequence.wrapping_add(1);
        let request = encode(question, flags | NLM_F_REQUEST, self.sequence);
        self.socket.send(&request, 0).map_err(|source| NetlinkError::refused(about, source))?;
        let mut answers = Answers { messages: vec![], is_complete: false, was_interrupted: false };
        while !answers.is_complete {
            self.receive(about)?;
            read(&self.buffer, self.sequence, about, &mut answers)?;
        }
        Ok(answers)
    }

    /// Waits for the next datagram of the kernel.
    fn receive(&mut self, about: &dyn Display) -> Result<(), NetlinkError> {
        loop {
            match receive(&self.socket, &mut self.buffer) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(source) => return Err(NetlinkError::refused(about, source)),
            }
            let mut watches = [Watch::new(self.socket.as_raw_fd(), false)];
            event::wait(&mut watches, Some(ANSWER_TIME_MAX));
            if !watches[0].ready() {
                return Err(NetlinkError::Silent { about: about.to_string() });
            }
        }
    }
}

/// A socket that never blocks, with a number of the kernel's choice.
pub(super) fn open(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    // Questions go to the kernel, whose number is 0.
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Fills `buffer` with the next datagram that the kernel has for us; `false` when there is none.
///
/// # Errors
/// What the kernel says; `ENOBUFS` when datagrams were lost, `EMSGSIZE` when one is longer than
/// any may be.
pub(super) fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        buffer.clear();
        buffer.reserve(DATAGRAM_BYTES_MAX);
        let (length, sender) = match socket.recv_from(buffer, libc::MSG_TRUNC) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if length > buffer.len() {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        // A privileged process may write to us too; only the kernel is asked.
        if sender.port_number() == 0 {
            return Ok(true);
        }
    }
}

fn encode<M: NetlinkSerializable>(question: M, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(question));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// Adds the messages of one datagram that answer the question `sequence`.
fn read<M: NetlinkDeserializable>(
    mut datagram: &[u8],
    sequence: u32,
    about: &dyn Display,
    answers: &mut Answers<M>,
) -> Result<(), NetlinkError> {
    while let Some(bytes) =
        next_message(&mut datagram).map_err(|reason| NetlinkError::malformed(about, reason))?
    {
        // What an earlier question, given up halfway, left behind.
        if NetlinkBuffer::new(bytes).sequence_number() != sequence {
            continue;
        }
        let message = NetlinkMessage::<M>::deserialize(bytes)
            .map_err(|reason| NetlinkError::malformed(about, reason))?;
        add(message, about, answers)?;
    }
    Ok(())
}

fn add<M>(
    message: NetlinkMessage<M>,
    about: &dyn Display,
    answers: &mut Answers<M>,
) -> Result<(), NetlinkError> {
    answers.was_interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
    match message.payload {
        NetlinkPayload::InnerMessage(inner) => {
            if answers.messages.len() == ANSWERS_MAX {
                return Err(NetlinkError::malformed(about, "it does not end"));
            }
            answers.messages.push(inner);
            answers.is_complete |= message.header.flags & NLM_F_MULTIPART == 0;
        }
        NetlinkPayload::Done(done) => {
            refusal(done.code, about)?;
            answers.is_complete = true;
        }
        NetlinkPayload::Error(error) => {
            refusal(error.raw_code(), about)?;
            answers.is_complete = true;
        }
        // Neither says anything; there is no other kind (linux/netlink.h).
        NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | _ => {}
    }
    Ok(())
}

/// Codes are negative numbers of errno(3), or 0.
fn refusal(code: i32, about: &dyn Display) -> Result<(), NetlinkError> {
    if code == 0 {
        return Ok(());
    }
    let source = io::Error::from_raw_os_error(code.saturating_neg());
    Err(NetlinkError::refused(about, source))
}

/// Takes the next message, with its header, off `datagram`.
pub(super) fn next_message<'a>(datagram: &mut &'a [u8]) -> Result<Option<&'a [u8]>, String> {
    if datagram.is_empty() {
        return Ok(None);
    }
    let header = NetlinkBuffer::new_checked(*datagram).map_err(|error| error.to_string())?;
    let length = header.length() as usize;
    let message = datagram.get(..length).ok_or("it ends inside a message")?;
    // Messages begin at multiples of 4 (NLMSG_ALIGN); the last need not end at one.
    let next = length.next_multiple_of(4).min(datagram.len());
    *datagram = &datagram[next..];
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::RouteNetlinkMessage as Message;

    use super::*;
    use crate::host::netlink::captures::{NEIGHBOURS, NO_ROUTE, ROUTING, bytes};

    fn read_all(datagram: &[u8], sequence: u32) -> Result<Answers<Message>, NetlinkError> {
        let mut answers = Answers { messages: vec![], is_complete: false, was_interrupted: false };
        read(datagram, sequence, &"a question", &mut answers)?;
        Ok(answers)
    }

    #[test]
    fn a_list_is_complete_when_its_end_has_come() {
        let list = bytes(NEIGHBOURS);
        let answers = read_all(&list, 1).unwrap();
        assert_eq!((answers.messages.len(), answers.is_complete), (4, true));
        let without_end = &list[..list.len() - 20];
        let answers = read_all(without_end, 1).unwrap();
        assert_eq!((answers.messages.len(), answers.is_complete), (4, false));
    }

    #[test]
    fn answers_to_an_earlier_question_are_passed_over() {
        let answers = read_all(&bytes(NEIGHBOURS), 2).unwrap();
        assert!(answers.messages.is_empty() && !answers.is_complete);
    }

    #[test]
    fn a_refusal_is_an_error_with_the_kernels_number() {
        let refused = read_all(&bytes(NO_ROUTE), 1).err().unwrap();
        assert_eq!(refused.refusal(), Some(libc::ENETUNREACH));
    }

    #[test]
    fn a_list_that_changed_meanwhile_says_so() {
        let mut list = bytes(NEIGHBOURS);
        list[6] |= u8::try_from(NLM_F_DUMP_INTR).unwrap();
        assert!(read_all(&list, 1).unwrap().was_interrupted);
    }

    #[test]
    fn an_answer_that_is_cut_off_is_never_complete() {
        for whole in ROUTING.map(bytes) {
            for length in 0..whole.len() {
                let is_complete = read_all(&whole[..length], 1).is_ok_and(|read| read.is_complete);
                assert!(!is_complete, "{length} bytes of {}", whole.len());
            }
        }
    }

    #[test]
    fn no_damaged_answer_makes_it_panic() {
        for whole in ROUTING.map(bytes) {
            for place in 0..whole.len() {
                for value in [0, 1, 3, 4, 5, 0x7f, 0x80, 0xff, whole[place] ^ 1] {
                    let mut damaged = whole.clone();
                    damaged[place] = value;
                    let _ = read_all(&damaged, 1);
                    let _ = read_all(&damaged[..place], 1);
                }
            }
        }
    }
}
