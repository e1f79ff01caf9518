//! Processes by descriptor: what it stands for never becomes another process. Any process of ours; the
//! kernel asks the same rights as for `kill(2)`.
//!
//! KERNEL(5.3): `pidfd_open`; 5.1: `pidfd_send_signal`; 5.4: `waitid(P_PIDFD)`.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::process::{Block, Exit, Which, reap};
use crate::error::{Call, Error, Result};

/// Opens the process that has this pid now (a thread group leader). The caller compares the start time
/// afterwards, if the pid comes from a file.
///
/// # Errors
/// ESRCH when there is none.
pub fn open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Errno::result(fd).call(|| format!("pidfd_open({pid})"))?;
    // SAFETY: the kernel has just given us this descriptor (close-on-exec), and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends the signal of this number (0: only checks; real-time ones included).
///
/// # Errors
/// ESRCH when the process has ended.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    let fd = pidfd.as_fd().as_raw_fd();
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null `info` makes the kernel fill in what kill(2) would; the rest are integers.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) };
    Errno::result(result).map(drop).call(|| format!("pidfd_send_signal({signal})"))
}

/// A descriptor of another process, by its number there (KERNEL(5.6): `pidfd_getfd`).
///
/// # Errors
/// EBADF when it has none of that number; EPERM without the right to trace it.
pub fn get_fd(pidfd: impl AsFd, number: i32) -> std::result::Result<OwnedFd, Errno> {
    // SAFETY: pidfd_getfd takes three integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_fd().as_raw_fd(), number, 0) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just given us this descriptor (close-on-exec), and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Waits until the process has ended, at most for `timeout` (`None`: for ever): whether it has.
///
/// # Errors
/// When `poll` fails.
pub fn poll_exit(pidfd: impl AsFd, timeout: Option<Duration>) -> Result<bool> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = poll_timeout(deadline);
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, left) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::sys("poll(pidfd)", errno)),
            Ok(0) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {}
            Ok(ready) => return Ok(ready > 0),
        }
    }
}

/// What `poll(2)` is told so that it comes back at `deadline`, or for a far one somewhat earlier.
pub(crate) fn poll_timeout(deadline: Option<Instant>) -> PollTimeout {
    let Some(deadline) = deadline else { return PollTimeout::NONE };
    let left = deadline.saturating_duration_since(Instant::now());
    // Rounded up: a rest of less than a millisecond must not spin.
    PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
}

/// Waits for the end of a child of ours and reaps it.
///
/// # Errors
/// ECHILD when it is no child of the caller, or somebody has reaped it.
pub fn wait(pidfd: impl AsFd) -> Result<Exit> {
    let which = Which::Pidfd(pidfd.as_fd().as_raw_fd());
    match reap(which, Block::UntilOneEnds).call(|| "waitid(P_PIDFD)")? {
        Some((_, exit)) => Ok(exit),
        None => Err(Error::new("waitid(P_PIDFD) came back without a process")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn spawn(script: &str) -> (Child, OwnedFd) {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pidfd = open(child.id().cast_signed()).unwrap();
        (child, pidfd)
    }

    #[test]
    fn the_exit_code_of_a_child_is_read_through_its_pidfd() {
        let (_child, pidfd) = spawn("exit 7");
        assert_eq!(wait(&pidfd).unwrap(), Exit::Code(7));
        assert_eq!(wait(&pidfd).unwrap_err().errno(), Some(Errno::ECHILD));
    }

    #[test]
    fn a_real_time_signal_that_ends_a_child_is_known_by_its_number() {
        let (_child, pidfd) = spawn("sleep 60");
        send_signal(&pidfd, libc::SIGRTMIN() + 3).unwrap();
        let exit = wait(&pidfd).unwrap();
        assert_eq!(exit, Exit::Signal(libc::SIGRTMIN() + 3));
        assert_eq!(exit.code(), 128 + libc::SIGRTMIN() + 3);
        assert_eq!(send_signal(&pidfd, 0).unwrap_err().errno(), Some(Errno::ESRCH));
    }

    #[test]
    fn waiting_ends_at_the_timeout_and_at_the_end_of_the_process() {
        let (_child, pidfd) = spawn("exec sleep 60");
        let before = Instant::now();
        assert!(!poll_exit(&pidfd, Some(Duration::from_millis(30))).unwrap());
        assert!(before.elapsed() >= Duration::from_millis(30));
        send_signal(&pidfd, libc::SIGKILL).unwrap();
        assert!(poll_exit(&pidfd, None).unwrap());
        assert_eq!(wait(&pidfd).unwrap(), Exit::Signal(libc::SIGKILL));
    }

    #[test]
    fn a_pid_that_nobody_has_is_refused() {
        assert_eq!(open(i32::MAX).unwrap_err().errno(), Some(Errno::ESRCH));
    }
}
