//! How a process gets into the container's cgroup: on v1 it writes itself into the folders that were
//! opened for it, on v2 it is cloned into the folder.
//!
//! KERNEL: whoever writes a pid to `cgroup.procs`, or another's pid to `tasks`, takes
//! `cgroup_threadgroup_rwsem` for writing and waits for an RCU grace period (8–15 ms when that has not
//! happened lately). A single-threaded process that writes `0` to v1 `tasks` takes no such lock (about
//! 50 µs), nor does CLONE_INTO_CGROUP.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd;

use super::layout::Version;
use super::{Cgroup, files};
use crate::error::{Call, Result};

impl Cgroup {
    /// The v1 `tasks` files, for [`join_current`], opened by the runtime for its child to inherit. Memory
    /// comes last: what the child uses before it has joined is not charged to the container.
    ///
    /// # Errors
    /// When one cannot be opened for writing.
    pub fn tasks_files(&self) -> Result<Vec<OwnedFd>> {
        let mut v1: Vec<_> = self.groups.iter().filter(|group| group.version == Version::V1).collect();
        v1.sort_by_key(|group| group.has("memory"));
        let open = |group: &&super::OpenGroup| {
            let path = group.dir.join("tasks");
            files::open_file(&group.fd, "tasks", OFlag::O_WRONLY).call(|| format!("open({path:?})"))
        };
        v1.iter().map(open).collect()
    }

    /// The v2 folder, for `clone3` with CLONE_INTO_CGROUP (KERNEL(5.7)), in hybrid set-ups too.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.unified().map(|group| group.fd.as_fd())
    }
}

/// Puts the calling process, which must have a single thread, into the cgroups of `tasks`
/// ([`Cgroup::tasks_files`]). Called by the child; allocates nothing.
///
/// # Errors
/// The index of the file that failed, and the errno.
pub fn join_current(tasks: &[impl AsFd]) -> std::result::Result<(), (usize, Errno)> {
    for (index, file) in tasks.iter().enumerate() {
        while let Err(errno) = unistd::write(file.as_fd(), b"0") {
            if errno != Errno::EINTR {
                return Err((index, errno));
            }
        }
    }
    Ok(())
}
