//! One application: a thread that reads its requests and one that writes its answers.
//!
//! Whatever an application does or leaves undone holds up these two threads and nobody else.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::Notice;
use crate::client::protocol::{self, Answer, BODY_BYTES_MAX, Request};

/// How long an application may leave its answers unread before it is cut off.
const WRITE_MAX: Duration = Duration::from_secs(10);
/// How long it may take to say which version it speaks.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// Bytes of answers that wait for one application, at most: three of the longest.
const BACKLOG_BYTES_MAX: usize = 3 * BODY_BYTES_MAX;
/// Bytes that wait above which no message is added: they would soon be too many, though the
/// application reads.
const ROOM_BACKLOG_BYTES_MAX: usize = BODY_BYTES_MAX;

/// Names an application's connection within this daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct VisitorId(pub(super) u64);

/// The desk's end of a connection. When it is dropped, what was answered is still written, and
/// the connection ends.
#[derive(Debug)]
pub(super) struct Visitor {
    answers: Sender<Zeroizing<Vec<u8>>>,
    backlog_bytes: Arc<AtomicUsize>,
    /// Lets the next request in: there is never more than one at the desk.
    next: SyncSender<()>,
    stream: UnixStream,
}

impl Visitor {
    /// Serves `stream` as the application `id`, whose requests go to the desk by `notices`.
    ///
    /// # Errors
    /// When the system gives no thread or no descriptor.
    pub(super) fn admit(
        id: VisitorId,
        stream: UnixStream,
        notices: Sender<Notice>,
    ) -> io::Result<Self> {
        stream.set_write_timeout(Some(WRITE_MAX))?;
        let (answers, answers_to_write) = mpsc::channel();
        let (next, permits) = mpsc::sync_channel(1);
        let backlog_bytes = Arc::new(AtomicUsize::new(0));
        let (reader, writer) = (stream.try_clone()?, stream.try_clone()?);
        let backlog = Backlog { bytes: backlog_bytes.clone(), notices: notices.clone() };
        thread::Builder::new()
            .name("application-out".into())
            .spawn(move || write(writer, &answers_to_write, &backlog))?;
        thread::Builder::new().name("application-in".into()).spawn(move || {
            let malformed = read(reader, id, &notices, &permits).is_err();
            let _ = notices.send(Notice::Gone { visitor: id, malformed });
        })?;
        Ok(Visitor { answers, backlog_bytes, next, stream })
    }

    /// Puts an answer in line; whether the application still reads.
    pub(super) fn answer(&self, answer: &Answer) -> bool {
        let frame = Zeroizing::new(protocol::encode(answer));
        let waiting = self.backlog_bytes.fetch_add(frame.len(), Ordering::Relaxed);
        waiting <= BACKLOG_BYTES_MAX && self.answers.send(frame).is_ok()
    }

    /// Whether a message may be added to what it has not read. If not, the desk hears
    /// [`Notice::Drained`] when it may.
    pub(super) fn has_room(&self) -> bool {
        self.backlog_bytes.load(Ordering::Relaxed) <= ROOM_BACKLOG_BYTES_MAX
    }

    /// Lets the next request in.
    pub(super) fn next(&self) {
        // Full means that the reader has not waited for it yet.
        let _ = self.next.try_send(());
    }

    /// Ends the connection at once.
    pub(super) fn cut_off(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// What waits for an application, as its writer sees it.
struct Backlog {
    bytes: Arc<AtomicUsize>,
    notices: Sender<Notice>,
}

impl Backlog {
    /// So much of it was written.
    fn shrink(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before > ROOM_BACKLOG_BYTES_MAX && before - bytes <= ROOM_BACKLOG_BYTES_MAX {
            // A desk that is gone has nothing to add.
            let _ = self.notices.send(Notice::Drained);
        }
    }
}

/// Writes answers until there are no more; then the connection ends.
fn write(mut stream: UnixStream, answers: &Receiver<Zeroizing<Vec<u8>>>, backlog: &Backlog) {
    let mut greeted = stream.write_all(&protocol::PREAMBLE);
    while greeted.is_ok()
        && let Ok(frame) = answers.recv()
    {
        greeted = stream.write_all(&frame);
        backlog.shrink(frame.len());
    }
    // It is gone already, or it goes now.
    let _ = stream.shutdown(Shutdown::Both);
}

/// Reads requests until the application ends.
///
/// # Errors
/// When what it sends makes no sense.
fn read(
    mut stream: UnixStream,
    visitor: VisitorId,
    notices: &Sender<Notice>,
    permits: &Receiver<()>,
) -> Result<(), protocol::Malformed> {
    if stream.set_read_timeout(Some(GREETING_MAX)).is_err() {
        return Ok(());
    }
    let mut theirs = [0; protocol::PREAMBLE.len()];
    if io::Read::read_exact(&mut stream, &mut theirs).is_err() {
        return Ok(());
    }
    if theirs != protocol::PREAMBLE {
        return Err(protocol::Malformed);
    }
    if stream.set_read_timeout(None).is_err() {
        return Ok(());
    }
    loop {
        let body = match protocol::read_frame(&mut stream) {
            Ok(Some(body)) => Zeroizing::new(body),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(protocol::Malformed);
            }
            Ok(None) | Err(_) => return Ok(()),
        };
        let request: Request = protocol::decode(&body)?;
        let told = notices.send(Notice::Call { visitor, request });
        if told.is_err() || permits.recv().is_err() {
            return Ok(());
        }
    }
}
