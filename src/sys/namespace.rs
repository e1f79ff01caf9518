//! Entering namespaces: unshare(2), setns(2), and asking a namespace what it is (ioctl_ns(2)).

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;

use crate::error::{Call, Error, Result};

/// Leaves the current namespaces of these kinds for new ones.
///
/// # Errors
/// The call's.
pub fn unshare(namespaces: u64) -> Result<()> {
    nix::sched::unshare(flags(namespaces)).call(|| format!("unshare({namespaces:#x})"))
}

/// Opens a namespace file (`/proc/PID/ns/net`, or a bind of it) and checks that it is of kind `namespace`
/// (a CLONE_NEW flag).
///
/// # Errors
/// When it is not a namespace, or one of another kind.
pub fn open_kind(path: &Path, namespace: u64) -> Result<OwnedFd> {
    let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty())
        .call(|| format!("open({path:?})"))?;
    // SAFETY: NS_GET_NSTYPE takes no argument and only reads the descriptor, which is open.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    match kind {
        -1 => Err(Error::new("it is not a namespace")),
        kind if kind as u32 as u64 == namespace => Ok(fd),
        _ => Err(Error::new("it is a namespace of another kind")),
    }
}

/// linux/nsfs.h.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// Enters a namespace, or with a pidfd all those of that process that are named.
///
/// # Errors
/// The call's.
pub fn enter(fd: impl AsFd, namespaces: u64) -> Result<()> {
    nix::sched::setns(fd.as_fd(), flags(namespaces)).call(|| format!("setns({namespaces:#x})"))
}

/// The inode of one of a process' namespaces; equal inodes are the same namespace.
///
/// # Errors
/// When the process is gone or may not be looked at.
pub fn inode(pid: i32, name: &str) -> Result<u64, Errno> {
    Ok(nix::sys::stat::stat(format!("/proc/{pid}/ns/{name}").as_str())?.st_ino)
}

/// The inode of one of the calling process' own namespaces.
///
/// # Errors
/// When the kernel has no such kind.
pub fn own_inode(name: &str) -> Result<u64, Errno> {
    Ok(nix::sys::stat::stat(format!("/proc/thread-self/ns/{name}").as_str())?.st_ino)
}

fn flags(namespaces: u64) -> CloneFlags {
    // nix has no name for CLONE_NEWTIME.
    CloneFlags::from_bits_retain(namespaces as i32)
}
