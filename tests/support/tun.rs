//! A network interface whose other end is a file: what the kernel sends over it can be read, what
//! is written into it the kernel receives.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// The kernel's door to such interfaces.
pub(crate) const DOOR: &str = "/dev/net/tun";

/// Makes the interface `name` in this process's network namespace. The file takes and gives one IP
/// packet at a time and never blocks; the interface ends with it, wherever it was moved.
pub(crate) fn open(name: &str) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DOOR)?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).expect("a small number"),
        },
    };
    assert!(name.len() < libc::IFNAMSIZ, "the kernel wants shorter names than {name}");
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the file is open, and the request is a live, writable ifreq for the length of the
    // call, which is what TUNSETIFF takes.
    let status = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if status == 0 { Ok(file) } else { Err(io::Error::last_os_error()) }
}
