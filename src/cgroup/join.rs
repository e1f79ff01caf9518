//! How a process gets into the container's cgroup: on v1 it writes itself into the folders that were
//! opened for it, on v2 it is cloned into the folder.
//!
//! KERNEL: whoever writes a pid to `cgroup.procs`, or another's pid to `tasks`, takes
//! `cgroup_threadgroup_rwsem` for writing and waits for an RCU grace period (8–15 ms when that has not
//! happened lately). A single-threaded process that writes `0` to v1 `tasks` takes no such lock (about
//! 50 µs), nor does CLONE_INTO_CGROUP.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd;

use super::layout::Version;
use super::{Cgroup, OpenGroup, files, systemd};
use crate::error::{Call, Error, Result};
use crate::ids::RootPath;

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

    /// The file of the v2 folder by which the child joins it, where it cannot be born there.
    ///
    /// # Errors
    /// When it cannot be opened for writing.
    pub fn procs_file(&self) -> Result<Option<OwnedFd>> {
        let open = |group: &super::OpenGroup| {
            let path = group.dir.join("cgroup.procs");
            files::open_file(&group.fd, "cgroup.procs", OFlag::O_WRONLY).call(|| format!("open({path:?})"))
        };
        self.unified().map(open).transpose()
    }

    /// The v2 folder, for `clone3` with CLONE_INTO_CGROUP (KERNEL(5.7)), in hybrid set-ups too.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.unified().map(|group| group.fd.as_fd())
    }
}

impl Cgroup {
    /// Has systemd move a child into the v2 folder, where the caller may not: out of the cgroup of a login, which is
    /// not below the user's own service manager. False without a unit.
    ///
    /// # Errors
    /// What systemd says.
    pub fn attach_by_systemd(&self, pid: i32) -> Result<bool> {
        let Some((group, unit)) = self.unified().and_then(|group| Some((group, group.unit.as_ref()?))) else {
            return Ok(false);
        };
        let is_unit = |part: &std::path::Component<'_>| part.as_os_str() == unit.name.as_str();
        let below = group.dir.components().skip_while(|part| !is_unit(part)).skip(1);
        systemd::attach(unit, &Path::new("/").join(below.collect::<std::path::PathBuf>()), pid)?;
        Ok(true)
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

impl Cgroup {
    /// The cgroups below the container's that `exec --cgroup` names: each word is `PATH`, or on v1
    /// `CONTROLLER[,CONTROLLER…]:PATH` for some hierarchies only. They must exist.
    ///
    /// # Errors
    /// A controller the container has no cgroup of, or a path that leaves the container's cgroup.
    pub fn below(mut self, words: &[String]) -> Result<Cgroup> {
        for word in words {
            let (controllers, path) = match word.split_once(':') {
                Some((controllers, path)) => (controllers.split(',').collect(), path),
                None => (Vec::new(), word.as_str()),
            };
            let unknown = controllers.iter().find(|name| !self.groups.iter().any(|group| has(group, name)));
            if let Some(name) = unknown {
                return Err(Error::new(format!("unknown controller {name:?} in SUB_CGROUP {word:?}")));
            }
            let wanted =
                |group: &OpenGroup| controllers.is_empty() || controllers.iter().any(|name| has(group, name));
            for group in self.groups.iter_mut().filter(|group| wanted(group)) {
                enter_below(group, path)?;
            }
        }
        Ok(self)
    }
}

/// Whether the hierarchy really has the controller: beside v1 hierarchies, v2 has only those that are left.
fn has(group: &OpenGroup, controller: &str) -> bool {
    match group.version {
        Version::V1 => group.has(controller),
        Version::V2 => {
            let offered = files::read(&group.fd, "cgroup.controllers").unwrap_or_default();
            offered.split_ascii_whitespace().any(|name| name == controller)
        }
    }
}

fn enter_below(group: &mut OpenGroup, path: &str) -> Result<()> {
    let clean = RootPath::new(path);
    let leaves = Path::new(path).components().any(|part| part == std::path::Component::ParentDir);
    if leaves {
        return Err(Error::new(format!("bad sub cgroup path: {path:?} leaves the container's cgroup")));
    }
    for name in clean.relative().components().map(|part| part.as_os_str()).filter(|name| *name != ".") {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let dir = group.dir.join(name);
        group.fd = openat(&group.fd, name, flags, Mode::empty())
            .map_err(|errno| Error::sys(format!("open({dir:?})"), errno).because("bad sub cgroup path"))?;
        group.dir = dir;
    }
    Ok(())
}
