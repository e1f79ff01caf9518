//! Writing the id maps of the child's user namespace (user_namespaces(7)). The runtime runs this while the
//! child waits, with the caller's privilege, or by the setuid programs newuidmap(1) and newgidmap(1).

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;

use crate::error::{Call, Error, Result};
use crate::plan::{IdMap, MapWriter, MountIdMap};
use crate::sys::clone::{Cloned, Parent, clone, exit_now};
use crate::sys::mount::{self, Depth};
use crate::sys::owner::clone_owned;
use crate::sys::{channel, namespace, pidfd, socket};

/// Writes both maps of process `pid`. Groups come first: with a single id, `setgroups` has to be denied
/// before the group map may be written.
///
/// # Errors
/// EPERM where the ids are not the caller's to give.
pub fn write(pid: i32, uid: &[IdMap], gid: &[IdMap], writer: MapWriter) -> Result<()> {
    match writer {
        MapWriter::Helpers => {
            run_helper("newgidmap", pid, gid)?;
            run_helper("newuidmap", pid, uid)
        }
        MapWriter::Single => {
            write_file(pid, "setgroups", "deny")?;
            write_file(pid, "gid_map", &lines(gid))?;
            write_file(pid, "uid_map", &lines(uid))
        }
        MapWriter::Direct => {
            write_file(pid, "gid_map", &lines(gid))?;
            write_file(pid, "uid_map", &lines(uid))
        }
    }
}

fn lines(maps: &[IdMap]) -> String {
    maps.iter().map(|map| format!("{map}\n")).collect()
}

fn write_file(pid: i32, name: &str, content: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{name}");
    std::fs::write(&path, content).call(|| format!("write({path:?}, {:?})", content.trim_end()))
}

fn run_helper(program: &str, pid: i32, maps: &[IdMap]) -> Result<()> {
    let numbers = maps.iter().flat_map(|map| [map.inside, map.outside, map.size]);
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(numbers.map(|number| number.to_string()));
    let output = command.output().call(|| format!("exec({program:?})"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(format!("{program} refused: {words}"))
        .hint("the ranges must be the caller's in /etc/subuid and /etc/subgid"))
}

/// Makes a detached mount show its owners through a map. The kernel takes the map from a user namespace, so
/// one is made for it, by a process that does nothing else and ends.
///
/// # Errors
/// EINVAL where the filesystem cannot be id-mapped.
pub fn show_through(tree: &OwnedFd, map: &MountIdMap) -> Result<()> {
    let namespace = user_namespace(&map.uid, &map.gid, MapWriter::Direct)?;
    let depth = if map.recursive { Depth::All } else { Depth::One };
    mount::set_id_map(tree, depth, &namespace).map_err(|errno| {
        let error = Error::sys("mount_setattr(MOUNT_ATTR_IDMAP)", errno);
        match errno {
            Errno::EINVAL => error.because("its filesystem cannot be id-mapped"),
            _ => error,
        }
    })
}

/// A user namespace with these maps, made by a process that does nothing else and ends.
///
/// # Errors
/// As [`write()`]; or the kernel lets the caller make no user namespace.
pub fn user_namespace(uid: &[IdMap], gid: &[IdMap], writer: MapWriter) -> Result<OwnedFd> {
    make(uid, gid, writer, || clone(libc::CLONE_NEWUSER as u64, None, Parent::Caller))
}

/// The same, and it belongs to `owner`: for the host's root.
///
/// # Errors
/// As [`user_namespace`].
pub fn user_namespace_of(owner: u32, uid: &[IdMap], gid: &[IdMap]) -> Result<OwnedFd> {
    let clone = || clone_owned(owner, libc::CLONE_NEWUSER as u64, None, Parent::Caller);
    make(uid, gid, MapWriter::Direct, clone)
}

/// Bounds the inotify instances of the user namespace that this process is in, and of those below it: the kernel shows
/// nobody another's bounds.
///
/// # Errors
/// The kernel has no such bound, or refuses it.
pub fn bound_inotify(most: u32) -> Result<()> {
    super::process::sysctl("user/max_inotify_instances", &most.to_string())
}

fn make(
    uid: &[IdMap],
    gid: &[IdMap],
    writer: MapWriter,
    clone: impl FnOnce() -> Result<Cloned>,
) -> Result<OwnedFd> {
    let (ours, theirs) = socket::seqpacket_pair()?;
    let Cloned::Parent { pid, pidfd } = clone()? else {
        drop(ours);
        // It lives until the runtime has what it needs, or is dead.
        let _ = channel::receive(&theirs);
        exit_now(0)
    };
    drop(theirs);
    let opened = write(pid, uid, gid, writer).and_then(|()| {
        let path = format!("/proc/{pid}/ns/user");
        namespace::open_kind(Path::new(&path), libc::CLONE_NEWUSER as u64)
    });
    drop(ours);
    pidfd::wait(&pidfd)?;
    opened
}
