//! The tables of all mailboxes in one `redb` database, and the group commit over them.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | mailboxes | mailbox | its [`Shelf`] |
//! | letters | mailbox, number | hash of the body, second of its arrival, body |
//! | bodies | mailbox, hash of the body | number: so that a copy is known for one |
//! | clock | - | second of the last commit |
//! | patience | - | second before which nothing expires, if the clock has jumped |
//!
//! Every commit writes the clock: one that holds nothing but discards takes the disk as long as
//! any other. Shelves are also in memory, since they decide about every letter.
//!
//! No sender makes a body twice: every try seals the part again. A copy is a packet that was taken
//! twice, and the replay table stops those; the bodies are for when that is lost.

mod expiry;

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
/// How long a body is remembered once its letter has gone, since its owner may have fetched it
/// when the copy comes.
const REMEMBERED_S: u64 = 600;

type Hash = [u8; HASH_BYTES];

const MAILBOXES: TableDefinition<'_, &Mailbox, (u64, u64, u64, u64)> =
    TableDefinition::new("mailboxes");
const LETTERS: TableDefinition<'_, (&Mailbox, u64), &[u8]> = TableDefinition::new("letters");
const BODIES: TableDefinition<'_, (&Mailbox, &Hash), u64> = TableDefinition::new("bodies");
const CLOCK: TableDefinition<'_, (), u64> = TableDefinition::new("clock");
const PATIENCE: TableDefinition<'_, (), u64> = TableDefinition::new("patience");

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
            let _made = transaction.open_table(PATIENCE)?;
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
    patience: Table<'t, (), u64>,
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
            patience: transaction.open_table(PATIENCE)?,
        })
    }

    fn change(&mut self, request: Request, now_s: u64) -> Result<Outcome, redb::Error> {
        self.set_clock(now_s)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMicros;
    use std::time::Duration;

    pub(super) const BOX: Mailbox = [1; 32];
    pub(super) const LIMITS: Options = Options {
        mailboxes_max: 2,
        letters_max: 3,
        bytes_max: 100,
        expiry: Duration::from_secs(3600),
    };

    pub(super) fn database() -> Database {
        Database::in_memory(LIMITS).unwrap()
    }

    /// What comes of `requests`, in one commit at second `now_s`.
    pub(super) fn commit(
        database: &mut Database,
        now_s: u64,
        requests: Vec<Request>,
    ) -> Vec<Outcome> {
        let order =
            |(ticket, request)| Order { ticket, wall: UnixMicros::from_secs(now_s), request };
        let done = database.commit((0..).zip(requests).map(order).collect()).unwrap();
        assert!((0..).zip(&done).all(|(ticket, completion)| completion.ticket == ticket));
        done.into_iter().map(|completion| completion.outcome).collect()
    }

    pub(super) fn put(body: &[u8]) -> Request {
        Request::Put { mailbox: BOX, body: body.into() }
    }

    fn read(after: u64) -> Request {
        Request::Read { mailbox: BOX, after, letters_max: 100 }
    }

    pub(super) fn acknowledge(cursor: u64) -> Request {
        Request::Acknowledge { mailbox: BOX, cursor }
    }

    pub(super) fn placed(outcomes: &[Outcome]) -> Vec<Placed> {
        let of = |outcome: &Outcome| match outcome {
            Outcome::Placed(placed) => Some(*placed),
            _ => None,
        };
        outcomes.iter().filter_map(of).collect()
    }

    /// The place up to which all is acknowledged, and the numbers that wait.
    pub(super) fn waiting(database: &mut Database) -> (u64, Vec<u64>) {
        match commit(database, 0, vec![read(0)]).pop() {
            Some(Outcome::Letters { acknowledged, letters }) => {
                (acknowledged, letters.iter().map(|letter| letter.number).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn letters_wait_in_order_until_acknowledged() {
        let mut database = database();
        let requests = vec![Request::Open(BOX), put(b"a"), put(b"b"), put(b"c"), acknowledge(1)];
        let outcomes = commit(&mut database, 0, requests);
        assert_eq!(outcomes[0], Outcome::Opened { acknowledged: 0 });
        assert_eq!(placed(&outcomes), [Placed::Stored; 3]);
        assert_eq!(waiting(&mut database), (1, vec![2, 3]));
        let letters = vec![Letter { number: 3, body: (*b"c").into() }];
        assert_eq!(
            commit(&mut database, 0, vec![read(2)]),
            [Outcome::Letters { acknowledged: 1, letters }]
        );
        assert_eq!(
            commit(&mut database, 0, vec![acknowledge(100), Request::Open(BOX)])[1],
            Outcome::Opened { acknowledged: 3 }
        );
    }

    #[test]
    fn quotas_are_in_letters_and_in_bytes_and_an_acknowledgement_makes_room() {
        let mut database = database();
        let requests = vec![Request::Open(BOX), put(b"a"), put(b"b"), put(b"c"), put(b"d")];
        let outcomes = commit(&mut database, 0, requests);
        assert_eq!(placed(&outcomes)[3], Placed::MailboxFull);
        let outcomes =
            commit(&mut database, 0, vec![acknowledge(3), put(&[1; 101]), put(&[1; 100])]);
        assert_eq!(placed(&outcomes), [Placed::MailboxFull, Placed::Stored]);
        assert_eq!(placed(&commit(&mut database, 0, vec![put(b"x")])), [Placed::MailboxFull]);
    }

    #[test]
    fn an_unknown_mailbox_a_full_store_and_a_discard_are_values() {
        let mut database = database();
        let requests = vec![put(b"a"), Request::Discard];
        let expected = [Placed::UnknownMailbox, Placed::Discarded];
        assert_eq!(placed(&commit(&mut database, 0, requests)), expected);
        let open = (1..=3).chain([1]).map(|number| Request::Open([number; 32])).collect();
        let opened = Outcome::Opened { acknowledged: 0 };
        assert_eq!(
            commit(&mut database, 0, open),
            [opened.clone(), opened.clone(), Outcome::StoreFull, opened]
        );
    }

    #[test]
    fn the_same_body_is_a_duplicate_until_its_letter_is_gone_for_a_while() {
        let mut database = database();
        let requests = vec![Request::Open(BOX), put(b"a"), put(b"a"), acknowledge(1), put(b"a")];
        let expected = [Placed::Stored, Placed::Duplicate, Placed::Duplicate];
        assert_eq!(placed(&commit(&mut database, 0, requests)), expected);
        let requests = vec![Request::Sweep, put(b"a")];
        assert_eq!(placed(&commit(&mut database, REMEMBERED_S - 1, requests)), [Placed::Duplicate]);
        let requests = vec![Request::Sweep, put(b"a")];
        assert_eq!(placed(&commit(&mut database, REMEMBERED_S, requests)), [Placed::Stored]);
    }

    #[test]
    fn everything_is_there_when_the_file_is_opened_again() {
        let unique = format!("mixline-store-{}", std::process::id());
        let folder = std::env::temp_dir().join(unique);
        let mut database = Database::open(&folder, LIMITS).unwrap();
        let second = Database::open(&folder, LIMITS);
        assert!(matches!(second, Err(StoreError::Open { .. })), "one process at a time");
        let requests = vec![Request::Open(BOX), put(b"a"), put(b"b"), put(b"c"), acknowledge(1)];
        commit(&mut database, 0, requests);
        drop(database);
        let mut database = Database::open(&folder, LIMITS).unwrap();
        assert_eq!(waiting(&mut database), (1, vec![2, 3]));
        let expected = [Placed::Duplicate, Placed::Duplicate, Placed::Stored, Placed::MailboxFull];
        let requests = vec![put(b"a"), put(b"b"), put(b"d"), put(b"e")];
        assert_eq!(placed(&commit(&mut database, 0, requests)), expected);
        let requests = vec![Request::Sweep, acknowledge(4), put(b"a")];
        assert_eq!(placed(&commit(&mut database, REMEMBERED_S, requests)), [Placed::Stored]);
        drop(database);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
