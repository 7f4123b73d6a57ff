//! What a port sleeps on that only sends: room in its socket, and only while something waits for it.
//!
//! The socket itself would not do: it is also ready for whatever comes to the port that receives.

use super::OpenError;
use crate::host::gathering::Gathering;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// A descriptor that is ready when there is room that was waited for.
#[derive(Debug)]
pub(super) struct Room {
    gathering: Gathering,
    is_watched: bool,
}

impl Room {
    /// That of `socket`, which nothing waits for yet.
    pub(super) fn of(socket: BorrowedFd) -> Result<Self, OpenError> {
        let gather = || {
            let gathering = Gathering::of_room()?;
            gathering.add(socket)?;
            Ok(gathering)
        };
        let refused = |source| OpenError::refused("wait for room in a socket", source);
        Ok(Room { gathering: gather().map_err(refused)?, is_watched: false })
    }

    /// Waits for room in `socket`, which is the one that this was made of, or no longer.
    pub(super) fn watch(&mut self, socket: BorrowedFd, is_wanted: bool) {
        if is_wanted != self.is_watched {
            // It is a member, so it cannot fail.
            let _ = self.gathering.watch_room(socket, is_wanted);
            self.is_watched = is_wanted;
        }
    }
}

impl AsRawFd for Room {
    fn as_raw_fd(&self) -> RawFd {
        self.gathering.as_raw_fd()
    }
}
