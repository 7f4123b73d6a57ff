//! Several descriptors to wait for as one: `epoll(7)` as safe calls.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// A descriptor that is readable while one of its members is ready.
#[derive(Debug)]
pub struct Gathering {
    fd: OwnedFd,
    /// What makes a member ready in any case.
    always: i32,
}

impl Gathering {
    /// One without members, each of which will be ready when it can be read.
    ///
    /// # Errors
    /// What the kernel answered: most likely that no descriptor is left.
    pub fn new() -> io::Result<Self> {
        Self::of(libc::EPOLLIN)
    }

    /// One without members, none of which will be ready while its room is not watched.
    ///
    /// # Errors
    /// What the kernel answered: most likely that no descriptor is left.
    pub fn of_room() -> io::Result<Self> {
        Self::of(0)
    }

    fn of(always: i32) -> io::Result<Self> {
        // SAFETY: no memory of ours is involved.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made `fd` for us; nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Gathering { fd, always })
    }

    /// Makes `member`, until it is closed, a member whose room is not watched.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn add(&self, member: BorrowedFd) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, member, false)
    }

    /// Decides whether `member` is also ready when it can be written.
    ///
    /// # Errors
    /// What the kernel answered: `member` was not added.
    pub fn watch_room(&self, member: BorrowedFd, watches: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, member, watches)
    }

    fn control(&self, operation: i32, member: BorrowedFd, watches_room: bool) -> io::Result<()> {
        let room = if watches_room { libc::EPOLLOUT } else { 0 };
        let events = (self.always | room).cast_unsigned();
        let mut event = libc::epoll_event { events, u64: 0 };
        let (fd, member) = (self.fd.as_raw_fd(), member.as_raw_fd());
        // SAFETY: `event` is live for the length of the call; the kernel only reads it.
        let status = unsafe { libc::epoll_ctl(fd, operation, member, &raw mut event) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl AsRawFd for Gathering {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
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
    fn where_only_room_counts_what_can_be_read_does_not() {
        let gathering = Gathering::of_room().unwrap();
        let mut member = event::counter().unwrap();
        gathering.add(member.as_fd()).unwrap();
        // Readable, and writable as ever.
        member.write_all(&1u64.to_ne_bytes()).unwrap();
        for watches in [false, true, false] {
            gathering.watch_room(member.as_fd(), watches).unwrap();
            assert_eq!(is_ready(&gathering), watches);
        }
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
