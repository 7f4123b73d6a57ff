//! What drivers can do: the family `netdev` of generic netlink, as the kernel's
//! Documentation/netlink/specs/netdev.yaml describes it.

use std::fmt::Display;
use std::fs;

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_DUMP, Nla as _, NlasIterator, Parseable,
    ParseableParametrized,
};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_sys::protocols::NETLINK_GENERIC;

use super::NetlinkError;
use super::links::Link;
use super::socket::Conversation;

/// linux/netdev.h, since Linux 6.3.
mod numbers {
    pub(super) const FAMILY: &str = "netdev";
    pub(super) const VERSION: u8 = 1;

    pub(super) const DEV_GET: u8 = 1;
    pub(super) const DEV_IFINDEX: u16 = 1;
    pub(super) const DEV_XDP_FEATURES: u16 = 3;
    pub(super) const DEV_XDP_ZC_MAX_SEGS: u16 = 4;

    /// Since Linux 6.8.
    pub(super) const QUEUE_GET: u8 = 10;
    pub(super) const QUEUE_ID: u16 = 1;
    pub(super) const QUEUE_IFINDEX: u16 = 2;
    pub(super) const QUEUE_TYPE: u16 = 3;
    pub(super) const QUEUE_TYPE_RX: u32 = 0;
    pub(super) const QUEUE_TYPE_TX: u32 = 1;

    pub(super) const XDP_ACT_BASIC: u64 = 1 << 0;
    pub(super) const XDP_ACT_REDIRECT: u64 = 1 << 1;
    pub(super) const XDP_ACT_XSK_ZEROCOPY: u64 = 1 << 3;
}

/// What the driver of an interface can do with XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Whether it runs an XDP program itself, before the kernel has made a packet of a frame, and
    /// can redirect to a socket.
    pub is_native: bool,
    /// Whether its frames can lie in a socket's memory from the start.
    pub is_zero_copy: bool,
    /// The most pieces of a frame that it takes without a copy, if it says so.
    pub zero_copy_segments_max: Option<u32>,
}

/// How many queues an interface has in use, numbered from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// That frames arrive on.
    pub receive: u32,
    /// That frames leave by.
    pub send: u32,
}

/// Asks drivers.
#[derive(Debug)]
pub struct Netdev {
    conversation: Conversation,
    /// The number of the family; none on a kernel that does not have it.
    family: Option<u16>,
}

impl Netdev {
    /// Opens a socket for questions in the network namespace of this thread.
    ///
    /// # Errors
    /// When the kernel cannot be asked or understood.
    pub fn open() -> Result<Self, NetlinkError> {
        let mut conversation = Conversation::open(NETLINK_GENERIC)?;
        let family = family(&mut conversation)?;
        Ok(Netdev { conversation, family })
    }

    /// What the driver of the interface `index` can do; none if this kernel (before Linux 6.3)
    /// does not say: then only trying tells.
    ///
    /// # Errors
    /// When the kernel cannot be asked or understood, or there is no such interface.
    pub fn driver(&mut self, index: u32) -> Result<Option<Driver>, NetlinkError> {
        let about = format_args!("the driver of interface number {index}");
        let which = attribute(numbers::DEV_IFINDEX, index);
        let Some(answers) = self.ask(numbers::DEV_GET, which, 0, &about)? else {
            return Ok(None);
        };
        let answer = answers.first();
        let answer = answer.ok_or_else(|| NetlinkError::malformed(&about, "it is empty"))?;
        let driver = driver(answer);
        driver.ok_or_else(|| NetlinkError::malformed(&about, "it has no features")).map(Some)
    }

    /// The queues of `link`. An interface that is down may have none.
    ///
    /// # Errors
    /// When neither the kernel nor, if it is older than Linux 6.8, its files in `/sys` can say.
    pub fn queues(&mut self, link: &Link) -> Result<Queues, NetlinkError> {
        let about = format_args!("the queues of {}", link.name);
        let which = attribute(numbers::QUEUE_IFINDEX, link.index);
        let answers = match self.ask(numbers::QUEUE_GET, which, NLM_F_DUMP, &about) {
            // A command that the kernel does not know.
            Err(error) if error.refusal() == Some(libc::EOPNOTSUPP) => None,
            answers => answers?,
        };
        let Some(answers) = answers else { return queues_by_files(&link.name) };
        let mut queues = Queues::default();
        for answer in &answers {
            queues.add(answer, link.index);
        }
        Ok(queues)
    }

    /// The answers to one command; none if the kernel does not have the family.
    fn ask(
        &mut self,
        command: u8,
        which: DefaultNla,
        flags: u16,
        about: &dyn Display,
    ) -> Result<Option<Vec<Attributes>>, NetlinkError> {
        let Some(family) = self.family else { return Ok(None) };
        let mut question = GenlMessage::from_payload(Attributes { command, all: vec![which] });
        question.set_resolved_family_id(family);
        let answers = self.conversation.ask(question, flags, about)?;
        Ok(Some(answers.into_iter().map(|answer| answer.payload).collect()))
    }
}

impl Queues {
    fn add(&mut self, answer: &Attributes, index: u32) {
        let is_ours = answer.small_number(numbers::QUEUE_IFINDEX) == Some(index);
        let number = answer.small_number(numbers::QUEUE_ID);
        let (Some(number), true) = (number, is_ours) else { return };
        let count = number.saturating_add(1);
        match answer.small_number(numbers::QUEUE_TYPE) {
            Some(numbers::QUEUE_TYPE_RX) => self.receive = self.receive.max(count),
            Some(numbers::QUEUE_TYPE_TX) => self.send = self.send.max(count),
            _ => {}
        }
    }
}

/// `/sys` shows the network namespace that it was mounted in: `ip netns exec` mounts another.
fn queues_by_files(name: &str) -> Result<Queues, NetlinkError> {
    let folder = format!("/sys/class/net/{name}/queues");
    let entries = fs::read_dir(&folder)
        .map_err(|source| NetlinkError::refused(&format_args!("{folder}"), source))?;
    let mut queues = Queues::default();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        queues.receive += u32::from(name.starts_with("rx-"));
        queues.send += u32::from(name.starts_with("tx-"));
    }
    Ok(queues)
}

fn family(conversation: &mut Conversation) -> Result<Option<u16>, NetlinkError> {
    let about = "the drivers' family of generic netlink";
    let nlas = vec![GenlCtrlAttrs::FamilyName(numbers::FAMILY.into())];
    let question = GenlMessage::from_payload(GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas });
    let answers = match conversation.ask(question, 0, &about) {
        Err(error) if error.refusal() == Some(libc::ENOENT) => return Ok(None),
        answers => answers?,
    };
    let attributes = answers.into_iter().flat_map(|answer| answer.payload.nlas);
    let number = attributes.into_iter().find_map(|attribute| match attribute {
        GenlCtrlAttrs::FamilyId(number) => Some(number),
        _ => None,
    });
    number.ok_or_else(|| NetlinkError::malformed(&about, "it has no number")).map(Some)
}

fn driver(answer: &Attributes) -> Option<Driver> {
    let features = answer.number(numbers::DEV_XDP_FEATURES)?;
    let has = |all: u64| features & all == all;
    Some(Driver {
        is_native: has(numbers::XDP_ACT_BASIC | numbers::XDP_ACT_REDIRECT),
        is_zero_copy: has(numbers::XDP_ACT_XSK_ZEROCOPY),
        zero_copy_segments_max: answer.small_number(numbers::DEV_XDP_ZC_MAX_SEGS),
    })
}

fn attribute(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

/// One message of the family: a command and its attributes.
#[derive(Clone, Debug)]
struct Attributes {
    command: u8,
    all: Vec<DefaultNla>,
}

impl Attributes {
    /// An attribute that is a number, of 4 or 8 bytes: the kernel is free to choose (`uint`).
    fn number(&self, kind: u16) -> Option<u64> {
        let attribute = self.all.iter().find(|attribute| attribute.kind() == kind)?;
        let mut bytes = [0; 8];
        let value = bytes.get_mut(..attribute.value_len())?;
        attribute.emit_value(value);
        match value.len() {
            4 => Some(u32::from_ne_bytes(*bytes.first_chunk()?).into()),
            8 => Some(u64::from_ne_bytes(bytes)),
            _ => None,
        }
    }

    fn small_number(&self, kind: u16) -> Option<u32> {
        self.number(kind)?.try_into().ok()
    }
}

impl GenlFamily for Attributes {
    fn family_name() -> &'static str {
        numbers::FAMILY
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        numbers::VERSION
    }
}

impl Emitable for Attributes {
    fn buffer_len(&self) -> usize {
        self.all.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.all.as_slice().emit(buffer);
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Attributes {
    fn parse_with_param(bytes: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        let all = NlasIterator::new(bytes).map(|attribute| DefaultNla::parse(&attribute?));
        Ok(Attributes { command: header.cmd, all: all.collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload};

    use super::*;
    use crate::host::netlink::captures::{DRIVER, FAMILY, QUEUES, bytes};

    fn answers(capture: &str) -> Vec<Attributes> {
        let bytes = bytes(capture);
        let mut rest = &bytes[..];
        let mut answers = vec![];
        while !rest.is_empty() {
            let length = NetlinkBuffer::new_checked(rest).unwrap().length() as usize;
            let message = NetlinkMessage::<GenlMessage<Attributes>>::deserialize(&rest[..length]);
            if let NetlinkPayload::InnerMessage(message) = message.unwrap().payload {
                answers.push(message.payload);
            }
            rest = &rest[length..];
        }
        answers
    }

    #[test]
    fn a_driver_is_read_from_what_a_kernel_said() {
        let driver = driver(&answers(DRIVER)[0]);
        let expected =
            Driver { is_native: true, is_zero_copy: false, zero_copy_segments_max: None };
        assert_eq!(driver, Some(expected));
    }

    #[test]
    fn queues_are_counted_by_the_number_of_the_last() {
        let mut queues = Queues::default();
        answers(QUEUES).iter().for_each(|answer| queues.add(answer, 3));
        assert_eq!(queues, Queues { receive: 2, send: 2 });
        answers(QUEUES).iter().for_each(|answer| queues.add(answer, 4));
        assert_eq!(queues, Queues { receive: 2, send: 2 }, "those of another interface");
    }

    #[test]
    fn numbers_are_read_in_either_width_and_in_no_other() {
        let of = |value: &[u8]| {
            Attributes { command: 1, all: vec![DefaultNla::new(3, value.to_vec())] }.number(3)
        };
        assert_eq!(of(&7u32.to_ne_bytes()), Some(7));
        assert_eq!(of(&(7u64 << 40).to_ne_bytes()), Some(7 << 40));
        for value in [&[][..], &[1], &[0; 5], &[0; 9]] {
            assert_eq!(of(value), None);
        }
    }

    #[test]
    fn no_damaged_answer_makes_it_panic() {
        for whole in [DRIVER, QUEUES].map(bytes) {
            for place in 0..whole.len() {
                for value in [0, 3, 4, 0x80, 0xff] {
                    let mut damaged = whole.clone();
                    damaged[place] = value;
                    let _ = NetlinkMessage::<GenlMessage<Attributes>>::deserialize(&damaged);
                }
            }
        }
        let whole = bytes(FAMILY);
        for place in 0..whole.len() {
            for value in [0, 3, 4, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[place] = value;
                let _ = NetlinkMessage::<GenlMessage<GenlCtrl>>::deserialize(&damaged);
            }
        }
    }
}
