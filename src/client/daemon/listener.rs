//! The daemon's unix socket: for its user alone.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::Door;

/// Applications that wait to be let in, at most.
const BACKLOG: i32 = 128;
/// How long to wait when the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Why nobody can come in.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another daemon is there.
    #[error(
        "{}: a daemon listens there already: end it, or name another client.socket",
        .0.display()
    )]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{}: that is no socket: name another path in client.socket", .0.display())]
    NoSocket(PathBuf),
    /// The folder of the socket is open to others.
    #[error(
        "{}: others can write to this folder: run `chmod go-w` on it, or name a socket in \
         another one in client.socket",
        .0.display()
    )]
    OpenFolder(PathBuf),
    /// It cannot be made.
    #[error("{}: {source}: name another path in client.socket", path.display())]
    Io {
        /// The socket, or its folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A socket at which applications come in. Dropping it takes it away.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens at `path`; the folder is made, mode 0700, if it is not there. A socket that a dead
    /// daemon left is replaced.
    ///
    /// # Errors
    /// When somebody listens there, or the socket cannot be made.
    pub fn open(path: &Path, door: Door) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Io { path: path.to_path_buf(), source };
        prepare_folder(path)?;
        remove_dead(path)?;
        let listener = bind(path).map_err(failed)?;
        let closing = Arc::new(AtomicBool::new(false));
        let thread = {
            let closing = closing.clone();
            let accept = move || accept(&listener, &door, &closing);
            thread::Builder::new().name("socket".into()).spawn(accept).map_err(failed)?
        };
        Ok(Listener { path: path.to_path_buf(), closing, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        // The thread waits for somebody to come.
        let woken = UnixStream::connect(&self.path).is_ok();
        let _ = fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

/// A socket at `path` that was never open to others, whatever the umask: its file is made with
/// the mode that the socket has when it is bound (unix(7)).
fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let file = File::from(OwnedFd::from(socket));
    file.set_permissions(Permissions::from_mode(0o600))?;
    let socket = Socket::from(OwnedFd::from(file));
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(OwnedFd::from(socket).into())
}

fn accept(listener: &UnixListener, door: &Door, closing: &AtomicBool) {
    while !closing.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, _)) if !closing.load(Ordering::Acquire) => door.admit(stream),
            Ok(_) => return,
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Makes the socket's folder, or checks that nobody else can put a socket of theirs in it.
fn prepare_folder(path: &Path) -> Result<(), ListenError> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let failed = |source| ListenError::Io { path: folder.to_path_buf(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let mode = fs::metadata(folder).map_err(failed)?.permissions().mode();
    // A sticky one is no better: there, others can take the name before a daemon does.
    if mode & 0o022 != 0 { Err(ListenError::OpenFolder(folder.into())) } else { Ok(()) }
}

/// Removes a socket at which nobody listens.
fn remove_dead(path: &Path) -> Result<(), ListenError> {
    let Ok(there) = fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(ListenError::NoSocket(path.to_path_buf()));
    }
    if UnixStream::connect(path).is_ok() {
        return Err(ListenError::InUse(path.to_path_buf()));
    }
    fs::remove_file(path).map_err(|source| ListenError::Io { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("mixline-listener-{name}-{}", std::process::id()))
    }

    #[test]
    fn a_socket_is_its_users_alone_from_the_moment_it_is_bound() {
        let path = scratch("bind");
        let _listener = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        fs::remove_file(&path).unwrap();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_folder_in_which_others_can_write_is_refused_sticky_or_not() {
        let folder = scratch("folder");
        fs::create_dir(&folder).unwrap();
        let mut judge = |mode| {
            fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            prepare_folder(&folder.join("socket")).is_ok()
        };
        let judged = [0o700, 0o755, 0o777, 0o1777, 0o770].map(&mut judge);
        fs::remove_dir(&folder).unwrap();
        assert_eq!(judged, [true, true, false, false, false]);
    }
}
