//! Control groups: v1, hybrid and v2 behind one small face.
//!
//! The runtime process acts here, with the caller's privilege, before and beside the container's child;
//! the child itself only calls [`join::join_current`]. A [`Group`] says what is wanted in one hierarchy
//! (`plan::cgroup` compiles it), [`make()`] turns it into an [`OpenGroup`], [`limit()`] writes the values, and a
//! [`Cgroup`] is all of them together. Later commands get it back with [`Cgroup::open`] from what the state
//! file remembers ([`SavedGroup`]).
//!
//! Nothing here ever writes a pid into `cgroup.procs` or `tasks` from outside: that takes a lock of the
//! whole system for up to 15 ms. On v1 the child writes `0` into `tasks` itself; on v2 it is cloned into
//! the cgroup. Files are opened below a descriptor of the container's folder, never through a link: what
//! is below that folder was made by the container.
//!
//! A group with a [`unit::Unit`] is made and taken away by systemd ([`systemd`]); all else is the same for it.
//! [`Cgroup::update`] changes limits of a container that runs: all of them, or none.
//!
//! [`Cgroup::watch_oom`] hears of the OOM killer.
//!
//! From the crate `cgroups-rs` come the controllers that read and parse statistics ([`statistics`]).
//! Not used of it, and why:
//! * create: it opens every file by its path again, does not look at a v2 mount beside v1 ones, and
//!   silently ignores `unified`, `rdma`, `cpu.idle`, `cpu.burst`; pids limits of 0 it lifts;
//! * limits: its setters write what they can and keep no way back when one of several is refused;
//! * attach: it writes pids from outside, and cannot clone into a cgroup;
//! * freeze: it does not wait, and does not write again while a v1 cgroup is still freezing;
//! * kill: v2 with `cgroup.kill` only;
//! * remove: it first moves what still lives into the root cgroup, out of every limit;
//! * devices: absent numbers mean 0 to it instead of all, and it has nothing for v2;
//! * block I/O statistics: it panics on device numbers above 32767.

mod delegate;
pub mod device;
mod device_filter;
mod files;
mod freeze;
pub mod group;
pub mod join;
mod kill;
pub mod layout;
mod limit;
mod make;
mod mark;
mod oom;
pub mod probe;
mod remove;
mod restore;
pub mod statistics;
pub mod systemd;
#[cfg(test)]
mod tests;
pub mod unit;
mod update;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::errno::Errno;

pub use group::{Group, SavedGroup};
pub use limit::limit;
pub use make::{make, make_unit, refuse_used};
pub use oom::OomWatch;
pub use update::Before;

use crate::error::{Call, Result};
use layout::Version;
use unit::SavedUnit;

/// The container's folder in one hierarchy.
#[derive(Debug)]
pub struct OpenGroup {
    /// As in [`Group`].
    pub hierarchy: String,
    /// The kernel interface.
    pub version: Version,
    /// The folder's absolute path on the host.
    pub dir: PathBuf,
    /// The folder.
    pub fd: OwnedFd,
    /// The folders that were made for this container, outermost first.
    pub made: Vec<PathBuf>,
    /// The unit of systemd whose folder it is.
    pub unit: Option<SavedUnit>,
}

/// A container's cgroup: its folders in all hierarchies.
#[derive(Debug, Default)]
pub struct Cgroup {
    /// The folders that exist.
    pub groups: Vec<OpenGroup>,
}

impl OpenGroup {
    /// Whether `controller` is (one of) the hierarchy's, going by its name; always true on v2.
    pub fn has(&self, controller: &str) -> bool {
        self.version == Version::V2 || self.hierarchy.split(',').any(|name| name == controller)
    }

    /// What the state file has to remember.
    pub fn save(&self) -> SavedGroup {
        SavedGroup {
            hierarchy: self.hierarchy.clone(),
            version: self.version,
            dir: self.dir.clone(),
            made: self.made.clone(),
            unit: self.unit.clone(),
        }
    }
}

impl Cgroup {
    /// Finds the folders again; one that is gone (a crash in the middle of a removal) is left out.
    ///
    /// # Errors
    /// When a folder exists and cannot be opened, or is none of a cgroup file system.
    pub fn open(saved: &[SavedGroup]) -> Result<Cgroup> {
        let groups = saved.iter().map(open_saved).collect::<Result<Vec<_>>>()?;
        Ok(Cgroup { groups: groups.into_iter().flatten().collect() })
    }

    /// What the state file has to remember.
    pub fn save(&self) -> Vec<SavedGroup> {
        self.groups.iter().map(OpenGroup::save).collect()
    }

    /// The v2 folder.
    fn unified(&self) -> Option<&OpenGroup> {
        self.groups.iter().find(|group| group.version == Version::V2)
    }

    /// The v1 folder of `controller`.
    fn v1(&self, controller: &str) -> Option<&OpenGroup> {
        self.groups.iter().find(|group| group.version == Version::V1 && group.has(controller))
    }
}

fn open_saved(saved: &SavedGroup) -> Result<Option<OpenGroup>> {
    let fd = match files::open_top(&saved.dir) {
        Ok(fd) => fd,
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(None),
        Err(errno) => return Err(errno).call(|| format!("open({:?})", saved.dir)),
    };
    Ok(Some(OpenGroup {
        hierarchy: saved.hierarchy.clone(),
        version: saved.version,
        dir: saved.dir.clone(),
        fd,
        made: saved.made.clone(),
        unit: saved.unit.clone(),
    }))
}
