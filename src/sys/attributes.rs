//! Attributes of a process that nix has no call for: limits, scheduling, I/O priority, descriptors, keyring.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use crate::error::{Error, Result};

/// Sets a resource limit of another process (prlimit(2)).
///
/// # Errors
/// The errno.
pub fn set_limit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` outlives the call; the old limit is not asked for.
    let result = unsafe { libc::prlimit64(pid, resource, &raw const limit, std::ptr::null_mut()) };
    Errno::result(result).map(drop)
}

/// `struct sched_attr` (sched_setattr(2)), second version (KERNEL(5.3); an older one takes it while what is new is 0).
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedAttr {
    /// Size of this structure.
    pub size: u32,
    /// SCHED_ number.
    pub policy: u32,
    /// SCHED_FLAG_ bits.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub runtime: u64,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub deadline: u64,
    /// Nanoseconds, for SCHED_DEADLINE.
    pub period: u64,
    /// For SCHED_FLAG_UTIL_CLAMP_MIN, of which the specification has the flag and no value.
    pub util_min: u32,
    /// The same for SCHED_FLAG_UTIL_CLAMP_MAX.
    pub util_max: u32,
}

/// Sets the scheduling of the calling thread.
///
/// # Errors
/// The errno.
pub fn set_scheduler(mut wanted: SchedAttr) -> Result<(), Errno> {
    wanted.size = size_of::<SchedAttr>() as u32;
    // SAFETY: `wanted` outlives the call and says its own size.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
    Errno::result(result).map(drop)
}

/// Sets the I/O priority of the calling thread (ioprio_set(2)).
///
/// # Errors
/// The errno.
pub fn set_io_priority(value: u32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: the call takes three numbers.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) };
    Errno::result(result).map(drop)
}

/// Sets the execution domain (personality(2)).
///
/// # Errors
/// The errno.
pub fn set_personality(persona: u64) -> Result<(), Errno> {
    // SAFETY: the call takes one number.
    Errno::result(unsafe { libc::personality(persona) }).map(drop)
}

/// Marks all descriptors from `first` on close-on-exec (close_range(2)).
///
/// # Errors
/// The errno.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: no descriptor is closed, only its flag changes.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    match Errno::result(result) {
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EINVAL) => {
            // SAFETY: as above.
            one_by_one(first, u32::MAX, |fd| unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) });
            Ok(())
        }
        result => result.map(drop),
    }
}

/// KERNEL(5.9), KERNEL(5.11) for the flag: without `close_range` those that procfs tells of, or, where none is in sight,
/// every number that can be open.
fn one_by_one(first: u32, last: u32, act: impl Fn(i32) -> i32) {
    /// No kernel has more than this unless its administrator says so (`fs.nr_open`).
    const MOST: u32 = 1 << 20;
    let open = open_descriptors().unwrap_or_else(|| (0..=MOST.cast_signed()).collect());
    for fd in open.into_iter().filter(|fd| (first..=last).contains(&fd.cast_unsigned())) {
        // One that is not open is fine.
        act(fd);
    }
}

/// The descriptors of this process; `None` without a real procfs, which in a container's root may be anything.
fn open_descriptors() -> Option<Vec<i32>> {
    use nix::fcntl::OFlag;
    use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut folder = nix::dir::Dir::open("/proc/self/fd", flags, nix::sys::stat::Mode::empty()).ok()?;
    if fstatfs(&folder).ok()?.filesystem_type() != PROC_SUPER_MAGIC {
        return None;
    }
    let own = folder.as_raw_fd();
    let entries = folder.iter().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok());
    Some(numbers.filter(|fd| *fd != own).collect())
}

/// Closes all descriptors from `first` on but those in `keep`. For a child that never drops what its copy of
/// the runtime's memory says it owns.
///
/// # Errors
/// The errno.
pub fn close_all_but(first: u32, keep: &[i32]) -> Result<(), Errno> {
    let mut keep: Vec<u32> =
        keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= first).collect();
    keep.sort_unstable();
    let mut start = first;
    for fd in keep {
        close_between(start, fd)?;
        start = fd.saturating_add(1);
    }
    close_between(start, u32::MAX)
}

fn close_between(start: u32, end: u32) -> Result<(), Errno> {
    if start >= end {
        return Ok(());
    }
    let last = if end == u32::MAX { end } else { end - 1 };
    // SAFETY: the caller says that nothing of this process uses these descriptors any more.
    match Errno::result(unsafe { libc::syscall(libc::SYS_close_range, start, last, 0) }) {
        Err(Errno::ENOSYS | Errno::EPERM) => {
            // SAFETY: as above.
            one_by_one(start, last, |fd| unsafe { libc::close(fd) });
            Ok(())
        }
        result => result.map(drop),
    }
}

/// Joins the session keyring of that name, a new one if there is none, and lets its owner use it
/// (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING, KEYCTL_SETPERM).
///
/// # Errors
/// The call's; EDQUOT on a host where the user has too many keys.
pub fn join_session_keyring(name: &str) -> Result<()> {
    let text = CString::new(name).map_err(|_| Error::new("the name holds a NUL byte"))?;
    // SAFETY: `text` is NUL-terminated and outlives the call.
    let key = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, text.as_ptr()) };
    let key = Errno::result(key)
        .map_err(|errno| Error::sys(format!("keyctl(JOIN_SESSION_KEYRING, {name:?})"), errno))?;
    // The container's root shall find and link its own keys: runc gives the user all rights but setattr.
    const OWNER_ALL: u32 = 0x3f1f_0000;
    // SAFETY: the call takes numbers.
    unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, key, OWNER_ALL) };
    Ok(())
}

/// Brings the loopback device of the current network namespace up (netdevice(7)).
///
/// # Errors
/// The call's.
pub fn loopback_up() -> Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let call = |name: &'static str| move |errno| Error::sys(name, errno);
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .map_err(call("socket(AF_INET)"))?;
    // SAFETY: ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` is a whole ifreq that outlives the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &raw const request) };
    Errno::result(result).map(drop).map_err(call("ioctl(SIOCSIFFLAGS, \"lo\")"))
}

/// Sets the NIS domain name of the current UTS namespace.
///
/// # Errors
/// The errno.
pub fn set_domain_name(name: &str) -> Result<(), Errno> {
    // SAFETY: the pointer is valid for the length that is given.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) }).map(drop)
}

/// Whether the calling thread keeps its permitted capabilities over a change of user (prctl(2), PR_SET_KEEPCAPS).
///
/// # Errors
/// The errno.
pub fn keep_capabilities(keep: bool) -> Result<(), Errno> {
    // SAFETY: the call takes numbers.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, u64::from(keep), 0, 0, 0) }).map(drop)
}

/// No program executed from here on can gain privileges (prctl(2), PR_SET_NO_NEW_PRIVS).
///
/// # Errors
/// The errno.
pub fn no_new_privileges() -> Result<(), Errno> {
    // SAFETY: the call takes numbers.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// Lets the calling process, and what it starts, share a core only with itself (prctl(2), PR_SCHED_CORE_CREATE).
/// KERNEL(5.14), built with CONFIG_SCHED_CORE.
///
/// # Errors
/// The errno; EINVAL or ENODEV where the kernel or the processor has nothing of the kind.
pub fn own_core() -> Result<(), Errno> {
    const THREAD_GROUP: libc::c_ulong = 1;
    // SAFETY: the call takes numbers.
    let result = unsafe { libc::prctl(libc::PR_SCHED_CORE, libc::PR_SCHED_CORE_CREATE, 0, THREAD_GROUP, 0) };
    Errno::result(result).map(drop)
}

/// The exact list of supplementary groups.
///
/// # Errors
/// The errno.
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the pointer is valid for the length that is given.
    Errno::result(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_found_where_no_range_can_be_closed() {
        let file = tempfile::tempfile().unwrap();
        assert!(open_descriptors().unwrap().contains(&file.as_raw_fd()));
        let seen = std::cell::RefCell::new(Vec::new());
        one_by_one(3, u32::MAX, |fd| {
            seen.borrow_mut().push(fd);
            0
        });
        assert!(seen.borrow().contains(&file.as_raw_fd()) && !seen.borrow().contains(&2));
    }
}
