//! clone3(2): a child that continues where its parent is, as after fork(2). Only ever called by a process
//! with a single thread, so the child may go on using the allocator.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::error::{Error, Result};

/// linux/sched.h; the constant of libc does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Who becomes the parent of the new process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// The caller.
    Caller,
    /// The caller's own parent (CLONE_PARENT).
    Grandparent,
}

/// What clone3(2) came back with.
#[derive(Debug)]
pub enum Cloned {
    /// In the new process.
    Child,
    /// In the old one: the new one's pid, and a descriptor of it.
    Parent {
        /// In the caller's pid namespace.
        pid: i32,
        /// Refers to the process even when its pid is used again.
        pidfd: OwnedFd,
    },
}

/// Clones the calling process. `namespaces` are CLONE_NEW flags; with `cgroup`, a v2 cgroup's folder, the
/// child is born in it (CLONE_INTO_CGROUP), which costs nothing, unlike moving it there later.
///
/// # Errors
/// The call's, with the namespaces asked for.
pub fn clone(namespaces: u64, cgroup: Option<BorrowedFd<'_>>, parent: Parent) -> Result<Cloned> {
    let mut pidfd: i32 = -1;
    // SAFETY: clone_args is plain integers, for which all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    match parent {
        Parent::Caller => args.exit_signal = libc::SIGCHLD as u64,
        // The exit signal is then the one of the caller.
        Parent::Grandparent => args.flags |= libc::CLONE_PARENT as u64,
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` and `pidfd` outlive the call; without CLONE_VM the child has its own copy of all
    // memory, and the caller has one thread, so no lock is held by another.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match (result, Errno::last()) {
        // KERNEL(5.3), and filters of outer containers: an older call does the same, but for the cgroup.
        (-1, Errno::ENOSYS | Errno::EPERM) if cgroup.is_none() => clone_by_old_call(args.flags, parent),
        (-1, errno) => Err(Error::sys(format!("clone3(flags {:#x})", args.flags), errno)),
        (pid, _) => Ok(cloned(pid, pidfd)),
    }
}

fn cloned(pid: libc::c_long, pidfd: i32) -> Cloned {
    if pid == 0 {
        return Cloned::Child;
    }
    // SAFETY: CLONE_PIDFD stored a new descriptor that nobody else owns.
    Cloned::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }
}

/// clone(2), KERNEL(5.2) for CLONE_PIDFD. Its lowest byte is the exit signal, so it cannot make a time namespace.
fn clone_by_old_call(flags: u64, parent: Parent) -> Result<Cloned> {
    let call = |errno| Error::sys(format!("clone(flags {flags:#x})"), errno);
    if flags & 0xff != 0 {
        return Err(call(Errno::ENOSYS));
    }
    let signal = if parent == Parent::Caller { libc::SIGCHLD as u64 } else { 0 };
    let mut pidfd: i32 = -1;
    // SAFETY: as for clone3; a stack of 0 is the copy of the caller's.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags | signal, 0, &raw mut pidfd, 0, 0) };
    Errno::result(result).map(|pid| cloned(pid, pidfd)).map_err(call)
}

/// Ends the calling process at once, without destructors or exit handlers of the process it was cloned from.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no precondition and does not return.
    unsafe { libc::_exit(code) }
}
