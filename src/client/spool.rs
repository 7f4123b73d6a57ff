//! What came in and was not read yet: kept on disk, so that the gateway may forget it.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | letters | record | envelope: a part of a message of which others are missing |
//! | messages | record | id, bytes: a message that waits for a reader |
//! | finished | id | record: messages that were here, read or not |
//! | finished_order | record | id: the oldest are forgotten first |
//! | last | - | the last record |
//!
//! The messages lie there as they will be read; the file belongs to the user alone. What is taken
//! away leaves its bytes in free pages until others are written over them.

use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use redb::backends::InMemoryBackend;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, WriteTransaction,
};

use super::Record;
use crate::message::MessageId;

/// Letters kept at most; of more, the oldest go: they belong to messages that nobody completes.
pub const LETTERS_MAX: u64 = 131_072;
/// Messages known to have been here, at most.
pub const FINISHED_MAX: u64 = 65_536;
/// Bytes of unread messages at which no more are taken in: the mailbox then fills at the gateway.
pub const UNREAD_BYTES_MAX: u64 = 1 << 30;
const MODE_GROUP_AND_OTHERS: u32 = 0o077;
/// Bytes of memory that the database keeps pages in.
const CACHE_BYTES: usize = 4 << 20;

const LETTERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("letters");
const MESSAGES: TableDefinition<'_, u64, (&MessageId, &[u8])> = TableDefinition::new("messages");
const FINISHED: TableDefinition<'_, &MessageId, u64> = TableDefinition::new("finished");
const FINISHED_ORDER: TableDefinition<'_, u64, &MessageId> = TableDefinition::new("finished_order");
const LAST: TableDefinition<'_, (), u64> = TableDefinition::new("last");

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file cannot be made or opened.
    #[error("{}: {source}: name another file in client.spool", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others than its owner can open it.
    #[error("{}: mode {mode:04o} lets others read messages: run `chmod 0600 {}`",
        path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Another process has it open.
    #[error(
        "{}: another process reads this mailbox: use its daemon, or another mailbox",
        .0.display()
    )]
    InUse(PathBuf),
    /// It cannot be read or written.
    #[error("the spool of unread messages fails: {0}")]
    Database(Box<redb::Error>),
}

impl<E: Into<redb::Error>> From<E> for SpoolError {
    fn from(error: E) -> Self {
        SpoolError::Database(Box::new(error.into()))
    }
}

/// Letters and messages on disk.
#[derive(Debug)]
pub struct Spool {
    database: Database,
    unread_bytes: u64,
}

impl Spool {
    /// The spool in the file `path`, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or read, or another process or other users can.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let failed = |source| SpoolError::File { path: path.to_path_buf(), source };
        let file = options.open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & MODE_GROUP_AND_OTHERS != 0 {
            return Err(SpoolError::Exposed { path: path.to_path_buf(), mode });
        }
        let mut builder = redb::Builder::new();
        match builder.set_cache_size(CACHE_BYTES).create_file(file) {
            Ok(database) => Self::with_tables(database),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                Err(SpoolError::InUse(path.to_path_buf()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A spool that ends with this process: for a mailbox that does, too.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory() -> Result<Self, SpoolError> {
        let backend = InMemoryBackend::new();
        Self::with_tables(redb::Builder::new().create_with_backend(backend)?)
    }

    /// The letters kept, with their records' numbers, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn letters(&self) -> Result<Vec<(u64, Vec<u8>)>, SpoolError> {
        let letters = self.database.begin_read()?.open_table(LETTERS)?;
        let rows = letters.iter()?.map(|row| {
            let (number, body) = row?;
            Ok((number.value(), body.value().to_vec()))
        });
        rows.collect()
    }

    /// The numbers of the messages that wait for a reader, oldest first.
    ///
    /// # Errors
    /// See [`Spool::letters`].
    pub fn unread(&self) -> Result<Vec<u64>, SpoolError> {
        let messages = self.database.begin_read()?.open_table(MESSAGES)?;
        messages.iter()?.map(|row| Ok(row?.0.value())).collect()
    }

    /// Whether the unread messages take all the room that they may.
    pub fn is_full(&self) -> bool {
        self.unread_bytes >= UNREAD_BYTES_MAX
    }

    /// The bytes of message `number`, if it waits.
    ///
    /// # Errors
    /// See [`Spool::letters`].
    pub fn message(&self, number: u64) -> Result<Option<Vec<u8>>, SpoolError> {
        let messages = self.database.begin_read()?.open_table(MESSAGES)?;
        Ok(messages.get(number)?.map(|message| message.value().1.to_vec()))
    }

    /// The number of the last record that was kept.
    ///
    /// # Errors
    /// See [`Spool::letters`].
    pub fn last(&self) -> Result<u64, SpoolError> {
        let last = self.database.begin_read()?.open_table(LAST)?;
        Ok(last.get(())?.map_or(0, |last| last.value()))
    }

    /// Keeps `records` and takes away the messages `taken`, both or nothing. Says which of the
    /// records are messages that were never here before.
    ///
    /// # Errors
    /// See [`Spool::letters`].
    pub fn commit(&mut self, records: &[Record], taken: &[u64]) -> Result<Vec<u64>, SpoolError> {
        let transaction = self.database.begin_write()?;
        let (mut new, mut unread_bytes) = (Vec::new(), self.unread_bytes);
        for record in records {
            if keep(&transaction, record)?
                && let Record::Message { number, received } = record
            {
                unread_bytes += received.bytes.len() as u64;
                new.push(*number);
            }
        }
        let mut messages = transaction.open_table(MESSAGES)?;
        for number in taken {
            if let Some(message) = messages.remove(number)? {
                unread_bytes -= message.value().1.len() as u64;
            }
        }
        drop(messages);
        transaction.commit()?;
        self.unread_bytes = unread_bytes;
        Ok(new)
    }

    fn with_tables(database: Database) -> Result<Self, SpoolError> {
        let transaction = database.begin_write()?;
        transaction.open_table(LETTERS)?;
        transaction.open_table(FINISHED)?;
        transaction.open_table(FINISHED_ORDER)?;
        transaction.open_table(LAST)?;
        let messages = transaction.open_table(MESSAGES)?;
        let mut unread_bytes = 0;
        for row in messages.iter()? {
            unread_bytes += row?.1.value().1.len() as u64;
        }
        drop(messages);
        transaction.commit()?;
        Ok(Spool { database, unread_bytes })
    }
}

/// Keeps one record; whether it is a message that was never here before.
fn keep(transaction: &WriteTransaction, record: &Record) -> Result<bool, redb::Error> {
    let mut letters = transaction.open_table(LETTERS)?;
    transaction.open_table(LAST)?.insert((), record.number())?;
    match record {
        Record::Letter { number, body } => {
            letters.insert(number, &body[..])?;
            if letters.len()? > LETTERS_MAX {
                letters.pop_first()?;
            }
            Ok(false)
        }
        Record::Message { number, received } => {
            for letter in &received.letters {
                letters.remove(letter)?;
            }
            if !finish(transaction, &received.id, *number)? {
                return Ok(false);
            }
            let message = (&received.id, &received.bytes[..]);
            transaction.open_table(MESSAGES)?.insert(number, message)?;
            Ok(true)
        }
    }
}

/// Remembers the message `id`; whether it is new.
fn finish(
    transaction: &WriteTransaction,
    id: &MessageId,
    number: u64,
) -> Result<bool, redb::Error> {
    let mut finished = transaction.open_table(FINISHED)?;
    if finished.get(id)?.is_some() {
        return Ok(false);
    }
    let mut order = transaction.open_table(FINISHED_ORDER)?;
    finished.insert(id, number)?;
    order.insert(number, id)?;
    if order.len()? > FINISHED_MAX
        && let Some((_, oldest)) = order.pop_first()?
    {
        finished.remove(oldest.value())?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Received;

    fn letter(number: u64) -> Record {
        Record::Letter { number, body: vec![1; 9] }
    }

    fn message(number: u64, id: u8, letters: &[u64]) -> Record {
        let received = Received { id: [id; 16], bytes: vec![id; 5], letters: letters.to_vec() };
        Record::Message { number, received }
    }

    #[test]
    fn a_message_replaces_its_letters_and_waits_until_it_is_taken() {
        let mut spool = Spool::in_memory().unwrap();
        assert_eq!(spool.commit(&[letter(1), letter(2)], &[]).unwrap(), [0; 0]);
        let new = spool.commit(&[letter(3), message(4, 7, &[1, 3, 4])], &[]).unwrap();
        assert_eq!((&new[..], spool.unread_bytes), (&[4][..], 5));
        assert_eq!(spool.letters().unwrap(), [(2, vec![1; 9])]);
        assert_eq!(spool.message(4).unwrap(), Some(vec![7; 5]));
        assert_eq!((spool.unread().unwrap(), spool.last().unwrap()), (new, 4));
        spool.commit(&[], &[4]).unwrap();
        assert_eq!((spool.unread().unwrap(), spool.message(4).unwrap()), (vec![], None));
        assert_eq!(spool.unread_bytes, 0);
    }

    #[test]
    fn a_message_that_was_here_is_no_news_even_when_it_was_read() {
        let mut spool = Spool::in_memory().unwrap();
        spool.commit(&[message(1, 7, &[1])], &[]).unwrap();
        spool.commit(&[], &[1]).unwrap();
        assert_eq!(spool.commit(&[message(2, 7, &[2])], &[]).unwrap(), [0; 0]);
    }

    #[test]
    fn a_file_keeps_what_it_holds_and_serves_one_process() {
        let name = format!("mixline-spool-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut spool = Spool::open(&path).unwrap();
        spool.commit(&[letter(1), message(2, 7, &[2])], &[]).unwrap();
        assert!(matches!(Spool::open(&path), Err(SpoolError::InUse(_))));
        drop(spool);
        let spool = Spool::open(&path).unwrap();
        assert_eq!((spool.last().unwrap(), spool.unread().unwrap().len()), (2, 1));
        assert_eq!(spool.letters().unwrap().len(), 1);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_others_can_open_is_refused() {
        let name = format!("mixline-spool-exposed-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        drop(Spool::open(&path).unwrap());
        let opened = [0o640, 0o604, 0o600].map(|mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match Spool::open(&path) {
                Err(SpoolError::Exposed { mode, .. }) => Err(mode),
                spool => Ok(spool.is_ok()),
            }
        });
        std::fs::remove_file(&path).unwrap();
        assert_eq!(opened, [Err(0o640), Err(0o604), Ok(true)]);
    }
}
