//! The items of a control frame: type 1, length 2 (little endian), value; one after the other.
//!
//! An item never spans frames. An unknown type is skipped, so that later versions can add some;
//! a length that does not fit its frame or its type is an error.

pub use super::frame::Malformed;

/// Bytes in front of a value.
const HEADER_BYTES: usize = 3;

/// One item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Asks for the same 8 bytes back: measures the round trip.
    Echo([u8; 8]),
    /// The 8 bytes, back.
    EchoReply([u8; 8]),
    /// Opens a mailbox (client to gateway).
    MailboxOpen(MailboxOpen),
    /// Everything up to this number has arrived and may be deleted (client to gateway).
    MailboxAck(u64),
    /// How a request went (gateway to client).
    Result {
        /// The request.
        request: u32,
        /// [`Outcome::code`].
        code: u8,
    },
    /// Asks for a piece of an object of the directory.
    ObjectGet(ObjectGet),
    /// A piece of an object.
    ObjectData(ObjectData<'a>),
}

/// A proof of possession of a mailbox's key, bound to the session by its handshake hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxOpen {
    /// The request, echoed in its result.
    pub request: u32,
    /// The mailbox: its Ed25519 key.
    pub mailbox: [u8; 32],
    /// Until when the proof holds, in seconds since 1970.
    pub expiry_s: u64,
    /// Ed25519 over [`MailboxOpen::statement`].
    pub signature: [u8; 64],
}

impl MailboxOpen {
    /// Bytes of what is signed.
    pub const STATEMENT_BYTES: usize = 13 + 32 + 4 + 32 + 8;

    /// What is signed: a label, the handshake hash, then the fields as they are sent.
    pub fn statement(&self, handshake_hash: &[u8; 32]) -> [u8; Self::STATEMENT_BYTES] {
        let mut out = [0; Self::STATEMENT_BYTES];
        out[..13].copy_from_slice(b"mixlink1 mbox");
        out[13..45].copy_from_slice(handshake_hash);
        out[45..49].copy_from_slice(&self.request.to_le_bytes());
        out[49..81].copy_from_slice(&self.mailbox);
        out[81..].copy_from_slice(&self.expiry_s.to_le_bytes());
        out
    }
}

/// A request for a piece of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectGet {
    /// The request, echoed in its answers.
    pub request: u32,
    /// The object: its SHA-256.
    pub hash: [u8; 32],
    /// Where to begin.
    pub offset: u32,
    /// How many frames to send at most.
    pub count: u8,
}

/// A piece of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectData<'a> {
    /// The request it answers.
    pub request: u32,
    /// Where the piece begins.
    pub offset: u32,
    /// Bytes of the whole object.
    pub total: u32,
    /// The piece.
    pub bytes: &'a [u8],
}

impl ObjectData<'_> {
    /// Bytes of the item in front of the piece.
    pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 12;
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// It was not allowed, or made no sense.
    Refused,
    /// There is no room for it.
    Full,
}

impl Outcome {
    /// As it is sent.
    pub const fn code(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Refused => 1,
            Outcome::Full => 2,
        }
    }

    /// What a code says; codes of later versions are refusals to this one.
    pub const fn of(code: u8) -> Self {
        match code {
            0 => Outcome::Done,
            2 => Outcome::Full,
            _ => Outcome::Refused,
        }
    }
}

const ECHO: u8 = 0x01;
const MAILBOX_OPEN: u8 = 0x02;
const MAILBOX_ACK: u8 = 0x03;
const OBJECT_GET: u8 = 0x04;
const ECHO_REPLY: u8 = 0x81;
const RESULT: u8 = 0x82;
const OBJECT_DATA: u8 = 0x84;

/// The known items of a control frame, in order; after an error there are no more.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    /// Of a frame's body, cut to its length.
    pub fn of(body: &'a [u8]) -> Self {
        Items { rest: body }
    }

    /// The type and value of the next item.
    fn split(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let (&[kind, low, high], rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        let length = usize::from(u16::from_le_bytes([low, high]));
        let (value, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok((kind, value))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let item = self.split().and_then(|(kind, value)| Item::parse(kind, value));
            match item {
                Ok(None) => {}
                Ok(Some(item)) => return Some(Ok(item)),
                Err(Malformed) => {
                    self.rest = &[];
                    return Some(Err(Malformed));
                }
            }
        }
        None
    }
}

/// Reads fields from the front of a value.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (field, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*field)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_le_bytes)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.take().map(|[byte]| byte)
    }

    /// `item`, if nothing is left.
    fn end(&self, item: Item<'a>) -> Result<Option<Item<'a>>, Malformed> {
        self.0.is_empty().then_some(Some(item)).ok_or(Malformed)
    }
}

impl<'a> Item<'a> {
    /// The item of a known type; `None` for others.
    fn parse(kind: u8, value: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut fields = Fields(value);
        let item = match kind {
            ECHO => Item::Echo(fields.take()?),
            ECHO_REPLY => Item::EchoReply(fields.take()?),
            MAILBOX_OPEN => Item::MailboxOpen(MailboxOpen {
                request: fields.u32()?,
                mailbox: fields.take()?,
                expiry_s: fields.u64()?,
                signature: fields.take()?,
            }),
            MAILBOX_ACK => Item::MailboxAck(fields.u64()?),
            RESULT => Item::Result { request: fields.u32()?, code: fields.u8()? },
            OBJECT_GET => Item::ObjectGet(ObjectGet {
                request: fields.u32()?,
                hash: fields.take()?,
                offset: fields.u32()?,
                count: fields.u8()?,
            }),
            OBJECT_DATA => Item::ObjectData(ObjectData {
                request: fields.u32()?,
                offset: fields.u32()?,
                total: fields.u32()?,
                bytes: std::mem::take(&mut fields.0),
            }),
            _ => return Ok(None),
        };
        fields.end(item)
    }

    /// The body of a frame that holds this item alone.
    pub fn to_body(&self) -> Vec<u8> {
        const PART_BYTES_MAX: usize = HEADER_BYTES + 4 + 32 + 8 + 64;
        let piece = if let Item::ObjectData(piece) = self { piece.bytes.len() } else { 0 };
        let mut body = vec![0; PART_BYTES_MAX + piece];
        let mut writer = Writer::new(&mut body);
        let written = self.write(&mut writer);
        assert!(written.is_ok(), "the largest item fits");
        let length = writer.length();
        body.truncate(length);
        body
    }

    /// The type, and the value in up to four parts.
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), Full> {
        match self {
            Item::Echo(nonce) => writer.item(ECHO, &[nonce]),
            Item::EchoReply(nonce) => writer.item(ECHO_REPLY, &[nonce]),
            Item::MailboxOpen(open) => writer.item(
                MAILBOX_OPEN,
                &[
                    &open.request.to_le_bytes(),
                    &open.mailbox,
                    &open.expiry_s.to_le_bytes(),
                    &open.signature,
                ],
            ),
            Item::MailboxAck(number) => writer.item(MAILBOX_ACK, &[&number.to_le_bytes()]),
            Item::Result { request, code } => {
                writer.item(RESULT, &[&request.to_le_bytes(), &[*code]])
            }
            Item::ObjectGet(get) => writer.item(
                OBJECT_GET,
                &[&get.request.to_le_bytes(), &get.hash, &get.offset.to_le_bytes(), &[get.count]],
            ),
            Item::ObjectData(piece) => writer.item(
                OBJECT_DATA,
                &[
                    &piece.request.to_le_bytes(),
                    &piece.offset.to_le_bytes(),
                    &piece.total.to_le_bytes(),
                    piece.bytes,
                ],
            ),
        }
    }
}

/// The frame has no room for the item; it is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Writes items to the front of a body.
#[derive(Debug)]
pub struct Writer<'a> {
    body: &'a mut [u8],
    length: usize,
}

impl<'a> Writer<'a> {
    /// Into `body`, from its beginning.
    pub fn new(body: &'a mut [u8]) -> Self {
        Writer { body, length: 0 }
    }

    /// Adds an item.
    ///
    /// # Errors
    /// [`Full`].
    pub fn push(&mut self, item: &Item<'_>) -> Result<(), Full> {
        item.write(self)
    }

    /// Bytes written.
    pub fn length(&self) -> usize {
        self.length
    }

    fn item(&mut self, kind: u8, parts: &[&[u8]]) -> Result<(), Full> {
        let value = parts.iter().map(|part| part.len()).sum::<usize>();
        let length = u16::try_from(value).map_err(|_| Full)?.to_le_bytes();
        let end = self.length + HEADER_BYTES + value;
        let room = self.body.get_mut(self.length..end).ok_or(Full)?;
        let header: [&[u8]; 2] = [&[kind], &length];
        let mut rest = room;
        for part in header.iter().chain(parts) {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::Rng;

    fn items() -> Vec<Item<'static>> {
        let open =
            MailboxOpen { request: 7, mailbox: [3; 32], expiry_s: 1 << 40, signature: [4; 64] };
        let get = ObjectGet { request: 9, hash: [5; 32], offset: 1361, count: 8 };
        let piece = ObjectData { request: 9, offset: 1361, total: 100_000, bytes: &[6; 500] };
        vec![
            Item::Echo([1; 8]),
            Item::EchoReply([2; 8]),
            Item::MailboxOpen(open),
            Item::MailboxAck(u64::MAX),
            Item::Result { request: 7, code: 255 },
            Item::ObjectGet(get),
            Item::ObjectData(piece),
        ]
    }

    fn written(items: &[Item<'_>]) -> Vec<u8> {
        let mut body = [0xaa; 1376];
        let mut writer = Writer::new(&mut body);
        items.iter().for_each(|item| writer.push(item).unwrap());
        let length = writer.length();
        body[..length].to_vec()
    }

    #[test]
    fn items_come_back_as_they_were() {
        let body = written(&items());
        assert_eq!(Items::of(&body).collect::<Result<Vec<_>, _>>(), Ok(items()));
    }

    #[test]
    fn an_unknown_type_is_skipped() {
        let mut body = vec![0x7f, 2, 0, 1, 2];
        body.extend(written(&items()[..1]));
        body.extend([0x05, 0, 0]);
        assert_eq!(Items::of(&body).collect::<Vec<_>>(), [Ok(items()[0])]);
    }

    #[test]
    fn a_wrong_length_ends_the_frame() {
        for item in &items()[..6] {
            let mut longer = written(&[*item]);
            longer[1] += 1;
            longer.push(0);
            longer.extend(written(&items()[..1]));
            assert_eq!(Items::of(&longer).collect::<Vec<_>>(), [Err(Malformed)], "{item:?}");
        }
        let whole = written(&items()[2..3]);
        for cut in 1..whole.len() {
            let read: Vec<_> = Items::of(&whole[..cut]).collect();
            assert_eq!(read, [Err(Malformed)], "cut at {cut}");
        }
    }

    #[test]
    fn an_item_that_does_not_fit_changes_nothing() {
        let whole = written(&items()[..1]);
        for room in 0..whole.len() {
            let mut body = vec![0xaa; room];
            let mut writer = Writer::new(&mut body);
            assert_eq!(writer.push(&items()[0]), Err(Full));
            assert_eq!(writer.length(), 0);
            assert_eq!(body, vec![0xaa; room]);
        }
    }

    #[test]
    fn arbitrary_bytes_never_make_it_panic() {
        let mut rng = Rng::from_seed([5; 32]);
        for _ in 0..20_000 {
            let mut body = written(&items());
            let size = rng.below(u32::try_from(body.len()).unwrap()) as usize;
            body.truncate(size);
            for _ in 0..rng.below(8) {
                let at = rng.below(u32::try_from(size.max(1)).unwrap()) as usize;
                if let Some(byte) = body.get_mut(at) {
                    *byte = rng.bytes::<1>()[0];
                }
            }
            assert!(Items::of(&body).count() <= size);
        }
    }
}
