//! What the kernel keeps about a process: how it ended, who reaps it, when it started.
//!
//! Used by the runtime process; the `prctl` calls also by the container's child. None needs privilege.
//! Never signals anybody: a pid may have been recycled, [`super::pidfd`] cannot.

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Call, Error, Result};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It returned this exit status (0 to 255).
    Code(i32),
    /// The signal of this number ended it (1 to 64; real-time ones included).
    Signal(i32),
}

impl Exit {
    /// The exit code by a shell's rule, which runc follows too: the status itself, or 128 + the signal.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(number) => 128 + number,
        }
    }
}

/// Which ended children are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    /// Any child.
    Any,
    /// The one that this pidfd (a raw number, open during the call) stands for. KERNEL(5.4).
    Pidfd(i32),
}

/// Whether a wait comes back when nobody has ended yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Block {
    /// Wait.
    UntilOneEnds,
    /// Come back at once.
    No,
}

/// Reaps one ended child; `None` when none has ended yet. `nix` is not used: it cannot express that a
/// real-time signal ended a process, and would have lost the status by then.
pub(super) fn reap(which: Which, block: Block) -> nix::Result<Option<(i32, Exit)>> {
    let (kind, id) = match which {
        Which::Any => (libc::P_ALL, 0),
        Which::Pidfd(fd) => (libc::P_PIDFD, fd.cast_unsigned()),
    };
    // __WALL: also a child that was cloned without an exit signal.
    let flags = libc::WEXITED | libc::__WALL | if let Block::No = block { libc::WNOHANG } else { 0 };
    // The kernel leaves si_pid alone when nobody has ended: zeroes tell that case.
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    loop {
        // SAFETY: `info` is valid for writes of one siginfo_t, and nothing else is passed by pointer.
        let result = unsafe { libc::waitid(kind, id, info.as_mut_ptr(), flags) };
        match Errno::result(result) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => break,
        }
    }
    // SAFETY: all of it was zeroed, and zeroes are a valid siginfo_t (integers and a null pointer).
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid fills the SIGCHLD variant of the union, or leaves zeroes; both are integers.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let exit = if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) };
    Ok((pid != 0).then_some((pid, exit)))
}

/// Reaps one ended child of any kind, without waiting: its pid and how it ended. `None` when none has
/// ended, or there is no child at all.
///
/// # Errors
/// When `waitid` fails for another reason than ECHILD.
pub fn reap_any() -> Result<Option<(i32, Exit)>> {
    match reap(Which::Any, Block::No) {
        Err(Errno::ECHILD) => Ok(None),
        result => result.call(|| "waitid(P_ALL)"),
    }
}

/// Lets ended children wait to be reaped: a caller that ignores SIGCHLD hands that down over exec, and the
/// kernel then throws every exit status away.
///
/// # Errors
/// None that a kernel gives; kept for an outer seccomp filter.
pub fn keep_exit_statuses() -> Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default disposition runs no code of ours, and no handler was installed before it.
    let result = unsafe { sigaction(Signal::SIGCHLD, &default) };
    result.map(drop).call(|| "sigaction(SIGCHLD, SIG_DFL)")
}

/// Whether `fd` is open and came to us over exec: all that we open ourselves closes on exec, so none of
/// those can be taken for one that the caller handed over (CVE-2024-21626 was such a leak).
pub fn is_inherited(fd: i32) -> bool {
    // SAFETY: F_GETFD takes an integer and touches no memory; a number that is not open gives EBADF.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags >= 0 && flags & libc::FD_CLOEXEC == 0
}

/// Makes the calling process the reaper of its orphaned descendants (`PR_SET_CHILD_SUBREAPER`).
///
/// # Errors
/// When the call is refused (an outer seccomp filter).
pub fn become_subreaper() -> Result<()> {
    prctl::set_child_subreaper(true).call(|| "prctl(PR_SET_CHILD_SUBREAPER, 1)")
}

/// What becomes of a process when the thread that made it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentDeath {
    /// It gets this signal.
    Sends(Signal),
    /// Nothing: a signal that was set before is cleared.
    IsIgnored,
}

/// Sets what the death of the parent does (`PR_SET_PDEATHSIG`). The kernel clears it on a change of
/// credentials and on the exec of a setuid program, and a parent that is dead already sends nothing.
///
/// # Errors
/// When the call is refused.
pub fn set_parent_death(what: ParentDeath) -> Result<()> {
    let signal = match what {
        ParentDeath::Sends(signal) => Some(signal),
        ParentDeath::IsIgnored => None,
    };
    prctl::set_pdeathsig(signal).call(|| format!("prctl(PR_SET_PDEATHSIG, {signal:?})"))
}

/// Whether others of the same user may trace a process and read its `/proc` files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dumpable {
    /// They may not; its `/proc` files belong to root.
    No,
    /// They may.
    Yes,
}

/// Sets whether the calling process can be traced and dumped (`PR_SET_DUMPABLE`).
///
/// # Errors
/// When the call is refused.
pub fn set_dumpable(dumpable: Dumpable) -> Result<()> {
    prctl::set_dumpable(dumpable == Dumpable::Yes).call(|| format!("prctl(PR_SET_DUMPABLE, {dumpable:?})"))
}

/// What `/proc/PID/stat` says of a process, as far as we ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The letter of its state: `R`, `S`, `D`, `T`, `t`, `Z` (ended, not reaped), `X`.
    pub state: char,
    /// When it started, in clock ticks since boot (field 22): with the pid it names a process for good.
    pub start_time: u64,
    /// PF_ flags of the kernel (field 9).
    pub flags: u64,
}

/// linux/sched.h: forked, and never executed a program.
const PF_FORKNOEXEC: u64 = 0x40;

impl Stat {
    /// Whether it ended (or is) without having executed a program of its own.
    pub fn has_never_executed(self) -> bool {
        self.flags & PF_FORKNOEXEC != 0
    }

    /// Whether the process has ended: a zombie, or about to vanish.
    pub fn has_ended(self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Reads `PID/stat` below `proc`, the place where a procfs of our pid namespace is mounted (`/proc`).
/// `None` when there is no such process (any more).
///
/// # Errors
/// When the file cannot be read for another reason, or is not what a kernel writes.
pub fn stat(proc: &Path, pid: i32) -> Result<Option<Stat>> {
    let path = proc.join(pid.to_string()).join("stat");
    let read = || super::file::read_small(&std::fs::File::open(&path)?, u64::MAX);
    match read() {
        Ok(text) => match parse_stat(&text) {
            Some(stat) => Ok(Some(stat)),
            None => Err(Error::new(format!("{} is not what a kernel writes", path.display()))),
        },
        // ESRCH: it ended between open and read.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(error) => Err(Error::io(format!("read({path:?})"), &error)),
    }
}

/// The start time of `pid` ([`Stat::start_time`]), also of a zombie; `None` when there is no such process.
///
/// # Errors
/// As [`stat`].
pub fn start_time(proc: &Path, pid: i32) -> Result<Option<u64>> {
    Ok(stat(proc, pid)?.map(|stat| stat.start_time))
}

/// Parses the line. The name in parentheses is the process's own choice: it may hold spaces, newlines,
/// parentheses and bytes that are not UTF-8, so the fields are counted from the *last* parenthesis.
fn parse_stat(text: &[u8]) -> Option<Stat> {
    let end_of_name = text.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(text.get(end_of_name + 1..)?).ok()?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    // The state is field 3, so the next one is field 4.
    let flags = fields.nth(9 - 4)?.parse().ok()?;
    let start_time = fields.nth(22 - 10)?.parse().ok()?;
    let mut letters = state.chars();
    match (letters.next(), letters.next()) {
        (Some(state), None) => Some(Stat { state, start_time, flags }),
        _ => None,
    }
}

/// Gives any bytes to the parser of `/proc/PID/stat`.
#[cfg(fuzzing)]
pub fn fuzz(text: &[u8]) -> Option<Stat> {
    parse_stat(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &[u8]) -> Vec<u8> {
        let tail = b") S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654321 10 11 12\n";
        [b"42 (".as_slice(), name, tail].concat()
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_move_the_fields() {
        let expected = Some(Stat { state: 'S', start_time: 987_654_321, flags: 4_194_560 });
        for name in [b"sh".as_slice(), b"a b", b") Z 0 0", b"((", b"))", b"", b"\xff\n)"] {
            assert_eq!(parse_stat(&line(name)), expected, "{name:?}");
        }
    }

    #[test]
    fn a_line_that_is_cut_or_garbage_is_refused() {
        let whole = line(b"sh");
        for length in 0..whole.len() - 18 {
            assert_eq!(parse_stat(&whole[..length]), None, "{length}");
        }
        assert_eq!(parse_stat(b"1 (a) SS 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9 1\n"), None);
    }

    #[test]
    fn the_start_time_of_a_process_stays_the_same_and_none_is_none() {
        let own = std::process::id().cast_signed();
        let first = start_time(Path::new("/proc"), own).unwrap();
        assert!(first.is_some());
        assert_eq!(start_time(Path::new("/proc"), own).unwrap(), first);
        assert_eq!(stat(Path::new("/proc"), i32::MAX).unwrap(), None);
    }

    #[test]
    fn a_descriptor_of_our_own_is_not_taken_for_one_handed_over() {
        use std::os::fd::AsRawFd;
        let own = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_inherited(own.as_raw_fd()));
        assert!(!is_inherited(-1));
        assert!(!is_inherited(i32::MAX));
        let flags = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty());
        nix::fcntl::fcntl(&own, flags).unwrap();
        assert!(is_inherited(own.as_raw_fd()));
    }

    #[test]
    fn a_process_that_ended_and_was_not_reaped_is_a_zombie() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id().cast_signed();
        let pidfd = crate::sys::pidfd::open(pid).unwrap();
        assert!(crate::sys::pidfd::poll_exit(&pidfd, None).unwrap());
        assert!(stat(Path::new("/proc"), pid).unwrap().unwrap().has_ended());
        child.wait().unwrap();
    }
}
