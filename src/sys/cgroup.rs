//! Signals by pidfd, for the processes listed in a cgroup. The runtime process.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// pidfd_open(2), KERNEL(5.3): a descriptor that stays this process, whatever becomes of its pid.
///
/// # Errors
/// ESRCH when there is none, ENOSYS before 5.3.
pub fn pidfd_open(pid: i32) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor (with close-on-exec) and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// pidfd_send_signal(2), KERNEL(5.1).
///
/// # Errors
/// ESRCH when the process is gone, EPERM when the caller may not.
pub fn pidfd_send_signal(pidfd: &OwnedFd, signal: i32) -> nix::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open while it is borrowed; a null siginfo is allowed.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) };
    Errno::result(result).map(drop)
}

/// kill(2) of one process, for kernels without pidfds. `pid` is positive.
///
/// # Errors
/// ESRCH when the process is gone or `pid` is not positive, EPERM when the caller may not, EINVAL for a
/// real-time signal.
pub fn kill(pid: i32, signal: i32) -> nix::Result<()> {
    if pid <= 0 {
        return Err(Errno::ESRCH);
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::try_from(signal)?)
}

/// Forks, on v2 straight into a cgroup, for tests. The child runs `child`, which may only make system calls
/// (other threads of the test may hold any lock), and ends with what it returns.
///
/// # Errors
/// What clone3(2) says.
#[cfg(test)]
pub fn fork(into: Option<std::os::fd::BorrowedFd<'_>>, child: impl FnOnce() -> i32) -> nix::Result<i32> {
    let mut arguments = [0u64; 11];
    arguments[4] = libc::SIGCHLD as u64;
    if let Some(folder) = into {
        arguments[0] = 0x2_0000_0000;
        arguments[10] = folder.as_raw_fd() as u64;
    }
    // SAFETY: the array is a clone_args of 88 bytes, with no stack and no pointer in it: a plain fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) };
    match Errno::result(pid)? {
        // SAFETY: this is the child, which must not run the parent's exit handlers.
        0 => unsafe { libc::_exit(child()) },
        pid => Ok(pid as i32),
    }
}
