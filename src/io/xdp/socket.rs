//! The system calls of one AF_XDP socket (`linux/if_xdp.h`, Documentation/networking/af_xdp.rst).

#![allow(unsafe_code)]

use super::error::{Place, XdpError};
use super::mapping::Mapping;
use super::memory::{Memory, Region};
use super::ring::{Consumer, Descriptor, Entry, Layout, Producer};
use super::rings::{ReceiveRings, SendRings};
use super::{BusyPoll, Mode};
use crate::clock::{self, Nanos};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::Arc;
use std::thread;

/// `asm-generic/socket.h`, Linux 5.11.
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;

/// Entries of each ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) receive: u32,
    pub(super) fill: u32,
    pub(super) send: u32,
    pub(super) completion: u32,
}

/// How long another owner of the queue may take to end: the kernel frees a queue up to 9 ms
/// after its owner died.
const BUSY_PATIENCE: Nanos = Nanos::from_secs(2);
const BUSY_PAUSE_FIRST: Nanos = Nanos::from_millis(1);

/// What the kernel may queue of one socket in copy mode, where each packet counts with some
/// 2.5 KiB: the default of 208 KiB is 85 packets.
const SEND_BUFFER_BYTES: libc::c_int = 8 << 20;

/// How a socket is made.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) place: Place,
    pub(super) mode: Mode,
    pub(super) sizes: Sizes,
    pub(super) busy_poll: Option<BusyPoll>,
}

/// A bound AF_XDP socket. Both halves of a queue have it: the kernel takes system calls on one
/// socket from two threads at once.
#[derive(Debug)]
pub(super) struct XskSocket {
    fd: OwnedFd,
    /// Behind the descriptor, so that the socket is closed before its memory is unmapped, whoever
    /// drops it last.
    region: Arc<Region>,
    place: Place,
    is_zero_copy: bool,
}

impl XskSocket {
    /// A socket bound to its queue, with its rings over the frames to receive into and those to
    /// send from.
    pub(super) fn open(
        setup: &Setup,
        frames: (Memory, Memory),
    ) -> Result<(Self, ReceiveRings, SendRings), XdpError> {
        let place = setup.place.clone();
        let refused = |step| move |source| XdpError::refused(step, &setup.place, source);
        let region = frames.0.region().clone();
        let fd = make().map_err(refused("open an AF_XDP socket"))?;
        let mut socket = XskSocket { fd, region, place, is_zero_copy: false };
        socket.register(setup)?;
        let (receiving, sending) =
            socket.rings(&setup.sizes, frames).map_err(refused("map the rings"))?;
        // Within the machine's limit when the privilege is missing.
        if socket.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER_BYTES).is_err() {
            let asked = socket.set(libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER_BYTES);
            asked.map_err(refused("size the send buffer"))?;
        }
        if let Some(busy_poll) = &setup.busy_poll {
            socket.poll_busily(busy_poll).map_err(refused("set busy polling"))?;
        }
        socket.bind(setup)?;
        socket.is_zero_copy = socket.copies_nothing().map_err(refused("read the options"))?;
        Ok((socket, receiving, sending))
    }

    /// Makes the region the packet memory of this socket.
    fn register(&self, setup: &Setup) -> Result<(), XdpError> {
        let bytes = self.region.bytes();
        let region = libc::xdp_umem_reg {
            addr: self.region.address(),
            len: bytes as u64,
            chunk_size: u32::try_from(self.region.frame_bytes()).unwrap_or(u32::MAX),
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        self.set(libc::SOL_XDP, libc::XDP_UMEM_REG, &region).map_err(|source| {
            let place = setup.place.clone();
            match source.raw_os_error() {
                Some(libc::ENOBUFS) => XdpError::MemoryLimit { place, bytes },
                _ => XdpError::refused("register packet memory", &place, source),
            }
        })
    }

    /// Sizes and maps the four rings.
    fn rings(
        &self,
        sizes: &Sizes,
        (to_receive, to_send): (Memory, Memory),
    ) -> io::Result<(ReceiveRings, SendRings)> {
        self.set(libc::SOL_XDP, libc::XDP_RX_RING, &sizes.receive)?;
        self.set(libc::SOL_XDP, libc::XDP_TX_RING, &sizes.send)?;
        self.set(libc::SOL_XDP, libc::XDP_UMEM_FILL_RING, &sizes.fill)?;
        self.set(libc::SOL_XDP, libc::XDP_UMEM_COMPLETION_RING, &sizes.completion)?;
        let offsets: libc::xdp_mmap_offsets = self.option(libc::XDP_MMAP_OFFSETS)?;

        let page = |offset: libc::c_ulonglong| offset.cast_signed();
        let receive =
            self.map::<Descriptor>(libc::XDP_PGOFF_RX_RING, &offsets.rx, sizes.receive)?;
        let send = self.map::<Descriptor>(libc::XDP_PGOFF_TX_RING, &offsets.tx, sizes.send)?;
        let fill =
            self.map::<u64>(page(libc::XDP_UMEM_PGOFF_FILL_RING), &offsets.fr, sizes.fill)?;
        let completion = self.map::<u64>(
            page(libc::XDP_UMEM_PGOFF_COMPLETION_RING),
            &offsets.cr,
            sizes.completion,
        )?;
        let receiving = ReceiveRings {
            fill: Producer::new(fill.0, fill.1, sizes.fill),
            receive: Consumer::new(receive.0, receive.1, sizes.receive),
            memory: to_receive,
            wrong_descriptors: 0,
        };
        let sending = SendRings {
            send: Producer::new(send.0, send.1, sizes.send),
            completion: Consumer::new(completion.0, completion.1, sizes.completion),
            memory: to_send,
            wrong_descriptors: 0,
        };
        Ok((receiving, sending))
    }

    fn map<E: Entry>(
        &self,
        page: libc::off_t,
        offsets: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<(Arc<Mapping>, Layout)> {
        let [producer, consumer, flags, entries] =
            [offsets.producer, offsets.consumer, offsets.flags, offsets.desc]
                .map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        let layout = Layout { producer, consumer, flags, entries };
        let mapping = Mapping::of_socket(self.as_fd(), page, layout.bytes::<E>(size))?;
        Ok((Arc::new(mapping), layout))
    }

    fn poll_busily(&self, busy_poll: &BusyPoll) -> io::Result<()> {
        let microseconds =
            libc::c_int::try_from(busy_poll.microseconds).unwrap_or(libc::c_int::MAX);
        let budget = libc::c_int::from(busy_poll.packets);
        self.set(libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &1i32)?;
        self.set(libc::SOL_SOCKET, libc::SO_BUSY_POLL, &microseconds)?;
        self.set(libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget)
    }

    /// Binds to the queue; waits a little for an earlier owner to end.
    fn bind(&self, setup: &Setup) -> Result<(), XdpError> {
        let end = clock::now() + BUSY_PATIENCE;
        let mut pause = BUSY_PAUSE_FIRST;
        loop {
            match self.bind_once(setup) {
                Ok(()) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) && clock::now() < end => {
                    thread::sleep(pause.as_duration());
                    pause = pause + pause;
                }
                Err(error) => return Err(refused_bind(setup, error)),
            }
        }
    }

    fn bind_once(&self, setup: &Setup) -> io::Result<()> {
        let copying = match setup.mode {
            Mode::NativeZeroCopy => libc::XDP_ZEROCOPY,
            Mode::Native | Mode::Generic => libc::XDP_COPY,
        };
        let address = libc::sockaddr_xdp {
            sxdp_family: u16::try_from(libc::AF_XDP).unwrap_or_default(),
            sxdp_flags: copying | libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: setup.place.index,
            sxdp_queue_id: setup.place.queue,
            sxdp_shared_umem_fd: 0,
        };
        let bytes = length::<libc::sockaddr_xdp>();
        // SAFETY: `address` is a live sockaddr_xdp and `bytes` its length; the kernel copies it.
        let status = unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), bytes) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Whether the driver works on packet memory itself, as the kernel says it.
    fn copies_nothing(&self) -> io::Result<bool> {
        let options: libc::xdp_options = self.option(libc::XDP_OPTIONS)?;
        Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    /// Whether the driver works on packet memory itself.
    pub(super) fn is_zero_copy(&self) -> bool {
        self.is_zero_copy
    }

    /// The queue it is bound to.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Its packet memory.
    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    /// What the kernel counted.
    pub(super) fn statistics(&self) -> io::Result<libc::xdp_statistics> {
        self.option(libc::XDP_STATISTICS)
    }

    /// Lets the kernel send what the send ring holds: in copy mode at most 32 packets.
    pub(super) fn wake_to_send(&self) -> io::Result<()> {
        // SAFETY: neither message nor address is given, so no memory of ours is involved.
        let status = unsafe {
            let (none, nowhere) = (std::ptr::null(), std::ptr::null());
            libc::sendto(self.fd.as_raw_fd(), none, 0, libc::MSG_DONTWAIT, nowhere, 0)
        };
        if status >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Lets the driver take frames from the fill ring, and poll its queue if that is on.
    pub(super) fn wake_to_receive(&self) {
        // It fails when there is nothing to do, or when the interface is down: then nothing
        // comes, with or without this call.
        //
        // SAFETY: neither buffer nor address is given, so no memory of ours is involved.
        unsafe {
            let (none, nowhere) = (std::ptr::null_mut(), std::ptr::null_mut());
            let length = std::ptr::null_mut();
            libc::recvfrom(self.fd.as_raw_fd(), none, 0, libc::MSG_DONTWAIT, nowhere, length);
        }
    }

    fn set<T: Plain>(&self, level: i32, name: i32, value: &T) -> io::Result<()> {
        let (fd, value) = (self.fd.as_raw_fd(), std::ptr::from_ref(value).cast());
        // SAFETY: the value is live and its length is passed; the kernel only reads it.
        let status = unsafe { libc::setsockopt(fd, level, name, value, length::<T>()) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// An option of AF_XDP that the kernel fills in.
    fn option<T: Plain>(&self, name: i32) -> io::Result<T> {
        let (fd, mut value, mut bytes) =
            (self.fd.as_raw_fd(), MaybeUninit::<T>::zeroed(), length::<T>());
        let place = value.as_mut_ptr().cast();
        // SAFETY: `value` has room for `bytes`, and the kernel writes no more.
        let status = unsafe { libc::getsockopt(fd, libc::SOL_XDP, name, place, &raw mut bytes) };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
        // An older kernel fills in less; the rest stays zero, and offsets of 0 would be wrong.
        if bytes != length::<T>() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: plain integers, all of them written.
        Ok(unsafe { value.assume_init() })
    }
}

impl AsFd for XskSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A socket that is nothing yet.
fn make() -> io::Result<OwnedFd> {
    // SAFETY: no memory of ours is involved.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made `fd` for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Structs of integers without padding: what options consist of.
trait Plain {}
impl Plain for i32 {}
impl Plain for u32 {}
impl Plain for libc::xdp_umem_reg {}
impl Plain for libc::xdp_mmap_offsets {}
impl Plain for libc::xdp_options {}
impl Plain for libc::xdp_statistics {}

// The sizes of `linux/if_xdp.h` since Linux 6.8 and 5.9.
const _: () = {
    assert!(size_of::<libc::xdp_umem_reg>() == 32);
    assert!(size_of::<libc::xdp_mmap_offsets>() == 128);
    assert!(size_of::<libc::xdp_options>() == 4);
    assert!(size_of::<libc::xdp_statistics>() == 48);
    assert!(size_of::<libc::sockaddr_xdp>() == 16);
};

#[expect(clippy::cast_possible_truncation, reason = "structs of some ten bytes")]
fn length<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

fn refused_bind(setup: &Setup, source: io::Error) -> XdpError {
    let place = setup.place.clone();
    match source.raw_os_error() {
        Some(libc::EBUSY) => XdpError::Busy(place),
        Some(libc::ENODEV) => XdpError::NoInterface(place),
        Some(libc::ENETDOWN) => XdpError::Down(place),
        Some(libc::EINVAL) => XdpError::NoQueue(place),
        Some(libc::EOPNOTSUPP) if setup.mode == Mode::NativeZeroCopy => XdpError::NoZeroCopy(place),
        _ => XdpError::refused("bind an AF_XDP socket", &place, source),
    }
}
