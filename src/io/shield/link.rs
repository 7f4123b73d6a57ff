//! The program's place before an interface.
//!
//! It is a link (`bpf_link`, Linux 5.9): the kernel ends it with its last descriptor, so however
//! the process dies, no program stays behind. The mode is always named, because without one the
//! kernel falls back to the slow one and does not say so.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use libbpf_rs::libbpf_sys::{self, bpf_link_create_opts};
use libbpf_rs::query::ProgInfoIter;
use libbpf_rs::{Xdp, XdpFlags};

use super::{Attachment, ShieldError};

/// A program before an interface; away with it when this is dropped.
#[derive(Debug)]
pub(super) struct Link {
    _descriptor: OwnedFd,
}

impl Link {
    pub(super) fn new(
        program: BorrowedFd<'_>,
        interface: u32,
        attachment: Attachment,
    ) -> Result<Self, ShieldError> {
        let create = || {
            let index = i32::try_from(interface).map_err(|_| libc::ENODEV)?;
            create(program, index, attachment)
        };
        match create() {
            Ok(descriptor) => Ok(Link { _descriptor: descriptor }),
            Err(code) => Err(explain(code, program, interface, attachment)),
        }
    }
}

/// Attaches `program`, or says with which number the kernel refused.
fn create(program: BorrowedFd<'_>, index: i32, attachment: Attachment) -> Result<OwnedFd, i32> {
    let options = bpf_link_create_opts {
        sz: size_of::<bpf_link_create_opts>() as libbpf_sys::size_t,
        flags: match attachment {
            Attachment::Native => libbpf_sys::XDP_FLAGS_DRV_MODE,
            Attachment::Generic => libbpf_sys::XDP_FLAGS_SKB_MODE,
        },
        ..Default::default()
    };
    // SAFETY: `program` is open, and `options` is live for the length of the call and says how
    // long it is itself; everything in it that is not named is zero, which means absent.
    let answer = unsafe {
        libbpf_sys::bpf_link_create(
            program.as_raw_fd(),
            index,
            libbpf_sys::BPF_XDP,
            &raw const options,
        )
    };
    if answer < 0 {
        return Err(-answer);
    }
    // SAFETY: the call above just opened the descriptor, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(answer) })
}

fn explain(code: i32, program: BorrowedFd<'_>, index: u32, attachment: Attachment) -> ShieldError {
    let Some(interface) = name_of(index) else { return ShieldError::NoInterface(index) };
    match code {
        libc::EPERM | libc::EACCES => ShieldError::Permission {
            step: format!("attach the XDP program to {interface}"),
            capabilities: "cap_bpf and cap_net_admin",
        },
        libc::EBUSY | libc::EEXIST => {
            ShieldError::Occupied { program: occupant(program, index), interface }
        }
        libc::EOPNOTSUPP if attachment == Attachment::Native => ShieldError::NoNative(interface),
        _ => {
            let source = io::Error::from_raw_os_error(code);
            ShieldError::Unsuitable { interface, attachment, source }
        }
    }
}

/// The program that is attached already, as far as this process may know: its number is public,
/// its name is not.
fn occupant(program: BorrowedFd<'_>, index: u32) -> String {
    let Ok(index) = i32::try_from(index) else { return "another XDP program".into() };
    let id = match Xdp::new(program).query_id(index, XdpFlags::NONE) {
        Ok(id) if id != 0 => id,
        _ => return "another XDP program".into(),
    };
    let name = ProgInfoIter::default().find(|known| known.id == id).map(|known| known.name);
    match name.as_ref().map(|name| name.to_string_lossy()) {
        Some(name) => format!("another XDP program, `{name}` (number {id}),"),
        None => format!("another XDP program (number {id})"),
    }
}

/// What people call the interface, if there is one.
fn name_of(index: u32) -> Option<String> {
    let mut name = [0u8; libc::IFNAMSIZ];
    // SAFETY: `name` is writable and has the length that the function asks for.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    Some(CStr::from_bytes_until_nul(&name).ok()?.to_string_lossy().into_owned())
}
