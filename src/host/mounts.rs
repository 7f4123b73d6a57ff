//! Which file system a folder lies on, and what it was mounted with.

#![allow(unsafe_code)]

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Mounts as the calling thread sees them: it may be in a namespace of its own
/// (proc_pid_mountinfo(5)).
const MOUNTS: &str = "/proc/thread-self/mountinfo";

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Its type, such as "tmpfs".
    pub kind: String,
    /// The options of the file system itself, such as "huge=advise".
    pub options: Vec<String>,
}

impl Mount {
    /// The file system in which `path` lies, which is there; none if the kernel does not list it.
    ///
    /// # Errors
    /// When the path or the kernel's list cannot be read.
    pub fn of(path: &Path) -> io::Result<Option<Self>> {
        let path = path.canonicalize()?;
        let device = fs::metadata(&path)?.dev();
        let device = format!("{}:{}", libc::major(device), libc::minor(device));
        Ok(find(&fs::read(MOUNTS)?, &device, &path))
    }

    /// Whether what is written here never goes to a disk, unless it is swapped out.
    pub fn is_in_memory(&self) -> bool {
        matches!(&*self.kind, "tmpfs" | "ramfs")
    }

    /// Whether it was mounted with `option`.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }
}

/// Bytes that a file in the folder `path` may still take.
///
/// # Errors
/// What the kernel answered.
pub fn available_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut answer = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero, and `answer` has room for one statvfs; both live for the
    // length of the call.
    if unsafe { libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled it, as its success says.
    let answer = unsafe { answer.assume_init() };
    // A tmpfs without a limit says that it has no blocks at all.
    match answer.f_blocks {
        0 => Ok(u64::MAX),
        _ => Ok(answer.f_bavail.saturating_mul(answer.f_frsize)),
    }
}

/// The mount of `device` nearest above `path`; of two at one place, the one that hides the other.
fn find(table: &[u8], device: &str, path: &Path) -> Option<Mount> {
    let mounts = table.split(|byte| *byte == b'\n').filter_map(|line| parse(line, device));
    mounts
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.as_os_str().len())
}

/// The mount in a line of the kernel's list, if it is of `device`.
fn parse(line: &[u8], device: &str) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    // Number, parent, device, root, point, options, optional fields, a hyphen, and behind it type,
    // source, options of the file system.
    if fields.nth(2)? != device.as_bytes() {
        return None;
    }
    let point = unescape(fields.nth(1)?);
    let mut behind = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(behind.next()?).into_owned();
    let options = String::from_utf8_lossy(behind.nth(1)?);
    Some(Mount {
        point: OsString::from_vec(point).into(),
        kind,
        options: options.split(',').map(str::to_owned).collect(),
    })
}

/// Spaces, tabs, ends of lines and backslashes are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, behind @ ..] = rest {
        let escaped = behind.first_chunk::<3>().filter(|_| *first == b'\\');
        let byte = escaped
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &behind[3..] } else { behind };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
        25 24 0:23 / /dev/shm rw,relatime shared:4 - tmpfs tmpfs rw,size=1024k\n\
        30 25 0:27 / /run/my\\040mix rw master:1 shared:2 - tmpfs mix rw,huge=advise,noswap\n\
        31 25 0:27 / /run rw - tmpfs mix rw\n\
        32 1 254:0 / / rw - ext4 /dev/vda rw\n";

    #[test]
    fn the_nearest_mount_of_a_device_is_found_with_its_options() {
        let mount = find(TABLE, "0:27", Path::new("/run/my mix/epoch-1")).unwrap();
        assert_eq!((mount.point.to_str(), &*mount.kind), (Some("/run/my mix"), "tmpfs"));
        assert!(mount.is_in_memory() && mount.has("noswap") && mount.has("huge=advise"));
        let plain = find(TABLE, "0:23", Path::new("/dev/shm")).unwrap();
        assert!(plain.is_in_memory() && !plain.has("noswap"));
    }

    #[test]
    fn a_disk_is_no_memory_and_an_unknown_device_no_mount() {
        assert!(!find(TABLE, "254:0", Path::new("/run")).unwrap().is_in_memory());
        assert_eq!(find(TABLE, "254:1", Path::new("/run")), None);
        assert_eq!(find(b"", "0:23", Path::new("/dev/shm")), None);
    }

    #[test]
    fn shared_memory_of_this_machine_is_listed_and_has_room() {
        let shared = Path::new("/dev/shm");
        assert!(Mount::of(shared).unwrap().is_some_and(|mount| mount.is_in_memory()));
        assert!(available_bytes(shared).unwrap() > 0);
    }
}
