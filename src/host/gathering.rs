//! Several descriptors to wait for as one: `epoll(7)` as safe calls.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// A descriptor that is readable while one of its members is ready.
#[derive(Debug)]
pub struct Gathering(OwnedFd);

impl Gathering {
    /// One without members.
    ///
    /// # Errors
    /// What the kernel answered: most likely that no descriptor is left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory of ours is involved.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made `fd` for us; nothing else owns it.
        Ok(Gathering(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes `member`, until it is closed, one that is ready when it can be read.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn add(&self, member: BorrowedFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, member, libc::EPOLLIN)
    }

    /// Decides whether `member` is also ready when it can be written.
    ///
    /// # Errors
    /// What the kernel answered: `member` was not added.
    pub fn watch_room(&self, member: BorrowedFd, watches: bool) -> io::Result<()> {
        let room = if watches { libc::EPOLLOUT } else { 0 };
        self.control(libc::EPOLL_CTL_MOD, member, libc::EPOLLIN | room)
    }

    fn control(&self, operation: i32, member: BorrowedFd, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: 0 };
        let (fd, member) = (self.0.as_raw_fd(), member.as_raw_fd());
        // SAFETY: `event` is live for the length of the call; the kernel only reads it.
        let status = unsafe { libc::epoll_ctl(fd, operation, member, &raw mut event) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsRawFd for Gathering {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::event::{self, Watch};
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    fn is_ready(gathering: &Gathering) -> bool {
        let mut watches = [Watch::new(gathering.as_raw_fd(), true)];
        event::wait(&mut watches, Some(Duration::ZERO));
        watches[0].ready()
    }

    #[test]
    fn it_is_ready_while_a_member_is() {
        let gathering = Gathering::new().unwrap();
        let members = [event::counter().unwrap(), event::counter().unwrap()];
        for member in &members {
            gathering.add(member.as_fd()).unwrap();
        }
        for mut member in &members {
            assert!(!is_ready(&gathering));
            member.write_all(&1u64.to_ne_bytes()).unwrap();
            assert!(is_ready(&gathering) && is_ready(&gathering));
            member.read_exact(&mut [0; 8]).unwrap();
        }
        assert!(!is_ready(&gathering));
    }

    #[test]
    fn room_counts_only_while_it_is_watched() {
        let gathering = Gathering::new().unwrap();
        let member = event::counter().unwrap();
        gathering.add(member.as_fd()).unwrap();
        for watches in [true, false, true] {
            gathering.watch_room(member.as_fd(), watches).unwrap();
            assert_eq!(is_ready(&gathering), watches);
        }
    }
}
