//! The tables of all mailboxes in one `redb` database, and the group commit over them.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | mailboxes | mailbox | its [`Shelf`] |
//! | letters | mailbox, number | hash of the body, second of its arrival, body |
//! | bodies | mailbox, hash of the body | number: so that a copy is known for one |
//! | clock | - | second of the last commit |
//!
//! Every commit writes the clock: one that holds nothing but discards takes the disk as long as
//! any other. Shelves are also in memory, since they decide about every letter.

use std::collections::{HashMap, VecDeque};
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use redb::backends::InMemoryBackend;
use redb::{ReadableDatabase as _, ReadableTable as _, Table, TableDefinition, WriteTransaction};

use super::{Completion, Letter, Mailbox, Options, Order, Outcome, Placed, Request, StoreError};
use crate::crypto::sha256;

/// Bytes of a body's hash: nobody profits from two bodies of one hash but who made both.
const HASH_BYTES: usize = 16;
/// Bytes in front of a letter's body: its hash and the second of its arrival.
const LETTER_HEAD_BYTES: usize = HASH_BYTES + 8;
/// How long a body is remembered once its letter has gone: a sender that heard no
/// acknowledgement sends again, and by then the owner may have fetched it.
const REMEMBERED_S: u64 = 600;
/// Letters of one mailbox that one sweep forgets, so that no commit waits long.
const SWEPT_LETTERS_MAX: u64 = 1024;

type Hash = [u8; HASH_BYTES];

const MAILBOXES: TableDefinition<'_, &Mailbox, (u64, u64, u64, u64)> =
    TableDefinition::new("mailboxes");
const LETTERS: TableDefinition<'_, (&Mailbox, u64), &[u8]> = TableDefinition::new("letters");
const BODIES: TableDefinition<'_, (&Mailbox, &Hash), u64> = TableDefinition::new("bodies");
const CLOCK: TableDefinition<'_, (), u64> = TableDefinition::new("clock");

/// One mailbox without its letters, which have the numbers behind `acknowledged` up to `last`.
#[derive(Clone, Copy, Debug, Default)]
struct Shelf {
    last: u64,
    acknowledged: u64,
    bytes: u64,
    opened_s: u64,
}

impl Shelf {
    fn letters(&self) -> u64 {
        self.last - self.acknowledged
    }
}

/// All mailboxes.
#[derive(Debug)]
pub(super) struct Database {
    redb: redb::Database,
    options: Options,
    shelves: HashMap<Mailbox, Shelf>,
    /// Bodies whose letters are gone, and when to forget them, the earliest first.
    gone: VecDeque<(u64, Mailbox, Hash)>,
}

impl Database {
    /// The database in `folder`, both made if they are not there.
    pub(super) fn open(folder: &Path, options: Options) -> Result<Self, StoreError> {
        let path = folder.join("mailboxes.redb");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let file = made.and_then(|()| {
            let mut file = OpenOptions::new();
            file.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
        });
        let file = file.map_err(|source| StoreError::Folder { path: path.clone(), source })?;
        let redb = redb::Builder::new().create_file(file);
        let open = |source: redb::Error| StoreError::Open { path, source: Box::new(source) };
        match redb.map_err(redb::Error::from).and_then(|redb| Self::load(redb, options)) {
            Ok(database) => Ok(database),
            Err(source) => Err(open(source)),
        }
    }

    /// An empty database that lives as long as the process.
    pub(super) fn in_memory(options: Options) -> Result<Self, StoreError> {
        let redb = redb::Builder::new().create_with_backend(InMemoryBackend::new());
        redb.map_err(redb::Error::from)
            .and_then(|redb| Self::load(redb, options))
            .map_err(|error| StoreError::Commit(Box::new(error)))
    }

    fn load(redb: redb::Database, options: Options) -> Result<Self, redb::Error> {
        let (mut shelves, mut gone) = (HashMap::new(), VecDeque::new());
        let transaction = redb.begin_write()?;
        {
            let now_s = transaction.open_table(CLOCK)?.get(())?.map_or(0, |second| second.value());
            for entry in transaction.open_table(MAILBOXES)?.iter()? {
                let (mailbox, shelf) = entry?;
                let (last, acknowledged, bytes, opened_s) = shelf.value();
                shelves.insert(*mailbox.value(), Shelf { last, acknowledged, bytes, opened_s });
            }
            let _made = transaction.open_table(LETTERS)?;
            for entry in transaction.open_table(BODIES)?.iter()? {
                let (key, number) = entry?;
                let (mailbox, hash) = key.value();
                let waits = shelves.get(mailbox).is_some_and(|s| number.value() > s.acknowledged);
                if !waits {
                    gone.push_back((now_s + REMEMBERED_S, *mailbox, *hash));
                }
            }
        }
        transaction.commit()?;
        Ok(Database { redb, options, shelves, gone })
    }

    /// Carries out all `orders` and makes them durable together.
    ///
    /// # Errors
    /// [`StoreError::Commit`]: then nothing more can be done with this database.
    pub(super) fn commit(&mut self, orders: Vec<Order>) -> Result<Vec<Completion>, StoreError> {
        self.carry_out(orders).map_err(|error| StoreError::Commit(Box::new(error)))
    }

    fn carry_out(&mut self, orders: Vec<Order>) -> Result<Vec<Completion>, redb::Error> {
        let is_read = |order: &Order| matches!(order.request, Request::Read { .. });
        if !orders.iter().all(is_read) {
            return self.write(orders);
        }
        orders.into_iter().map(|order| self.read(order)).collect()
    }

    fn write(&mut self, orders: Vec<Order>) -> Result<Vec<Completion>, redb::Error> {
        let transaction = self.redb.begin_write()?;
        let mut done = Vec::with_capacity(orders.len());
        let mut reads = Vec::new();
        let mut group = Group::new(self, &transaction)?;
        for (place, Order { ticket, wall, request }) in orders.into_iter().enumerate() {
            let outcome = match request {
                Request::Read { .. } => {
                    reads.push((place, Order { ticket, wall, request }));
                    Outcome::Done
                }
                request => group.change(request, wall.as_secs())?,
            };
            done.push(Completion { ticket, outcome });
        }
        drop(group);
        transaction.commit()?;
        // What is read is what is durable.
        for (place, order) in reads {
            done[place] = self.read(order)?;
        }
        Ok(done)
    }

    fn read(&self, order: Order) -> Result<Completion, redb::Error> {
        let Order { ticket, request, .. } = order;
        let Request::Read { mailbox, after, letters_max } = request else {
            return Ok(Completion { ticket, outcome: Outcome::Done });
        };
        let acknowledged = self.shelves.get(&mailbox).map_or(0, |shelf| shelf.acknowledged);
        let table = self.redb.begin_read()?.open_table(LETTERS)?;
        let range = (&mailbox, after.saturating_add(1))..=(&mailbox, u64::MAX);
        let mut letters = Vec::new();
        for entry in table.range(range)?.take(letters_max) {
            let (key, row) = entry?;
            let body = row.value().get(LETTER_HEAD_BYTES..).unwrap_or_default();
            letters.push(Letter { number: key.value().1, body: body.into() });
        }
        Ok(Completion { ticket, outcome: Outcome::Letters { acknowledged, letters } })
    }
}

/// One transaction: the tables, open, and the mailboxes that it changes.
struct Group<'t> {
    options: &'t Options,
    shelves: &'t mut HashMap<Mailbox, Shelf>,
    gone: &'t mut VecDeque<(u64, Mailbox, Hash)>,
    mailboxes: Table<'t, &'static Mailbox, (u64, u64, u64, u64)>,
    letters: Table<'t, (&'static Mailbox, u64), &'static [u8]>,
    bodies: Table<'t, (&'static Mailbox, &'static Hash), u64>,
    clock: Table<'t, (), u64>,
}

impl<'t> Group<'t> {
    fn new(
        database: &'t mut Database,
        transaction: &'t WriteTransaction,
    ) -> Result<Self, redb::Error> {
        let Database { options, shelves, gone, .. } = database;
        Ok(Group {
            options,
            shelves,
            gone,
            mailboxes: transaction.open_table(MAILBOXES)?,
            letters: transaction.open_table(LETTERS)?,
            bodies: transaction.open_table(BODIES)?,
            clock: transaction.open_table(CLOCK)?,
        })
    }

    fn change(&mut self, request: Request, now_s: u64) -> Result<Outcome, redb::Error> {
        self.clock.insert((), now_s)?;
        Ok(match request {
            Request::Open(mailbox) => self.open(mailbox, now_s)?,
            Request::Put { mailbox, body } => Outcome::Placed(self.put(&mailbox, &body, now_s)?),
            Request::Discard => Outcome::Placed(Placed::Discarded),
            Request::Acknowledge { mailbox, cursor } => {
                self.forget_letters(&mailbox, cursor, now_s)?;
                Outcome::Done
            }
            Request::Sweep => {
                self.sweep(now_s)?;
                Outcome::Done
            }
            Request::Read { .. } => Outcome::Done,
        })
    }

    fn open(&mut self, mailbox: Mailbox, now_s: u64) -> Result<Outcome, redb::Error> {
        let full = self.shelves.len() >= self.options.mailboxes_max;
        if full && !self.shelves.contains_key(&mailbox) {
            return Ok(Outcome::StoreFull);
        }
        let shelf = self.shelves.entry(mailbox).or_default();
        shelf.opened_s = now_s;
        let acknowledged = shelf.acknowledged;
        self.save(&mailbox)?;
        Ok(Outcome::Opened { acknowledged })
    }

    fn put(&mut self, mailbox: &Mailbox, body: &[u8], now_s: u64) -> Result<Placed, redb::Error> {
        let hash = hash(body);
        let Some(shelf) = self.shelves.get_mut(mailbox) else {
            return Ok(Placed::UnknownMailbox);
        };
        if self.bodies.get((mailbox, &hash))?.is_some() {
            return Ok(Placed::Duplicate);
        }
        let bytes = shelf.bytes + body.len() as u64;
        if shelf.letters() >= self.options.letters_max || bytes > self.options.bytes_max {
            return Ok(Placed::MailboxFull);
        }
        shelf.last += 1;
        shelf.bytes = bytes;
        let number = shelf.last;
        let row = [&hash[..], &now_s.to_le_bytes(), body].concat();
        self.letters.insert((mailbox, number), &row[..])?;
        self.bodies.insert((mailbox, &hash), number)?;
        self.save(mailbox)?;
        Ok(Placed::Stored)
    }

    /// Forgets the letters up to and with place `cursor`, and soon after their bodies.
    fn forget_letters(
        &mut self,
        mailbox: &Mailbox,
        cursor: u64,
        now_s: u64,
    ) -> Result<(), redb::Error> {
        let Some(shelf) = self.shelves.get_mut(mailbox) else { return Ok(()) };
        let cursor = cursor.min(shelf.last);
        while shelf.acknowledged < cursor {
            shelf.acknowledged += 1;
            let Some(row) = self.letters.remove((mailbox, shelf.acknowledged))? else { continue };
            let row = row.value();
            shelf.bytes -= row.len().saturating_sub(LETTER_HEAD_BYTES) as u64;
            if let Some(hash) = row.first_chunk() {
                self.gone.push_back((now_s + REMEMBERED_S, *mailbox, *hash));
            }
        }
        self.save(mailbox)
    }

    fn sweep(&mut self, now_s: u64) -> Result<(), redb::Error> {
        while self.gone.front().is_some_and(|(at, _, _)| *at <= now_s) {
            if let Some((_, mailbox, hash)) = self.gone.pop_front() {
                self.bodies.remove((&mailbox, &hash))?;
            }
        }
        let expiry_s = self.options.expiry.as_secs();
        let all: Vec<Mailbox> = self.shelves.keys().copied().collect();
        for mailbox in all {
            self.sweep_mailbox(&mailbox, now_s.saturating_sub(expiry_s), now_s)?;
        }
        Ok(())
    }

    /// Forgets letters, and the mailbox itself, that nobody came for since second `oldest_s`.
    fn sweep_mailbox(
        &mut self,
        mailbox: &Mailbox,
        oldest_s: u64,
        now_s: u64,
    ) -> Result<(), redb::Error> {
        let Some(&shelf) = self.shelves.get(mailbox) else { return Ok(()) };
        if shelf.letters() == 0 {
            if shelf.opened_s < oldest_s {
                self.shelves.remove(mailbox);
                self.mailboxes.remove(mailbox)?;
            }
            return Ok(());
        }
        let mut cursor = shelf.acknowledged;
        let end = shelf.last.min(cursor + SWEPT_LETTERS_MAX);
        while cursor < end && self.arrival_s((mailbox, cursor + 1))? < oldest_s {
            cursor += 1;
        }
        if cursor == shelf.acknowledged {
            return Ok(());
        }
        self.forget_letters(mailbox, cursor, now_s)
    }

    fn arrival_s(&self, letter: (&Mailbox, u64)) -> Result<u64, redb::Error> {
        let row = self.letters.get(letter)?;
        let second = row.and_then(|row| row.value().get(HASH_BYTES..)?.first_chunk().copied());
        Ok(second.map_or(0, u64::from_le_bytes))
    }

    /// Writes what memory says of a mailbox.
    fn save(&mut self, mailbox: &Mailbox) -> Result<(), redb::Error> {
        if let Some(&Shelf { last, acknowledged, bytes, opened_s }) = self.shelves.get(mailbox) {
            self.mailboxes.insert(mailbox, (last, acknowledged, bytes, opened_s))?;
        }
        Ok(())
    }
}

fn hash(body: &[u8]) -> Hash {
    let mut hash = [0; HASH_BYTES];
    hash.copy_from_slice(&sha256::digest(&[body])[..HASH_BYTES]);
    hash
}
