//! Into the namespaces of a container that stands. Run by the child of `exec` and of `mounts`, with the caller's
//! privilege; by the runtime before the clone where an inner root could not come back.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;

use super::child::{clone_flag, clone_flags};
use crate::error::{Error, Result};
use crate::plan::Namespace;
use crate::sys::{namespace, pidfd};

/// A container that stands.
pub struct Joined {
    /// Its init, in the caller's pid namespace.
    pub pid: i32,
    /// Of the same process.
    pub pidfd: OwnedFd,
    /// Its root.
    pub root: OwnedFd,
}

/// Joins all these namespaces of its init: all at once, or none.
///
/// # Errors
/// There is no container, or the kernel refuses.
pub fn join_container(container: Option<&Joined>, namespaces: &[Namespace]) -> Result<()> {
    let Some(container) = container else { return Err(Error::new("there is no container to join")) };
    match namespace::enter(&container.pidfd, clone_flags(namespaces)) {
        // KERNEL(5.8): setns(2) with a pidfd; an older one takes it for a file that is no namespace.
        Err(error) if error.errno() == Some(Errno::EINVAL) => one_by_one(container, namespaces),
        result => result,
    }
}

/// All are opened before the first is entered: in the next mount namespace `/proc` is another.
fn one_by_one(container: &Joined, namespaces: &[Namespace]) -> Result<()> {
    let open = |kind: &Namespace| {
        let path = PathBuf::from(format!("/proc/{}/ns/{}", container.pid, kind.proc_name()));
        Ok((*kind, namespace::open_kind(&path, clone_flag(*kind))?))
    };
    let mut opened = namespaces.iter().map(open).collect::<Result<Vec<_>>>()?;
    if pidfd::poll_exit(&container.pidfd, Some(Duration::ZERO))? {
        // Its pid may be another process' by now, and so may be what was opened.
        return Err(Error::new("the container has ended meanwhile"));
    }
    // Whoever owns a namespace must be allowed to give it: for some that is the caller's user namespace, for
    // others the container's. So first what can be entered from here, then the user namespace, then the rest.
    opened.sort_by_key(|(kind, _)| *kind == Namespace::User);
    let mut waiting = Vec::new();
    for (kind, fd) in opened {
        match namespace::enter(&fd, clone_flag(kind)) {
            Err(error) if kind != Namespace::User && error.errno() == Some(Errno::EPERM) => {
                waiting.push((kind, fd));
            }
            result => result?,
        }
    }
    waiting.iter().try_for_each(|(kind, fd)| namespace::enter(fd, clone_flag(*kind)))
}
