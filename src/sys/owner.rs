//! Who makes a user namespace owns it, and is charged by the kernel for what its processes have: pending signals, timers,
//! message queues, inotify instances, namespaces (user_namespaces(7), `/proc/sys/user`). Here somebody else's id is taken
//! for that one call.
//!
//! The runtime process, as the host's root; it has one thread, and all of its capabilities meanwhile.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Uid, geteuid, seteuid};

use super::capabilities;
use super::clone::{Cloned, Parent, clone};
use super::namespace;
use super::process::{Dumpable, set_dumpable};
use crate::error::{Call, Result};

/// linux/nsfs.h.
const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;

/// What is to be taken back.
struct Taken {
    own: Uid,
    sets: capabilities::Sets,
}

/// The effective id changes alone: the real one stays, so that the way back is open, and no process of `owner` may
/// signal this one.
fn take(owner: u32) -> Result<Taken> {
    let taken = Taken { own: geteuid(), sets: capabilities::read()? };
    seteuid(Uid::from_raw(owner)).call(|| format!("seteuid({owner})"))?;
    // The kernel has just taken the effective capabilities away, and opened this process to be looked into.
    let done = capabilities::write(taken.sets).and_then(|()| set_dumpable(Dumpable::No));
    match done {
        Ok(()) => Ok(taken),
        Err(error) => {
            give_back(&taken)?;
            Err(error)
        }
    }
}

fn give_back(taken: &Taken) -> Result<()> {
    seteuid(taken.own).call(|| format!("seteuid({})", taken.own))?;
    capabilities::write(taken.sets)?;
    set_dumpable(Dumpable::No)
}

/// As [`clone()`]; a new user namespace belongs to `owner`, an id of this user namespace. The child keeps that id: it can take
/// no other before its namespace has a map.
///
/// # Errors
/// The call's; EPERM without CAP_SETUID.
pub fn clone_owned(
    owner: u32,
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    parent: Parent,
) -> Result<Cloned> {
    let taken = take(owner)?;
    let cloned = clone(namespaces, cgroup, parent);
    if !matches!(cloned, Ok(Cloned::Child)) {
        give_back(&taken)?;
    }
    cloned
}

/// Does `act` as the owner of the user namespace of process `pid`, who has every right in it.
///
/// # Errors
/// When there is no such process, or its namespace belongs to nobody who is known here; those of `act`.
pub fn as_owner_of<T>(pid: i32, act: impl FnOnce() -> T) -> Result<T> {
    let path = format!("/proc/{pid}/ns/user");
    let fd = namespace::open_kind(Path::new(&path), libc::CLONE_NEWUSER as u64)?;
    let mut owner: libc::uid_t = 0;
    // SAFETY: the call writes one uid_t, which is valid meanwhile.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_OWNER_UID, &raw mut owner) };
    Errno::result(result).call(|| format!("ioctl({path:?}, NS_GET_OWNER_UID)"))?;
    let taken = take(owner)?;
    let done = act();
    give_back(&taken)?;
    Ok(done)
}
