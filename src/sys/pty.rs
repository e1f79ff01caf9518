//! Pseudo-terminals of a given devpts, and the modes of terminals.
//!
//! The child makes the pair (its own privilege, inside the container), the runtime process sets modes and
//! sizes. Nothing here follows a path such as `/dev/pts/0`: the container may have put anything there
//! (CVE-2025-52565), so both ends come from the descriptor of a devpts that was verified.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpid, getsid, setsid};

use crate::error::{Call, Error, Result};

/// Both ends of a pseudo-terminal, close-on-exec.
#[derive(Debug)]
pub struct Pty {
    /// The end of whoever shows the output.
    pub master: OwnedFd,
    /// The end of the program.
    pub slave: OwnedFd,
}

/// Rows and columns of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Height.
    pub rows: u16,
    /// Width.
    pub columns: u16,
}

/// Opens a new pseudo-terminal of the devpts whose root `devpts` is (an O_PATH or ordinary descriptor).
///
/// # Errors
/// When `devpts` is no devpts, or what lies at its `ptmx` is not the kernel's own device.
pub fn open_master(devpts: BorrowedFd<'_>) -> Result<Pty> {
    check_devpts(devpts, "the folder")?;
    let master = open_ptmx(devpts)?;
    check_device(master.as_fd(), "ptmx", |major, minor| (major, minor) == (5, 2))?;
    unlock(master.as_fd())?;
    let slave = open_peer(master.as_fd())?;
    // Documentation/admin-guide/devices.txt: 136 to 143 are the Unix98 slaves.
    check_device(slave.as_fd(), "the slave", |major, _| (136..=143).contains(&major))?;
    Ok(Pty { master, slave })
}

/// Opens `ptmx` so that neither a link nor something mounted over it is followed: opening a device node
/// can have effects, so looking at it afterwards would be too late.
fn open_ptmx(devpts: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let resolve =
        ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_BENEATH;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    match openat2(devpts, "ptmx", how) {
        // KERNEL(5.6): openat2; an outer seccomp filter says ENOSYS or EPERM.
        Err(Errno::ENOSYS | Errno::EPERM) => {}
        result => return result.call(|| "openat2(devpts, \"ptmx\")"),
    }
    let look = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let seen = openat(devpts, "ptmx", look, Mode::empty()).call(|| "openat(devpts, \"ptmx\", O_PATH)")?;
    check_device(seen.as_fd(), "ptmx", |major, minor| (major, minor) == (5, 2))?;
    openat(devpts, "ptmx", flags, Mode::empty()).call(|| "openat(devpts, \"ptmx\")")
}

fn check_devpts(fd: BorrowedFd<'_>, what: &str) -> Result<()> {
    let kind = fstatfs(fd).call(|| "fstatfs(devpts)")?.filesystem_type();
    if kind == DEVPTS_SUPER_MAGIC {
        return Ok(());
    }
    Err(Error::new(format!("cannot make a terminal: {what} is not on a devpts"))
        .hint("mount a devpts on /dev/pts in the container, or set process.terminal to false"))
}

fn check_device(fd: BorrowedFd<'_>, what: &str, is_right: impl Fn(u64, u64) -> bool) -> Result<()> {
    check_devpts(fd, what)?;
    let FileStat { st_mode, st_rdev, .. } = fstat(fd).call(|| "fstat(terminal)")?;
    let is_device = SFlag::from_bits_truncate(st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR;
    if is_device && is_right(major(st_rdev), minor(st_rdev)) {
        return Ok(());
    }
    Err(Error::new(format!("cannot make a terminal: {what} is not the device it should be")))
}

fn unlock(master: BorrowedFd<'_>) -> Result<()> {
    let lock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int through the pointer, which is valid during the call.
    let result = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const lock) };
    Errno::result(result).map(drop).call(|| "ioctl(ptmx, TIOCSPTLCK)")
}

/// KERNEL(4.13): TIOCGPTPEER.
fn open_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes its flags by value and touches no memory of ours.
    let fd = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    let fd = Errno::result(fd).call(|| "ioctl(ptmx, TIOCGPTPEER)")?;
    // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets the size; the program in front gets SIGWINCH when it differs.
///
/// # Errors
/// ENOTTY when `fd` is no terminal.
pub fn set_size(fd: impl AsFd, size: Size) -> Result<()> {
    let size = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize through the pointer, which is valid during the call.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(result).map(drop).call(|| "ioctl(TIOCSWINSZ)")
}

/// The size of a terminal.
///
/// # Errors
/// ENOTTY when `fd` is no terminal.
pub fn size(fd: impl AsFd) -> Result<Size> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize through the pointer, which is valid and ours alone.
    let result = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    Errno::result(result).call(|| "ioctl(TIOCGWINSZ)")?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// Makes the calling process the leader of a new session whose terminal `slave` is. One that leads its
/// session already keeps it.
///
/// # Errors
/// EPERM when the process leads a process group of another session, or the terminal has a session.
pub fn make_controlling(slave: impl AsFd) -> Result<()> {
    match setsid() {
        Err(Errno::EPERM) if getsid(None) == Ok(getpid()) => {}
        result => result.map(drop).call(|| "setsid()")?,
    }
    // SAFETY: TIOCSCTTY takes its argument by value (0: do not steal it) and touches no memory of ours.
    let result = unsafe { libc::ioctl(slave.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) };
    Errno::result(result).map(drop).call(|| "ioctl(TIOCSCTTY)")
}

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    tcgetattr(fd).is_ok()
}

/// Stops the terminal from turning `\n` into `\r\n` (what runc does for a terminal that is relayed).
///
/// # Errors
/// ENOTTY when `fd` is no terminal.
pub fn clear_onlcr(fd: impl AsFd) -> Result<()> {
    let mut modes = tcgetattr(fd.as_fd()).call(|| "tcgetattr()")?;
    modes.output_flags.remove(OutputFlags::ONLCR);
    tcsetattr(fd, SetArg::TCSANOW, &modes).call(|| "tcsetattr()")
}

/// The modes a terminal had before [`make_raw`]. They come back with [`SavedTermios::restore`], at the
/// latest when this is dropped; a process that aborts or is killed with SIGKILL cannot give them back.
#[derive(Debug)]
pub struct SavedTermios {
    terminal: OwnedFd,
    modes: Termios,
}

impl SavedTermios {
    /// Gives the terminal its modes back. May be called again: it sets the same modes.
    ///
    /// # Errors
    /// EIO when the terminal has gone.
    pub fn restore(&self) -> Result<()> {
        // TCSANOW: one that waits for output to drain would hang on a stopped terminal.
        tcsetattr(&self.terminal, SetArg::TCSANOW, &self.modes).call(|| "tcsetattr()")
    }

    /// Sets raw mode again, after somebody else (a shell that had stopped us) has changed it.
    ///
    /// # Errors
    /// EIO when the terminal has gone.
    pub fn make_raw_again(&self) -> Result<()> {
        let mut raw = self.modes.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&self.terminal, SetArg::TCSANOW, &raw).call(|| "tcsetattr()")
    }
}

impl Drop for SavedTermios {
    fn drop(&mut self) {
        // The terminal may have gone; then there is nothing left to restore.
        let _ = self.restore();
    }
}

/// Sets raw mode: bytes pass both ways unchanged, and no key makes a signal. With SIGTTOU blocked this
/// also works from the background, where it must not be done: see [`is_in_front`].
///
/// # Errors
/// ENOTTY when `fd` is no terminal.
pub fn make_raw(fd: impl AsFd) -> Result<SavedTermios> {
    let terminal = fd.as_fd().try_clone_to_owned().call(|| "dup(terminal)")?;
    let modes = tcgetattr(&terminal).call(|| "tcgetattr()")?;
    let saved = SavedTermios { terminal, modes };
    saved.make_raw_again()?;
    Ok(saved)
}

/// Whether the caller may use the terminal: it is in the foreground process group, or the terminal is not
/// that of its session, which then has no job control over it.
pub fn is_in_front(fd: impl AsFd) -> bool {
    match nix::unistd::tcgetpgrp(fd) {
        Ok(front) => front == nix::unistd::getpgrp(),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;
    use nix::sys::termios::LocalFlags;
    use std::fs::File;
    use std::io::{Read, Write};

    fn devpts() -> File {
        File::open("/dev/pts").unwrap()
    }

    #[test]
    fn a_pair_of_a_given_devpts_carries_bytes_both_ways() {
        let pty = open_master(devpts().as_fd()).unwrap();
        let (mut master, mut slave) = (File::from(pty.master), File::from(pty.slave));
        let mut buffer = [0; 16];
        master.write_all(b"in\n").unwrap();
        let count = slave.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"in\n");
        slave.write_all(b"out\n").unwrap();
        let echo_and_output = b"in\r\nout\r\n";
        master.read_exact(&mut buffer[..echo_and_output.len()]).unwrap();
        assert_eq!(&buffer[..echo_and_output.len()], echo_and_output);
    }

    #[test]
    fn both_ends_are_closed_on_exec() {
        let pty = open_master(devpts().as_fd()).unwrap();
        for end in [&pty.master, &pty.slave] {
            let flags = nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        }
    }

    #[test]
    fn an_o_path_descriptor_will_do() {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let folder = nix::fcntl::open("/dev/pts", flags, Mode::empty()).unwrap();
        assert!(open_master(folder.as_fd()).is_ok());
    }

    #[test]
    fn a_folder_that_is_no_devpts_is_refused_before_anything_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/ptmx", folder.path().join("ptmx")).unwrap();
        let error = open_master(File::open(folder.path()).unwrap().as_fd()).unwrap_err();
        assert!(error.to_string().starts_with("cannot make a terminal: the folder is not on a devpts"));
    }

    #[test]
    fn a_size_set_on_one_end_is_seen_on_the_other() {
        let pty = openpty(None, None).unwrap();
        set_size(&pty.master, Size { rows: 33, columns: 121 }).unwrap();
        assert_eq!(size(&pty.slave).unwrap(), Size { rows: 33, columns: 121 });
    }

    #[test]
    fn raw_mode_ends_when_the_saved_modes_are_dropped() {
        let pty = openpty(None, None).unwrap();
        let is_canonical = || tcgetattr(&pty.slave).unwrap().local_flags.contains(LocalFlags::ICANON);
        let saved = make_raw(&pty.slave).unwrap();
        assert!(!is_canonical());
        saved.restore().unwrap();
        assert!(is_canonical());
        saved.make_raw_again().unwrap();
        assert!(!is_canonical());
        drop(saved);
        assert!(is_canonical());
    }

    #[test]
    fn pipes_and_null_are_no_terminals() {
        assert!(is_terminal(openpty(None, None).unwrap().slave));
        assert!(!is_terminal(File::open("/dev/null").unwrap()));
        assert_eq!(make_raw(File::open("/dev/null").unwrap()).unwrap_err().errno(), Some(Errno::ENOTTY));
    }
}
