//! The machine below: cores, memory, limits, and the few kernel calls that wake and sleep need.

#![allow(unsafe_code)]

use std::fmt;
use std::fs;

pub mod event;
pub mod gathering;
pub mod mounts;
pub mod namespace;
pub mod netlink;
pub mod privileges;
pub mod stamped;

/// What the machine offers, for the first line that a person reads.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Cores this process may run on.
    pub cores: usize,
    /// Name of the processor, as it calls itself.
    pub processor: String,
    /// Memory that could be taken without swapping, if the kernel says.
    pub memory_available_bytes: Option<u64>,
    /// Release of the kernel.
    pub kernel: String,
    /// Which implementations the cryptography runs on.
    pub crypto_tier: &'static str,
}

impl Machine {
    /// Looks at this machine; `crypto_tier` is the choice that the caller made.
    pub fn look(crypto_tier: &'static str) -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            cores: cores().len(),
            processor: processor().unwrap_or_else(|| "unknown processor".into()),
            memory_available_bytes: memory_available_bytes(),
            kernel: release.trim().into(),
            crypto_tier,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.cores == 1 { "" } else { "s" };
        write!(out, "{} core{plural} ({})", self.cores, self.processor)?;
        if let Some(bytes) = self.memory_available_bytes {
            write!(out, ", {:.1} GiB memory available", bytes as f64 / f64::from(1 << 30))?;
        }
        write!(out, ", Linux {}, {} cryptography", self.kernel, self.crypto_tier)
    }
}

/// The cores this process may run on, by the kernel's numbers; at least one.
pub fn cores() -> Vec<usize> {
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    if allowed.is_empty() { vec![0] } else { allowed.iter().map(|core| core.id).collect() }
}

/// Pins the current thread to one core; `false` when the kernel refuses.
pub fn pin(core: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

/// Memory that could be taken without swapping: the machine's, or what the control group of this
/// process still allows if that is less.
pub fn memory_available_bytes() -> Option<u64> {
    let machine = available_in(&fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(group_available_bytes().map_or(machine, |group| group.min(machine)))
}

/// The memory of this machine, or of this process's control group if it has less.
pub fn memory_bytes() -> Option<u64> {
    let machine = entry(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    Some(group_number("memory.max").map_or(machine, |group| group.min(machine)))
}

/// Names this run of the machine: another after every start (random(4)).
///
/// # Errors
/// When the kernel's file cannot be read.
pub fn boot_id() -> std::io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The user whose rights this process has.
pub fn user() -> u32 {
    // SAFETY: no memory is involved, and the call cannot fail.
    unsafe { libc::geteuid() }
}

/// Raises the limit of open file descriptors as far as this process may; returns the limit that
/// now holds. The default of 1024 is less than one gateway has clients.
///
/// # Errors
/// What the kernel answered.
pub fn raise_descriptor_limit() -> std::io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live, writable rlimit for the length of the call.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if read != 0 {
        return Err(std::io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a live, initialised rlimit for the length of the call.
    let written = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if written != 0 { Err(std::io::Error::last_os_error()) } else { Ok(limit.rlim_cur) }
}

/// Lets every other thread go before the calling one, for good: for work that nobody waits for.
pub fn yield_to_all() {
    /// The lowest of all (setpriority(2)), with which a thread still gets on in the end.
    const LOWEST: libc::c_int = 19;
    // SAFETY: no memory is involved; on Linux the call concerns the calling thread alone.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LOWEST) };
}

/// Asks the process `pid`, a child that was not waited for yet, to end (SIGTERM).
pub fn terminate(pid: u32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: no memory is involved; a child that was not waited for keeps its number.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}

/// Lets the kernel end this process when the one that started it ends.
pub fn die_with_parent() {
    let parent = std::os::unix::process::parent_id();
    // SAFETY: no memory is involved; the call only sets a number of this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    // It may have ended before the kernel knew.
    if std::os::unix::process::parent_id() != parent {
        std::process::exit(1);
    }
}

/// Lets this thread wake when it asked to, and not up to 50 us later (PR_SET_TIMERSLACK).
pub fn wake_on_time() {
    // SAFETY: no memory is involved; the call only sets a number of this thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// Lets this thread, and the threads and processes that it starts from now on, run before all
/// others of this machine, in turns of the scheduler's (sched(7)); where the kernel does not allow
/// that, before most. `false` when it allows neither.
pub fn go_first() -> bool {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter is live for the call; process 0 is this thread.
    let first = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const lowest) };
    // SAFETY: no memory is involved; user and process 0 are this thread.
    first == 0 || unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) } == 0
}

/// Lets this thread run behind those that [`go_first`], and before others where the kernel allows
/// that.
pub fn go_second() {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter is live for the call; everybody may give up to come first.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const none) };
    // SAFETY: no memory is involved; user and process 0 are this thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -10) };
}

fn processor() -> Option<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = cpus.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

/// The value of the line that begins with `name`, in bytes.
fn entry(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn available_in(meminfo: &str) -> Option<u64> {
    entry(meminfo, "MemAvailable:")
}

/// Limit minus use of this process's control group (version 2), if it has a limit.
fn group_available_bytes() -> Option<u64> {
    Some(group_number("memory.max")?.saturating_sub(group_number("memory.current")?))
}

/// The number in the file `name` of this process's control group (version 2), if it has one.
fn group_number(name: &str) -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    fs::read_to_string(format!("/sys/fs/cgroup{path}/{name}")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_from_the_kernels_table() {
        let table = "MemTotal:  8000 kB\nMemAvailable:    4096 kB\nBuffers: 1 kB\n";
        assert_eq!(available_in(table), Some(4096 * 1024));
    }

    #[test]
    fn a_table_without_available_memory_is_no_answer() {
        for table in ["", "MemTotal: 8000 kB\n", "MemAvailable: many kB\n", "MemAvailable: 7\n"] {
            assert_eq!(available_in(table), None);
        }
    }

    #[test]
    fn this_machine_describes_itself() {
        let machine = Machine::look("scalar");
        let line = machine.to_string();
        assert!(machine.cores >= 1);
        assert!(line.contains("core") && line.contains("scalar cryptography"), "{line}");
    }

    #[test]
    fn a_pinned_thread_may_use_one_core_only() {
        std::thread::spawn(|| {
            let last = *cores().last().unwrap();
            assert!(pin(last));
            assert_eq!(cores(), [last]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn the_descriptor_limit_rises_to_what_is_allowed() {
        let first = raise_descriptor_limit().unwrap();
        assert_eq!(raise_descriptor_limit().unwrap(), first);
    }
}
