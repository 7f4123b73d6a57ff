//! Tells the service manager how the node stands (`sd_notify`): ready, stopping, links up.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The line to whoever started the node; silent when nobody listens.
#[derive(Debug)]
pub(super) struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// Takes the socket that `NOTIFY_SOCKET` names: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// When the variable is set and its socket cannot be used.
    pub(super) fn from_environment() -> io::Result<Self> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(Notifier(None)) };
        let address = match name.as_encoded_bytes().strip_prefix(b"@") {
            Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
            None => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Notifier(Some((socket, address))))
    }

    /// Sends `state`: assignments, one a line. Returns whether that is done; if not, the manager
    /// has too much to read at the moment, and wants to be told again. One that has gone away
    /// wants nothing.
    pub(super) fn tell(&self, state: &str) -> bool {
        let Some((socket, address)) = &self.0 else { return true };
        match socket.send_to_addr(state.as_bytes(), address) {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }
}
