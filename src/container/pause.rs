//! `pause` and `resume`: the freezer.

use super::query::{read, status};
use super::update::open_settled;
use super::{Runtime, Status};
use crate::cgroup::Cgroup;
use crate::error::{Error, Explain, Kind, Result};
use crate::ids::ContainerId;

/// Freezes every process of the container.
///
/// # Errors
/// When it is not running or has no freezer.
pub fn pause(runtime: &Runtime, id: &ContainerId) -> Result<()> {
    let doing = || format!("cannot pause container '{id}'");
    let cgroup = open(runtime, id, &[Status::Running, Status::Created], "container not running or created")
        .doing(doing)?;
    cgroup.freeze().doing(doing)
}

/// Thaws a paused container.
///
/// # Errors
/// When it is not paused.
pub fn resume(runtime: &Runtime, id: &ContainerId) -> Result<()> {
    let doing = || format!("cannot resume container '{id}'");
    open(runtime, id, &[Status::Paused], "container not paused").doing(doing)?.thaw().doing(doing)
}

fn open(runtime: &Runtime, id: &ContainerId, wanted: &[Status], otherwise: &str) -> Result<Cgroup> {
    let folder = open_settled(runtime, id)?;
    let saved = read(&folder)?;
    if !wanted.contains(&status(&folder, &saved)?) {
        return Err(Error::new(otherwise).kind(Kind::WrongState));
    }
    let cgroup = Cgroup::open(&saved.cgroups)?;
    if cgroup.groups.is_empty() {
        return Err(Error::new("the container has no cgroup of its own, so it cannot be frozen")
            .kind(Kind::Unsupported)
            .hint("its user needs a delegated cgroup"));
    }
    Ok(cgroup)
}
